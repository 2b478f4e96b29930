"""``python -m taut``: the command line, for launchers that start modules."""

from __future__ import annotations

from taut.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
