"""Concise examples before the question: which are shown, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taut.core import Request, Sampling
from taut.engines.fake import FakeEngine, Scripted
from taut.errors import UsageError
from taut.methods.prompt_based.few_shot_concise import FewShotConcise
from taut.run import Preset, run
from tests.conftest import sum_task


async def shown_to(method: FewShotConcise) -> list[str]:
    """What stands before the question "What is 1 + 2?", by the texts of its messages."""
    seen: list[Request] = []

    def script(request: Request) -> Scripted:
        seen.append(request)
        return Scripted(answer="3")

    await run(Preset("p", method), sum_task(0), {"main": FakeEngine(script=script)}, sampling=Sampling(max_tokens=50))
    return [message["content"] for message in seen[0].prompt.messages]


def rows_file(path: Path, count: int) -> Path:
    rows = (
        {
            "prompt": [{"role": "user", "content": f"What is {number + 1} + {number + 2}?"}],
            "completion": [{"role": "assistant", "content": f"It is {2 * number + 3}."}],
            "id": f"sum/{number}",
        }
        for number in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


async def test_examples_come_from_the_file_and_never_the_question_itself(tmp_path: Path) -> None:
    texts = await shown_to(FewShotConcise(examples=2, rows=rows_file(tmp_path / "rows.jsonl", 5)))
    assert texts == ["What is 2 + 3?", "It is 5.", "What is 3 + 4?", "It is 7.", "What is 1 + 2?"]


async def test_without_a_file_three_own_examples_are_shown() -> None:
    texts = await shown_to(FewShotConcise())
    assert len(texts) == 7
    assert texts[-1] == "What is 1 + 2?"


def test_files_that_are_none_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nowhere: No such file"):
        FewShotConcise(rows=tmp_path / "nowhere")
    (tmp_path / "other.jsonl").write_text('{"text": "no rows"}\n')
    with pytest.raises(
        UsageError, match=r"other\.jsonl is no file of 'taut data' with prompts and completions: 'prompt'"
    ):
        FewShotConcise(rows=tmp_path / "other.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match=r"empty\.jsonl is empty: at least one example is needed"):
        FewShotConcise(rows=tmp_path / "empty.jsonl")
    with pytest.raises(UsageError, match="examples is 0, it must be at least 1"):
        FewShotConcise(examples=0)
