"""A trace made by hand, whose parts and figures can be worked out on paper."""

from __future__ import annotations

from taut.audit import Thought

QUESTION = (
    "A crate holds 16 eggs. Three are eaten and four are used. The rest are sold for 2 dollars each. What is earned?"
)
READING = "Okay, so I need to find what is earned."
WORKING = "First, 16 - 3 - 4 = 9 are left.\n\nNow 9 * 2 = 18 dollars."
CHECKING = "Wait, let me double-check that.\n\n16 - 7 is 9, and twice that is 18."
APPROACH = "Alternatively, the whole crate is worth 32 dollars.\n\nSeven eggs cost 14 dollars, and 32 - 14 = 18."
THINKING = "\n\n".join((READING, WORKING, CHECKING, APPROACH))


def made_thought(**changes: object) -> Thought:
    """The trace, closed and answered, with a reference."""
    fields: dict[str, object] = {
        "id": "eggs",
        "thinking": THINKING,
        "answer": "She earns \\boxed{18} dollars.",
        "question": QUESTION,
        "reference": "18",
        "is_closed": True,
        "group": "eggs",
        **changes,
    }
    return Thought(**fields)  # type: ignore[arg-type]


def behind(words: str, text: str = THINKING) -> int:
    """The place right behind the first of these words."""
    return text.index(words) + len(words)
