"""What is written and shown: totals by hand, hostile texts, and the page in a real browser."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from taut.audit import Loaded, Report, Thought, Unread, report, show, write
from taut.audit.page import deciles, parts, strip
from taut.cli import main
from taut.core import Count
from tests.audit.made import THINKING, behind, made_thought
from tests.gateway.browser import chromium, installed

HOSTILE = '</pre></script><script>alert(1)</script><img src=x onerror="alert(2)"> {{ 7*7 }} & [bold] \u2028'


def made_report(*thoughts: Thought, **changes: Any) -> tuple[Report, tuple[Thought, ...]]:
    loaded = Loaded(thoughts, changes.pop("without_thinking", 0), changes.pop("unread", ()), **changes)
    return report(loaded, "eggs.jsonl"), thoughts


def several(count: int = 6) -> list[Thought]:
    return [
        made_thought(
            id=f"{question}#{sample}",
            group=str(question),
            label=f"model-{sample}",
            thinking_tokens=Count(1000 * (question + 1), "reported"),
        )
        for question in range(count)
        for sample in range(2)
    ]


def test_totals_are_means_with_intervals_by_question() -> None:
    found, _ = made_report(*several())
    tokens = found.totals.measures["thinking_tokens"]
    assert tokens is not None
    assert tokens.value == 3500
    assert tokens.low is not None
    assert tokens.high is not None
    assert 1000 <= tokens.low < 3500 < tokens.high <= 6000
    after = found.totals.measures["share_after"]
    assert after is not None
    assert after.value == pytest.approx(1 - behind("9 * 2 = 18") / len(THINKING), abs=0.001)
    assert (found.totals.traces, found.totals.questions, found.totals.located) == (12, 6, 12)
    assert sum(found.totals.share_by_label.values()) == pytest.approx(1)
    assert set(found.by_label) == {"model-0", "model-1"}


def test_measures_that_no_trace_has_are_not_known() -> None:
    found, _ = made_report(made_thought(reference=None))
    assert found.totals.measures["right"] is None
    assert found.totals.measures["underthinking"] is None
    assert found.totals.counts["right"] == 0


def test_the_notes_tell_of_mixed_dialects_unread_lines_and_estimates() -> None:
    found, _ = made_report(
        made_thought(dialect="think_tags"),
        made_thought(id="b", dialect="magistral", is_closed=False),
        unread=(Unread("line 3", "not JSON"),),
        without_thinking=2,
        left_out=4,
    )
    told = " ".join(found.notes)
    for words in ("think_tags 1, magistral 1", "line 3: not JSON", "in no total: 2", "4 traces beyond"):
        assert words in told
    assert "2 traces are estimated" in told
    assert "1 trace never closed" in told


def test_audit_json_holds_every_trace_and_its_segments(tmp_path: Path) -> None:
    found, thoughts = made_report(*several())
    write(found, thoughts, tmp_path / "out", 5)
    content = json.loads((tmp_path / "out" / "audit.json").read_bytes())
    assert len(content["audits"]) == 12
    first = content["audits"][0]
    assert first["segments"][0] == ["reading", 0, THINKING.index("First")]
    assert first["stands_at"] == behind("9 * 2 = 18")
    assert content["totals"]["measures"]["thinking_tokens"]["value"] == 3500


def test_the_mark_stands_behind_the_first_statement_and_no_text_is_lost() -> None:
    found, _ = made_report(made_thought())
    shown = list(parts(found.audits[0], THINKING))
    at = next(index for index, part in enumerate(shown) if part.kind == "mark")
    assert "".join(part.text for part in shown[:at]) == THINKING[: behind("9 * 2 = 18")]
    assert "".join(part.text for part in shown) == THINKING


def test_a_long_trace_is_cut_around_the_place_that_matters() -> None:
    filler = "".join(f"Case {number} gives nothing new at all. " for number in range(3000))
    thinking = filler + "So the answer is 18. " + filler
    found, _ = made_report(made_thought(thinking=thinking))
    shown = list(parts(found.audits[0], thinking))
    assert [part.kind for part in shown].count("gap") == 2
    assert any("So the answer is 18" in part.text for part in shown)
    assert sum(len(part.text) for part in shown) < 25_000


def test_a_strip_is_as_long_as_its_trace() -> None:
    found, _ = made_report(made_thought())
    assert sum(percent for _, percent in strip(found.audits[0])) == pytest.approx(100)


def test_tenths_count_every_trace_once() -> None:
    found, _ = made_report(made_thought(), made_thought(id="b", answer="\\boxed{77}"))
    counts = {name: count for name, count, _ in deciles(found.audits)}
    assert counts["30–40 %"] == 1
    assert counts["not found"] == 1
    assert sum(counts.values()) == 2


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    thinking = f"{HOSTILE}\n\nSo the answer is 18.\n\nWait. {HOSTILE}"
    found, thoughts = made_report(
        made_thought(id=HOSTILE, thinking=thinking, question=HOSTILE, label=HOSTILE, answer=f"{HOSTILE} \\boxed{{18}}"),
        unread=(Unread(HOSTILE, HOSTILE),),
    )
    write(found, thoughts, tmp_path, 5)
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "{{ 7*7 }}" in page
    console = Console(file=io.StringIO(), width=100)
    show(found, tmp_path, console)


def test_half_characters_are_written_as_well_as_can_be(tmp_path: Path) -> None:
    found, thoughts = made_report(made_thought(question="\ud800 what?", answer="\\boxed{18} \ud800"))
    write(found, thoughts, tmp_path, 5)
    assert json.loads((tmp_path / "audit.json").read_bytes())["audits"][0]["question"] == "? what?"


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    found, thoughts = made_report(*several())
    write(found, thoughts, tmp_path, 5)
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|url\(|\son\w+=", page)
    assert page.count('class="item"') == 5


def test_the_command_writes_and_shows_and_names_its_folder_after_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "q", "response": f"<think>{THINKING}</think>\\boxed{{18}}"}
    Path("eggs.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert main(["audit", "eggs.jsonl"]) == 0
    output = capsys.readouterr().out
    assert "1 trace, 1 question\n" in output
    assert "tokens after the answer" in output
    assert "audit-eggs/audit.html" in output
    assert (tmp_path / "audit-eggs" / "audit.json").exists()


def test_the_command_asks_an_engine_where_one_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("eggs.jsonl").write_text(json.dumps({"thinking": THINKING, "answer": "18"}) + "\n", encoding="utf-8")
    assert main(["audit", "eggs.jsonl", "--engine", "fake", "--out", "out"]) == 0
    content = json.loads((tmp_path / "out" / "audit.json").read_bytes())
    assert content["judging"]["engine"] == "fake"
    assert (tmp_path / "out" / "judged.jsonl").exists()


@pytest.mark.skipif(installed() is None, reason="no Chromium is installed")
async def test_the_page_stands_in_a_browser_light_dark_and_narrow(tmp_path: Path) -> None:
    long = made_thought(id="long", question="x" * 500, thinking=THINKING + "\n\n" + "Wait, is 2 + 2 = 4? " * 200)
    found, thoughts = made_report(long, *several())
    write(found, thoughts, tmp_path / "out", 20)
    backgrounds = set()
    async with chromium(tmp_path / "profile") as tab:
        for width, dark in ((1200, False), (420, False), (1200, True)):
            await tab.open((tmp_path / "out" / "audit.html").as_uri(), width=width, dark=dark)
            await tab.value("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert await tab.value("document.documentElement.scrollWidth") <= width
            assert await tab.value("document.querySelectorAll('details.item').length") == 13
            assert await tab.value("document.querySelectorAll('.mark').length") == 13
            backgrounds.add(await tab.value("getComputedStyle(document.body).backgroundColor"))
        assert tab.complaints == []
    assert len(backgrounds) == 2
