"""Messages to prompt text, by the server's own chat template where it lends it, else by a local one."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from taut.core import Message
from taut.engines._http import Http
from taut.errors import EngineError, UsageError, one_line

Messages = tuple[Message, ...]
Render = Callable[[Messages, Mapping[str, Any]], Awaitable[str]]
"""Messages and template variables to the prompt text, generation prompt included."""

Room = Callable[[str], Awaitable[int]]
"""Prompt text to the number of tokens that fit in the context after it."""

CACHED_PROMPTS = 512
"""Probes and continuations of one question render the same messages again and again."""


def cached(render: Render) -> Render:
    """``render`` with the last `CACHED_PROMPTS` results kept."""
    prompts: OrderedDict[bytes, str] = OrderedDict()

    async def lookup(messages: Messages, variables: Mapping[str, Any]) -> str:
        key = msgspec.json.encode((messages, variables))
        text = prompts.get(key)
        if text is None:
            text = await render(messages, variables)
            while len(prompts) >= CACHED_PROMPTS:
                prompts.popitem(last=False)
        prompts[key] = text
        prompts.move_to_end(key)
        return text

    return lookup


def by_apply_template(http: Http) -> Render:
    """llama.cpp: ``POST /apply-template``."""

    async def render(messages: Messages, variables: Mapping[str, Any]) -> str:
        body = {"messages": messages, "add_generation_prompt": True, "chat_template_kwargs": variables}
        return _text(await http.json(f"{http.server_url}/apply-template", body), "prompt")

    return render


def by_tokenize(http: Http, model: str) -> Render:
    """vLLM: ``POST /tokenize`` with messages, then ``POST /detokenize``."""

    async def render(messages: Messages, variables: Mapping[str, Any]) -> str:
        body: dict[str, Any] = {"model": model, "messages": messages, "add_generation_prompt": True}
        if variables:
            body["chat_template_kwargs"] = variables
        tokenized = await http.json(f"{http.server_url}/tokenize", body)
        tokens = tokenized.get("tokens") if isinstance(tokenized, dict) else None
        answer = await http.json(f"{http.server_url}/detokenize", {"model": model, "tokens": tokens})
        return _text(answer, "prompt")

    return render


def room_by_tokenize(http: Http, model: str) -> Room:
    """vLLM: ``POST /tokenize`` with a prompt tells its length and the context's."""

    async def room(prompt: str) -> int:
        body = {"model": model, "prompt": prompt, "add_special_tokens": False}
        answer = await http.json(f"{http.server_url}/tokenize", body)
        try:
            return max(1, int(answer["max_model_len"]) - int(answer["count"]))
        except (KeyError, TypeError, ValueError):
            raise EngineError("the server did not tell the length of the prompt and of its context") from None

    return room


def by_file(path: Path) -> Render:
    """A template on disk. Raises `UsageError` when it cannot be read or is not one."""
    template, variables_of_model = load_template(path)

    async def render(messages: Messages, variables: Mapping[str, Any]) -> str:
        everything = {**variables_of_model, **variables}
        try:
            return template.render(messages=list(messages), add_generation_prompt=True, **everything)
        except TemplateError as error:
            raise EngineError(f"the chat template refuses these messages: {one_line(error)}", kind="refused") from None

    return render


def load_template(path: Path) -> tuple[Template, dict[str, str]]:
    """The compiled template and the model's special tokens.

    ``path`` is a Jinja file, a ``tokenizer_config.json``, or a model's folder. Tokens such as ``bos_token`` come from
    the ``tokenizer_config.json`` beside the template, if there is one. Raises `UsageError`.
    """
    source, config = read_template(path)
    try:
        return _environment().from_string(source), _special_tokens(config)
    except TemplateError as error:
        raise UsageError(f"{path} is not a chat template: {one_line(error)}") from None


def read_template(path: Path) -> tuple[str, dict[str, Any]]:
    """The template's source and the tokenizer's configuration. Raises `UsageError`."""
    folder = path if path.is_dir() else path.parent
    config_path = path if path.suffix == ".json" else folder / "tokenizer_config.json"
    file = folder / "chat_template.jinja" if path.is_dir() else path
    try:
        config = json.loads(config_path.read_text(encoding="utf-8")) if config_path.exists() else {}
        if file.suffix != ".json" and file.exists():
            return file.read_text(encoding="utf-8"), config
        if not path.exists():
            raise UsageError(f"there is no chat template at {path}")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the chat template {path}: {one_line(error)}") from None
    source = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(source, list):
        # Some tokenizers carry several: [{"name": "default", "template": …}, …].
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        raise UsageError(f"{config_path} has no chat_template")
    return source, config


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    tokens = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        value = config.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        tokens[name] = value if isinstance(value, str) else ""
    return tokens


def _text(answer: Any, key: str) -> str:
    text = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise EngineError("the server did not return the rendered prompt; set route = 'chat' or a chat_template file")
    return text


class _Generation(Extension):
    """``{% generation %}…{% endgeneration %}``, which marks assistant text for training and changes nothing here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a plain class attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """As Hugging Face transformers sets it up; sandboxed, because templates are foreign code."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    # Jinja's own filter escapes HTML characters, which would change the prompt.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
