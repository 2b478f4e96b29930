"""Rows from files, and errors that name the line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from taut.errors import UsageError
from taut.tasks._reading import Row, read_file


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_jsonl_skips_blank_lines_and_counts_them(tmp_path: Path) -> None:
    rows = read_file(write(tmp_path, "q.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": [2, null]}'))
    assert [(dict(row.cells), row.index) for row in rows] == [({"a": 1}, 0), ({"a": [2, None]}, 1)]
    assert rows[1].place.endswith("q.jsonl, line 3")


def test_csv_keeps_text_as_it_is(tmp_path: Path) -> None:
    rows = read_file(write(tmp_path, "q.csv", 'question,answer\n"two\nlines, one cell",025\né,"1,234"\n'.encode()))
    assert [dict(row.cells) for row in rows] == [
        {"question": "two\nlines, one cell", "answer": "025"},
        {"question": "é", "answer": "1,234"},
    ]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_csv_may_be_separated_by_semicolons_or_tabs(tmp_path: Path, sign: str) -> None:
    (row,) = read_file(write(tmp_path, "q.csv", f'question{sign}answer\n"a,b;c\td"{sign}4\n'.encode()))
    assert dict(row.cells) == {"question": "a,b;c\td", "answer": "4"}


def test_a_quoted_name_of_one_column_does_not_change_the_separator(tmp_path: Path) -> None:
    (row,) = read_file(write(tmp_path, "q.csv", b'"question; please"\na;b\n'))
    assert dict(row.cells) == {"question; please": "a;b"}


def test_a_csv_cell_may_be_longer_than_the_csv_module_allows_by_itself(tmp_path: Path) -> None:
    (row,) = read_file(write(tmp_path, "q.csv", b"question,answer\n" + b"x" * 200_000 + b",4\n"))
    assert len(row.text("question")) == 200_000


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has several columns named 'answer': each name may stand once"):
        read_file(write(tmp_path, "q.csv", b"question,answer,answer,,\na,1,2,,\n"))
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["question", "question"])
    parquet.write_table(table, tmp_path / "q.parquet")
    with pytest.raises(UsageError, match="has several columns named 'question'"):
        read_file(tmp_path / "q.parquet")


def test_columns_without_a_name_are_let_be(tmp_path: Path) -> None:
    (row,) = read_file(write(tmp_path, "q.csv", b"question,answer,,\na,1,,\n"))
    assert (row.text("question"), row.get("answer")) == ("a", "1")


def test_a_missing_number_is_empty(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"answer": [float("nan"), 4.0]}), tmp_path / "q.parquet")
    assert [row.get("answer") for row in read_file(tmp_path / "q.parquet")] == [None, 4.0]
    rows = read_file(write(tmp_path, "q.csv", b"question,answer\na,nan\nb,NaN\nnan,4\n"))
    assert [row.get("answer") for row in rows] == [None, None, "4"]
    with pytest.raises(UsageError, match="line 4: the column 'question' is empty"):
        rows[2].text("question")


def test_the_first_column_that_is_not_empty_is_taken() -> None:
    row = Row({"problem": float("nan"), "prompt": "", "question": 7}, "q, line 1", 0)
    assert row.text("problem", "prompt", "question") == "7"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"a", "bytes"),
        (["a"], "a list"),
        ([], "an empty list"),
        ({"a": 1}, "an object"),
        (True, "true or false"),
        (float("inf"), "inf"),
        (date(2020, 1, 2), "a date"),
    ],
)
def test_what_is_no_text_is_not_taken_as_text(value: object, kind: str) -> None:
    with pytest.raises(UsageError, match=f"q, line 1: the column 'question' holds {kind}, not text or a number"):
        Row({"question": value}, "q, line 1", 0).text("prompt", "question")


def test_parquet_gives_python_values(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    parquet.write_table(pyarrow.table({"question": ["a"], "options": [["x", "y"]]}), path)
    (row,) = read_file(path)
    assert dict(row.cells) == {"question": "a", "options": ["x", "y"]}
    assert row.place.endswith("q.parquet, row 1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", b'{"a": 1}\n{"a": }\n', "q.jsonl, line 2 is not JSON"),
        ("q.jsonl", b'{"a": NaN}\n', "q.jsonl, line 1 is not JSON"),
        ("q.jsonl", b'{"a": "\xff"}\n', "q.jsonl, line 1 is not JSON"),
        ("q.jsonl", b'{"a": 1}\n{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 2 has too many brackets"),
        ("q.jsonl", b"[1]\n", "q.jsonl, line 1 is not a JSON object"),
        ("q.jsonl", b"", "q.jsonl has no rows"),
        ("q.jsonl", b"\n\n", "q.jsonl has no rows"),
        ("q.csv", b"question,answer\n", "q.csv has no rows"),
        ("q.csv", b"question,answer\na,b\nc,\xff\n", "q.csv, line 3 is not UTF-8"),
        ("q.csv", b"question,answer\na,b,c\n", "q.csv, line 2 does not have 2 cells"),
        ("q.csv", b"question,answer\na\n", "q.csv, line 2 does not have 2 cells"),
        ("q.csv", b'question,answer\n"a"b,c\n', "q.csv, line 2 is not CSV"),
        ("q.parquet", b"PAR1 nonsense", "q.parquet is not a parquet file"),
        ("q.parquet", b"", "q.parquet is not a parquet file"),
        ("q.xlsx", b"x", "expected a file ending in .jsonl, .csv, .parquet"),
    ],
)
def test_a_bad_file_is_named_with_the_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_file(write(tmp_path, name, content))


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_file(tmp_path / "q.jsonl")
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        read_file(tmp_path / "d.jsonl")
