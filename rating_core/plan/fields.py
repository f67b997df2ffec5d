"""Reading the scalars, lists and mappings of a document, collecting every fault (S1.1, S2.1).

A document is a tree of dict, list and str as a YAML or JSON reader gives it with scalars as text.
Nothing here stops at the first fault: a reader returns ``None`` for what it cannot read, notes why
and where, and its caller goes on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from rating_core.catalog import RESERVED_LINE_IDS
from rating_core.errors import Fault
from rating_core.units import (
    NUMBER_LIMIT,
    PERCENT_SCALE_MAX,
    SCALE_MAX,
    decimals,
    format_decimal,
    parse_decimal,
)

Choice = TypeVar("Choice", bound=StrEnum)

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_TEXT_LENGTH_MAX = 256
_SHOWN = 40
_LISTED = 8


def shown(value: object) -> str:
    """Return ``value`` quoted for a message, cut to one short line."""
    text = value if isinstance(value, str) else type(value).__name__
    quoted = ascii(text) if len(text) <= _SHOWN else ascii(text[:_SHOWN]) + "…"
    return quoted if isinstance(value, str) else text


def listed(names: Iterable[str]) -> str:
    """Return the first names for a message, "none" if there are none."""
    some = list(islice(names, _LISTED + 1))
    text = ", ".join(shown(name)[1:-1] for name in some[:_LISTED])
    return (text + ", …" if len(some) > _LISTED else text) or "none"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a document: the path as users read it, and the position that orders faults."""

    path: str = ""
    position: tuple[int, ...] = ()

    def key(self, name: str, index: int) -> Place:
        """Return the place of key ``name``, the ``index``-th of this mapping."""
        name = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
        name = name if name.isprintable() else ascii(name)[1:-1]
        return Place(f"{self.path}.{name}" if self.path else name, (*self.position, index))

    def item(self, index: int) -> Place:
        """Return the place of the ``index``-th item of this list."""
        return Place(f"{self.path}[{index}]", (*self.position, index))


class FaultList:
    """Collects faults while a document is read."""

    def __init__(self) -> None:
        self._found: list[tuple[tuple[int, ...], Fault]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, place: Place, reason: str, message: str) -> None:
        """Note one fault: a reason in UPPER_SNAKE, and one line that says what is expected."""
        self._found.append((place.position, Fault(place.path, reason, message)))

    def in_document_order(self) -> list[Fault]:
        """Return all faults as they stand in the document; missing keys after the present ones."""
        return [fault for _, fault in sorted(self._found, key=lambda pair: pair[0])]


def read_decimal(
    value: object,
    place: Place,
    faults: FaultList,
    *,
    most_decimals: int = SCALE_MAX,
    limit: Decimal | None = NUMBER_LIMIT,
    signed: bool = False,
) -> Decimal | None:
    """Return the number in its shortest form, or ``None`` after noting a fault (S1.1, S1.2)."""
    if not isinstance(value, str):
        faults.add(place, "WRONG_TYPE", f"expected a number as text, got {shown(value)}")
        return None
    try:
        number = parse_decimal(value)
    except ValueError:
        message = f'expected a decimal number such as "0.25", got {shown(value)}'
        faults.add(place, "NOT_A_NUMBER", message)
        return None
    if number < 0 and not signed:
        faults.add(place, "NEGATIVE", f"expected a number of 0 or more, got {shown(value)}")
    elif decimals(number) > most_decimals:
        message = f"expected at most {most_decimals} decimals, got {decimals(number)}"
        faults.add(place, "TOO_MANY_DECIMALS", message)
    elif limit is not None and abs(number) >= limit:
        message = f"expected a number below {format_decimal(limit)}, got {shown(value)}"
        faults.add(place, "TOO_LARGE", message)
    else:
        return Decimal(format_decimal(number))
    return None


def read_text(value: object, place: Place, faults: FaultList) -> str | None:
    """Return a text of at most 256 characters, or ``None`` after noting a fault."""
    if not isinstance(value, str):
        faults.add(place, "WRONG_TYPE", f"expected a text, got {shown(value)}")
    elif len(value) > _TEXT_LENGTH_MAX:
        message = f"expected at most {_TEXT_LENGTH_MAX} characters, got {len(value)}"
        faults.add(place, "TOO_LARGE", message)
    else:
        return value
    return None


