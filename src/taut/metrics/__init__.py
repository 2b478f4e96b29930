"""What a set of traces says: accuracy, tokens, time and money per preset, each with its interval. Plain functions.

`summarize` makes the `Summary` that ``summary.json`` holds; `nouns` says what every number in it means.
"""

from taut.metrics.comparison import accuracy_efficiency_score, pareto_front
from taut.metrics.intervals import MINIMUM_QUESTIONS, check_libraries
from taut.metrics.nouns import MARGIN, Amount, Comparison, EngineUse, Estimate, Latency, PresetSummary, Summary
from taut.metrics.summary import check_prices, summarize

__all__ = [
    "MARGIN",
    "MINIMUM_QUESTIONS",
    "Amount",
    "Comparison",
    "EngineUse",
    "Estimate",
    "Latency",
    "PresetSummary",
    "Summary",
    "accuracy_efficiency_score",
    "check_libraries",
    "check_prices",
    "pareto_front",
    "summarize",
]
