"""Adapters as PEFT writes them: scaled, merged into their model, and loaded into a running server.

Scaling is CoT-Valve's dial (arXiv:2502.09601): the weights are ``theta + by * delta``, where ``delta`` is what training
added. Between 0 and 1 the model is on the way to the trained one, above 1 beyond it. It is done on ``lora_alpha``,
which multiplies ``delta`` exactly; scaling the matrices themselves would round them.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.errors import EngineError, UsageError, one_line

if TYPE_CHECKING:
    from taut.engines._http import Http

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
NOT_LINEAR = {
    "use_dora": "DoRA also learns the lengths of columns",
    "modules_to_save": "it replaces whole modules",
    "trainable_token_indices": "it replaces rows of the embedding",
}
"""Settings under which the trained weights are not the base's plus a multiple of something."""
LEFT_OUT = ("*.pt", "*.pth", "*.bin", "trainer_state.json", "checkpoint-*", "runs")
"""What a trainer leaves beside an adapter; ``adapter_model.bin`` would run code when it is opened."""
LOAD_PATH = "/v1/load_lora_adapter"
CONNECT_TIMEOUT_S = 10.0


def scale(adapter: Path, by: float, out: Path) -> float:
    """Write a copy of ``adapter`` into ``out`` whose effect is ``by`` times as large; returns the new ``lora_alpha``.

    Raises `UsageError` for a folder that is no LoRA adapter, one whose effect is not linear, and an ``out`` in use.
    """
    config = read_config(adapter)
    for key, why in NOT_LINEAR.items():
        if config.get(key):
            raise UsageError(f"{adapter} cannot be scaled: its {key} is set, and {why}")
    if config.get("bias", "none") != "none":
        raise UsageError(f"{adapter} cannot be scaled: it trained biases (bias is {config['bias']!r}) as they are")
    if not isinstance(config.get("alpha_pattern") or {}, dict) or not math.isfinite(float(config["lora_alpha"]) * by):
        raise UsageError(f"{adapter} cannot be scaled by {by:g}: no finite lora_alpha would come of it")
    _check_whole(adapter)
    _check_free(out)
    shutil.copytree(adapter, out, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    pattern = {name: _times(alpha, by) for name, alpha in (config.get("alpha_pattern") or {}).items()}
    scaled = {**config, "lora_alpha": _times(config["lora_alpha"], by), "alpha_pattern": pattern}
    (out / CONFIG).write_text(json.dumps(scaled, indent=2) + "\n", encoding="utf-8")
    return float(scaled["lora_alpha"])


def merge(adapter: Path, out: Path) -> Path:
    """Write the model that ``adapter`` makes of its base into ``out``, with its tokenizer; returns ``out``.

    Added up in float32 and stored in the base's own type. Raises `UsageError` where the adapter or base cannot be
    loaded, or ``out`` is in use.
    """
    config = read_config(adapter)
    _check_free(out)
    try:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoConfig

        from taut.engines._load import load
        from taut.train.models import quiet_loading
    except ImportError as error:
        raise UsageError(f"merging needs {error.name or 'torch'}: pip install 'taut[transformers]'") from None
    try:
        with quiet_loading():
            loaded = load(str(adapter), device="cpu", dtype="float32", only_local=False)
        _check_base(adapter, {name for name, _ in loaded.model.named_modules()})
    except (SafetensorError, RuntimeError) as error:
        raise UsageError(f"cannot load {adapter} with its base model: {one_line(error)}") from None
    try:
        stored = AutoConfig.from_pretrained(config["base_model_name_or_path"]).dtype
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the settings of {adapter}'s base model: {one_line(error)}") from None
    with quiet_loading():
        loaded.model.to(stored or torch.float32).save_pretrained(out)
        loaded.tokenizer.save_pretrained(out)
    return out


def _check_base(adapter: Path, modules: set[str]) -> None:
    """Raise `UsageError` where the adapter has weights for layers that the base has not: they would be passed over."""
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, "numpy") as tensors:
        learnt = [name for name in tensors.keys() if ".lora_" in name]  # noqa: SIM118 - no mapping
    lacking = sorted({name.partition(".lora_")[0].removeprefix("base_model.model.") for name in learnt} - modules)
    if lacking:
        raise UsageError(f"{adapter} was trained on another model: it has weights for {lacking[0]}, the base has not")


async def load_into(
    server: str, adapter: Path, name: str, *, seen_as: str = "", key_env: str = "OPENAI_API_KEY"
) -> str:
    """Have a running vLLM at ``server`` load ``adapter`` under ``name``; returns the address of its API.

    ``seen_as`` is the adapter's path on the server's side, where that is another. A later request asks for it by
    ``name`` as its model. Raises `UsageError` for a folder that is no adapter and `EngineError` where the server
    refuses, with what it must be started with.
    """
    from taut.engines._http import Http, auth_headers

    path = seen_as or str(adapter.resolve())
    if not seen_as:
        read_config(adapter)
    http = Http(server, headers=auth_headers(None, key_env, {}), key_env=key_env, connect_timeout_s=CONNECT_TIMEOUT_S)
    http.start(1)
    try:
        await _post(http, {"lora_name": name, "lora_path": path})
        return http.api_url
    finally:
        await http.close()


async def _post(http: Http, body: Mapping[str, str]) -> None:
    url = http.server_url.rstrip("/") + LOAD_PATH
    try:
        response = await http.post(url, json.dumps(body).encode())
    except EngineError as error:
        if error.status in (404, 405):
            raise EngineError(
                f"{http.server_url} does not load adapters while it runs; vLLM does when it is started with "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment and the flag --enable-lora",
                kind="refused",
                status=error.status,
            ) from None
        raise
    response.release()


def _what_it_is(folder: Path) -> str:
    if not folder.is_dir():
        near = folder.parent / "model"
        return "there is no such folder" + (f"; {near} is one" if (near / CONFIG).is_file() else "")
    inside = folder / "model"
    return f"it has no {CONFIG}" + (f"; {inside} has" if (inside / CONFIG).is_file() else "")


def read_config(adapter: Path) -> dict[str, Any]:
    """The adapter's settings. Raises `UsageError` for a folder that is no LoRA adapter with weights and a base."""
    file = adapter / CONFIG
    if not file.is_file():
        raise UsageError(f"{adapter} is no adapter: {_what_it_is(adapter)}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind, base, _ = config["peft_type"], config["base_model_name_or_path"], float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} does not describe a LoRA adapter: {one_line(error)}") from None
    if kind != "LORA":
        raise UsageError(f"{file}: an adapter of kind {kind!r}; only LORA is known")
    if not base:
        raise UsageError(f"{file} does not name a base model in base_model_name_or_path")
    if not (adapter / WEIGHTS).is_file():
        raise UsageError(f"{adapter} has no {WEIGHTS}")
    return dict(config)


def _check_whole(adapter: Path) -> None:
    """Raise `UsageError` where the file of weights is shorter than it says, or says nothing."""
    file = adapter / WEIGHTS
    try:
        with file.open("rb") as data:
            length = int.from_bytes(data.read(8), "little")
            head = json.loads(data.read(length)) if length < file.stat().st_size else {}
        ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"cannot read {file}: {one_line(error)}") from None
    if not ends or file.stat().st_size != 8 + length + max(ends):
        raise UsageError(f"{file} is not whole: it was cut, or is no safetensors file")


def _times(alpha: float, by: float) -> float | int:
    """Whole where it can be: some readers expect that."""
    product = float(alpha) * by
    return int(product) if product.is_integer() else product


def _check_free(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a new folder")
