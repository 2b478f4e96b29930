"""What a gateway costs: Taut, LiteLLM's proxy and optillm, side by side in front of one fast fake upstream.

    python benchmarks/gateway/setup_peers.py      once: the peers, in an environment of their own
    python benchmarks/gateway/bench.py            about 25 minutes on 2 cores

Every row is a process of its own, with one worker; the rows take turns in rounds, and each is compared with the direct
call of the same round, so that a busy moment falls on all of them. Client, gateway and upstream share the machine.

    direct               no gateway
    taut                 `taut serve --engine URL`, the engine's own model: passes through
    taut, budget         the same with a budget for the thinking that is not reached: the thinking loop watches
    taut, budget cuts    the same, cut at half of the thinking and continued: a second call upstream
    litellm              `litellm --config`, the model as openai/… on the upstream
    optillm              approach `none`: it waits for the whole answer and sends that in one piece

Part 1: ``--streams`` streams at once, steady, each of 30 tokens of thinking and 30 of answer, one every
``--interval-ms``; then as many in the same instant (burst). Part 2: 8 tokens a request, as fast as they come, for
requests a second. `load.py` says what is measured, `upstream.py` what it is measured against.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from _common import (  # noqa: E402 - found only after the path
    ROOT,
    machine,
    median_and_spread,
    print_table,
    write_result,
)
from rows import CHAT, PEERS, Row, Running, all_rows, running, upstream_process  # noqa: E402

Cell = tuple[str, str, int]
"""Row, mode and number of streams."""
Measured = dict[str, Any]
SHORT_TOKENS = 8
REQUIREMENTS = ROOT / "requirements" / "peers.txt"


def load(target: Running, mode: str, streams: int, answer: int, options: argparse.Namespace) -> Measured:
    """Run the load client against a row and read what it measured."""
    row = target.row
    paced = mode != "short"
    arguments = {
        "url": target.url + CHAT,
        "body": json.dumps(row.body),
        "mode": "burst" if mode == "burst" else "steady",
        "streams": streams,
        "seconds": options.seconds if paced else options.short_seconds,
        "warm-s": options.warm_s,
        "waves": options.waves,
        "thinking": row.thinking,
        "answer": answer,
        "interval-ms": options.interval_ms if paced else 0,
        "watch": target.pid,
    }
    flags = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, str(HERE / "load.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"the load client failed on {row.name}: {done.stderr[-2000:]}")
    measured: Measured = json.loads(done.stdout)
    print(f"  {row.name}, {mode}, {streams}: {json.dumps(measured)}", flush=True)
    return measured


@contextlib.contextmanager
def everybody(rows: Sequence[Row], *upstream: str) -> Iterator[list[Running]]:
    """The upstream and all rows in front of it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, pid = stack.enter_context(upstream_process(*upstream))
        yield [stack.enter_context(running(row, url, pid, folder)) for row in rows]


def measure(options: argparse.Namespace) -> dict[Cell, list[Measured]]:
    """Both parts: for each cell one measurement a round."""
    found: dict[Cell, list[Measured]] = defaultdict(list)

    def take(targets: Sequence[Running], mode: str, streams: int, answer: int) -> None:
        for target in targets:
            found[target.row.name, mode, streams].append(load(target, mode, streams, answer, options))

    thinking, answer = options.thinking, options.answer
    texts = ["--thinking", str(thinking), "--answer", str(answer)]
    with everybody(_chosen(options, thinking), *texts, "--interval-ms", str(options.interval_ms)) as targets:
        for number in range(options.rounds):
            print(f"round {number + 1}", flush=True)
            for streams in options.streams:
                take(targets, "steady", streams, answer)
            take(targets, "burst", options.burst, answer)
    half = SHORT_TOKENS // 2
    short = ["--thinking", str(half), "--answer", str(half), "--interval-ms", "0"]
    with everybody(_chosen(options, half), *short) as targets:
        for _ in range(options.rounds):
            take(targets, "short", options.burst, half)
    return found


def _chosen(options: argparse.Namespace, thinking: int) -> list[Row]:
    rows = [row for row in all_rows(thinking) if row.name == "direct" or _is_wanted(row, options.rows)]
    missing = [row.name for row in rows if row.command and not Path(row.command[0]).exists()]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: nothing in {PEERS}; run setup_peers.py, or choose others with --rows")
    return rows


def _is_wanted(row: Row, wanted: Sequence[str]) -> bool:
    return not wanted or row.name in wanted


