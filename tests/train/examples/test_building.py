"""Builders run, rows and reports: what is refused, what is written, and whether the account is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from taut.core import Count
from taut.dialects import by_name
from taut.errors import UsageError
from taut.methods.model_based.short_data._nouns import Tools
from taut.train.examples import build, open_builder, reader, report_of, row_of, write
from taut.train.examples.report import Report, report_path, write_report
from tests.methods.short_data.made import lengths_question, made_question, made_sample


def test_a_builder_is_opened_by_name_with_parameters_in_either_form() -> None:
    builder = open_builder("shortest_correct(of_n=8)", {"of": "thinking"})
    assert builder == open_builder("shortest_correct:of_n=8,of=thinking")
    assert "of_n=8" in repr(builder)
    assert open_builder("token_skip(ratios=0.5|1.0,keep=Step|=)").ratios == (0.5, 1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shortest", r"no builder of short data named 'shortest' \(did you mean 'shortest_correct'\?\); known: budget"),
        ("shortest_correct(ofn=3)", r"unknown parameter 'ofn' \(did you mean 'of_n'\?\)"),
        ("shortest_correct(of=words)", r"of = 'words'; known: total, thinking"),
        ("shortest_correct(keep=many)", r"keep = 'many' is not right"),
        ("shortest_correct(keep=0)", r"keep is 0, it must be at least 1"),
        ("token_skip(ratios=half)", r"ratios = 'half' is not right"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_builder(text)


def test_a_parameter_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'keep' is given twice"):
        open_builder("shortest_correct(keep=2)", {"keep": "3"})


def test_without_a_right_answer_there_is_nothing_to_learn_from() -> None:
    question = made_question([made_sample(10, False), made_sample(10, False), made_sample(10, None)])
    with pytest.raises(UsageError, match=r"none of the 3 answers .* as none is right: 2 wrong, 1 not scored"):
        build(open_builder("shortest_correct"), [question], Tools())


def test_where_nothing_is_kept_the_reasons_are_told() -> None:
    questions = [lengths_question(10, name="a"), made_question([made_sample(10, None)], "b")]
    with pytest.raises(
        UsageError, match=r"long_to_short made no example of 2 questions: 1 no longer answer to reject, 1"
    ):
        build(open_builder("long_to_short"), questions, Tools())


def test_a_missing_tool_is_named_with_what_to_give() -> None:
    with pytest.raises(UsageError, match=r"token_skip needs a model that weighs words: give --importance-model FOLDER"):
        build(open_builder("token_skip"), [lengths_question(10)], Tools())
    with pytest.raises(UsageError, match=r"c3ot needs compressed chains: give --engine E"):
        build(open_builder("c3ot"), [lengths_question(10)], Tools())


def test_questions_that_cannot_be_used_say_why() -> None:
    questions = [
        lengths_question(10, name="good"),
        made_question([made_sample(10, False), made_sample(10, None)], "wrong"),
        made_question([made_sample(10, None)], "unscored"),
        made_question([made_sample(10, finish="length")], "cut"),
        made_question([made_sample(10, None, finish="error")], "failed"),
        made_question([made_sample(10, thinking="", answer="")], "silent"),
    ]
    picture = made_question([made_sample(10)], "picture")
    part = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    picture = replace(picture, task=replace(picture.task, messages=(part,)))
    built = build(open_builder("shortest_correct"), [*questions, picture], Tools())
    assert {each.question.id: each.why for each in built.dropped} == {
        "wrong": "no right answer",
        "unscored": "not scored",
        "cut": "all answers cut or without an answer",
        "failed": "all answers failed",
        "silent": "all answers without text",
        "picture": "its messages have parts other than text",
    }


def test_a_row_to_imitate_has_the_thought_in_the_dialects_tags() -> None:
    (example,) = build(open_builder("shortest_correct"), [lengths_question(30)], Tools()).examples
    assert row_of(example, by_name("think_tags")) == {
        "prompt": [{"role": "user", "content": "What is 3 + 4 (q/0)?"}],
        "completion": [{"role": "assistant", "content": "<think>\n3 + 4 = 7.\n</think>\n\nThe answer is 7."}],
        "id": "q/0",
        "source": "direct/q/0/0",
        "thinking_tokens": 30,
        "answer_tokens": 5,
        "tokens_source": "reported",
    }
    assert (
        row_of(example, by_name("magistral"))["completion"][0]["content"] == "[THINK]3 + 4 = 7.[/THINK]The answer is 7."
    )
    assert row_of(example, None)["completion"][0]["content"] == "The answer is 7."


def test_a_row_of_a_preference_tells_both_lengths() -> None:
    (example,) = build(open_builder("long_to_short"), [lengths_question(30, 90)], Tools()).examples
    row = row_of(example, by_name("think_tags"))
    assert {"prompt", "chosen", "rejected"} <= row.keys()
    assert (row["thinking_tokens"], row["rejected_tokens"], row["rejected_source"]) == (30, 95, "direct/q/0/1")


def test_an_empty_thought_among_thoughts_is_written_as_a_closed_block() -> None:
    examples = build(open_builder("implicit_cot(stages=1)"), [lengths_question(30)], Tools()).examples
    assert (
        row_of(examples[1], by_name("think_tags"))["completion"][0]["content"]
        == "<think>\n\n</think>\n\nThe answer is 7."
    )


def test_half_a_character_does_not_break_the_file(tmp_path: Path) -> None:
    question = made_question([made_sample(10, thinking="odd \ud83d here")])
    write(build(open_builder("shortest_correct"), [question], Tools()).examples, None, tmp_path / "x.jsonl")
    assert json.loads((tmp_path / "x.jsonl").read_text(encoding="utf-8"))["id"] == "q/0"


def test_the_report_counts_what_was_kept_and_dropped_and_the_means_by_question(tmp_path: Path) -> None:
    # Question a: right 20 and 40, question b: right 100; means before (30 + 100) / 2 = 65, after (20 + 100) / 2 = 60.
    questions = [
        made_question([made_sample(20), made_sample(40), made_sample(10, False)], "a"),
        lengths_question(100, name="b"),
        made_question([made_sample(10, False)], "c"),
    ]
    builder = open_builder("shortest_correct")
    report = report_of(build(builder, questions, Tools()), builder, ["t.jsonl"])
    assert (report.questions_seen, report.questions_kept, report.questions_dropped) == (3, 2, {"no right answer": 1})
    assert (report.samples_seen, report.samples) == (5, {"used": 2, "wrong": 2, "right, not taken": 1})
    assert (report.before.thinking, report.after.thinking, report.after.total) == (65, 60, 65)
    assert (report.examples, report.completion_tokens, report.tokens_by_source) == (2, 130, {"reported": 2})
    write_report(report, tmp_path / "train.jsonl")
    assert report_path(tmp_path / "train.jsonl").name == "train.report.json"
    stored = json.loads((tmp_path / "train.report.json").read_bytes())
    assert msgspec.convert(stored, Report) == report


def test_stages_are_counted_one_by_one() -> None:
    builder = open_builder("chain_valve(levels=2)")
    questions = [lengths_question(20, 100, name="a"), lengths_question(40, 200, name="b")]
    report = report_of(build(builder, questions, Tools()), builder, [])
    assert [(each.stage, each.examples, each.lengths.thinking) for each in report.stages] == [(0, 2, 150), (1, 2, 30)]


def test_places_are_those_that_an_audit_finds() -> None:
    chain = "I read 12 and 30.\n\nSo 12 + 30 = 42.\n\nWait, let me check: 30 + 12 = 42.\n\nThe answer is 42."
    question = made_question([made_sample(50, thinking=chain, answer="The answer is 42.")])
    task = replace(question.task, messages=({"role": "user", "content": "What is 12 + 30?"},), reference="42")
    question = replace(question, task=task)
    found = reader()(question, question.samples[0])
    assert found.right_ends[0] == chain.index("42.") + 2
    assert any(chain[start:end].startswith("Wait") for start, end in found.checks)


def test_a_counter_counts_what_is_shortened() -> None:
    question = made_question([made_sample(10, thinking="a b c d")])
    examples = build(
        open_builder("implicit_cot(stages=2)"), [question], Tools(count=lambda text: len(text.split()))
    ).examples
    assert [example.chosen.thinking_tokens for example in examples] == [
        Count(10, "reported"),
        Count(2, "counted"),
        Count(0, "reported"),
    ]
