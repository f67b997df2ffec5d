"""Plan documents (S2) into `Plan` messages and back, and usage documents (S6.5) likewise.

The one mapper: the client, the command line and the server use it. Generic over the message
descriptors: a key of the document is a field of the message, a choice is the lower-case word of its
enum value. Only the shapes that differ are written out: meters by their id alone, `where`, and
examples. What a plan means is checked by the server; here only its shape is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ratewright.v1 import plan_pb2

_OUTPUT_ONLY = {
    "Plan": ("name", "version", "create_time", "effective_time", "existing_effective_time"),
    "Meter": ("name", "create_time"),
}
_MAY_BE_EMPTY = ("unit",)
_NEVER_EMPTY = ("covers", "schedule")
"""Lists whose absence means a default, so that an empty one would be taken for it (S5)."""


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """One fault of a document: where (``charges[2].tiers[0].up_to``), and in words."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class PlanDocumentError(ValueError):
    """A plan or usage document that cannot be put into a message; ``faults`` holds all faults."""

    def __init__(self, faults: Iterable[DocumentFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))


Faults = list[DocumentFault]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _words(enum: Any) -> dict[str, int]:
    """Return the lower-case words of an enum's values by number: HALF_UP is `half_up`."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {
        value.name.removeprefix(prefix).lower(): value.number
        for value in enum.values
        if value.number
    }


def _read_text(value: object, path: str, faults: Faults, *, empty: bool = False) -> str:
    """Return a scalar as text: text as it stands, int and Decimal as a decimal string (S1.1)."""
    if isinstance(value, str):
        if value or empty:
            return value
        faults.append(DocumentFault(path, "expected a value, got an empty text"))
    elif isinstance(value, float):
        message = f"expected text, int or Decimal, got the float {value!r}: quote the number"
        faults.append(DocumentFault(path, message))
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        # Written out, 1E+999999 would be a megabyte of zeros.
        if number.is_finite() and (not number or abs(number.adjusted()) <= 64):
            return format(number, "f") if number else "0"
        faults.append(DocumentFault(path, f"out of range: {_shown(value)}"))
    else:
        faults.append(DocumentFault(path, f"expected a text, got {_shown(value)}"))
    return ""


def _read_whole(value: object, path: str, faults: Faults) -> int:
    text = str(value) if not isinstance(value, bool) else ""
    if isinstance(value, int | str) and text.isascii() and text.isdecimal() and len(text) <= 9:
        return int(text)
    faults.append(DocumentFault(path, f"expected a whole number, got {_shown(value)}"))
    return 0


def _read_bool(value: object, path: str, faults: Faults) -> bool:
    if value not in (True, False, "true", "false") or isinstance(value, int | Decimal) != (
        isinstance(value, bool)
    ):
        faults.append(DocumentFault(path, f"expected true or false, got {_shown(value)}"))
    return value in (True, "true")


def _read_word(enum: Any, value: object, path: str, faults: Faults) -> int:
    words = _words(enum)
    if isinstance(value, str) and value in words:
        return words[value]
    message = f"expected {', '.join(words)}; got {_shown(value)}"
    faults.append(DocumentFault(path, message))
    return 0


def _read_scalar(field: FieldDescriptor, value: object, path: str, faults: Faults) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _read_word(field.enum_type, value, path, faults)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _read_bool(value, path, faults)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _read_text(value, path, faults, empty=field.name in _MAY_BE_EMPTY)
    return _read_whole(value, path, faults)


def _entries(value: object, path: str, faults: Faults) -> Iterator[tuple[str, object, str]]:
    """Yield key, value and path of every entry of a mapping; notes what is no mapping."""
    if not isinstance(value, Mapping):
        faults.append(DocumentFault(path, f"expected a mapping, got {_shown(value)}"))
        return
    for key, item in value.items():
        if isinstance(key, str):
            yield key, item, f"{path}.{key}" if path else key
        else:
            faults.append(DocumentFault(path, f"expected keys as text, got {_shown(key)}"))


def _items(value: object, path: str, faults: Faults) -> Iterator[tuple[object, str]]:
    """Yield value and path of every item of a list; notes what is no list."""
    if not isinstance(value, list | tuple):
        faults.append(DocumentFault(path, f"expected a list, got {_shown(value)}"))
        return
    for index, item in enumerate(value):
        yield item, f"{path}[{index}]"


def _read_text_map(target: Any, value: object, path: str, faults: Faults) -> None:
    for key, item, place in _entries(value, path, faults):
        target[key] = _read_text(item, place, faults, empty=True)


def _read_where(charge: Any, value: object, path: str, faults: Faults) -> None:
    for dimension, allowed, place in _entries(value, path, faults):
        values = charge.where[dimension].values
        if isinstance(allowed, list | tuple):
            if not allowed:
                faults.append(DocumentFault(place, "expected at least one value"))
            for item, spot in _items(allowed, place, faults):
                values.append(_read_text(item, spot, faults, empty=True))
        else:
            values.append(_read_text(allowed, place, faults, empty=True))


def _read_meters(plan: Any, value: object, path: str, faults: Faults) -> None:
    for item, place in _items(value, path, faults):
        meter = plan.meters.add()
        if isinstance(item, Mapping):
            _read_message(meter, item, place, faults)
        else:
            meter.id = _read_text(item, place, faults)


def _read_quantity(target: Any, item: object, path: str, faults: Faults) -> None:
    quantity = target.add()
    if not isinstance(item, Mapping):
        quantity.quantity = _read_text(item, path, faults)
        quantity.match_all = True
        return
    if "quantity" not in item:
        faults.append(DocumentFault(f"{path}.quantity", "quantity is required"))
    for key, value, place in _entries(item, path, faults):
        if key == "quantity":
            quantity.quantity = _read_text(value, place, faults)
        elif key == "dimensions":
            _read_text_map(quantity.dimensions, value, place, faults)
        else:
            _unknown(key, place, ("dimensions", "quantity"), faults)


def _read_usage(target: Any, value: object, path: str, faults: Faults) -> None:
    """Read the shapes of S6.5: a quantity, or a list of quantities and of mappings."""
    for meter, raw, place in _entries(value, path, faults):
        if isinstance(raw, list | tuple):
            quantities = list(_items(raw, place, faults))
        else:
            quantities = [(raw, place)]
        if quantities:  # none is no usage, as if the meter were not given
            usage = target.add(meter=meter)
            for item, spot in quantities:
                _read_quantity(usage.quantities, item, spot, faults)


def _read_examples(plan: Any, value: object, path: str, faults: Faults) -> None:
    for item, place in _items(value, path, faults):
        example = plan.examples.add()
        for key in ("usage", "expect"):
            if isinstance(item, Mapping) and key not in item:
                faults.append(DocumentFault(f"{place}.{key}", f"{key} is required"))
        for key, part, spot in _entries(item, place, faults):
            if key == "usage":
                _read_usage(example.usage, part, spot, faults)
            elif key == "expect":
                for name, amount, where in _entries(part, spot, faults):
                    if name == "total":
                        example.total = _read_text(amount, where, faults)
                    elif name == "lines":
                        _read_text_map(example.lines, amount, where, faults)
                    else:
                        _unknown(name, where, ("lines", "total"), faults)
            else:
                _unknown(key, spot, ("expect", "usage"), faults)


_Reader = Callable[[Any, object, str, Faults], None]
_SPECIAL: Mapping[tuple[str, str], _Reader] = {
    ("Plan", "meters"): _read_meters,
    ("Plan", "examples"): _read_examples,
    ("Charge", "where"): _read_where,
}


def _unknown(key: str, path: str, known: tuple[str, ...], faults: Faults) -> None:
    message = f"unknown key {_shown(key)}; known here: {', '.join(known)}"
    faults.append(DocumentFault(path, message))


def _read_field(message: Any, field: Any, value: object, path: str, faults: Faults) -> None:
    if field.is_repeated:
        if field.name in _NEVER_EMPTY and value in ([], ()):
            faults.append(DocumentFault(path, "expected at least one item"))
        target = getattr(message, field.name)
        for item, place in _items(value, path, faults):
            if field.message_type is not None:
                _read_message(target.add(), item, place, faults)
            else:
                target.append(_read_scalar(field, item, place, faults))
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        _read_message(part, value, path, faults)
    else:
        setattr(message, field.name, _read_scalar(field, value, path, faults))


def _read_message(message: Message, document: object, path: str, faults: Faults) -> None:
    """Set the fields of ``message`` from a mapping, noting every fault and unknown key."""
    kind = message.DESCRIPTOR
    hidden = _OUTPUT_ONLY.get(kind.name, ())
    for key, value, place in _entries(document, path, faults):
        field = None if key in hidden else kind.fields_by_name.get(key)
        if value is None:
            faults.append(DocumentFault(place, "expected a value, got nothing"))
        elif (kind.name, key) in _SPECIAL:
            _SPECIAL[kind.name, key](message, value, place, faults)
        elif field is None:
            known = tuple(sorted(name for name in kind.fields_by_name if name not in hidden))
            _unknown(key, place, known, faults)
        else:
            _read_field(message, field, value, place, faults)


def plan_from_document(document: Mapping[str, Any]) -> plan_pb2.Plan:
    """Return the `Plan` message of a plan document, a tree of mappings, lists and text (S2).

    Numbers may be text, int or Decimal, never float. Raises PlanDocumentError with the path of
    every unknown key and misshapen value, in document order.
    """
    return _message_from(plan_pb2.Plan(), document)


def meter_from_document(document: Mapping[str, Any]) -> plan_pb2.Meter:
    """Return the `Meter` message of a meter document; as `plan_from_document`."""
    return _message_from(plan_pb2.Meter(), document)


Filled = TypeVar("Filled", plan_pb2.Plan, plan_pb2.Meter)


def _message_from(message: Filled, document: Mapping[str, Any]) -> Filled:
    faults: Faults = []
    _read_message(message, document, "", faults)
    if faults:
        raise PlanDocumentError(faults)
    return message


def usage_from_document(document: Mapping[str, Any]) -> list[plan_pb2.MeterUsage]:
    """Return the usage of a request from the shapes of S6.5; errors as `plan_from_document`.

    Of each meter: a quantity, or a list of quantities and of mappings `{quantity, dimensions}`. A
    bare quantity matches every `where`; for a percentage charge each is one event.
    """
    faults: Faults = []
    example = plan_pb2.PlanExample()
    _read_usage(example.usage, document, "usage", faults)
    if faults:
        raise PlanDocumentError(faults)
    return list(example.usage)


def _usage_document(usage: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for meter in usage:
        items: list[Any] = [
            item.quantity
            if item.match_all
            else {"quantity": item.quantity, "dimensions": dict(item.dimensions)}
            for item in meter.quantities
        ]
        alone = len(items) == 1 and isinstance(items[0], str)
        document[meter.meter] = items[0] if alone else items
    return document


def _example_document(example: plan_pb2.PlanExample) -> dict[str, Any]:
    expect: dict[str, Any] = {"total": example.total}
    if example.lines:
        expect["lines"] = dict(example.lines)
    return {"usage": _usage_document(example.usage), "expect": expect}


def _scalar_document(field: FieldDescriptor, value: Any) -> str:
    if field.type == FieldDescriptor.TYPE_ENUM:
        words = {number: word for word, number in _words(field.enum_type).items()}
        # A number that this version has no word for stays a number, and is no known word.
        return words.get(value, str(value))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    return str(value)


def _value_document(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        return _scalar_document(field, value)
    return _message_document(value)


def _message_document(message: Message) -> Any:
    """Return the document of a message; fields that are not set are left out."""
    if isinstance(message, plan_pb2.PlanExample):
        return _example_document(message)
    document: dict[str, Any] = {}
    hidden = _OUTPUT_ONLY.get(message.DESCRIPTOR.name, ())
    for field, value in message.ListFields():
        if field.name in hidden:
            continue
        if field.name == "where":
            document["where"] = {name: list(item.values) for name, item in sorted(value.items())}
        elif field.is_repeated:
            document[field.name] = [_value_document(field, item) for item in value]
        else:
            document[field.name] = _value_document(field, value)
    if isinstance(message, plan_pb2.PlanMeter) and list(document) == ["id"]:
        return message.id
    return document


def plan_to_document(plan: plan_pb2.Plan) -> dict[str, Any]:
    """Return the document of a plan, scalars as text; `plan_from_document` reads it back (S2).

    Output-only fields (name, version, times) are left out.
    """
    document: dict[str, Any] = _message_document(plan)
    return document


def meter_to_document(meter: plan_pb2.Meter) -> dict[str, Any]:
    """Return the document of a meter, scalars as text, without output-only fields."""
    document: dict[str, Any] = _message_document(meter)
    return document
