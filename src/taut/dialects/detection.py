"""Which dialect a model speaks: read from its chat template, or told by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from taut.dialects import families
from taut.dialects.families import PLAIN, THINK_TAGS, Family
from taut.dialects.nouns import Dialect, Switch
from taut.errors import UsageError, nearest

FAMILIES: Mapping[str, Dialect] = MappingProxyType(
    {family.dialect.name: family.dialect for family in families.FAMILIES}
)
"""Every known dialect by name."""

THINKING_VARIABLE = re.compile(r"\b(?:if|not|elif)\s+thinking\b|\bthinking\s+is\b")


def detect(model: str, chat_template: str | None) -> Dialect:
    """The dialect of a model, from its name and its chat template (``None`` where it is not known).

    Marks in the template win over the name. The template also tells whether it opens the thought and which variable
    switches thinking, where that differs from the family's entry. A template with ``<think>`` of an unknown family
    gives ``think_tags``, anything else unknown gives ``plain``. A rendered prompt may stand in for the template: it
    shows the marks, but says nothing of switches.
    """
    template = chat_template or ""
    family = _by_marks(template) or _by_name(model)
    if family is None or (not family.dialect.thinks and "<think>" in template):
        family = Family(THINK_TAGS if "<think>" in template else PLAIN)
    return _fit(family, template) if "{%" in template and family.dialect.thinks else family.dialect


def by_name(name: str) -> Dialect:
    """The dialect of that name. Raises `UsageError` naming the nearest known one."""
    try:
        return FAMILIES[name]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise UsageError(f"no dialect is named {name!r}{nearest(name, FAMILIES)}; there are: {known}") from None


def _by_marks(template: str) -> Family | None:
    for family in families.FAMILIES:
        if family.marks and all(mark in template for mark in family.marks):
            return family
    return None


def _by_name(model: str) -> Family | None:
    for family in families.FAMILIES:
        if family.names and re.search(family.names, model, re.IGNORECASE):
            return family
    return None


def _fit(family: Family, template: str) -> Dialect:
    """The family's dialect with what this very template says."""
    dialect = family.dialect
    if family.thinks_by_default:
        dialect = replace(dialect, template_opens=_opens(dialect, template))
    if dialect.off.kind == "template_kwarg" or dialect.name == THINK_TAGS.name:
        key = _switch_key(dialect.off.key, template)
        dialect = replace(dialect, off=_with_key(dialect.off, key, False), on=_with_key(dialect.on, key, True))
    return dialect


def _opens(dialect: Dialect, template: str) -> bool:
    """The generation prompt has an open tag besides those of empty thoughts."""
    _, found, tail = template.rpartition("add_generation_prompt")
    if not found:
        return dialect.template_opens
    for opened in dialect.open_tags:
        for closed in dialect.close_tags:
            tail = re.sub(re.escape(opened) + r"(?:\\n|\s)*" + re.escape(closed), "", tail)
    return any(tag in tail for tag in dialect.open_tags)


def _switch_key(key: str, template: str) -> str:
    """The variable that this template reads; empty if there is none, as it would be ignored in silence."""
    if key and re.search(rf"\b{key}\b", template):
        return key
    if "enable_thinking" in template:
        return "enable_thinking"
    return "thinking" if THINKING_VARIABLE.search(template) else ""


def _with_key(switch: Switch, key: str, default: bool) -> Switch:
    if not key:
        return Switch()
    value = default if switch.value is None else switch.value
    return Switch("template_kwarg", key, value)
