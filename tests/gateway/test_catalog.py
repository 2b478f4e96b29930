"""Names that clients may ask for: presets, engines' models, engines' names, both together, budgets in brackets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from taut.core import FEATURES, Engine
from taut.engines.fake import FakeEngine
from taut.errors import UsageError
from taut.gateway.catalog import Catalog
from taut.gateway.nouns import Problem
from taut.methods.output_based.stop_rules.budget_forcing import BudgetForcing
from taut.methods.output_based.thinking import Thinking
from taut.methods.prompt_based.concise import Concise
from taut.methods.prompt_based.direct import Direct
from taut.run import Preset

DIRECT, CONCISE = Preset("direct", Direct()), Preset("concise", Concise())
LOOP = Preset("loop", Thinking(BudgetForcing(10, extensions=1)))


def catalog(engines: Mapping[str, Engine] | None = None, efforts: tuple[str, ...] = ("low",)) -> Catalog:
    return Catalog(engines or {"main": FakeEngine(), "big": FakeEngine(model="giant")}, [DIRECT, CONCISE], [], efforts)


def test_presets_are_listed_before_the_models() -> None:
    assert [entry["id"] for entry in catalog().models()] == ["direct", "concise", "fake-thinker", "giant", "big"]


@pytest.mark.parametrize(
    ("model", "preset", "engine", "plain", "suffix"),
    [
        ("concise", "concise", "main", False, None),
        ("fake-thinker", "engine", "main", True, None),
        ("main", "engine", "main", True, None),
        ("giant", "engine", "big", True, None),
        ("big", "engine", "big", True, None),
        ("concise@big", "concise", "big", False, None),
        ("concise@giant", "concise", "big", False, None),
        ("concise(512)", "concise", "main", False, "512"),
        ("concise@big(low)", "concise", "big", False, "low"),
        ("concise(64)@big", "concise", "big", False, "64"),
        ("giant(none)", "engine", "big", True, "none"),
    ],
)
def test_a_name_stands_for(model: str, preset: str, engine: str, plain: bool, suffix: str | None) -> None:
    choice = catalog().choose(model)
    assert (choice.preset.name, choice.engine_name, choice.is_plain, choice.suffix) == (preset, engine, plain, suffix)
    assert choice.engine is choice.engines[engine]


def test_the_taut_field_puts_a_preset_on_any_engine() -> None:
    choice = catalog().choose("giant(64)", "concise")
    assert (choice.preset.name, choice.engine_name, choice.is_plain, choice.suffix) == ("concise", "big", False, "64")


@pytest.mark.parametrize(
    ("model", "preset", "status", "says"),
    [
        ("concice", None, 404, "did you mean 'concise'?"),
        ("concise(hihg)", None, 404, "'hihg' after 'concise' is neither a number of thinking tokens nor an effort"),
        ("concise@small", None, 404, "no engine 'small'"),
        ("brief@big", None, 400, "no preset 'brief'"),
        ("giant", "concice", 400, "did you mean 'concise'?"),
        ("direct", "concise", 400, "is a preset already"),
        ("nothing", "concise", 404, "no model 'nothing'"),
        ("", None, 404, "no model"),
        ("@", None, 404, "no model"),
        ("@big", None, 400, "no preset ''"),
    ],
)
def test_what_is_not_there_is_refused(model: str, preset: str | None, status: int, says: str) -> None:
    with pytest.raises(Problem) as caught:
        catalog().choose(model, preset)
    assert caught.value.status == status
    assert says in str(caught.value)


def test_the_operators_own_efforts_may_stand_in_brackets() -> None:
    assert catalog(efforts=("tiny",)).choose("giant(tiny)").suffix == "tiny"
    with pytest.raises(Problem):
        catalog(efforts=("tiny",)).choose("giant(low)")


def test_brackets_that_belong_to_a_models_name_are_no_suffix() -> None:
    odd = catalog({"main": FakeEngine(model="coder(512)")})
    assert odd.choose("coder(512)").suffix is None
    assert odd.choose("coder(512)(64)").suffix == "64"


def test_a_models_name_may_hold_an_at_sign() -> None:
    odd = catalog({"main": FakeEngine(model="@cf/qwen")})
    assert odd.choose("@cf/qwen").is_plain
    assert odd.choose("concise@@cf/qwen").preset is CONCISE


def test_two_engines_of_one_model_are_told_apart_by_their_names() -> None:
    twins = catalog({"here": FakeEngine(), "there": FakeEngine()})
    assert [entry["id"] for entry in twins.models()][2:] == ["fake-thinker", "there", "here"]
    assert twins.choose("fake-thinker").engine_name == "here"
    assert twins.choose("there").engine_name == "there"
    assert twins.choose("concise").engine_name == "here"


def test_a_preset_that_was_asked_for_and_cannot_be_done_ends_the_start() -> None:
    weak = FakeEngine(offers=frozenset())
    with pytest.raises(UsageError, match="needs prefill"):
        Catalog({"main": weak}, [LOOP], [])


def test_an_optional_one_is_left_out_with_its_reason() -> None:
    found = Catalog({"main": FakeEngine(offers=frozenset())}, [DIRECT], [LOOP])
    assert list(found.presets) == ["direct"]
    assert "needs prefill" in found.left_out["loop"]


def test_a_preset_is_refused_on_an_engine_that_cannot_do_it() -> None:
    engines: dict[str, Engine] = {"main": FakeEngine(), "weak": FakeEngine(model="w", offers=frozenset())}
    found = Catalog(engines, [DIRECT, LOOP], [])
    with pytest.raises(Problem) as caught:
        found.choose("loop@weak")
    assert (caught.value.status, caught.value.param) == (400, "model")
    assert found.choose("loop").engine.offers >= frozenset({"prefill"}) & frozenset(FEATURES)


def test_a_preset_and_an_engine_cannot_share_a_name() -> None:
    with pytest.raises(UsageError, match="both named 'direct'"):
        Catalog({"direct": FakeEngine()}, [DIRECT], [])
