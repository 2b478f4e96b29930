"""A Hugging Face model and tokenizer, loaded, with what an engine needs to know of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from jinja2 import TemplateError
from transformers.generation import logits_process
from transformers.utils import logging

from taut.core import Message, Sampling
from taut.errors import EngineError, UsageError, nearest, one_line

DEFAULT_CONTEXT_TOKENS = 32_768
"""For a model whose configuration names no length."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A causal language model ready to run."""

    name: str
    model: Any
    tokenizer: Any
    context_tokens: int
    end_ids: frozenset[int]
    """Any of these ends the text."""
    identity: dict[str, Any]

    @property
    def chat_template(self) -> str:
        """The template's source."""
        return str(self.tokenizer.get_chat_template())

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text that has all its special tokens already."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones included: tags may be among them."""
        # Cleaning up would take spaces away that the model wrote.
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any]) -> str:
        """The prompt text, generation prompt included. Raises `EngineError` when the template refuses."""
        try:
            rendered = self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True, **variables
            )
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            reason = f"the chat template refuses these messages: {one_line(error)}"
            raise EngineError(reason, kind="refused") from None
        return str(rendered)

    def filters(self, sampling: Sampling) -> Any:
        """What logits pass through before a token is drawn; ``None`` where the most likely token is taken.

        What is not given is the model's own: its generation settings, if they say that it samples.
        """
        own = self.model.generation_config
        default = (own.temperature, own.top_k, own.top_p) if own.do_sample else (0.0, None, None)
        temperature = _first(sampling.temperature, default[0], 1.0)
        top_k = _first(sampling.top_k, default[1], 0)
        top_p = _first(sampling.top_p, default[2], 1.0)
        if not temperature:
            return None
        wanted: list[Any] = [logits_process.TemperatureLogitsWarper(float(temperature))]
        # Many servers write "all of them" as -1.
        if top_k > 0:
            wanted.append(logits_process.TopKLogitsWarper(int(top_k)))
        if top_p < 1:
            wanted.append(logits_process.TopPLogitsWarper(float(top_p)))
        if sampling.min_p:
            wanted.append(logits_process.MinPLogitsWarper(float(sampling.min_p)))
        return logits_process.LogitsProcessorList(wanted)


def load(path: str, *, device: str | None, dtype: str | None, only_local: bool) -> Loaded:
    """Load a folder or hub name. Raises `UsageError` when it is no causal language model with a chat template."""
    adapter = _adapter_config(Path(path).expanduser())
    base = str(adapter["base_model_name_or_path"]) if adapter else path
    place = _device(device)
    kind = _dtype(dtype, place)
    try:
        with _no_progress_bars():
            model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=kind, local_files_only=only_local)
            model = _with_adapter(model, path) if adapter else model
        tokenizer = transformers.AutoTokenizer.from_pretrained(_tokenizer_path(path, base), local_files_only=only_local)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"cannot load {path} as a Hugging Face model: {one_line(error)}") from None
    if not tokenizer.chat_template:
        raise UsageError(f"{path} has no chat template: put a chat_template.jinja into its folder")
    return Loaded(
        name=Path(path).name if Path(path).expanduser().is_dir() else path,
        model=model.to(place).eval(),
        tokenizer=tokenizer,
        context_tokens=_context_tokens(model),
        end_ids=_end_ids(model, tokenizer),
        identity=_identity(path, base if adapter else None, model),
    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    # They would tear apart what the command line shows at the same time.
    were_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_shown:
            logging.enable_progress_bar()


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _device(device: str | None) -> Any:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"torch has no device {device!r} here: {one_line(error, 120)}") from None


def _dtype(dtype: str | None, device: Any) -> Any:
    if dtype is None:
        # Few CPUs multiply in half precision: there it takes twice the time and more.
        return torch.float32 if device.type == "cpu" else "auto"
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        known = ("float32", "bfloat16", "float16")
        raise UsageError(f"{dtype!r} is no torch type for weights; use {', '.join(known)}{nearest(dtype, known)}")
    return found


def _adapter_config(folder: Path) -> dict[str, Any] | None:
    file = folder / "adapter_config.json"
    if not file.is_file():
        return None
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = str(config["base_model_name_or_path"] or "") or None
    except (OSError, ValueError, KeyError, TypeError):
        config = {}
    if not config.get("base_model_name_or_path"):
        raise UsageError(f"{file} does not name a base model in base_model_name_or_path")
    return config


def _with_adapter(model: Any, folder: str) -> Any:
    try:
        peft = importlib.import_module("peft")
    except ImportError:
        raise UsageError(f"{folder} is a PEFT adapter, which needs peft: pip install peft") from None
    return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()


def _tokenizer_path(path: str, base: str) -> str:
    """An adapter's folder may hold a tokenizer of its own."""
    return path if (Path(path).expanduser() / "tokenizer_config.json").is_file() else base


def _context_tokens(model: Any) -> int:
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or DEFAULT_CONTEXT_TOKENS)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    several = ends if isinstance(ends, list) else [ends]
    return frozenset(int(end) for end in (*several, tokenizer.eos_token_id) if end is not None)


def _identity(path: str, base: str | None, model: Any) -> dict[str, Any]:
    """What tells this model from another, for the manifest of a run."""
    return {
        "path": path,
        "base": base,
        "revision": getattr(model.config, "_commit_hash", None),
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
    }
