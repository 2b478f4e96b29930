"""Traces into questions with samples: what is read out of a trace, and which files are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from taut.core import Score, Task, Trace
from taut.errors import UsageError
from taut.gateway.redacting import without_texts
from taut.traces import encode
from taut.train.examples import read_questions
from tests.made_run import made_call


def made_trace(number: int = 0, seed: int = 0, preset: str = "direct", right: bool | None = True) -> Trace:
    """A trace of 60 thinking tokens and 6 of the answer."""
    return Trace(
        Task(f"q/{number}", ({"role": "user", "content": f"What is {number} + 7?"},), str(number + 7), "number"),
        preset,
        index=number,
        seed=seed,
        thinking=f"So {number} + 7 = {number + 7}.",
        answer=f"The answer is {number + 7 if right else 0}.",
        finish="stop",
        calls=[made_call(60, 6)],
        score=Score(right),
    )


def written(path: Path, *traces: Trace) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, traces)))
    return path


def test_samples_of_a_question_come_together_by_seed_whatever_ended_first(tmp_path: Path) -> None:
    traces = [made_trace(1, 2), made_trace(0, 1), made_trace(1, 0), made_trace(0, 0), made_trace(1, 1)]
    questions = read_questions([written(tmp_path / "traces.jsonl", *traces)])
    assert [(question.id, [sample.seed for sample in question.samples]) for question in questions] == [
        ("q/0", [0, 1]),
        ("q/1", [0, 1, 2]),
    ]


def test_tokens_are_the_engines_and_say_so(tmp_path: Path) -> None:
    (question,) = read_questions([written(tmp_path / "traces.jsonl", made_trace())])
    (sample,) = question.samples
    assert (sample.thinking_tokens.tokens, sample.thinking_tokens.source) == (60, "reported")
    assert (sample.answer_tokens.tokens, sample.tokens(), sample.tokens("thinking")) == (6, 66, 60)


def test_without_counts_tokens_are_estimated(tmp_path: Path) -> None:
    (question,) = read_questions([written(tmp_path / "traces.jsonl", replace(made_trace(), calls=[]))])
    # "So 0 + 7 = 7." has 13 letters: four tokens at four letters each.
    assert question.samples[0].thinking_tokens.tokens == 4
    assert question.samples[0].thinking_tokens.source == "estimated"


def test_a_failed_answer_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    failed = replace(made_trace(seed=1), error="the server is gone", score=Score(False))
    (question,) = read_questions([written(tmp_path / "traces.jsonl", made_trace(), failed)])
    assert (len(question.right), len(question.wrong), question.solve_rate) == (1, 0, 1.0)


def test_the_budget_is_read_out_of_the_prompt_whatever_the_preset_is_called(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "What?\n\nLet's think step by step and use less than 120 tokens:"}
    call = replace(made_call(60, 6), messages=(asked,))
    (question,) = read_questions([written(tmp_path / "t.jsonl", replace(made_trace(preset="mine"), calls=[call]))])
    assert question.samples[0].budget_tokens == 120


def test_run_folders_are_read_and_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path / "run" / "traces.jsonl", made_trace())
    (question,) = read_questions([tmp_path / "run", path])
    assert len(question.samples) == 1


def test_several_files_add_up_and_every_sample_keeps_a_key_of_its_own(tmp_path: Path) -> None:
    files = [written(tmp_path / name / "traces.jsonl", made_trace()) for name in ("a", "b")]
    (question,) = read_questions(files)
    assert [sample.key for sample in question.samples] == ["direct/q/0/0", "direct/q/0/0@2"]


def test_one_name_for_two_questions_does_not_mix_them(tmp_path: Path) -> None:
    other = made_trace()
    other = replace(other, task=replace(other.task, messages=({"role": "user", "content": "What else?"},)))
    files = [written(tmp_path / "a.jsonl", made_trace()), written(tmp_path / "b.jsonl", other)]
    questions = read_questions(files)
    assert [sample.key for question in questions for sample in question.samples] == ["direct/q/0/0", "direct/q/0/0@2"]
    assert len(questions) == 2


def test_presets_can_be_picked_and_an_unknown_one_names_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path / "traces.jsonl", made_trace(), made_trace(preset="concise"))
    assert [s.preset for s in read_questions([path], ["concise"])[0].samples] == ["concise"]
    with pytest.raises(UsageError, match=r"no trace of the preset 'concis' \(did you mean 'concise'\?\)"):
        read_questions([path], ["concis"])


def test_files_without_anything_to_learn_are_refused_in_one_sentence(tmp_path: Path) -> None:
    empty = written(tmp_path / "empty.jsonl")
    with pytest.raises(UsageError, match=r"empty\.jsonl is empty: at least one trace is needed"):
        read_questions([empty])
    bare = written(tmp_path / "bare.jsonl", without_texts(made_trace(), {}))
    with pytest.raises(UsageError, match=r"bare\.jsonl has no texts to learn from: it was recorded without them"):
        read_questions([bare])
    failed = replace(made_trace(), thinking="", answer="", error="gone")
    with pytest.raises(UsageError, match=r"no texts to learn from: every answer failed"):
        read_questions([written(tmp_path / "failed.jsonl", failed)])
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(encode(made_trace()) + b'{"task": 1}\n')
    with pytest.raises(UsageError, match=r"broken\.jsonl, line 2, is not a trace"):
        read_questions([broken])
    with pytest.raises(UsageError, match=r"there is no file .*nowhere"):
        read_questions([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"there is no traces\.jsonl in"):
        read_questions([tmp_path])
