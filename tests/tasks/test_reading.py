"""Rows from files, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from taut.errors import UsageError
from taut.tasks._reading import read_file


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
