"""What an endpoint truly can do, found out by trying: every feature is asked for, and what comes back is looked at.

Checks go through the `taut.core.Engine` protocol, as methods do; direct HTTP is used only for what the protocol does
not show (several choices in one request, running requests, the context's length).
"""

from taut.doctor.block import presets_under, toml_block
from taut.doctor.examine import examine, open_target
from taut.doctor.nouns import Check, Finding, Identity, Report, Verdict

__all__ = [
    "Check",
    "Finding",
    "Identity",
    "Report",
    "Verdict",
    "examine",
    "open_target",
    "presets_under",
    "toml_block",
]
