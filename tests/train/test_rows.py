"""Rows of examples as the tokens that the model sees in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taut.errors import UsageError
from tests.train.made import TEMPLATE, pair_row, sum_row, tiny_model, write_rows

pytestmark = pytest.mark.transformers

OPENS = TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


def writer_of(folder: Path) -> Any:
    from taut.train.models import open_writer
    from taut.train.recipe import ModelPart

    return open_writer(ModelPart(str(folder)))


def read(file: Path, folder: Path, tokens: int = 200) -> Any:
    from taut.train.rows import completions, read_lines

    return completions(read_lines([str(file)]), writer_of(folder), tokens)


def learned(row: dict[str, Any], folder: Path) -> str:
    """The text that the loss is on."""
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    return str(writer_of(folder).text([token for token, label in pairs if label != -100]))


def test_the_loss_is_on_the_completion_and_the_end_of_the_turn(tmp_path: Path, tiny: Path) -> None:
    (row,) = read(write_rows(tmp_path / "a.jsonl", [sum_row(12)]), tiny).rows
    assert learned(row, tiny) == "<think>\n2 + 1 = 3\n</think>\n\n3<|im_end|>"
    assert writer_of(tiny).text(row["input_ids"]).startswith("<|im_start|>user\nWhat is 2 + 1?<|im_end|>\n<|im_start|>")


def test_a_thought_that_the_prompt_has_opened_is_not_opened_again(tmp_path: Path, tiny: Path) -> None:
    folder = tiny_model(tmp_path / "opens", template=OPENS)
    (row,) = read(write_rows(tmp_path / "a.jsonl", [sum_row(12)]), folder).rows
    assert learned(row, folder) == "2 + 1 = 3\n</think>\n\n3<|im_end|>"


def test_a_template_that_drops_thoughts_does_not_lose_them(tmp_path: Path, tiny: Path) -> None:
    drops = TEMPLATE.replace("message['content'] }}", "message['content'].split('</think>')[-1] }}")
    folder = tiny_model(tmp_path / "drops", template=drops)
    (row,) = read(write_rows(tmp_path / "a.jsonl", [sum_row(12)]), folder).rows
    assert "2 + 1 = 3" in learned(row, folder)


def test_a_conversation_is_split_before_its_last_message(tmp_path: Path, tiny: Path) -> None:
    row = sum_row(12)
    whole = {"messages": [*row["prompt"], *row["completion"]]}
    files = [write_rows(tmp_path / f"{name}.jsonl", [it]) for name, it in (("a", row), ("b", whole))]
    assert read(files[0], tiny).rows == read(files[1], tiny).rows


def test_rows_that_are_too_long_are_left_out_and_counted(tmp_path: Path, tiny: Path) -> None:
    long = sum_row(1, completion="1 " * 100)
    found = read(write_rows(tmp_path / "a.jsonl", [sum_row(1), long, sum_row(2)]), tiny, tokens=100)
    assert (len(found.rows), found.read, found.too_long) == (2, 3, 1)
    assert "1 of 3 left out as too long" in str(found)


def test_pairs_share_their_prompt(tmp_path: Path, tiny: Path) -> None:
    from taut.train.rows import pairs, read_lines

    writer = writer_of(tiny)
    (row,) = pairs(read_lines([str(write_rows(tmp_path / "a.jsonl", [pair_row(12)]))]), writer, 200).rows
    assert writer.text(row["chosen_ids"]) == "<think>\n2 + 1 = 3\n</think>\n\n3<|im_end|>"
    assert "Wait" in writer.text(row["rejected_ids"])
    assert writer.text(row["prompt_ids"]).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the data has no rows"),
        ("{\n", "a.jsonl, line 1, is not JSON"),
        ("[1]\n", "a.jsonl, line 1, is no object"),
        ('\n{"prompt": "x", "completio": "y"}\n', "line 2, has no column 'completion' (did you mean 'completio'?)"),
        ('{"prompt": [], "completion": "y"}\n', "the column 'prompt' must be text or a list of messages"),
        (
            '{"prompt": "x", "completion": [{"role": "user", "content": "y"}]}\n',
            "must end in a message of the assistant",
        ),
        ('{"prompt": "x", "completion": "' + "1 " * 300 + '"}\n', "none of the 1 rows of the data is usable"),
    ],
)
def test_rows_that_cannot_be_used_are_told_in_a_sentence(tmp_path: Path, tiny: Path, text: str, told: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read(file, tiny)
    assert told in str(caught.value)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path, tiny: Path) -> None:
    folder = tiny_model(tmp_path / "bare", template=None)
    with pytest.raises(UsageError, match="has no chat template"):
        writer_of(folder)


def test_an_adapter_is_not_trained_on(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="is an adapter: make a model of it first"):
        writer_of(tmp_path)
