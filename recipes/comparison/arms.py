"""The arms of the comparison: what each trains, or is asked as it is, and where its constants come from.

``{price}`` and the like are filled in from the start model's own lengths (`scale`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["as_it_is", "sft", "dpo", "rl"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of the table."""

    name: str
    kind: Kind
    what: str
    """A preset of ``taut bench``, a builder of ``taut data``, or a length reward."""
    why: str
    """Of its constants."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the recipe's own section that differ."""
    stages: tuple[Mapping[str, Any], ...] = ()
    """``[[stages]]`` of the recipe."""
    times: int = 1
    """How often each question is met, where a reward learns from that: so many fewer questions."""
    after: str = ""
    """The arm whose model it goes on from, under the same seed; by default the start."""


START = Arm("start", "as_it_is", "direct", "the model that every arm starts from")
ARMS: tuple[Arm, ...] = (
    START,
    Arm("no_thinking", "as_it_is", "no_thinking", "its thinking is closed before it begins; no training"),
    Arm(
        "two_agreeing",
        "as_it_is",
        "answer_convergence:agreeing_probes=2,every_tokens=32",
        "a stop rule: two equal trial answers in a row; probes are counted in the tokens; no training",
    ),
    Arm(
        "half_budget",
        "as_it_is",
        "budget_forcing:max_thinking_tokens={target}",
        "a stop rule: no more than half of the start's mean; no training",
    ),
    # Examples: 32 steps on what was made of the start's own 2,048 answers.
    Arm(
        "own_answers",
        "sft",
        "token_skip(importance=random,ratios=1,max_tokens=none)",
        "control: the first right answer drawn, whole (a ratio of 1 skips nothing)",
    ),
    Arm("shortest_correct", "sft", "shortest_correct", "the shortest right of eight"),
    Arm("cut_at_first_correct", "sft", "cut_at_first_correct(take=first)", "the same answers as the control, cut"),
    Arm("drop_checks", "sft", "drop_steps(what=checks,take=first)", "the same answers as the control, checks left out"),
    Arm("drop_random", "sft", "drop_steps(what=random,share=0.5,take=first)", "control for it: half of the steps"),
    Arm(
        "token_skip_surprisal",
        "sft",
        "token_skip(importance=surprisal,ratios=0.5,max_tokens=none)",
        "half of the words, digits always kept; one ratio, so that the prompt need not name it",
    ),
    Arm(
        "token_skip_random",
        "sft",
        "token_skip(importance=random,ratios=0.5,max_tokens=none)",
        "control for it: words drawn at random",
    ),
    Arm(
        "chain_valve",
        "sft",
        "chain_valve(levels=3)",
        "long, middle, short: three stages that share the 32 steps",
        stages=({"stage": 0, "steps": 11}, {"stage": 1, "steps": 11}, {"stage": 2, "steps": 10}),
    ),
    Arm("long_to_short", "dpo", "long_to_short", "pairs of the shortest right and longer ones; DPO"),
    # Rewards: 64 steps of 64 rollouts.
    Arm("correct", "rl", "plain(alpha=0)", "control: right or wrong alone"),
    Arm("plain", "rl", "plain(alpha={price})", "slope"),
    Arm("kimi", "rl", "kimi(weight={kimi_weight})", "slope from the shortest to the longest; right is 1.5 above wrong"),
    Arm(
        "l1_max",
        "rl",
        "l1_max(alpha={price})",
        "slope; one length for all, half of the mean, and not said in the prompt",
        {"wanted_tokens": ["{target}", "{target}"]},
    ),
    Arm("arora_zanette", "rl", "arora_zanette(alpha=0.8)", "slope of the sigmoid at 0 is a quarter of alpha"),
    Arm("cosine", "rl", "cosine(margin_tokens=1)", "as published: it follows the limit; the margin is scaled with it"),
    Arm("dast", "rl", "dast", "as published: no constant to choose"),
    Arm("alp", "rl", "alp(beta={price})", "slope where all rollouts are right"),
    Arm("laser", "rl", "laser(target_tokens={target})", "target"),
    Arm("laser_d", "rl", "laser_d", "as published: its targets follow the model"),
    Arm("dapo_overlong", "rl", "dapo_overlong", "as published: the last fifth before the limit"),
    Arm("grpo_lead", "rl", "grpo_lead(alpha=0.4)", "slope of the exponential at 0 is alpha, right 2 above wrong"),
    Arm("shorter_better", "rl", "shorter_better(beta={double_price})", "slope; right is 2 above wrong"),
    Arm(
        "hapo",
        "rl",
        "hapo(weight={history_weight})",
        "slope at the shortest so far; a quarter of the questions",
        times=4,
    ),
    Arm(
        "think_prune",
        "rl",
        "think_prune",
        "three rounds, each with a lower ceiling: the mean, three quarters and half of it",
        stages=(
            {"max_completion_tokens": "{first_limit}", "steps": 22},
            {"max_completion_tokens": "{second_limit}", "steps": 21},
            {"max_completion_tokens": "{target}", "steps": 21},
        ),
    ),
    Arm("o1_pruner", "rl", "o1_pruner(accuracy_weight={reference_weight})", "slope at the start's mean"),
    Arm("adapt_think", "rl", "adapt_think", "as published: thinking or not, no length"),
    Arm(
        "shortest_then_plain",
        "rl",
        "plain(alpha={price})",
        "both roads, one after the other: 32 steps of examples, then 64 with the reward",
        after="shortest_correct",
    ),
    Arm(
        "shortest_then_arora_zanette",
        "rl",
        "arora_zanette(alpha=0.8)",
        "the same with another reward",
        after="shortest_correct",
    ),
)
BY_NAME = {arm.name: arm for arm in ARMS}
NEED_REFERENCE = ("o1_pruner", "adapt_think")
"""They compare with the start model's answers to the same questions."""
