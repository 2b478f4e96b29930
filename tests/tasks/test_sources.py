"""Public sets from folders in the hub's layouts, and from a stand-in for the hub."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pyarrow
import pytest
from pyarrow import parquet

from taut.core import Task
from taut.errors import UsageError
from taut.tasks import LoadOptions, load_tasks
from taut.tasks._sources import Source
from taut.verify import score

GSM8K = {"question": "Janet's ducks?", "answer": "16 - 7 = <<16-7=9>>9\n9 * 2 = 18\n#### 18"}
ROWS: Mapping[str, tuple[dict[str, Any], Any]] = {
    "gsm8k": (GSM8K, "18"),
    "math500": (
        {"problem": "p", "answer": r"\frac{1}{2}", "unique_id": "test/algebra/1.json", "level": 2},
        r"\frac{1}{2}",
    ),
    "aime24": ({"problem": "p", "answer": "025", "id": 60}, "025"),
    "aime25": ({"problem": "p", "answer": "70", "id": "0"}, "70"),
    "amc23": ({"question": "p", "answer": 27.0, "id": 0}, "27.0"),
    "asdiv": ({"body": "b.", "question": "q?", "answer": "9 (apples)"}, "9"),
    "svamp": ({"Body": "b.", "Question": "q?", "Answer": "3.0"}, "3.0"),
    "mawps": ({"question": "q?", "result": "8", "chain": "…"}, "8"),
    "mmlu_pro": ({"question_id": 7, "question": "q?", "options": ["x", "y", "z"], "answer": "C"}, "C"),
}
HUB = {
    "gsm8k": "openai/gsm8k/main/test-00000-of-00001.parquet",
    "math500": "HuggingFaceH4/MATH-500/test.parquet",
    "aime24": "HuggingFaceH4/aime_2024/data/train-00000-of-00001.parquet",
    "aime25": "math-ai/aime25/test.parquet",
    "amc23": "math-ai/amc23/data/test-00000-of-00001.parquet",
    "asdiv": "EleutherAI/asdiv/data/validation-00000-of-00001.parquet",
    "svamp": "ChilleD/SVAMP/data/test-00000-of-00001.parquet",
    "mawps": "MU-NLPC/Calc-mawps/data/test-00000-of-00001.parquet",
    "mmlu_pro": "TIGER-Lab/MMLU-Pro/data/test-00000-of-00001.parquet",
}


def store(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


@pytest.mark.parametrize("name", ROWS)
def test_a_set_loads_from_a_copy_of_the_hub_and_its_gold_answer_is_right(tmp_path: Path, name: str) -> None:
    row, reference = ROWS[name]
    store(tmp_path / HUB[name], row)
    (task,) = load_tasks(name, LoadOptions(data=tmp_path))
    assert task.reference == reference
    assert score(rf"\boxed{{{reference}}}", task).value is True


@pytest.mark.parametrize(
    "place",
    [
        "gsm8k/main/test-00000-of-00001.parquet",
        "main/test-00000-of-00001.parquet",
        "test.parquet",
        "gsm8k/test.parquet",
        "openai__gsm8k/main/test.parquet",
        "gsm8k/main/test/0000.parquet",
        "datasets--openai--gsm8k/snapshots/abc/main/test-00000-of-00001.parquet",
    ],
)
def test_the_usual_layouts_of_a_folder_are_found(tmp_path: Path, place: str) -> None:
    store(tmp_path / place, GSM8K)
    assert load_tasks("gsm8k", LoadOptions(data=tmp_path))[0].reference == "18"


def test_shards_are_read_in_order_and_numbered_through(tmp_path: Path) -> None:
    for shard in range(2):
        store(tmp_path / f"gsm8k/main/train-0000{shard}-of-00002.parquet", GSM8K, GSM8K)
    tasks = load_tasks("gsm8k", LoadOptions(data=tmp_path, split="train"))
    assert [task.id for task in tasks] == [f"gsm8k/train/{index}" for index in range(4)]


def test_the_order_of_gpqa_options_depends_on_seed_and_question(tmp_path: Path) -> None:
    columns = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    rows = [{"Record ID": f"r{i}", "Question": "q"} | dict(zip(columns, "wxyz", strict=True)) for i in range(40)]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (tmp_path / "gpqa_diamond.csv").write_text("\n".join(lines))

    def load(seed: int) -> list[Task]:
        return load_tasks("gpqa", LoadOptions(data=tmp_path, seed=seed))

    assert load(1) == load(1)
    assert load(1) != load(2)
    assert {task.reference for task in load(1)} == set("ABCD")
    for task in load(1):
        assert task.metadata["options"]["ABCD".index(task.reference)] == "w"


def test_a_mathematics_question_ends_with_the_box_line_unless_told_otherwise(tmp_path: Path) -> None:
    store(tmp_path / "test.parquet", GSM8K)
    (task,) = load_tasks("gsm8k", LoadOptions(data=tmp_path))
    assert task.question == "Janet's ducks?\nPut the final answer in \\boxed{}."
    (bare,) = load_tasks("gsm8k", LoadOptions(data=tmp_path, format_line=False))
    assert bare.question == "Janet's ducks?"
    assert task.metadata["answer_format"] == "number"


def test_asdiv_leaves_out_several_answers_and_compares_names_as_text(tmp_path: Path) -> None:
    rows = [{"body": "b", "question": "q", "answer": answer} for answer in ("1; 2", "Sara", "6th", "3 (cm)")]
    store(tmp_path / "validation.parquet", *rows)
    tasks = load_tasks("asdiv", LoadOptions(data=tmp_path))
    assert [(task.id, task.reference, task.verifier) for task in tasks] == [
        ("asdiv/0", "Sara", "exact"),
        ("asdiv/1", "6th", "exact"),
        ("asdiv/2", "3", "number"),
    ]


def test_what_is_not_in_the_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no split 'test' of openai/gsm8k: expected .*gsm8k/test.parquet"):
        load_tasks("gsm8k", LoadOptions(data=tmp_path))
    with pytest.raises(UsageError, match="does not exist or is no folder"):
        load_tasks("gsm8k", LoadOptions(data=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nothing after a colon"):
        load_tasks("gsm8k:main", LoadOptions(data=tmp_path))


def test_a_set_whose_columns_differ_names_the_row(tmp_path: Path) -> None:
    store(tmp_path / "test.parquet", {"query": "a", "answer": "4"})
    with pytest.raises(UsageError, match=r"row 1: there is no column 'question'; its columns: query, answer"):
        load_tasks("gsm8k", LoadOptions(data=tmp_path))


def test_without_a_folder_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str]] = []

    def load_dataset(path: str, name: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((path, name, split))
        return [msgspec.json.decode(msgspec.json.encode(GSM8K))]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    (task,) = load_tasks("gsm8k")
    assert asked == [("openai/gsm8k", "main", "test")]
    assert task.id == "gsm8k/test/0"


def test_the_real_package_s_rows_are_what_a_set_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # A folder in the hub's layout, which the package reads as it reads the hub.
    folder = tmp_path / "gsm8k"
    store(folder / "main" / "test-00000-of-00001.parquet", GSM8K, GSM8K)
    named = "configs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/test-*\n"
    (folder / "README.md").write_text(f"---\n{named}---\n")
    source = Source(str(folder), config="main")
    monkeypatch.setattr("taut.tasks.gsm8k.SOURCE", source)
    tasks = load_tasks("gsm8k")
    assert [(task.id, task.reference) for task in tasks] == [("gsm8k/test/0", "18"), ("gsm8k/test/1", "18")]
    with pytest.raises(UsageError, match="could not be fetched from the hub: Unknown split"):
        load_tasks("gsm8k", LoadOptions(split="train"))


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, name: str | None, *, split: str) -> None:
        raise ConnectionError("Couldn't reach\nthe Hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(UsageError, match="openai/gsm8k could not be fetched from the hub: Couldn't reach the Hub"):
        load_tasks("gsm8k")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"taut\[hub\]"):
        load_tasks("gsm8k")
