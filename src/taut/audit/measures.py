"""What is measured on one trace. Plain functions over a `Thought`; one pass over its text each."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from taut.audit.answers import Final, final_of, judge, plain_reference, reference_of
from taut.audit.nouns import Audit, Round, Thought
from taut.audit.places import statements
from taut.audit.repetition import repeated_sentences
from taut.audit.rounds import find_rounds
from taut.audit.segments import Labelled, Segment, count_runs, label_sentences, merge
from taut.audit.text import Sentence, lowered, sentences
from taut.audit.words import LABELS, Label
from taut.core import Count
from taut.session import estimate_tokens


def audit(thought: Thought, told: Sequence[Round] = ()) -> Audit:
    """Everything about one trace. ``told`` are rounds as a model told them; without them the words do."""
    thinking = thought.thinking
    final = final_of(thought)
    places = statements(thinking, final, thought) if final else []
    labelled, segments = segment(thinking, places)
    rounds = list(told) or find_rounds(labelled, len(thinking), final.value if final else None)
    count = thought.thinking_tokens or Count(estimate_tokens(thinking), "estimated")
    right = judge(thought, final)
    stands_at = places[0] if places else None
    right_at = _first_right(thought, final, stands_at, right)
    to_answer = None if stands_at is None else _share_of(count, stands_at, thinking)
    return Audit(
        id=thought.id,
        group=thought.group or thought.id,
        label=thought.label,
        question=thought.question,
        chars=len(thinking),
        thinking_tokens=count.tokens,
        tokens_source=count.source,
        final=final.value if final else None,
        verifier=final.verifier if final else None,
        final_stands_in=final.stands_in if final else "",
        right=right,
        stands_at=stands_at,
        first_right_at=right_at,
        tokens_to_answer=to_answer,
        tokens_after=None if to_answer is None else count.tokens - to_answer,
        rounds=len(rounds),
        new_rounds=sum(each.is_new for each in rounds),
        rounds_source="judge" if told else "words",
        reflections=count_runs(labelled, "checking"),
        switches=count_runs(labelled, "approach"),
        tokens_by_label=_tokens_by_label(segments, count),
        is_truncated=_is_truncated(thought),
        is_without_answer=not thought.answer.strip(),
        outcome_efficiency=_outcome(thought, right, right_at),
        process_efficiency=sum(each.end - each.start for each in rounds if each.is_new) / len(thinking),
        underthinking=_underthinking(thought, right, right_at),
        segments=tuple(segments),
    )


def segment(thinking: str, places: Sequence[int] = ()) -> tuple[list[Labelled], list[Segment]]:
    """The sentences with their labels, and the segments they make; ``places`` are ends of the answer's statements."""
    found = sentences(thinking)
    labelled = label_sentences(
        lowered(thinking), found, _sentences_of(found, places), repeated_sentences(thinking, found)
    )
    return labelled, merge(labelled, len(thinking))


def _sentences_of(found: Sequence[Sentence], places: Sequence[int]) -> set[int]:
    ends = [sentence.end for sentence in found]
    return {min(bisect_left(ends, place), len(found) - 1) for place in places} if found else set()


def _share_of(count: Count, chars: int, thinking: str) -> int:
    """Tokens of the first ``chars`` characters, as if they were spread evenly."""
    return round(count.tokens * chars / len(thinking))


def _first_right(thought: Thought, final: Final | None, stands_at: int | None, right: bool | None) -> int | None:
    """Behind the first statement of the reference; where the answer is right, of the answer."""
    if right:
        return stands_at
    reference = reference_of(thought, final)
    places = statements(thought.thinking, reference, thought) if reference else []
    return places[0] if places else None


def _outcome(thought: Thought, right: bool | None, right_at: int | None) -> float | None:
    if right_at is not None:
        return right_at / len(thought.thinking)
    # A right answer that was not found in the thinking stood somewhere; of a wrong one, none is right.
    return None if right or plain_reference(thought) is None else 0.0


def _underthinking(thought: Thought, right: bool | None, right_at: int | None) -> float | None:
    if right is not False or plain_reference(thought) is None:
        return None
    return 0.0 if right_at is None else 1 - right_at / len(thought.thinking)


def _tokens_by_label(segments: Sequence[Segment], count: Count) -> dict[Label, int]:
    """Whole tokens that add up to the count."""
    ends: Counter[Label] = Counter()
    done = 0
    total = segments[-1].end if segments else 1
    for each in segments:
        upto = round(count.tokens * each.end / total)
        ends[each.label] += upto - done
        done = upto
    return {label: ends[label] for label in LABELS if ends[label]}


def _is_truncated(thought: Thought) -> bool:
    if thought.finish is not None:
        return thought.finish == "length"
    return thought.is_closed is False
