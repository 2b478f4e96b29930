"""A model to be trained, its tokenizer, and how a conversation becomes the very tokens that it will see in use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers.utils import logging

from taut import box
from taut.dialects import Dialect, by_name, detect
from taut.errors import UsageError, nearest, one_line
from taut.train.recipe import LoraPart, ModelPart, Recipe

MARK = "taut-marks-this-place"
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""How torch and the system say so."""
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """Renders prompts and completions as the model is asked in use: the generation prompt, then what it writes.

    The template is not asked to render completions, because many templates drop the thoughts out of them.
    """

    tokenizer: Any
    dialect: Dialect
    turn_end: str
    """What ends the model's turn."""
    end_ids: tuple[int, ...]
    """Any of these tokens ends a completion."""

    def prompt(self, messages: Sequence[Mapping[str, Any]] | str) -> str:
        """The text before the completion. Raises `UsageError` where the template refuses the messages."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        try:
            return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise UsageError(f"the chat template refuses a prompt: {one_line(error)}") from None

    def completion(self, text: str, prompt: str) -> str:
        """The text of the model's turn, its end included; a thought that the prompt has opened is not opened again."""
        before = prompt.rstrip()
        for tag in self.dialect.open_tags:
            if before.endswith(tag) and text.lstrip().startswith(tag):
                text = text.lstrip()[len(tag) :]
                text = text.removeprefix("\n") if prompt.endswith("\n") else text
        return text + self.turn_end

    def ids(self, text: str) -> list[int]:
        """Tokens of a text that has all its special tokens already."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return found

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, tags included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def open_writer(part: ModelPart) -> Writer:
    """The tokenizer of the model. Raises `UsageError` where there is none, or no chat template."""
    _check_path(part.path)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(_absolute(part.path))
    except (OSError, ValueError, KeyError) as error:
        where = (
            "" if Path(part.path).expanduser().is_dir() else f"there is no folder {part.path} here; as a hub model: "
        )
        raise UsageError(f"cannot load the tokenizer of {part.path}: {where}{one_line(error)}") from None
    if not tokenizer.chat_template:
        raise UsageError(f"{part.path} has no chat template: put a chat_template.jinja into its folder")
    if tokenizer.eos_token is None:
        raise UsageError(f"{part.path} names no token that ends a text (eos_token in its tokenizer_config.json)")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    dialect = (
        by_name(part.dialect) if part.dialect else detect(Path(part.path).name, str(tokenizer.get_chat_template()))
    )
    end = _turn_end(tokenizer)
    last = tokenizer(end, add_special_tokens=False).input_ids[-1]
    return Writer(tokenizer, dialect, end, tuple(dict.fromkeys((last, tokenizer.eos_token_id))))


def _turn_end(tokenizer: Any) -> str:
    """What the template writes after an assistant's words, up to the first special token."""
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": MARK}]
    try:
        after = str(tokenizer.apply_chat_template(messages, tokenize=False)).rpartition(MARK)[2]
    except (TemplateError, TypeError, KeyError, ValueError):
        after = ""
    ends = [(after.index(token), token) for token in tokenizer.all_special_tokens if token in after]
    if not ends:
        return str(tokenizer.eos_token)
    at, token = min(ends)
    return after[:at] + str(token)


def _check_path(path: str) -> None:
    """Raise `UsageError` for a folder that is not there, a file, or a folder that holds an adapter.

    What is trained on top of an adapter would be an adapter of a model that is nowhere.
    """
    if not path.strip():
        raise UsageError("model.path is empty: a local folder, or a name on the hub, is needed")
    if Path(path).expanduser().is_file():
        raise UsageError(f"{path} is a file: a Hugging Face folder can be trained, a GGUF file cannot")
    is_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    if is_local and not Path(path).expanduser().is_dir():
        raise UsageError(f"there is no folder {path} with a model")
    if (Path(path).expanduser() / "adapter_config.json").is_file():
        raise UsageError(f"{path} is an adapter: make a model of it first, by taut adapter merge {path} --out FOLDER")


def _absolute(path: str) -> str:
    """The whole path of a folder (``tally`` is one), which an adapter will name as its base; a hub name as it is."""
    folder = Path(box.folder_or(path)).expanduser()
    return str(folder.resolve()) if folder.is_dir() else path


def open_model(recipe: Recipe, writer: Writer, weights: Path | None = None) -> Any:
    """The model to train: the recipe's, or that of a checkpoint made of it. With ``[lora]`` a PEFT model.

    Raises `UsageError` where it cannot be loaded.
    """
    start = _absolute(recipe.model.path)
    try:
        with quiet_loading():
            model = _load(recipe, start if weights is None or recipe.lora is not None else str(weights))
            if recipe.lora is not None:
                model = _with_lora(model, recipe.lora, recipe.settings.seed, weights)
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        if any(words in str(error).lower() for words in NO_MEMORY):
            raise
        where = start if weights is None else f"{weights} (delete it to go on from the checkpoint before)"
        raise UsageError(f"cannot load {where} as a Hugging Face model: {one_line(error)}") from None
    # A reference model is loaded by this name: it must be the start, not the checkpoint.
    model.config._name_or_path = start
    ends = list(writer.end_ids)
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.generation_config.pad_token_id = writer.tokenizer.pad_token_id
    return model


def check_numbers(model: Any, name: str) -> None:
    """Raise `UsageError` where weights of the start are no numbers: nothing can be learnt from there."""
    broken = [key for key, weights in model.named_parameters() if not bool(torch.isfinite(weights).all())]
    if broken:
        raise UsageError(f"{name} has weights that are no finite numbers, in {broken[0]}: it cannot be trained")


def _load(recipe: Recipe, path: str) -> Any:
    name = recipe.model.dtype
    if name is not None and name not in DTYPES:
        raise UsageError(f"model.dtype = {name!r}{nearest(name, DTYPES)}; known: {', '.join(DTYPES)}")
    light = recipe.lora is not None and torch.cuda.is_available()
    kind = getattr(torch, name) if name else ("auto" if light else torch.float32)
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=kind)


def _with_lora(model: Any, lora: LoraPart, seed: int, weights: Path | None) -> Any:
    from peft import LoraConfig, PeftModel, get_peft_model

    if weights is not None:
        return PeftModel.from_pretrained(model, str(weights), is_trainable=True)
    modules: Any = list(lora.target_modules)
    transformers.set_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules[0] if modules == ["all-linear"] else modules,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def processes() -> Any:
    """This process among those that train together; of several only the first writes and shows."""
    # Without being told, accelerate finds processes on GPUs only.
    return PartialState(cpu=not torch.cuda.is_available())


def busy(device: str) -> str:
    """What to say where threads will wait for other programs more than they compute; empty where they will not.

    Measured beside two other busy processes on two cores: 327 s a step on two threads, 13 to 16 s on one.
    """
    cores, threads, load = os.cpu_count() or 1, torch.get_num_threads(), os.getloadavg()[0]
    if device != "cpu" or threads == 1 or load < cores / 2:
        return ""
    return (
        f"taut: others are at work here (load {load:.1f} on {cores} cores) and torch has {threads} threads: "
        "OMP_NUM_THREADS=1 may be many times as fast"
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No bars, reports and warnings of the libraries: they would tear apart what the command line shows."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
