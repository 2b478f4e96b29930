"""Checks of turns that are already partly written, and of thinking: the switch and the server's own budget."""

from __future__ import annotations

import re

from taut.core import Prompt, Sampling, Turn
from taut.doctor.nouns import Finding
from taut.doctor.patient import PUZZLE, PUZZLE_TOKENS, STORY, STORY_TOKENS, Patient, quote, user

WORDS = ("red", "green", "blue")
REPEATING = "Say the words red green blue again and again."
GIVEN = " ".join(WORDS * 4 + WORDS[:2])
"""Even a very small model goes on with the pattern; one that never saw these words begins with the first."""
NEXT = WORDS[2]
SUM = "What is 2 + 3?"
THOUGHT = "Adding 3 to 2 makes 5."
CONTINUED_TOKENS = 12
BUDGET_TOKENS = 16
BUDGET_SLACK_TOKENS = 16
"""Servers count a few tokens late and add a sentence that closes the thought."""
SWITCH_TOKENS = 48


async def answer_prefill(patient: Patient) -> Finding:
    """An answer that was begun is continued, not repeated and not begun anew."""
    turn = Turn(closed=True, answer=GIVEN)
    heard = await patient.ask(Prompt(user(REPEATING), turn), Sampling(max_tokens=CONTINUED_TOKENS))
    return continues(heard.text())


async def open_thought(patient: Patient) -> Finding:
    """A thought that was begun is continued as thinking."""
    turn = Turn(thinking=GIVEN)
    heard = await patient.ask(Prompt(user(REPEATING), turn), Sampling(max_tokens=CONTINUED_TOKENS))
    found = continues(heard.text())
    kinds = [piece.kind for _, piece in heard.pieces if piece.text]
    if found.verdict == "yes" and kinds[0] != "thinking":
        return Finding("no", f"went on with {quote(heard.text())}, but as answer")
    return found


async def closed_thought(patient: Patient) -> Finding:
    """After a thought that is closed comes the answer, without more thinking."""
    turn = Turn(thinking=THOUGHT, closed=True)
    heard = await patient.ask(Prompt(user(SUM), turn), Sampling(max_tokens=CONTINUED_TOKENS))
    answer = heard.text("answer").strip()
    if heard.text("thinking").strip():
        return Finding("no", f"thinks again: {quote(heard.text('thinking'))}")
    if answer.startswith(THOUGHT[:12]):
        return Finding("no", f"repeats what was given: {quote(answer)}")
    if not answer:
        return Finding("unknown", "the model said nothing after it")
    return Finding("yes", f"answered {quote(answer)}")


def continues(text: str) -> Finding:
    """Whether ``text`` goes on from `GIVEN`."""
    words = re.findall(r"[a-z]+", text.lower())
    if not words:
        return Finding("unknown", "the model said nothing after what was given")
    if words[0] == NEXT:
        return Finding("yes", f"'… {' '.join(WORDS[:2])}' went on with {quote(text)}")
    if text.strip().startswith(GIVEN):
        return Finding("no", f"repeats what was given: {quote(text)}")
    return Finding("no", f"does not go on from '… {' '.join(WORDS[:2])}': {quote(text)}")


async def thinking(patient: Patient) -> Finding:
    """Whether thinking comes by default, and is told apart from the answer."""
    heard = await patient.puzzle()
    if heard.text("thinking").strip():
        silence = ", then the limit" if heard.finish == "length" else ", and no answer"
        over = ", then the answer" if heard.text("answer").strip() else silence
        return Finding("yes", f"{heard.thinking_tokens} tokens of thinking{over}")
    if heard.thinking_tokens:
        return Finding("yes", f"{heard.thinking_tokens} tokens of thinking are told, their text is kept back")
    return Finding("no", f"none; the reply begins {quote(heard.text())}")


async def thinking_switch(patient: Patient) -> Finding:
    """With thinking switched off there is none."""
    usual = await patient.puzzle()
    if not (patient.engine.dialect.thinks or usual.thinking_tokens):
        return Finding("no", "nothing to switch: the model does not think in tags")
    prompt = Prompt(user(PUZZLE), think=False)
    heard = await patient.ask(prompt, Sampling(max_tokens=SWITCH_TOKENS))
    thought = heard.text("thinking").strip()
    if thought or heard.thinking_tokens:
        return Finding("no", f"thinks though switched off: {quote(thought)}")
    if not usual.thinking_tokens:
        return Finding("unknown", "no thinking when switched off, but none by default either")
    return Finding("yes", f"no thinking, answered {quote(heard.text('answer'))}")


async def thinking_budget(patient: Patient) -> Finding:
    """The server ends the thinking after a given number of tokens."""
    story, puzzle = await patient.story(), await patient.puzzle()
    question, tokens, usual = PUZZLE, PUZZLE_TOKENS, puzzle.thinking_tokens
    if story.thinking_tokens > usual:
        # Small models give up on the puzzle.
        question, tokens, usual = STORY, STORY_TOKENS, story.thinking_tokens
    limit = BUDGET_TOKENS + BUDGET_SLACK_TOKENS
    if not usual:
        return Finding("no", "nothing to limit: no thinking came")
    if usual <= limit:
        return Finding("unknown", f"the model thinks for {usual} tokens only: too short to tell")
    heard = await patient.ask(question, Sampling(max_tokens=tokens), thinking_budget_tokens=BUDGET_TOKENS)
    seen = f"{heard.thinking_tokens} tokens of thinking under a budget of {BUDGET_TOKENS}, {usual} without"
    if heard.thinking_tokens > limit:
        return Finding("no", f"ignored: {seen}")
    return Finding("yes", seen)
