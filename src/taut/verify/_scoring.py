"""Picks the verifier of a task and judges an answer: the boundary where a verifier's failure becomes data."""

from __future__ import annotations

from collections.abc import Iterable

from taut.core import Score, Task
from taut.errors import UsageError, VerifierError, one_line
from taut.plugins import find


def check_libraries(tasks: Iterable[Task]) -> None:
    """Raise `UsageError` if a verifier of these tasks lacks its package: call it before anything is paid for."""
    for name in {task.verifier for task in tasks}:
        check = getattr(find("verifiers", name).load(), "check_library", None)
        if check is not None:
            check()


def score(answer: str, task: Task) -> Score:
    """Judge ``answer``, the text after the thinking, by ``task.verifier``.

    Raises `UsageError` for an unknown verifier and for a missing optional package.
    """
    verifier = find("verifiers", task.verifier).load()
    if task.reference is None and not getattr(verifier, "WITHOUT_REFERENCE", False):
        return Score(None, verifier.extract(answer), "the task has no reference")
    try:
        judged: Score = verifier.verify(answer, task)
    except UsageError:
        raise
    except VerifierError as error:
        return Score(None, why=one_line(error))
    except Exception as error:  # noqa: BLE001 - one odd answer must not end a sweep, and is no proof of a wrong one
        return Score(None, why=f"the verifier {task.verifier!r} failed: {type(error).__name__}: {one_line(error)}")
    return judged
