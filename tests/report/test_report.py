"""The report files of a plausible run, of a hostile one and of runs that are not whole."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from taut.errors import UsageError
from taut.metrics import Summary, summarize
from taut.report import show, table, write_report
from taut.report.browser import MAX_TRACES, page_data, shortened, text_limit
from taut.report.html import breakable
from taut.traces import encode
from tests.made_run import PRESETS, made_trace, plausible_traces, write_run

HOSTILE = (
    '</script><script>alert(1)</script><!-- <img src=x onerror="alert(2)"> \u2028 \u2029 {{ 7*7 }} & \' [bold] | `'
)


class Page(HTMLParser):
    """Tags, attributes and script texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "script":
            self.scripts.append("")
            self._in_script = True

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run"), plausible_traces())
    write_report(folder)
    return folder


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def data_of(page: Page) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(page.scripts[0])
    return data


def test_summary_json_holds_every_preset_in_order(run: Path) -> None:
    summary = msgspec.json.decode((run / "summary.json").read_bytes(), type=Summary)
    assert list(summary.presets) == list(PRESETS)
    assert all(preset.n == 60 for preset in summary.presets.values())
    assert summary.aes_constants == {"alpha": 1.0, "beta": 3.0, "gamma": 5.0}


def test_the_page_loads_nothing_from_anywhere(run: Path) -> None:
    page = page_of(run)
    assert [value for name, value in page.attributes if name in ("src", "href")] == ["data:,"]
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text


def test_the_page_holds_every_trace(run: Path) -> None:
    data = data_of(page_of(run))
    assert len(data["questions"]) == 60
    assert sum(len(question["traces"]) for question in data["questions"]) == 360
    states = {trace["state"] for question in data["questions"] for trace in question["traces"]}
    assert states == {"right", "wrong", "unscored", "error"}


def test_the_bars_show_discarded_probe_and_estimate_tokens(run: Path) -> None:
    kinds = {value for name, value in page_of(run).attributes if name == "class"}
    assert {"role-discarded", "role-probe", "role-estimate", "role-thinking", "role-answer"} <= kinds


