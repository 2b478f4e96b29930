"""A tokenizer.json as llama.cpp reads it: tokens, their kinds, merges, ends and the chat template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType

from taut.errors import UsageError, one_line, quoted
from taut.train.gguf.checkpoint import Checkpoint, read_json
from taut.train.gguf.splitting import split_name

PLAIN = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}
"""Settings of a BPE model that llama.cpp has not, with the values that change nothing."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Everything that turns text into token numbers and back."""

    tokens: tuple[str, ...]
    """By number; those of the BPE model in its byte letters, added ones as they are."""
    kinds: tuple[int, ...]
    """`gguf.TokenType` of each."""
    merges: tuple[str, ...]
    split: str
    """llama.cpp's name for how text is cut before merging: ``tokenizer.ggml.pre``."""
    bos: int
    eos: int
    ends: tuple[int, ...]
    """Further tokens that end a reply."""
    pad: int | None
    adds_bos: bool
    chat_template: str
    notes: tuple[str, ...]
    """What llama.cpp will do a little differently, one sentence each."""

    def describe(self, writer: Any) -> None:
        """Write it into a `gguf.GGUFWriter`."""
        # The name of byte-level BPE in GGUF files, whatever the model.
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.split)
        writer.add_token_list(list(self.tokens))
        writer.add_token_types(list(self.kinds))
        writer.add_token_merges(list(self.merges))
        writer.add_bos_token_id(self.bos)
        writer.add_eos_token_id(self.eos)
        for end, add in zip(self.ends, (writer.add_eot_token_id, writer.add_eom_token_id), strict=False):
            add(end)
        if self.pad is not None:
            writer.add_pad_token_id(self.pad)
        writer.add_add_bos_token(self.adds_bos)
        writer.add_chat_template(self.chat_template)


def vocabulary_of(checkpoint: Checkpoint, rows: int, chat_template: Path | None = None) -> Vocabulary:
    """Read the folder's tokenizer for an embedding of ``rows``. Raises `UsageError` for what llama.cpp has not."""
    folder = checkpoint.folder
    if not (folder / "tokenizer.json").is_file():
        raise UsageError(f"{folder} has no tokenizer.json; only byte-level BPE tokenizers in that file are exported")
    tokenizer = read_json(folder / "tokenizer.json")
    settings = read_json(folder / "tokenizer_config.json", needed=False)
    _check_model(folder, tokenizer)
    added = tokenizer.get("added_tokens") or []
    tokens, kinds = _tokens(folder, tokenizer["model"]["vocab"], added, rows)
    numbers = {token: number for number, token in enumerate(tokens)}
    ends = _ends(folder, checkpoint, settings, numbers)
    bos = _number(settings.get("bos_token"), numbers)
    template = _template(folder, settings, chat_template)
    first = _added_first(tokenizer.get("post_processor"), numbers)
    if first is None and not tokenizer.get("post_processor") and settings.get("add_bos_token"):
        first = bos
    return Vocabulary(
        tokens=tokens,
        kinds=kinds,
        merges=tuple(pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]),
        split=split_name(folder, tokenizer),
        # Without one llama.cpp takes number 11, whatever that is; it is only written where add_bos says so.
        bos=next(number for number in (first, bos, ends[0]) if number is not None),
        eos=ends[0],
        ends=ends[1:3],
        pad=_number(settings.get("pad_token"), numbers),
        adds_bos=first is not None,
        chat_template=template,
        notes=tuple(_notes(tokenizer, added, ends, template)),
    )


def _check_model(folder: Path, tokenizer: Mapping[str, Any]) -> None:
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        raise UsageError(
            f"{folder}: the tokenizer is of kind {model.get('type')!r}; only byte-level BPE tokenizers are exported"
        )
    for key, harmless in PLAIN.items():
        if model.get(key) not in harmless:
            raise UsageError(f"{folder}: tokenizer.json sets {key} to {model[key]!r}, which llama.cpp does not do")
    kind = (tokenizer.get("normalizer") or {}).get("type")
    if kind not in (None, "NFC"):
        raise UsageError(f"{folder}: the tokenizer normalizes text with {kind!r}, which llama.cpp does not do")