def summary(found: dict[Cell, list[Measured]]) -> list[dict[str, Any]]:
    """One line a cell: medians over the rounds, and what is added to the direct call of the same round."""
    lines = []
    for (row, mode, streams), runs in found.items():
        direct = found["direct", mode, streams]
        line: dict[str, Any] = {"row": row, "mode": mode, "streams": streams}
        line["added_first_ms_p50"] = _over(runs, direct, _first_ms, lambda own, bare: own - bare)
        line["first_ms_p50"] = _over(runs, runs, _first_ms, lambda own, _: own)
        line["first_ms_p99"] = _over(runs, runs, lambda run: run["first_ms"]["p99"], lambda own, _: own)
        line["added_late_ms_p50"] = _over(runs, direct, lambda run: run["late_ms"]["p50"], lambda own, bare: own - bare)
        line["tokens_per_s"] = _over(runs, runs, lambda run: run["tokens_per_s"], lambda own, _: own)
        line["tokens_ratio"] = _over(runs, direct, lambda run: run["tokens_per_s"], lambda own, bare: own / bare)
        line["requests_per_s"] = _over(runs, runs, lambda run: run["requests_per_s"], lambda own, _: own)
        line["requests_ratio"] = _over(runs, direct, lambda run: run["requests_per_s"], lambda own, bare: own / bare)
        line["cpu_us_per_token"] = _over(runs, runs, lambda run: run["cpu_us_per_token"], lambda own, _: own)
        line["cpu_share"] = _over(runs, runs, lambda run: run["cpu_share"], lambda own, _: own)
        line["resident_mb"] = _over(runs, runs, lambda run: run["resident_mb"], lambda own, _: own)
        line["errors"] = sum(run["errors"] for run in runs)
        line["error_kinds"] = sorted({kind for run in runs for kind in run["error_kinds"]})[:3]
        lines.append(line)
    return lines


def _first_ms(run: Measured) -> float:
    return float(run["first_ms"]["p50"])


def _over(
    runs: Sequence[Measured],
    bare: Sequence[Measured],
    read: Callable[[Measured], Any],
    join: Callable[[float, float], float],
) -> dict[str, float] | None:
    """Median and spread over the rounds; rounds in which nothing came are left out."""
    values = []
    for own, other in zip(runs, bare, strict=True):
        if own["requests"] and other["requests"]:
            values.append(join(read(own), read(other)))
    return median_and_spread(values, 3) if values else None


COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "steady": (
        ("first token, ms", "first_ms_p50"),
        ("added, ms", "added_first_ms_p50"),
        ("p99, ms", "first_ms_p99"),
        ("added to every token, ms", "added_late_ms_p50"),
        ("tokens/s", "tokens_per_s"),
        ("of direct", "tokens_ratio"),
        ("CPU, µs/token", "cpu_us_per_token"),
        ("MB", "resident_mb"),
    ),
    "burst": (
        ("first token, ms", "first_ms_p50"),
        ("added, ms", "added_first_ms_p50"),
        ("p99, ms", "first_ms_p99"),
        ("tokens/s", "tokens_per_s"),
        ("of direct", "tokens_ratio"),
    ),
    "short": (
        ("requests/s", "requests_per_s"),
        ("of direct", "requests_ratio"),
        ("first token, ms", "first_ms_p50"),
        ("CPU, µs/token", "cpu_us_per_token"),
        ("MB", "resident_mb"),
    ),
}


def print_markdown(lines: Sequence[dict[str, Any]]) -> None:
    """One table a mode and number of streams, in Markdown."""
    for mode, columns in COLUMNS.items():
        for streams in dict.fromkeys(line["streams"] for line in lines if line["mode"] == mode):
            print(f"\n{mode}, {streams} streams\n\n| row | {' | '.join(title for title, _ in columns)} | errors |")
            print("|---" * (len(columns) + 2) + "|")
            for line in lines:
                if line["mode"] == mode and line["streams"] == streams:
                    cells = [_cell(line[key]) for _, key in columns]
                    print(f"| {line['row']} | {' | '.join(cells)} | {line['errors']} |")


def _cell(value: dict[str, float] | None) -> str:
    if value is None:
        return "–"
    median = value["median"]
    if 0 < abs(median) < 0.1:
        return f"{median:.3f}"
    return f"{median:,.2f}" if abs(median) < 100 else f"{median:,.0f}"


def peer_versions() -> list[str]:
    """What `setup_peers.py` has installed of the peers."""
    pins = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [pin for pin in pins if pin.startswith(("litellm==", "optillm=="))]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 64, 256], help="streams at once (steady)")
    parser.add_argument("--burst", type=int, default=64, help="streams at once (burst, short)")
    parser.add_argument("--rows", nargs="*", default=[], metavar="NAME", help="besides direct; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each steady measurement")
    parser.add_argument("--short-seconds", type=float, default=4.0, help="of each measurement of short requests")
    parser.add_argument("--warm-s", type=float, default=20.0, help="at most, for everyone's first answer")
    parser.add_argument("--waves", type=int, default=3, help="bursts a measurement")
    parser.add_argument("--thinking", type=int, default=30, help="tokens a stream")
    parser.add_argument("--answer", type=int, default=30, help="tokens a stream")
    parser.add_argument("--interval-ms", type=float, default=20.0, help="between two tokens of a stream")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gateway.json")
    options = parser.parse_args()
    began = machine()
    lines = summary(measure(options))
    print_markdown(lines)
    print_table(
        "errors",
        [
            {
                "row": line["row"],
                "mode": line["mode"],
                "streams": line["streams"],
                "what": ", ".join(line["error_kinds"]),
            }
            for line in lines
            if line["errors"]
        ],
    )
    kept = {key: value for key, value in vars(options).items() if key != "out"}
    write_result("gateway", began, {"options": kept, "peers": peer_versions(), "rows": lines}, options.out)


if __name__ == "__main__":
    main()