def test_the_script_never_writes_html(run: Path) -> None:
    script = page_of(run).scripts[1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    trace = made_trace(HOSTILE, HOSTILE)
    trace.thinking = trace.answer = HOSTILE
    trace.calls[0].error = HOSTILE
    trace.decisions = [{"at_s": 0.1, "event": HOSTILE, HOSTILE: HOSTILE}]
    folder = write_run(tmp_path, [trace], presets=[HOSTILE], baseline=HOSTILE, task=HOSTILE, command=HOSTILE)
    write_report(folder)
    page = page_of(folder)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert data_of(page)["questions"][0]["traces"][0]["thinking"] == HOSTILE
    raw = (folder / "report.html").read_text(encoding="utf-8")
    start = raw.index('id="data">')
    assert not re.search("[<\u2028\u2029]", raw[start + 10 : raw.index("</script>", start)])
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<(script|img)", markdown)


def test_a_thousand_long_traces_fit_in_two_megabytes(tmp_path: Path) -> None:
    traces = plausible_traces(167, long=60)
    assert sum(len(trace.thinking) for trace in traces) > 10_000_000
    folder = write_run(tmp_path, traces, total_questions=167)
    write_report(folder)
    assert (folder / "report.html").stat().st_size < 2_000_000
    assert "characters left out here" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_markdown_has_the_table_the_reading_and_the_provenance(run: Path) -> None:
    text = (run / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Taut bench: apples\n")
    assert text.count("\n| **direct** | 60 |") == 1
    assert "| chain\\_of\\_draft | 60 |" in text
    assert "Wilson score interval" in text
    assert "taut bench --engine fake" in text
    assert "sha256 0123abcd" in text
    columns = {line.count(" | ") for line in text.splitlines() if line.startswith("| concise") and "×" in line}
    heads = {line.count(" | ") for line in text.splitlines() if line.startswith("| preset | n |")}
    assert columns == heads


def test_one_sentence_is_the_headline_and_the_rest_small(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<h1>No preset is shown to be cheaper at equal accuracy.</h1>" in text
    assert '<p class="findings">' in text
    assert "**No preset is shown to be cheaper at equal accuracy.**" in (run / "report.md").read_text(encoding="utf-8")


def test_a_long_name_breaks_after_its_signs_only() -> None:
    assert breakable("cap:max_tokens=64") == "cap:<wbr>max_<wbr>tokens=<wbr>64"
    assert breakable("a:<b> & c") == "a:&lt;b&gt; &amp; c"


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path, plausible_traces(10), interrupted=True, finished_at=None)
    whole = (folder / "traces.jsonl").read_bytes()
    (folder / "traces.jsonl").write_bytes(whole + encode(made_trace("direct", 99))[:50])
    write_report(folder)
    for name in ("report.md", "report.html"):
        assert "The run was stopped: 60 of 360 answers are in." in (folder / name).read_text(encoding="utf-8")


def test_a_run_without_a_single_answer_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [])
    write_report(folder)
    assert "Nothing was answered yet." in (folder / "report.html").read_text(encoding="utf-8")


def test_a_question_that_was_asked_again_is_shown_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [made_trace("direct", 0, error="cut"), made_trace("direct", 0)])
    write_report(folder)
    (question,) = data_of(page_of(folder))["questions"]
    assert [trace["state"] for trace in question["traces"]] == ["right"]


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*manifest\.json"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text('{"presets": ["a"]}')
    with pytest.raises(UsageError, match="missing required field `baseline`"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text('{"presets": ["a"], "baseline": "a"}')
    with pytest.raises(UsageError, match=r"cannot read .*traces\.jsonl"):
        write_report(tmp_path)
    with pytest.raises(UsageError, match=r"cannot read .*summary\.json"):
        show(tmp_path)


@pytest.mark.parametrize("width", [100, 80])
def test_the_table_fits_its_columns(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, record=True)
    summary = summarize(plausible_traces(), baseline="direct", presets=list(PRESETS))
    console.print(table(summary))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "F1 T1 U1 A1" in text
    assert "A without an answer" in " ".join(text.split())
    for name in PRESETS:
        assert name in text
    assert "× 0.46" in text


def test_large_numbers_and_long_names_fit_too() -> None:
    name = "a_long_name_of_a_preset:with=7,parameters=12"
    traces = [made_trace(p, i, i % 2 == 0, 31_234 + i, error="cut" if i == 9 else None)
              for p in ("direct", name) for i in range(1200)]  # fmt: skip
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(table(summarize(traces, baseline="direct", presets=["direct", name])))
    text = console.export_text()
    assert "…" not in text
    assert "15,917/15,917/0" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_show_prints_the_headline_and_the_files(run: Path) -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    show(run, console)
    text = console.export_text()
    assert "No preset is shown to be cheaper at equal accuracy." in text
    assert f"{run / 'report.html'}\n" in text


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(table(summarize([made_trace("[red]x", 0)], baseline="[red]x", presets=["[red]x"])))
    assert "[red]x" in console.export_text()


def test_texts_are_cut_so_that_short_ones_stay_whole() -> None:
    assert text_limit([10, 20, 1000, 1000], budget=1030) == 500
    assert text_limit([10, 20], budget=1000) == 20
    assert text_limit([], budget=10) == 0
    assert shortened("abc", 3) == "abc"
    cut = shortened("a" * 600 + "z" * 400, 300)
    assert cut.startswith("a" * 200 + "\n")
    assert cut.endswith("\n" + "z" * 100)
    assert "700 characters left out" in cut


def test_very_large_runs_show_their_first_questions() -> None:
    traces = [made_trace("direct", i, seed=seed) for i in range(MAX_TRACES // 4 + 10) for seed in range(4)]
    data = page_data(traces, ["direct"])
    assert len(data["questions"]) == MAX_TRACES // 4
    assert data["left_out"] == 10
    assert data["questions"][0]["id"] == "q/0"