def is_id(text: str) -> bool:
    """Whether a text has the form of ids (S2)."""
    return _ID.fullmatch(text) is not None


def read_id(value: object, place: Place, faults: FaultList) -> str | None:
    """Return an id of the form of S2, or ``None`` after noting a fault."""
    if not isinstance(value, str):
        faults.add(place, "WRONG_TYPE", f"expected an id as text, got {shown(value)}")
    elif not _ID.fullmatch(value):
        message = (
            "expected 1 to 63 characters of a-z, 0-9 and -, a letter first, no - last, "
            f"got {shown(value)}"
        )
        faults.add(place, "BAD_ID", message)
    else:
        return value
    return None


def read_items(
    value: object, place: Place, faults: FaultList, *, at_most: int, empty: bool = False
) -> list[tuple[Place, object]] | None:
    """Return the items of a list with their places, or ``None`` after noting a fault."""
    if not isinstance(value, list):
        faults.add(place, "WRONG_TYPE", f"expected a list, got {shown(value)}")
    elif not value and not empty:
        faults.add(place, "EMPTY", "expected at least one item")
    elif len(value) > at_most:
        faults.add(place, "TOO_MANY", f"expected at most {at_most} items, got {len(value)}")
    else:
        return [(place.item(index), item) for index, item in enumerate(value)]
    return None


class IdSpace:
    """One name space of ids: no id twice, none that a statement reserves (S2.2)."""

    def __init__(self, reserved: Collection[str] = RESERVED_LINE_IDS) -> None:
        self._reserved = reserved
        self._paths: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def declare(self, name: str, place: Place, faults: FaultList) -> None:
        """Enter an id; notes RESERVED_ID or DUPLICATE_ID at ``place``, the place of the id."""
        if name in self._reserved:
            message = f"the id {shown(name)} is reserved for a line of its own"
            faults.add(place, "RESERVED_ID", message)
        elif name in self._paths:
            message = f"the id {shown(name)} is already used at {self._paths[name]}"
            faults.add(place, "DUPLICATE_ID", message)
        else:
            self._paths[name] = place.path


