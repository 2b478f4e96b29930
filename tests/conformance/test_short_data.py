"""One suite over every builder of short data: what each must do with any questions, whatever it teaches."""

from __future__ import annotations

import ast
import dataclasses
import pickle
import random
import re
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taut import plugins
from taut.config import build_entry
from taut.dialects import by_name
from taut.errors import UsageError
from taut.methods.model_based.short_data._chains import as_it_is
from taut.methods.model_based.short_data._nouns import Builder, Dropped, Example, Question, Sample, Tools
from taut.train.examples import Built, build, reader, report_of, row_of, write
from tests.methods.short_data.made import longer_words, made_question, made_sample

NAMES = sorted(plugins.entries("short data"))
VARIANTS = (
    *("budget_search(makes=preference)", "budget_search(search=smallest,cheaper=false)", "c3ot(both=false)"),
    *(
        "cut_at_first_correct(makes=preference)",
        "cut_at_first_correct(end=statement)",
        "cut_at_first_correct(end=step)",
        "drop_steps(what=random)",
    ),
    *("drop_steps(what=after_answer)", "implicit_cot(unit=steps)", "select(n=5)", "shortest_correct(keep=3)"),
    *("token_skip(importance=random,all_ratios=true)", "token_skip(ratios=0.5)", "long_to_short(rejected=wrong)"),
)
every_builder = pytest.mark.parametrize("text", [*NAMES, *VARIANTS])
STEPS = ("I read 3 and 4.", "So 3 + 4 = 7.", "Wait, 4 + 3 = 7 too.", "Hmm, 3 + 5 = 8.", "Therefore the answer is 7.")


def open_any(text: str) -> Builder:
    return typing.cast(Builder, build_entry("short data", text, text))


def any_sample(draw: random.Random, place: int) -> Sample:
    """Right, wrong, not scored, cut or failed; with thinking, or with a worked answer."""
    right = draw.choice((True, True, True, False, None))
    sample = made_sample(
        draw.randrange(5, 400),
        right,
        seed=place + 1,
        thinking="\n\n".join(draw.choices(STEPS, k=draw.randrange(1, 9))),
        finish=draw.choice(("stop", "stop", "stop", "length", "error")),
        budget_tokens=draw.choice((None, 50, 100, 200)),
    )
    if draw.random() < 0.2:
        return replace(sample, thinking="", answer=f"{sample.thinking}\n{sample.answer}")
    return sample


def any_questions(seed: int = 0, count: int = 60) -> list[Question]:
    draw = random.Random(seed)
    questions = []
    for number in range(count):
        samples = [any_sample(draw, place) for place in range(draw.randrange(1, 8))]
        keyed = [replace(sample, key=f"q/{number}/{sample.seed}") for sample in samples]
        questions.append(made_question(keyed, f"q/{number}"))
    return questions


def all_tools(questions: list[Question]) -> Tools:
    short = {sample.key: "3 + 4 = 7." for question in questions for sample in question.samples}
    return Tools(audit=reader(), importance=longer_words, compressions=short)


def made(text: str, seed: int = 0) -> Built:
    questions = any_questions(seed)
    return build(open_any(text), questions, all_tools(questions))


@every_builder
def test_questions_kept_and_dropped_are_those_seen_and_so_are_samples(text: str) -> None:
    builder, built = open_any(text), made(text)
    report = report_of(built, builder, ["traces.jsonl"])
    assert report.questions_kept + sum(report.questions_dropped.values()) == report.questions_seen == 60
    assert sum(report.samples.values()) == report.samples_seen == sum(len(q.samples) for q in built.questions)
    assert report.questions_kept == len({example.question.id for example in built.examples}) > 0
    assert sum(report.tokens_by_source.values()) == report.examples == len(built.examples)
    assert all(why and "\n" not in why for why in report.questions_dropped)


@every_builder
def test_the_builder_itself_answers_for_every_question_with_examples_or_one_reason(text: str) -> None:
    questions = [question for question in any_questions() if question.right]
    found = list(open_any(text)(questions, all_tools(questions)))
    kept = {each.question.id for each in found if isinstance(each, Example)}
    dropped = [each.question.id for each in found if isinstance(each, Dropped)]
    assert len(dropped) == len(set(dropped))
    assert not kept & {*dropped}
    assert kept | {*dropped} == {question.id for question in questions}


@every_builder
def test_the_same_questions_give_the_same_rows(text: str) -> None:
    rows = [[row_of(example, by_name("think_tags")) for example in made(text).examples] for _ in range(2)]
    assert rows[0] == rows[1]


@every_builder
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_only_whole_right_answers_are_taught(text: str, seed: int) -> None:
    for example in made(text, seed).examples:
        assert example.chosen.sample.right is True
        assert example.chosen.sample.finish == "stop"
        assert "The answer is 7." in example.chosen.answer


@every_builder
def test_what_was_not_scored_is_never_taken_for_wrong(text: str) -> None:
    for example in made(text).examples:
        assert example.rejected is None or example.rejected.sample.right is not None
    unscored = [made_question([made_sample(10, None)], f"q/{number}") for number in range(3)]
    scored = any_questions()
    built = build(open_any(text), [*unscored, *scored], all_tools(scored))
    assert [each.why for each in built.dropped if each.question in unscored] == ["not scored"] * 3


