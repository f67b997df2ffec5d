"""What differs between two plans, key by key (S2, S8.6).

Both are compared in the one form that plans are written in, so that neither the order of keys nor
the way a number is written makes a difference. Meters, charges and commitments are told apart by
their ids, tiers and other lists by their place; examples say nothing about prices and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rating_core.catalog import Plan
from rating_core.plan.output import plan_to_document

_BY_ID = ("meters", "charges", "commitments")
_ORDERED = ("charges", "commitments")
"""Lists whose order shows on statements."""
_WHOLE = ("dimensions", "where", "covers")
"""Values that are sets of names, shown as one."""


class DifferenceKind(StrEnum):
    """What became of a key from the old plan to the new one."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """One key that differs: its path, such as `charges[input].tiers[0].unit_price`, and values.

    ``old`` is empty for what was added, ``new`` for what was removed.
    """

    path: str
    kind: DifferenceKind
    old: str
    new: str


def diff_plans(old: Plan, new: Plan) -> list[PlanDifference]:
    """Return what differs, in the order of the new plan, removed things after what stayed.

    Empty if the plans price everything alike. Of an added or removed meter, charge or commitment
    each key is one difference; another order of those that stayed is one too.
    """
    before, after = (plan_to_document(replace(plan, examples=())) for plan in (old, new))
    return list(_mapping("", before, after))


def _mapping(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[PlanDifference]:
    for key in [*new, *(key for key in old if key not in new)]:
        place = f"{path}.{key}" if path else key
        if key in _BY_ID:
            yield from _by_id(place, key, old.get(key, []), new.get(key, []))
        else:
            yield from _value(place, key, old.get(key), new.get(key))


def _by_id(path: str, key: str, old: list[Any], new: list[Any]) -> Iterator[PlanDifference]:
    before = {item["id"]: item for item in old}
    after = {item["id"]: item for item in new}
    stayed = [name for name in after if name in before]
    order = [name for name in before if name in after]
    if key in _ORDERED and stayed != order:
        words = (", ".join(order), ", ".join(stayed))
        yield PlanDifference(path, DifferenceKind.CHANGED, *words)
    for name in [*after, *(name for name in before if name not in after)]:
        yield from _mapping(f"{path}[{name}]", before.get(name, {}), after.get(name, {}))


def _value(path: str, key: str, old: Any, new: Any) -> Iterator[PlanDifference]:
    if old == new:
        return
    whole = key in _WHOLE or isinstance(old, str) or isinstance(new, str)
    if not whole and isinstance(old or new, dict):
        yield from _mapping(path, old or {}, new or {})
    elif not whole and isinstance(old or new, list):
        yield from _places(path, old or [], new or [])
    elif old is None:
        yield PlanDifference(path, DifferenceKind.ADDED, "", _words(new))
    elif new is None:
        yield PlanDifference(path, DifferenceKind.REMOVED, _words(old), "")
    elif _words(old) != _words(new):
        yield PlanDifference(path, DifferenceKind.CHANGED, _words(old), _words(new))


def _places(path: str, old: list[Any], new: list[Any]) -> Iterator[PlanDifference]:
    for place in range(max(len(old), len(new))):
        before = old[place] if place < len(old) else {}
        after = new[place] if place < len(new) else {}
        yield from _mapping(f"{path}[{place}]", before, after)


def _words(value: Any) -> str:
    """Return a value as one text; sets of names in one order."""
    if isinstance(value, list):
        return ", ".join(sorted(name or '""' for name in value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_words(item)}" for name, item in sorted(value.items()))
    return str(value)
