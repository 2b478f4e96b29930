"""An adapter loaded into a vLLM that runs already: the same weights, another model beside the first."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from taut.cli import main
from taut.train.lora import scale
from tests.engines import make_model
from tests.engines.servers import Server, serve_vllm, skip_without_vllm
from tests.train.tiny_lora import make_lora

pytestmark = pytest.mark.vllm

TOKENS = 20
QUESTION = "<|im_start|>user\nName three colors.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    skip_without_vllm()
    log = tmp_path_factory.mktemp("vllm-lora") / "server.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
        with serve_vllm(make_model.MODELS / "smollm2", log, "--enable-lora", "--max-lora-rank", "16") as running:
            yield running


def written_by(server: Server, model: str) -> str:
    body = {"model": model, "prompt": QUESTION, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"{server.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return str(json.loads(reply.read())["choices"][0]["text"])


def by_transformers(adapter: Path) -> str:
    """What peft and transformers write with it."""
    import peft
    import torch
    import transformers

    base = make_model.MODELS / "smollm2"
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    given = tokenizer(QUESTION, add_special_tokens=False, return_tensors="pt")
    with torch.inference_mode():
        written = adapted.generate(**given, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    return str(tokenizer.decode(written[0, given.input_ids.shape[1] :]))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_loaded_at_run_time_changes_what_is_written(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_lora(make_model.MODELS / "smollm2", tmp_path / "short", spread=0.05)
    before = written_by(server, server.model)
    assert main(["adapter", "load", str(adapter), "--engine", server.url]) == 0
    assert '[engines.short]\nkind = "openai"' in capsys.readouterr().out
    after = written_by(server, "short")
    assert after != before
    assert after == by_transformers(adapter)
    assert written_by(server, server.model) == before


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_scaled_to_nothing_writes_what_the_base_does(server: Server, tmp_path: Path) -> None:
    adapter = make_lora(make_model.MODELS / "smollm2", tmp_path / "short", spread=0.05)
    scale(adapter, 0, tmp_path / "nothing")
    assert main(["adapter", "load", str(tmp_path / "nothing"), "--engine", f"openai:{server.url}"]) == 0
    assert written_by(server, "nothing") == written_by(server, server.model)


def test_a_name_that_is_loaded_already_is_refused_by_the_server(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_lora(make_model.MODELS / "smollm2", tmp_path / "twice", spread=0.05)
    assert main(["adapter", "load", str(adapter), "--engine", server.url]) == 0
    assert main(["adapter", "load", str(adapter), "--engine", server.url]) == 2
    assert "already" in capsys.readouterr().err
