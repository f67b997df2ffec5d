"""Contract values as JSON values and back: what entries of a log and snapshots hold of them.

One codec for every frozen dataclass of `contract` and `statement`, by its type hints: a field is a
key. Every number keeps its exact value: `Decimal` is text, `Fraction` is `numerator/denominator`,
amounts and instants are int. A plan is not written, only named: `PlanRef`. So what a statement was
priced from stands beside it, and it can be recomputed bit for bit (S9.5). A key that is missing
takes the field's default, so that what was written before a field came can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from rating_core.catalog import Plan
from rating_core.contract.usage import PartUsage, PlanRef
from rating_core.zone import ZoneTable

Facts = dict[str, Any]
"""A JSON object."""
PlanOf = Callable[[PlanRef], Plan]
T = TypeVar("T")


def to_facts(value: Any) -> Any:
    """Return a value as JSON values. TypeError for what contracts do not hold."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [to_facts(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(to_facts(item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): to_facts(item) for key, item in value.items()}
    if isinstance(value, ZoneTable):
        return value.to_facts()
    if is_dataclass(value):
        return {
            name: to_facts(getattr(value, name))
            for name, kind in _hints(value.__class__)
            if kind is not Plan
        }
    raise TypeError(f"no JSON value for {type(value).__name__}")


def from_facts(kind: type[T], facts: Any, plan_of: PlanOf | None = None) -> T:
    """Return the value of type ``kind`` that `to_facts` gave these JSON values of.

    ``plan_of`` returns the plan of a reference; only usage needs it. LookupError, TypeError,
    ValueError or ArithmeticError for what was not written by `to_facts`.
    """
    value: T = _read(kind, facts, plan_of)
    return value


@lru_cache(maxsize=64)
def _hints(kind: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind) if field.init)


def _read(kind: Any, facts: Any, plan_of: PlanOf | None) -> Any:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        if facts is None:
            return None
        (kind,) = [one for one in get_args(kind) if one is not type(None)]
        return _read(kind, facts, plan_of)
    if origin is tuple:
        kinds = get_args(kind)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return tuple(_read(kinds[0], item, plan_of) for item in facts)
        return tuple(_read(k, item, plan_of) for k, item in zip(kinds, facts, strict=True))
    if origin is frozenset:
        return frozenset(_read(get_args(kind)[0], item, plan_of) for item in facts)
    if origin is not None and issubclass(origin, Mapping):
        key_kind, value_kind = get_args(kind)
        read_key = int if key_kind is int else str
        return {read_key(key): _read(value_kind, item, plan_of) for key, item in facts.items()}
    return _read_plain(kind, facts, plan_of)


def _read_plain(kind: Any, facts: Any, plan_of: PlanOf | None) -> Any:
    if kind is ZoneTable:
        return ZoneTable.from_facts(facts)
    if isinstance(kind, type) and is_dataclass(kind):
        known = {
            name: _read(field_kind, facts[name], plan_of)
            for name, field_kind in _hints(kind)
            if name in facts
        }
        if kind is PartUsage:
            if plan_of is None:
                raise TypeError("usage is read with its plans")
            known["plan"] = plan_of(known["plan_ref"])
        return kind(**known)
    if kind is bytes:
        return bytes.fromhex(facts)
    if kind in (Decimal, Fraction) or issubclass(kind, StrEnum):
        return kind(facts)
    if type(facts) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(facts).__name__}")
    return facts