def _tokens(
    folder: Path, vocabulary: Mapping[str, int], added: Iterable[Mapping[str, Any]], rows: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    texts = {number: token for token, number in vocabulary.items()}
    kinds = dict.fromkeys(texts, int(TokenType.NORMAL))
    for token in added:
        number = int(token["id"])
        texts[number] = str(token["content"])
        # Servers leave control tokens out of what they send; tags that clients must see are not among them.
        kinds[number] = int(TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED)
    most = max(texts)
    if most >= rows:
        raise UsageError(
            f"{folder}: the token {quoted(texts[most])} has number {most:,} and the embedding only {rows:,} rows; "
            "resize the model's token embeddings before saving it"
        )
    filled = tuple(texts.get(number, f"[PAD{number}]") for number in range(rows))
    if len(set(filled)) < rows:
        twice = next(token for token in filled if filled.count(token) > 1)
        raise UsageError(f"{folder}: the tokenizer has the token {quoted(twice)} under two numbers")
    return filled, tuple(kinds.get(number, int(TokenType.UNUSED)) for number in range(rows))


def _ends(
    folder: Path, checkpoint: Checkpoint, settings: Mapping[str, Any], numbers: Mapping[str, int]
) -> tuple[int, ...]:
    """Tokens that end a reply, the tokenizer's own first."""
    named = _number(settings.get("eos_token"), numbers)
    given = checkpoint.generation.get("eos_token_id", checkpoint.config.get("eos_token_id"))
    several = given if isinstance(given, list) else [given]
    ends = tuple(dict.fromkeys(int(end) for end in (named, *several) if end is not None))
    if not ends:
        raise UsageError(
            f"{folder}: neither tokenizer_config.json nor the generation settings name a token that ends a reply"
        )
    if max(ends) >= len(numbers):
        raise UsageError(f"{folder}: eos_token_id is {max(ends)}, and there are {len(numbers):,} tokens")
    return ends


def _number(token: Any, numbers: Mapping[str, int]) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    return numbers.get(str(text)) if text else None


def _added_first(processor: Mapping[str, Any] | None, numbers: Mapping[str, int]) -> int | None:
    """The token that the tokenizer itself puts before every text, if there is one."""
    if not processor:
        return None
    if processor.get("type") == "Sequence":
        inner = (_added_first(part, numbers) for part in processor.get("processors", ()))
        return next((number for number in inner if number is not None), None)
    single = processor.get("single") if processor.get("type") == "TemplateProcessing" else None
    token = (single or [{}])[0].get("SpecialToken")
    return _number(token["id"], numbers) if token else None


def _template(folder: Path, settings: Mapping[str, Any], given: Path | None) -> str:
    file = given or folder / "chat_template.jinja"
    if given or file.is_file():
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the chat template {file}: {one_line(error)}") from None
        if not text.strip():
            raise UsageError(f"the chat template {file} is empty")
        return text
    written = settings.get("chat_template")
    if isinstance(written, list):
        written = next((entry.get("template") for entry in written if entry.get("name") == "default"), None)
    if not written:
        raise UsageError(f"{folder} has no chat template: give one with --chat-template FILE")
    return str(written)


def _notes(
    tokenizer: Mapping[str, Any], added: Iterable[Mapping[str, Any]], ends: tuple[int, ...], template: str
) -> Iterable[str]:
    if tokenizer.get("normalizer"):
        yield "the tokenizer composes accents (NFC) first and llama.cpp does not: letters in parts become other tokens"
    greedy = [
        token["content"] for token in added if token.get("lstrip") or token.get("rstrip") or token.get("single_word")
    ]
    if greedy:
        yield f"llama.cpp keeps the spaces around {quoted(greedy[0])}, which the tokenizer takes away"
    if len(ends) > 3:
        yield f"only three of the {len(ends)} tokens that end a reply can be written"
    if "enable_thinking" in template and "reasoning_content" not in template:
        yield (
            "the chat template never writes reasoning_content, by which llama.cpp knows one that thinks: without it "
            "llama.cpp may set enable_thinking to false where a request does not set it"
        )
