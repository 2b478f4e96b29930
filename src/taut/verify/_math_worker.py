"""A process of its own for math-verify: ``python -m taut.verify._math_worker`` answers one JSON line with one.

math-verify bounds its time with SIGALRM, which works in a main thread on POSIX only, and cannot interrupt one long
multiplication. As a process it can be ended from outside, anywhere.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec

MEMORY_BYTES = 4 << 30
"""``10^{10^{10}}`` alone would need more."""


def main() -> None:
    """Answer requests ``["gold", "answer"]`` until the input ends."""
    _limit_memory()
    # math-verify warns that its own time limits are off: the other side keeps the time.
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    def judge(gold: str, answer: str) -> dict[str, Any]:
        parsed_gold = parse(f"\\boxed{{{gold}}}", parsing_timeout=None, raise_on_error=True)
        if not parsed_gold:
            return {"error": "the reference cannot be read"}
        parsed_answer = parse(f"\\boxed{{{answer}}}", parsing_timeout=None, raise_on_error=True)
        is_same = verify(parsed_gold, parsed_answer, timeout_seconds=None, raise_on_error=True)
        return {"same": bool(parsed_answer) and is_same}

    _send({"ready": True})
    for line in sys.stdin.buffer:
        gold, answer = msgspec.json.decode(line, type=tuple[str, str])
        try:
            _send(judge(gold, answer))
        except Exception as error:  # noqa: BLE001 - whatever sympy raises is data for the other side
            _send({"error": f"{type(error).__name__}: {str(error)[:200]}"})


def _send(reply: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
    sys.stdout.buffer.flush()


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


if __name__ == "__main__":
    main()
