"""Adapters scaled and merged: the weights are the base's plus exactly so much of what training added."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from taut.cli import main
from taut.errors import EngineError, UsageError
from taut.train.lora import load_into, merge, scale
from tests.train.tiny_gguf import make_folder
from tests.train.tiny_lora import make_lora

pytestmark = [
    pytest.mark.transformers,
    # peft asks for it by the old name.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def made(base: Path) -> Path:
    return make_lora(base, base.parent / "adapter")


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "adapter"))


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "model.safetensors"))


def change(adapter: Path, **settings: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | settings), encoding="utf-8")


def config_of(adapter: Path) -> dict[str, Any]:
    return dict(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("by", [0.0, 0.25, 1.0, 2.0])
def test_a_scaled_adapter_adds_so_much_of_what_was_trained(
    base: Path, adapter: Path, tmp_path: Path, by: float
) -> None:
    scale(adapter, by, tmp_path / "scaled")
    whole, part = (
        weights_of(merge(adapter, tmp_path / "whole")),
        weights_of(merge(tmp_path / "scaled", tmp_path / "part")),
    )
    start = weights_of(base)
    name = "model.layers.1.mlp.down_proj.weight"
    assert abs(whole[name] - start[name]).max() > 0.05
    for name, theta in start.items():
        assert part[name] == pytest.approx(theta + by * (whole[name] - theta), abs=1e-5)


def test_scaling_is_by_alpha_and_leaves_the_matrices_alone(adapter: Path, tmp_path: Path) -> None:
    change(adapter, alpha_pattern={"q_proj": 3})
    assert scale(adapter, 0.5, tmp_path / "scaled") == 4.0
    config = config_of(tmp_path / "scaled")
    assert (config["lora_alpha"], config["alpha_pattern"], config["r"]) == (4, {"q_proj": 1.5}, 4)
    same = "adapter_model.safetensors"
    assert (adapter / same).read_bytes() == (tmp_path / "scaled" / same).read_bytes()


def test_the_state_of_the_trainer_is_left_out(adapter: Path, tmp_path: Path) -> None:
    for name in ("optimizer.pt", "trainer_state.json", "tokenizer.json"):
        (adapter / name).write_text("{}", encoding="utf-8")
    scale(adapter, 2, tmp_path / "scaled")
    left = {file.name for file in (tmp_path / "scaled").iterdir()}
    assert left == {"adapter_config.json", "adapter_model.safetensors", "README.md", "tokenizer.json"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "DoRA also learns the lengths"),
        ({"modules_to_save": ["lm_head"]}, "it replaces whole modules"),
        ({"bias": "all"}, "it trained biases"),
        ({"peft_type": "IA3"}, "of kind 'IA3'; only LORA"),
        ({"base_model_name_or_path": None}, "does not name a base model"),
        ({"lora_alpha": "much"}, "does not describe a LoRA adapter"),
    ],
)
def test_what_cannot_be_scaled_is_refused(adapter: Path, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    change(adapter, **settings)
    with pytest.raises(UsageError, match=words):
        scale(adapter, 0.5, tmp_path / "scaled")
    assert not (tmp_path / "scaled").exists()


@pytest.mark.parametrize("work", [lambda a, out: scale(a, 0.5, out), merge], ids=["scale", "merge"])
def test_a_folder_in_use_is_not_written_to(adapter: Path, work: Callable[[Path, Path], object]) -> None:
    with pytest.raises(UsageError, match="is there already; name a new folder"):
        work(adapter, adapter)


def test_a_folder_without_weights_is_no_adapter(adapter: Path, tmp_path: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"has no adapter_model.safetensors"):
        merge(adapter, tmp_path / "out")
    with pytest.raises(UsageError, match=r"is no adapter: there is no such folder"):
        merge(tmp_path / "nothing", tmp_path / "out")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_an_adapter_that_is_not_whole_is_not_scaled(adapter: Path, tmp_path: Path, kept: int) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"adapter_model\.safetensors(: | is not whole)"):
        scale(adapter, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merged_model_keeps_the_type_and_the_tokenizer_of_its_base(base: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    half = tmp_path / "half"
    shutil.copytree(base, half)
    transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    change(adapter, base_model_name_or_path=str(half))
    out = merge(adapter, tmp_path / "out")
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    assert (out / "chat_template.jinja").read_bytes() == (base / "chat_template.jinja").read_bytes()


def test_a_merged_model_can_be_exported(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(adapter), "--out", str(tmp_path / "a.gguf")]) == 2
    assert f"taut adapter merge {adapter} --out FOLDER" in capsys.readouterr().err
    assert main(["adapter", "merge", str(adapter), "--out", str(tmp_path / "merged")]) == 0
    assert main(["export", str(tmp_path / "merged"), "--out", str(tmp_path / "a.gguf")]) == 0


async def serving(handler: Callable[[web.Request], Any]) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/v1/load_lora_adapter", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def loading(handler: Callable[[web.Request], Any], adapter: Path, suffix: str = "", **options: Any) -> str:
    async def once() -> str:
        runner, url = await serving(handler)
        try:
            return await load_into(url + suffix, adapter, "short", **options)
        finally:
            await runner.cleanup()

    return asyncio.run(once())


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_a_server_is_told_the_name_and_the_whole_path(adapter: Path, suffix: str) -> None:
    told = []

    async def accept(request: web.Request) -> web.Response:
        told.append(await request.json())
        return web.Response(text="Success: LoRA adapter 'short' added successfully.")

    assert loading(accept, adapter, suffix).endswith("/v1")
    assert told == [{"lora_name": "short", "lora_path": str(adapter.resolve())}]


def test_the_path_may_be_another_where_the_server_runs(tmp_path: Path) -> None:
    told = []

    async def accept(request: web.Request) -> web.Response:
        told.append((await request.json())["lora_path"])
        return web.Response(text="Success")

    loading(accept, tmp_path / "not here", seen_as="/models/adapter")
    assert told == ["/models/adapter"]


def test_a_server_that_loads_nothing_is_told_how_to_be_started(adapter: Path) -> None:
    async def missing(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    with pytest.raises(
        EngineError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment and the flag --enable"
    ):
        loading(missing, adapter)


def test_the_servers_own_reason_is_told(adapter: Path) -> None:
    async def refuse(request: web.Request) -> web.Response:
        reason = {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 16.", "code": 400}}
        return web.json_response(reason, status=400)

    with pytest.raises(EngineError, match="LoRA rank 64 is greater than max_lora_rank 16"):
        loading(refuse, adapter)


@pytest.mark.parametrize("engine", ["embedded", "transformers:somewhere"])
def test_only_a_server_takes_an_adapter(adapter: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapter", "load", str(adapter), "--engine", engine]) == 2
    assert "is not one running server" in capsys.readouterr().err


def test_an_adapter_of_another_model_is_not_merged_into_this_one(adapter: Path, tmp_path: Path) -> None:
    base = tmp_path / "fewer"
    shutil.copytree(config_of(adapter)["base_model_name_or_path"], base)
    settings = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 1}), encoding="utf-8")
    change(adapter, base_model_name_or_path=str(base))
    with pytest.raises(UsageError, match=r"was trained on another model: it has weights for model.layers.1"):
        merge(adapter, tmp_path / "out")


def test_where_an_adapter_lies_is_said_for_the_folder_of_a_run(adapter: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copytree(adapter, run / "model")
    for wrong in (run, run / "adapter"):
        with pytest.raises(UsageError, match=re.escape(str(run / "model"))):
            scale(wrong, 0.5, tmp_path / "out")
    with pytest.raises(UsageError, match="cannot be scaled by 1e"):
        scale(adapter, 1e308, tmp_path / "out")
    assert not (tmp_path / "out").exists()