@every_builder
def test_it_makes_what_it_says(text: str) -> None:
    builder = open_any(text)
    assert builder.makes in ("sft", "preference")
    for example in made(text).examples:
        assert (example.rejected is not None) == (builder.makes == "preference")
        if example.rejected is not None:
            lengths = [w.thinking_tokens.tokens + w.answer_tokens.tokens for w in (example.chosen, example.rejected)]
            assert lengths[0] < lengths[1]


@every_builder
def test_no_rewritten_answer_is_longer_than_the_sample_it_was_made_of(text: str) -> None:
    for example in made(text).examples:
        chosen = example.chosen
        assert len(chosen.thinking) <= len(chosen.sample.thinking)
        assert chosen.thinking_tokens.tokens <= chosen.sample.thinking_tokens.tokens


@every_builder
def test_a_changed_text_has_no_reported_count(text: str) -> None:
    for example in made(text).examples:
        chosen = example.chosen
        if chosen.thinking and chosen.thinking != chosen.sample.thinking:
            assert chosen.thinking_tokens.source == "estimated"


@every_builder
def test_it_needs_known_tools_and_is_refused_without_them(text: str) -> None:
    builder, questions = open_any(text), any_questions()
    assert builder.needs <= set(Tools.__dataclass_fields__)
    if builder.needs:
        with pytest.raises(UsageError, match="needs "):
            build(builder, questions, Tools())
    else:
        assert build(builder, questions, Tools()).examples


@every_builder
def test_questions_do_not_depend_on_their_order_but_where_some_are_selected(text: str) -> None:
    if text.startswith("select"):
        return
    questions = any_questions()
    builder, tools = open_any(text), all_tools(questions)
    rows = [
        sorted(repr(row_of(example, None)) for example in build(builder, order, tools).examples)
        for order in (questions, questions[::-1])
    ]
    assert rows[0] == rows[1]


@every_builder
def test_its_rows_load_as_a_data_set_with_the_columns_that_trainers_ask_for(text: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    builder, built = open_any(text), made(text)
    write(built.examples, by_name("think_tags"), tmp_path / "train.jsonl")
    loaded = datasets.Dataset.from_json(str(tmp_path / "train.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == len(built.examples)
    columns = ("prompt", "chosen", "rejected") if builder.makes == "preference" else ("prompt", "completion")
    for row in loaded:
        assert [message["role"] for message in row["prompt"]] == ["user"]
        for column in columns[1:]:
            (message,) = row[column]
            assert message["role"] == "assistant"
            assert re.fullmatch(r"<think>\n.*\n</think>\n\n.*The answer is \d\.", message["content"], re.DOTALL)
    assert {"id", "source", "thinking_tokens", "answer_tokens", "tokens_source"} <= set(loaded.column_names)


@pytest.mark.parametrize("name", NAMES)
def test_its_file_is_short_names_the_paper_and_explains_every_parameter(name: str) -> None:
    entry = plugins.find("short data", name)
    text = entry.source()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert text.count("\n") <= 150
    assert re.search(r"arXiv:\d{4}\.\d{5}", docstring)
    assert "iffers" in docstring or "ours" in docstring.lower() or "of our own" in docstring
    for field in dataclasses.fields(entry.load_class()):
        is_told = re.search(rf"^    {field.name}: [^\n]+\n    \"\"\"", text, re.MULTILINE)
        assert field.name == "seed" or is_told, field.name


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_pickled_and_compared(name: str) -> None:
    builder = open_any(name)
    assert pickle.loads(pickle.dumps(builder)) == builder == open_any(name)


def test_the_page_tells_of_every_builder_and_of_no_other() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "short-data.md").read_text(encoding="utf-8")
    table = page.partition("## Builders")[2].partition("##")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == NAMES


def test_a_builder_that_chooses_a_wrong_answer_is_stopped() -> None:
    class Careless:
        makes = "sft"
        needs: frozenset[str] = frozenset()

        def __call__(self, questions: list[Question], tools: Tools) -> Any:
            yield Example(questions[0], as_it_is(questions[0].wrong[0]))

    question = made_question([made_sample(10), made_sample(20, False)])
    with pytest.raises(UsageError, match="Careless chose an answer that is not right: direct/q/0/1"):
        build(typing.cast(Builder, Careless()), [question], Tools())


def test_a_shortened_answer_that_no_longer_reads_as_right_is_dropped() -> None:
    # Without thinking the chain is the answer's beginning, and here the right answer stands in it.
    sample = made_sample(0, thinking="", answer="3 + 4 = 7.\nThe answer is 7.\nHope it helps, all 12 of you!")
    question = made_question([sample])
    good = made_question([made_sample(30, thinking="a b c d e f")], "good")
    built = build(open_any("implicit_cot(stages=1)"), [question, good], Tools())
    assert [(each.question.id, each.why) for each in built.dropped] == []
    kept = [example for example in built.examples if example.question.id == "q/0"]
    assert [example.columns["stage"] for example in kept] == [0]
