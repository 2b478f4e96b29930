"""The models' dialects: how each family marks its thinking. Data, and the few functions that read it.

Nothing else in the package names a model. A family is found from the chat template or the model's name (`detect`), or
named by the user (`by_name`).
"""

from taut.dialects.detection import FAMILIES, by_name, detect
from taut.dialects.nouns import Dialect, Switch, SwitchKind
from taut.dialects.splitter import Splitter
from taut.dialects.turns import render_turn, starts_in

__all__ = [
    "FAMILIES",
    "Dialect",
    "Splitter",
    "Switch",
    "SwitchKind",
    "by_name",
    "detect",
    "render_turn",
    "starts_in",
]
