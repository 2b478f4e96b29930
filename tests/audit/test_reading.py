"""Every form in which traces come, and what is told of those that cannot be read."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from taut.audit import Loaded, ReadOptions, Thought, load
from taut.core import Call, Count, Score, Task, Trace, Usage
from taut.errors import UsageError
from taut.traces import encode

USER = {"role": "user", "content": "What is 3 + 4?"}
USAGE = {"completion_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 21}}


def written(folder: Path, rows: Sequence[Any], name: str = "log.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(folder: Path, *rows: Any, **options: Any) -> Loaded:
    return load(written(folder, rows), ReadOptions(**options))


def one(folder: Path, row: Any, **options: Any) -> Thought:
    (thought,) = read(folder, row, **options).thoughts
    return thought


def chat(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion", "choices": [{"message": message, "finish_reason": "stop"}], **more}


ANSWERED = {"role": "assistant", "content": "It is 7."}
FORMS: dict[str, dict[str, Any]] = {
    "chat with reasoning_content": {
        "request": {"messages": [USER]},
        "response": chat({**ANSWERED, "reasoning_content": "3 + 4 = 7"}, usage=USAGE),
    },
    "chat with reasoning": {"request": {"messages": [USER]}, "response": chat({**ANSWERED, "reasoning": "3 + 4 = 7"})},
    "chat with think tags": {
        "messages": [USER],
        **chat({"role": "assistant", "content": "<think>\n3 + 4 = 7\n</think>\n\nIt is 7."}),
    },
    "chat with reasoning details": {
        "request": {"messages": [USER]},
        "response": chat({**ANSWERED, "reasoning_details": [{"type": "reasoning.text", "text": "3 + 4 = 7"}]}),
    },
    "batch file": {
        "custom_id": "a",
        "request": {"messages": [USER]},
        "response": {"status_code": 200, "body": chat({**ANSWERED, "reasoning_content": "3 + 4 = 7"})},
    },
    "text completion": {
        "request": {"prompt": "What is 3 + 4?"},
        "response": {"choices": [{"text": "3 + 4 = 7\n</think>\nIt is 7.", "finish_reason": "stop"}]},
    },
    "responses": {
        "request": {"input": "What is 3 + 4?"},
        "response": {
            "status": "completed",
            "output": [
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "3 + 4 = 7"}], "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "It is 7."}]},
            ],
        },
    },
    "messages with thinking blocks": {
        "request": {"messages": [USER]},
        "response": {
            "type": "message",
            "role": "assistant",
            "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": "3 + 4 = 7"}, {"type": "text", "text": "It is 7."}],
        },
    },
    "ollama": {
        "request": {"messages": [USER]},
        "response": {"message": {**ANSWERED, "thinking": "3 + 4 = 7"}, "done_reason": "stop"},
    },
    "gemini": {
        "request": {"contents": [{"role": "user", "parts": [{"text": "What is 3 + 4?"}]}]},
        "response": {
            "candidates": [
                {
                    "finishReason": "STOP",
                    "content": {"parts": [{"text": "3 + 4 = 7", "thought": True}, {"text": "It is 7."}]},
                }
            ]
        },
    },
    "message list": {"messages": [USER, {**ANSWERED, "reasoning_content": "3 + 4 = 7"}]},
    "shared conversation": {
        "conversations": [
            {"from": "human", "value": "What is 3 + 4?"},
            {"from": "gpt", "value": "<think>3 + 4 = 7</think>It is 7."},
        ]
    },
    "prompt and text": {"prompt": "What is 3 + 4?", "response": "<think>3 + 4 = 7</think>It is 7."},
    "prompt, thinking and answer": {"question": "What is 3 + 4?", "thinking": "3 + 4 = 7", "answer": "It is 7."},
}


@pytest.mark.parametrize("name", FORMS)
def test_question_thinking_and_answer_come_out_of_every_form(tmp_path: Path, name: str) -> None:
    thought = one(tmp_path, FORMS[name])
    assert (thought.question, thought.thinking, thought.answer) == ("What is 3 + 4?", "3 + 4 = 7", "It is 7.")


def test_reported_thinking_tokens_are_taken_and_a_reported_whole_is_shared_out(tmp_path: Path) -> None:
    assert one(tmp_path, FORMS["chat with reasoning_content"]).thinking_tokens == Count(21, "reported")
    message = {**ANSWERED, "content": "y" * 25, "reasoning": "x" * 75}
    thought = one(tmp_path, chat(message, usage={"completion_tokens": 40}))
    assert thought.thinking_tokens == Count(30, "estimated")


def test_several_choices_are_several_traces(tmp_path: Path) -> None:
    choices = [{"message": {**ANSWERED, "reasoning": f"thought {n}"}, "finish_reason": "length"} for n in range(3)]
    found = read(tmp_path, {"request": {"messages": [USER]}, "response": {"choices": choices}}).thoughts
    assert [thought.thinking for thought in found] == ["thought 0", "thought 1", "thought 2"]
    assert {thought.finish for thought in found} == {"length"}
    assert len({thought.id for thought in found}) == 3
    assert len({thought.group for thought in found}) == 1


TAGGED = {
    "think_tags": "<think>a</think>b",
    "magistral": "[THINK]a[/THINK]b",
    "kimi_triangle": "◁think▷a◁/think▷b",
    "gpt_oss": "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
    "seed_oss": "<seed:think>a</seed:think>b",
    "granite_3_2": "Here is my thought process:\n\na\n\nHere is my response:\n\nb",
    "exaone_deep": "<thought>\na\n</thought>\n\nb",
    "thinking_tags": "<thinking>a</thinking>b",
    "begin_of_thought": "<|begin_of_thought|>\n\na\n\n<|end_of_thought|>\n\nb",
    "harmony_stripped": "analysisaassistantfinalb",
}


@pytest.mark.parametrize("dialect", TAGGED)
def test_tags_of_every_dialect_are_told_from_the_text(tmp_path: Path, dialect: str) -> None:
    thought = one(tmp_path, {"prompt": "q", "response": TAGGED[dialect]})
    assert (thought.dialect, thought.thinking, thought.answer) == (dialect, "a", "b")
    assert thought.is_closed


def test_a_text_with_only_the_close_tag_began_inside_the_thought(tmp_path: Path) -> None:
    thought = one(tmp_path, {"prompt": "q", "response": "a\n</think>\n\nb"})
    assert (thought.thinking, thought.answer) == ("a", "b")


def test_where_prompts_open_the_thought_a_text_without_tags_never_closed_it(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "response": "a\n</think>\n\nb"} for n in range(3)]
    cut = read(tmp_path, *rows, {"prompt": "q3", "response": "a and on and"}).thoughts[-1]
    assert (cut.thinking, cut.answer, cut.is_closed) == ("a and on and", "", False)


def test_where_models_open_the_thought_a_text_without_tags_was_not_thought(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "response": "<think>a</think>b"} for n in range(3)]
    found = read(tmp_path, *rows, {"prompt": "q3", "response": "just so"})
    assert (len(found.thoughts), found.without_thinking) == (3, 1)


def test_a_tag_that_is_never_closed_is_told(tmp_path: Path) -> None:
    thought = one(tmp_path, {"prompt": "q", "response": "<think>a and on"})
    assert (thought.thinking, thought.answer, thought.is_closed) == ("a and on", "", False)


def test_a_prompt_logged_before_the_thought_is_the_question(tmp_path: Path) -> None:
    thought = one(tmp_path, {"text": "What is 3 + 4?\n<think>a</think>b"})
    assert (thought.question, thought.thinking) == ("What is 3 + 4?", "a")


def test_the_plain_dialect_takes_all_but_the_last_paragraph_as_thinking(tmp_path: Path) -> None:
    thought = one(tmp_path, {"response": "First this.\n\nThen that.\n\nSo 7."}, dialect="plain")
    assert (thought.thinking, thought.answer) == ("First this.\n\nThen that.", "So 7.")


def test_a_named_dialect_reads_no_other_tags(tmp_path: Path) -> None:
    rows = [{"response": "[THINK]a[/THINK]b"}, {"response": "<think>c</think>d"}]
    found = read(tmp_path, *rows, dialect="magistral")
    assert ([each.thinking for each in found.thoughts], found.without_thinking) == (["a"], 1)


def test_columns_are_guessed_by_what_they_hold_and_told(tmp_path: Path) -> None:
    row = {"thinking": True, "problem": "q", "response": "<think>a</think>b", "gold": "7", "correct": False}
    found = read(tmp_path, row)
    assert found.columns == {"text": "response", "question": "problem", "reference": "gold", "right": "correct"}
    assert (found.thoughts[0].reference, found.thoughts[0].right) == ("7", False)


def test_beside_a_whole_text_an_answer_column_is_the_reference(tmp_path: Path) -> None:
    assert one(tmp_path, {"question": "q", "response": "<think>a</think>b", "answer": "7"}).reference == "7"
    assert one(tmp_path, {"question": "q", "thinking": "a", "answer": "7"}).reference is None


def test_columns_can_be_named(tmp_path: Path) -> None:
    thought = one(tmp_path, {"x": "<think>a</think>b", "y": "7"}, columns={"text": "x", "reference": "y"})
    assert (thought.thinking, thought.reference) == ("a", "7")


def test_csv_parquet_json_and_text_files_are_read(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "<think>a</think>b"}
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "t.parquet")
    (tmp_path / "t.json").write_text(json.dumps({"data": [row]}))
    (tmp_path / "t.txt").write_text(row["response"])
    (tmp_path / "messages.json").write_text(json.dumps([USER, {"role": "assistant", "content": row["response"]}]))
    for name in ("t.csv", "t.parquet", "t.json", "t.txt", "messages.json"):
        (thought,) = load(tmp_path / name).thoughts
        assert (thought.thinking, thought.answer) == ("a", "b"), name


def made_trace(index: int = 0, **changes: Any) -> Trace:
    task = Task(f"sum/{index}", (USER,), "7", "number")
    usage = Usage(Count(9, "reported"), Count(30, "reported"), Count(21, "reported"))
    trace = Trace(task, "direct", thinking="3 + 4 = 7", answer="It is 7.", finish="stop", score=Score(True, "7"))
    trace.calls = [Call("generate", "main", usage=usage)]
    for name, value in changes.items():
        setattr(trace, name, value)
    return trace


def test_our_own_runs_are_read_with_their_scores_and_counts(tmp_path: Path) -> None:
    failed = made_trace(1, error="the stream broke off", finish="error")
    lines = [encode(each) for each in (made_trace(answer="first try"), made_trace(), failed)]
    (tmp_path / "traces.jsonl").write_bytes(b"".join(lines))
    found = load(tmp_path)
    (thought,) = found.thoughts
    assert (thought.id, thought.group, thought.label) == ("direct/sum/0/0", "sum/0", "direct")
    assert (thought.answer, thought.right, thought.thinking_tokens) == ("It is 7.", True, Count(21, "reported"))
    assert "the stream broke off" in found.unread[0].why


def test_what_cannot_be_read_is_counted_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "q", "response": "<think>a</think>b"}, [1], {"prompt": "q", "response": 5}])
    path.write_bytes(path.read_bytes() + b"{broken\n\xff\xfe\n" + b"[" * 100_000 + b"\n")
    found = load(path)
    assert len(found.thoughts) == 1
    assert [each.place.rpartition(" ")[2] for each in found.unread] == ["2", "4", "5", "6", "3"]


def test_the_limit_takes_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    rows = [{"id": n, "response": f"<think>a{n}</think>b"} for n in range(5)]
    found = read(tmp_path, *rows, limit=2)
    assert ([each.id for each in found.thoughts], found.left_out) == (["0", "1"], 3)


def test_a_preset_or_model_is_read_alone_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    rows = [{"model": name, "response": "<think>a</think>b"} for name in ("small", "large", "small")]
    assert [each.label for each in read(tmp_path, *rows, labels=("small",)).thoughts] == ["small", "small"]
    with pytest.raises(UsageError, match=r"no trace of 'smal' \(did you mean 'small'\?\); it has small, large"):
        read(tmp_path, *rows, labels=("smal",))
    with pytest.raises(UsageError, match="its rows do not say which preset or model they are of"):
        read(tmp_path, {"response": "<think>a</think>b"}, labels=("small",))


def test_numbers_that_are_no_json_are_read_as_python_writes_them(tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text('{"response": "<think>a</think>b", "score": NaN}\n')
    assert load(tmp_path / "n.jsonl").thoughts[0].thinking == "a"


BAD: dict[str, tuple[str, bytes, str]] = {
    "an empty file": ("t.jsonl", b"", "is empty: at least one trace is needed"),
    "blank lines": ("t.jsonl", b"\n\n", "no trace that can be read"),
    "binary garbage": ("t.jsonl", bytes(range(256)) * 20, "line 1 is not JSON"),
    "binary text": ("t.txt", b"\x00\x01", "is not text"),
    "an unknown ending": ("t.doc", b"x", "expected a run folder or a file ending in .jsonl"),
    "no thinking": ("t.jsonl", b'{"response": "It is 7."}\n', "no thinking in"),
    "no columns": ("t.jsonl", b'{"a": "b"}\n', "no column holds thinking or text"),
    "broken JSON": ("t.json", b'{"a": ', "is not JSON"),
    "a list of numbers": ("t.json", b"[1, 2]", "no trace that can be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_of_no_use_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    ending, content, expected = BAD[name]
    (tmp_path / ending).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / ending)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_without_traces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match=r"a folder without traces\.jsonl"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"columns": {"txt": "response"}}, "did you mean 'text'"),
        ({"columns": {"text": "respons"}}, "did you mean 'response'"),
        ({"dialect": "magistrl"}, "did you mean 'magistral'"),
    ],
)
def test_wrong_names_are_told_with_the_nearest(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        read(tmp_path, {"response": "<think>a</think>b"}, **options)