class Fields:
    """One mapping of a document. Each method reads one key; ``finish`` reports what is left over.

    Methods return ``None`` where a key is absent or faulty; the fault is then already noted.
    """

    def __init__(self, document: Mapping[str, object], at: Place, faults: FaultList) -> None:
        self._document = document
        self._index = {key: index for index, key in enumerate(document)}
        self._at = at
        self._faults = faults
        self._read: set[str] = set()

    @classmethod
    def open(cls, document: object, at: Place, faults: FaultList) -> Fields | None:
        """Return the fields of a mapping, or ``None`` after noting that it is none."""
        if not isinstance(document, dict):
            faults.add(at, "WRONG_TYPE", f"expected a mapping, got {shown(document)}")
            return None
        odd = [key for key in document if not isinstance(key, str)]
        if odd:
            faults.add(at, "WRONG_TYPE", f"expected keys as text, got {shown(odd[0])}")
            return None
        return cls(document, at, faults)

    def __contains__(self, key: str) -> bool:
        return key in self._document

    def place(self, key: str) -> Place:
        """Return the place of ``key``; of an absent key, behind all present ones."""
        return self._at.key(key, self._index.get(key, len(self._index)))

    def take(self, key: str, *, required: bool = False) -> object:
        """Return the raw value of ``key``, ``None`` if absent; notes MISSING if it is required."""
        self._read.add(key)
        if key not in self._document:
            if required:
                self._faults.add(self.place(key), "MISSING", f"{key} is required")
            return None
        value = self._document[key]
        if value is None:
            self._faults.add(self.place(key), "WRONG_TYPE", "expected a value, got nothing")
        return value

    def decimal(
        self,
        key: str,
        *,
        required: bool = False,
        most_decimals: int = SCALE_MAX,
        limit: Decimal | None = NUMBER_LIMIT,
        signed: bool = False,
    ) -> Decimal | None:
        """Return a decimal number, by default ≥ 0, < 10^15, of at most 12 decimals (S1.2)."""
        value = self.take(key, required=required)
        if value is None:
            return None
        return read_decimal(
            value,
            self.place(key),
            self._faults,
            most_decimals=most_decimals,
            limit=limit,
            signed=signed,
        )

    def percent(self, key: str, *, required: bool = False) -> Decimal | None:
        """Return a percentage ≥ 0 of at most 6 decimals (S1.2)."""
        return self.decimal(key, required=required, most_decimals=PERCENT_SCALE_MAX)

    def whole(self, key: str, *, at_most: int) -> int | None:
        """Return a whole number from 0 to ``at_most``."""
        value = self.take(key)
        if value is None:
            return None
        expected = f"expected a whole number from 0 to {at_most}, got {shown(value)}"
        if not isinstance(value, str):
            self._faults.add(self.place(key), "WRONG_TYPE", expected)
        elif not _WHOLE.fullmatch(value):
            self._faults.add(self.place(key), "NOT_A_NUMBER", expected)
        elif int(value) > at_most:
            self._faults.add(self.place(key), "TOO_LARGE", expected)
        else:
            return int(value)
        return None

    def boolean(self, key: str) -> bool:
        """Return whether ``key`` is `true`; absent or faulty is False."""
        value = self.take(key)
        if value is None:
            return False
        if value not in ("true", "false"):
            reason = "UNKNOWN_VALUE" if isinstance(value, str) else "WRONG_TYPE"
            self._faults.add(self.place(key), reason, f"expected true or false, got {shown(value)}")
        return value == "true"

    def choice(
        self,
        key: str,
        choices: type[Choice],
        *,
        required: bool = False,
    ) -> Choice | None:
        """Return one value of an enum."""
        value = self.take(key, required=required)
        if value is None:
            return None
        if isinstance(value, str) and value in tuple(choices):
            return choices(value)
        reason = "UNKNOWN_VALUE" if isinstance(value, str) else "WRONG_TYPE"
        expected = ", ".join(choices)
        self._faults.add(self.place(key), reason, f"expected {expected}; got {shown(value)}")
        return None

    def text(self, key: str, *, required: bool = False) -> str | None:
        """Return a text of at most 256 characters."""
        value = self.take(key, required=required)
        return None if value is None else read_text(value, self.place(key), self._faults)

    def id(self, key: str, *, required: bool = False) -> str | None:
        """Return an id of the form of S2."""
        value = self.take(key, required=required)
        return None if value is None else read_id(value, self.place(key), self._faults)

    def items(
        self, key: str, *, at_most: int, required: bool = False, empty: bool = False
    ) -> list[tuple[Place, object]] | None:
        """Return the items of a list with their places."""
        value = self.take(key, required=required)
        if value is None:
            return None
        return read_items(value, self.place(key), self._faults, at_most=at_most, empty=empty)

    def mapping(self, key: str, *, required: bool = False) -> Fields | None:
        """Return the fields of a nested mapping."""
        value = self.take(key, required=required)
        return None if value is None else Fields.open(value, self.place(key), self._faults)

    def names(self) -> list[str]:
        """Return all keys, as they stand in the document."""
        return list(self._document)

    def fault(self, key: str, reason: str, message: str) -> None:
        """Note a fault of ``key``."""
        self._faults.add(self.place(key), reason, message)

    def finish(self, *, misplaced: Collection[str] = (), here: str = "") -> None:
        """Note every key that was not read (S2.1).

        A key in ``misplaced`` is NOT_ALLOWED (``here`` says on what), any other UNKNOWN_KEY.
        """
        for key in self._document:
            if key in self._read:
                continue
            if key in misplaced:
                self.fault(key, "NOT_ALLOWED", f"{key} is not allowed {here}")
            else:
                expected = ", ".join(sorted(self._read))
                message = f"unknown key {shown(key)}; known here: {expected}"
                self.fault(key, "UNKNOWN_KEY", message)
