"""The assistant's turn as text in a dialect, and the state that a text leaves the model in."""

from __future__ import annotations

import re

from taut.core import Kind, Turn
from taut.dialects.nouns import Dialect

NOTHING_WRITTEN = Turn()

TURN_MARKS = re.compile(
    r"<[|｜][^<>|｜]{1,40}[|｜]>|\[\|\w{1,20}\|\]|\[/?INST\]|<(?:start|end)_of_turn>|<\|turn>|<turn\|>|</?s>"
    r"|\]~b\]|\[e~\[|<SPECIAL_\d+>|<seed:[be]os>|<extra_id_\d>"
)
"""What templates write between turns. A tag before such a mark belongs to an earlier turn or to the user's text."""


def render_turn(dialect: Dialect, turn: Turn, rendered_prompt: str) -> str:
    """The text to append to a rendered generation prompt so that the model continues ``turn``.

    Opens the thought unless the prompt ends with it open, writes the thinking, closes it if ``turn.closed`` or if an
    answer has begun. Newlines at the end of the thinking give way to those that ``close`` begins with. A prompt that
    ends with a closed thought (the template's form for no thinking) takes the answer alone. An empty turn is "".

    Without tags the thinking is written as it is, and closing it writes the words that ask for the answer.
    """
    if turn.is_empty:
        return ""
    ends = rendered_prompt.rstrip()
    if not turn.thinking and _ends_with(ends, dialect.close_tags):
        return turn.answer
    opening = "" if _ends_with(ends, dialect.open_tags) else dialect.open
    if not (turn.closed or turn.answer):
        return opening + turn.thinking if turn.thinking else ""
    if not turn.thinking and dialect.closed_answer_prefix:
        return _in_words(dialect.closed_answer_prefix, turn.answer)
    if not dialect.thinks:
        return _in_words(turn.thinking + dialect.close, turn.answer)
    thinking = turn.thinking.rstrip("\n") if dialect.close.startswith("\n") else turn.thinking
    return opening + thinking + dialect.close + turn.answer


def starts_in(dialect: Dialect, text_before: str, turn: Turn = NOTHING_WRITTEN) -> Kind | None:
    """What the model is writing after ``text_before``: thinking, answer, or ``None`` where it has opened nothing yet.

    ``turn`` decides where it says something: closed means answer, and unclosed thinking means thinking. That is the
    only way to be told of thinking without tags. Otherwise the last tag in ``text_before`` decides, unless a new turn
    has begun after it.
    """
    if turn.closed or turn.answer:
        return "answer"
    if turn.thinking:
        return "thinking"
    opened = _end_of_last(text_before, dialect.open_tags)
    closed = _end_of_last(text_before, dialect.close_tags)
    last = max(opened, closed)
    if last < 0 or TURN_MARKS.search(text_before, last):
        return None
    return "thinking" if opened > closed else "answer"


def _in_words(asking: str, answer: str) -> str:
    # The space belongs to the answer: most tokenizers have it in the token of the word that follows.
    return f"{asking} {answer}" if answer and not answer[0].isspace() else asking + answer


def _ends_with(text: str, tags: tuple[str, ...]) -> bool:
    return text.endswith(tuple(tag.rstrip() for tag in tags)) if tags else False


def _end_of_last(text: str, tags: tuple[str, ...]) -> int:
    """Where the last of these tags ends; -1 if there is none."""
    return max((at + len(tag) for tag in tags if (at := text.rfind(tag)) >= 0), default=-1)
