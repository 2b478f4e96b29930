"""Every dialect of a budget is read, and one precedence holds between them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taut.gateway.nouns import Problem, Wish
from taut.gateway.wire._fields import without
from taut.gateway.wishes import FIELDS, HIDDEN, TOKENS, read_wish, split_suffix

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

DIALECTS: list[tuple[dict[str, Any], Wish]] = [
    ({"reasoning_effort": "high"}, Wish("reasoning_effort", "high", effort="high")),
    ({"reasoning_effort": "none"}, Wish("reasoning_effort", "none", think=False)),
    ({"reasoning_effort": 700}, Wish("reasoning_effort", 700, budget_tokens=700)),
    ({"reasoning_effort": "auto"}, Wish()),
    ({"reasoning": {"effort": "low"}}, Wish("reasoning.effort", "low", effort="low")),
    ({"reasoning": {"max_tokens": 2000}}, Wish("reasoning.max_tokens", 2000, budget_tokens=2000)),
    ({"reasoning": {"exclude": True}}, Wish(exclude=True)),
    ({"reasoning": {"enabled": True}}, Wish("reasoning.enabled", True, think=True)),
    ({"reasoning": {"enabled": False}}, Wish("reasoning.enabled", False, think=False)),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, Wish("reasoning.effort", "low", effort="low")),
    ({"reasoning": None}, Wish()),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Wish("thinking.budget_tokens", 1024, 1024, think=True)),
    ({"thinking": {"type": "enabled"}}, Wish("thinking.type", "enabled", think=True)),
    ({"thinking": {"type": "disabled"}}, Wish("thinking.type", "disabled", think=False)),
    ({"thinking": {"type": "adaptive"}}, Wish()),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, Wish(exclude=True)),
    (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        Wish("output_config.effort", "max", effort="max"),
    ),
    ({"thinking_token_budget": 300}, Wish("thinking_token_budget", 300, 300)),
    ({"thinking_token_budget": 300.0}, Wish("thinking_token_budget", 300.0, 300)),
    ({"thinking_token_budget": 0}, Wish("thinking_token_budget", 0, think=False)),
    ({"thinking_budget": 300}, Wish("thinking_budget", 300, 300)),
    ({"thinking_budget": -1}, Wish()),
    ({"thinking_budget_tokens": 300}, Wish("thinking_budget_tokens", 300, 300)),
    ({"reasoning_budget_tokens": 300}, Wish("reasoning_budget_tokens", 300, 300)),
    ({"max_thinking_tokens": 300}, Wish("max_thinking_tokens", 300, 300)),
    ({"reasoning_max_tokens": 300}, Wish("reasoning_max_tokens", 300, 300)),
    ({"enable_thinking": False}, Wish("enable_thinking", False, think=False)),
    ({"enable_thinking": True}, Wish("enable_thinking", True, think=True)),
    (
        {"enable_thinking": True, "thinking_budget": 50},
        Wish("thinking_budget", 50, 50, think=True),
    ),
    (
        {"chat_template_kwargs": {"enable_thinking": False}},
        Wish("chat_template_kwargs.enable_thinking", False, think=False),
    ),
    ({"chat_template_kwargs": {"thinking": True}}, Wish("chat_template_kwargs.thinking", True, think=True)),
    (
        {"chat_template_kwargs": {"reasoning_effort": "medium"}},
        Wish("chat_template_kwargs.reasoning_effort", "medium", effort="medium"),
    ),
    ({"chat_template_kwargs": {"thinking_budget": 9}}, Wish("chat_template_kwargs.thinking_budget", 9, 9)),
    ({"custom_params": {"thinking_budget": 9}}, Wish("custom_params.thinking_budget", 9, 9)),
    ({"logits_processors_args": {"thinking_budget": 9}}, Wish("logits_processors_args.thinking_budget", 9, 9)),
    ({"think": False}, Wish("think", False, think=False)),
    ({"think": "high"}, Wish("think", "high", effort="high")),
    ({"include_reasoning": False}, Wish(exclude=True)),
    ({"include_reasoning": True}, Wish()),
    (
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 24576, "includeThoughts": False}}},
        Wish("generationConfig.thinkingConfig.thinkingBudget", 24576, 24576, exclude=True),
    ),
    (
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
        Wish("generationConfig.thinkingConfig.thinkingLevel", "LOW", effort="low"),
    ),
    (
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 800, "include_thoughts": True}}}},
        Wish("extra_body.google.thinking_config.thinking_budget", 800, 800),
    ),
    (
        {"google": {"thinking_config": {"thinking_level": "high"}}},
        Wish("google.thinking_config.thinking_level", "high", effort="high"),
    ),
    ({"temperature": 0.5}, Wish()),
]


@pytest.mark.parametrize(("document", "wish"), DIALECTS, ids=lambda value: str(value)[:60])
def test_a_dialect_is_read(document: dict[str, Any], wish: Wish) -> None:
    assert read_wish(document)[0] == wish


@pytest.mark.parametrize(("document", "wish"), DIALECTS, ids=lambda value: str(value)[:60])
def test_nothing_of_a_wish_is_sent_on(document: dict[str, Any], wish: Wish) -> None:
    rest = without(document, read_wish(document)[1])
    assert rest == ({"temperature": 0.5} if "temperature" in document else {})


# One of each rank, all asking for different things, in the order of the precedence.
RANKS: list[tuple[str, dict[str, Any], str | None]] = [
    ("model suffix", {}, "100"),
    ("thinking_budget", {"thinking_budget": 200}, None),
    ("enable_thinking", {"enable_thinking": False}, None),
    ("reasoning_effort", {"reasoning_effort": "high"}, None),
    ("think", {"think": True}, None),
]


@pytest.mark.parametrize(("higher", "lower"), list(itertools.combinations(RANKS, 2)), ids=lambda rank: rank[0])
def test_the_precedence_holds_between_any_two(
    higher: tuple[str, dict[str, Any], str | None], lower: tuple[str, dict[str, Any], str | None]
) -> None:
    for document in ({**higher[1], **lower[1]}, {**lower[1], **higher[1]}):
        wish, _ = read_wish(document, higher[2])
        assert wish.field == higher[0]
        # Just "think" disagrees with nothing but off.
        agrees = lower[0] == "think" and higher[0] != "enable_thinking"
        assert wish.ignored == (() if agrees else (lower[0],))


@pytest.mark.parametrize(("suffix", "value"), [("none", "none"), ("NONE", "NONE"), ("0", 0)])
def test_a_suffix_turns_thinking_off(suffix: str, value: Any) -> None:
    wish, _ = read_wish({"thinking_budget": 200}, suffix)
    assert (wish.field, wish.value, wish.think, wish.ignored) == ("model suffix", value, False, ("thinking_budget",))


def test_a_suffix_that_leaves_the_choice_is_no_wish() -> None:
    assert read_wish({"reasoning_effort": "low"}, "auto")[0].effort == "low"
    assert read_wish({}, "-1")[0] == Wish()


def test_of_two_numbers_the_first_of_the_table_wins() -> None:
    wish, _ = read_wish({"max_thinking_tokens": 100, "thinking_token_budget": 900})
    assert (wish.budget_tokens, wish.ignored) == (900, ("max_thinking_tokens",))


def test_a_field_that_says_the_same_is_not_ignored() -> None:
    same = {"reasoning_effort": "none", "thinking_budget": 0, "enable_thinking": False}
    assert read_wish(same)[0].ignored == ()
    assert read_wish({"reasoning_effort": "low", "reasoning": {"effort": "low"}})[0].ignored == ()
    assert read_wish({"thinking_budget": 512}, "512")[0].ignored == ()


def test_a_number_beats_off_and_says_so() -> None:
    wish, _ = read_wish({"thinking": {"type": "disabled", "budget_tokens": 2000}})
    assert (wish.budget_tokens, wish.think, wish.ignored) == (2000, None, ("thinking.type",))


def test_an_unknown_key_of_a_budget_object_is_told() -> None:
    wish, _ = read_wish({"reasoning": {"efort": "high"}})
    assert wish == Wish(ignored=("reasoning.efort",))


def test_other_template_arguments_are_sent_on() -> None:
    document = {"chat_template_kwargs": {"enable_thinking": False, "documents": [1]}, "tools": []}
    taken = read_wish(document)[1]
    assert taken == {"chat_template_kwargs.enable_thinking"}
    assert without(document, taken) == {"chat_template_kwargs": {"documents": [1]}, "tools": []}
    assert document["chat_template_kwargs"] == {"enable_thinking": False, "documents": [1]}


def test_the_operators_own_efforts_count() -> None:
    wish, _ = read_wish({"reasoning_effort": "ultra"}, None, {"ultra": 1})
    assert wish.effort == "ultra"
    assert split_suffix("m(ultra)", {"ultra": 1}) == ("m", "ultra")
    with pytest.raises(Problem, match="none, ultra"):
        read_wish({"reasoning_effort": "high"}, None, {"ultra": 1})


@pytest.mark.parametrize(
    ("document", "param", "says"),
    [
        ({"reasoning_effort": "hihg"}, "reasoning_effort", "did you mean 'high'"),
        ({"reasoning_effort": True}, "reasoning_effort", "or a number of tokens, not true"),
        ({"reasoning": "high"}, "reasoning", "must be an object, not 'high'"),
        ({"reasoning": {"max_tokens": "2k"}}, "reasoning.max_tokens", "a number of tokens, not '2k'"),
        ({"reasoning": {"exclude": 1}}, "reasoning.exclude", "true or false"),
        ({"thinking": True}, "thinking", "must be an object, not true"),
        ({"thinking": {"type": "enable"}}, "thinking.type", "did you mean 'enabled'"),
        ({"thinking": {"type": ["enabled"]}}, "thinking.type", "one of enabled"),
        ({"thinking_budget": -2}, "thinking_budget", "from -1 to 10000000, not -2"),
        ({"thinking_budget": 1.5}, "thinking_budget", "whole number"),
        ({"thinking_budget": float("nan")}, "thinking_budget", "whole number"),
        ({"thinking_budget": 10**40}, "thinking_budget", "not a number so large"),
        ({"thinking_budget": True}, "thinking_budget", "a number of tokens, not true"),
        ({"enable_thinking": "false"}, "enable_thinking", "true or false, not 'false'"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs", "must be an object, not an empty list"),
        ({"think": 5}, "think", "true or false or one of none, minimal"),
        ({"generationConfig": {"thinkingConfig": 3}}, "generationConfig.thinkingConfig", "an object"),
    ],
)
def test_nonsense_is_refused_by_name(document: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(Problem) as caught:
        read_wish(document)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("model", "name", "suffix"),
    [
        ("small(512)", "small", "512"),
        ("small(high)", "small", "high"),
        ("small(High)", "small", "High"),
        ("small(none)", "small", "none"),
        ("small(auto)", "small", "auto"),
        ("small(-1)", "small", "-1"),
        ("org/small (beta)(0)", "org/small (beta)", "0"),
        ("small", "small", None),
        ("small(beta)", "small(beta)", None),
        ("small()", "small()", None),
        ("(512)", "(512)", None),
        ("small(512) ", "small(512) ", None),
    ],
)
def test_a_suffix_is_split_from_the_name(model: str, name: str, suffix: str | None) -> None:
    assert split_suffix(model) == (name, suffix)


def test_a_suffix_too_large_is_refused() -> None:
    with pytest.raises(Problem, match="from -1 to 10000000"):
        read_wish({}, "99999999999")


@given(path=st.sampled_from([field.path for field in (*FIELDS, *(hidden for hidden, _ in HIDDEN))]), value=JSON)
def test_any_value_anywhere_is_read_or_refused(path: str, value: Any) -> None:
    document: Any = value
    for name in reversed(path.split(".")):
        document = {name: document}
    try:
        wish, taken = read_wish(document)
    except Problem as problem:
        named, is_fine = problem.param or "", True
    else:
        named, is_fine = path, bool(taken) and (wish.budget_tokens is None or wish.budget_tokens > 0)
    assert is_fine
    assert named
    assert path.startswith(named)


@given(first=st.sampled_from(FIELDS), second=st.sampled_from(FIELDS), tokens=st.integers(1, 9), more=st.integers(1, 9))
def test_two_numbers_never_vanish_silently(first: Any, second: Any, tokens: int, more: int) -> None:
    if first.path == second.path or not all(TOKENS in field.holds for field in (first, second)):
        return
    document: dict[str, Any] = {}
    for field, number in ((first, tokens), (second, more)):
        at = document
        *above, last = field.path.split(".")
        for name in above:
            at = at.setdefault(name, {})
        at[last] = number
    wish, _ = read_wish(document)
    assert wish.budget_tokens in (tokens, more)
    assert len(wish.ignored) == (0 if tokens == more else 1)
