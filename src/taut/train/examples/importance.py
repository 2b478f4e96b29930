"""How much each word of a chain matters, told by a model: LLMLingua-2's, or the surprisal under a language model.

Both weigh a word by the mean over its tokens, as LLMLingua-2 (arXiv:2403.12968) does. Needs ``taut[transformers]``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from taut.errors import UsageError, one_line
from taut.methods.model_based.short_data._chains import words_of
from taut.methods.model_based.short_data._nouns import Weighed

Weigh = Callable[[str, str], Weighed]
Span = tuple[int, int]
KEEP = 1
"""The class of a word to keep, as in the official models."""
MOST_TOKENS = 2048
"""Looked at once, where the model has room for more."""


def open_weigher(importance: str, folder: Path) -> Weigh:
    """What weighs words in this way with the model in ``folder``. Raises `UsageError`."""
    openers = {"llmlingua2": llmlingua2, "surprisal": surprisal}
    if importance not in openers:
        raise UsageError(f"there is no model for importance={importance!r}; known: {', '.join(openers)}")
    if not folder.is_dir():
        raise UsageError(f"--importance-model {folder} is no folder with a Hugging Face model")
    return openers[importance](folder)


def llmlingua2(folder: Path) -> Weigh:
    """The probability to keep a word, by a token classifier of two classes. The question is not looked at."""
    model, tokenizer, room = _load(folder, "AutoModelForTokenClassification")
    if model.config.num_labels != 2:
        raise UsageError(f"{folder} has {model.config.num_labels} classes: LLMLingua-2 has two, drop and keep")
    torch = importlib.import_module("torch")

    def of_piece(text: str) -> tuple[list[Span], list[float]]:
        found = tokenizer(text, return_offsets_mapping=True, return_tensors="pt", truncation=True, max_length=room)
        spans = [tuple(span) for span in found.pop("offset_mapping")[0].tolist()]
        with torch.inference_mode():
            chances = model(**found).logits[0].float().softmax(-1)[:, KEEP].tolist()
        return spans, chances

    def weigh(question: str, chain: str) -> Weighed:
        weighed: list[tuple[str, float]] = []
        for piece in _pieces(words_of(chain), tokenizer, room):
            weighed += _by_word(piece, *of_piece("".join(piece)))
        return weighed

    return weigh


def surprisal(folder: Path) -> Weigh:
    """The mean of minus log p over a word's tokens, after the question and what stands before, by a causal model."""
    model, tokenizer, room = _load(folder, "AutoModelForCausalLM")
    torch = importlib.import_module("torch")

    def of_window(ids: Sequence[int], new: int) -> list[float]:
        """Of the last ``new`` tokens."""
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -new - 1 : -1].float()
        wanted = torch.tensor(ids[-new:]).unsqueeze(-1)
        return [-value for value in logits.log_softmax(-1).gather(-1, wanted).squeeze(-1).tolist()]

    def weigh(question: str, chain: str) -> Weighed:
        before = _asked(tokenizer, question)[-room // 2 :]
        found = tokenizer(chain, return_offsets_mapping=True, add_special_tokens=False)
        ids, values = [*before, *found["input_ids"]], list[float]()
        while len(values) < len(ids) - len(before):
            done = len(before) + len(values)
            # Half of the window is what stands before, so that no token is told without its beginning.
            end = min(len(ids), done + room // 2)
            values += of_window(ids[max(0, end - room) : end], end - done)
        return _by_word(words_of(chain), [tuple(span) for span in found["offset_mapping"]], values)

    return weigh


def _load(folder: Path, kind: str) -> tuple[Any, Any, int]:
    """The model, its tokenizer, and how many tokens it can look at."""
    try:
        transformers = importlib.import_module("transformers")
        importlib.import_module("torch")
    except ImportError:
        raise UsageError(
            "importance by a model needs torch and transformers: pip install 'taut[transformers]'; "
            "importance=random needs nothing"
        ) from None
    from taut.train.models import quiet_loading

    try:
        with quiet_loading():
            model, found = getattr(transformers, kind).from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"cannot load {folder} with {kind}: {one_line(error)}") from None
    if missing := sorted(found["missing_keys"]):
        raise UsageError(f"{folder} was not trained as {kind}: it has no {missing[0]}, so its answers would be random")
    if not tokenizer.is_fast:
        raise UsageError(
            f"the tokenizer in {folder} cannot tell where its tokens stand: a fast one (tokenizer.json) can"
        )
    positions = int(getattr(model.config, "max_position_embeddings", MOST_TOKENS) or MOST_TOKENS)
    # RoBERTa's family counts positions from behind the padding token.
    return model.eval(), tokenizer, min(positions - 2, int(tokenizer.model_max_length), MOST_TOKENS)


def _asked(tokenizer: Any, question: str) -> list[int]:
    """The tokens of the prompt; at least one, as the first token of all has no surprisal."""
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": question}]
        question = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(question or "\n", add_special_tokens=False).input_ids
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return ids or [int(start or 0)]


def _pieces(words: Sequence[str], tokenizer: Any, room: int) -> Iterator[list[str]]:
    """Words in runs that the model can look at, its special tokens included."""
    piece: list[str] = []
    used = tokenizer.num_special_tokens_to_add()
    for word in words:
        # Alone, a word may take one token more than among others.
        size = len(tokenizer(word, add_special_tokens=False).input_ids) + 1
        if piece and used + size > room:
            yield piece
            piece, used = [], tokenizer.num_special_tokens_to_add()
        piece.append(word)
        used += size
    if piece:
        yield piece


def _by_word(words: Sequence[str], spans: Sequence[Any], values: Sequence[float]) -> list[tuple[str, float]]:
    """Each word with the mean of the tokens that end in it; 0 for one without tokens."""
    found: list[list[float]] = [[] for _ in words]
    ends, end = [], 0
    for word in words:
        end += len(word)
        ends.append(end)
    place = 0
    for (start, stop), value in zip(spans, values, strict=True):
        if stop <= start:
            continue
        while place < len(ends) - 1 and ends[place] < stop:
            place += 1
        found[place].append(value)
    return [(word, sum(own) / len(own) if own else 0.0) for word, own in zip(words, found, strict=True)]
