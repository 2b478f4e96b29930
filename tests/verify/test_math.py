"""LaTeX mathematics through math-verify, in its own process."""

from __future__ import annotations

import threading

import pytest

from taut.core import Score, Task
from taut.errors import VerifierError
from taut.verify import _math_process, math, score
from taut.verify._math_process import MathProcess


def judge(answer: str, reference: str) -> Score:
    return score(answer, Task("t", (), reference, "math"))


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\boxed{\frac{28}{6}}", r"\frac{14}{3}"),
        (r"\boxed{\dfrac{14}{3}}", r"\frac{14}{3}"),
        (r"\boxed{\left(3,\frac{\pi}{2}\right)}", r"\left( 3, \frac{\pi}{2} \right)"),
        (r"\boxed{-q + p}", "p - q"),
        (r"\boxed{-2, 1}", "1,-2"),
        (r"\boxed{(3,4]}", "(3,4]"),
        (r"\boxed{x=5}", "5"),
        (r"\boxed{5}", "x=5"),
        (r"\boxed{\sqrt{25}}", "5"),
        (r"\boxed{Evelyn}", r"\text{Evelyn}"),
        (r"That makes $\$32,\!348$.", r"\$32,\!348"),
        ("First we add.\n\n-q + p", "p - q"),
        (r"\boxed{90}", r"90^\circ"),
        (r"The answer is $x^3 - 6 + 3x$.", "x^3+3x-6"),
        (r"so we get \[ 2k + 2 \]", "2k+2"),
        (r"so we get \(\frac{3}{56}\)", r"\frac{3}{56}"),
        (r"\boxed{\begin{pmatrix} -\frac13 \\ \frac23 \end{pmatrix}}", r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}"),
    ],
)
def test_equal_expressions_are_right(answer: str, reference: str) -> None:
    assert judge(answer, reference).value is True


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\boxed{\frac{14}{4}}", r"\frac{14}{3}"),
        (r"\boxed{\text{Bob}}", r"\text{Evelyn}"),
        (r"\boxed{[3,4]}", "(3,4]"),
        (r"\boxed{p + q}", "p - q"),
        (r"\boxed{\frac{1}{}}", r"\frac{1}{2}"),
        (r"\boxed{!!!}", "2"),
        (r"\boxed{" + "(" * 900 + "1" + ")" * 900 + "}", "2"),
        (r"\boxed{" + "x+" * 2000 + "x}", "2"),
        ("", "2"),
        ("I don't know", "p - q"),
    ],
)
def test_other_expressions_and_garbage_are_wrong(answer: str, reference: str) -> None:
    assert judge(answer, reference).value is False


def test_it_works_outside_the_main_thread() -> None:
    results: list[bool | None] = []
    workers = [threading.Thread(target=lambda: results.append(judge(r"\boxed{-q+p}", "p - q").value)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 4


def test_a_judgement_that_hangs_is_ended_and_the_next_one_works() -> None:
    process = MathProcess()
    try:
        assert process.same("p - q", "-q + p")
        with pytest.raises(VerifierError, match=r"longer than 0\.5 s"):
            process.same("2", "10^{10^{10}}", timeout_s=0.5)
        assert process.same("p - q", "-q + p")
    finally:
        process.close()


def test_a_worker_that_died_is_a_verifier_error_and_is_replaced() -> None:
    process = MathProcess()
    try:
        process.same("1", "1")
        assert process._process is not None
        process._process.kill()
        process._process.wait()
        with pytest.raises(VerifierError, match="has ended"):
            process.same("1", "1")
        assert process.same("1", "1")
    finally:
        process.close()


def test_a_failure_of_the_library_is_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(gold: str, answer: str) -> bool:
        raise VerifierError("math-verify: RecursionError")

    monkeypatch.setattr(_math_process.PROCESS, "same", fail)
    result = judge(r"\boxed{q}", "p")
    assert (result.value, result.why) == (None, "math-verify: RecursionError")


def test_same_does_not_depend_on_the_order() -> None:
    assert math.same(r"\frac{1}{2}", "0.5")
    assert math.same("x=5", "5")
    assert math.same("5", "x=5")
    assert not math.same("p", "q")
