"""Plan and meter documents (YAML or JSON, scalars as text) ↔ their messages: the one mapper.

Keys of a document are the field names of the message; enum values are lower-case words; an absent
key is an empty field. What a message cannot hold is a fault here (an unknown key, an unknown word,
an empty list); whether the numbers make sense is the server's to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from ratewright.v1 import plan_pb2

_OUTPUT_ONLY = frozenset({"name", "version", "create_time"})
_MAY_BE_EMPTY = frozenset({"unit"})
_EXAMPLE = plan_pb2.PlanExample.DESCRIPTOR.full_name
_METER_REF = plan_pb2.PlanMeter.DESCRIPTOR.full_name


class DocumentInvalid(ValueError):
    """A document does not fit the message; ``faults`` holds every (path, what is wrong)."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{path}: {text}" for path, text in faults))


def document_to_message(document: object, message: Message) -> None:
    """Fill an empty Plan or Meter ``message`` from a document; DocumentInvalid names all faults."""
    faults: list[tuple[str, str]] = []
    _fill(document, message, "", faults)
    if faults:
        raise DocumentInvalid(faults)


def message_to_document(message: Message) -> dict[str, Any]:
    """Return the document of a Plan or Meter message, without output-only fields."""
    document: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.name in _OUTPUT_ONLY and field.containing_type.name in ("Plan", "Meter"):
            continue
        value = getattr(message, field.name)
        if field.name == "where":
            if value:
                document["where"] = {name: list(item.values) for name, item in value.items()}
        elif field.is_repeated:
            if len(value):
                document[field.name] = [_item_to_document(field, item) for item in value]
        elif field.message_type is not None:
            if message.HasField(field.name):
                document[field.name] = message_to_document(value)
        elif message.HasField(field.name) if field.has_presence else value:
            document[field.name] = _scalar_to_document(field, value)
    return document


def _item_to_document(field: FieldDescriptor, item: Any) -> Any:
    if field.message_type is None:
        return _scalar_to_document(field, item)
    if field.message_type.full_name == _EXAMPLE:
        return _example_to_document(item)
    document = message_to_document(item)
    if field.message_type.full_name == _METER_REF and list(document) == ["id"]:
        return document["id"]
    return document


def _example_to_document(example: plan_pb2.PlanExample) -> dict[str, Any]:
    expect: dict[str, Any] = {"total": example.total} if example.total else {}
    if example.lines:
        expect["lines"] = dict(example.lines)
    usage: dict[str, Any] = {}
    for meter in example.usage:
        usage[meter.meter] = [
            q.quantity
            if q.match_all
            else {"quantity": q.quantity, "dimensions": dict(q.dimensions)}
            for q in meter.quantities
        ]
    return {"usage": usage, "expect": expect}


def _scalar_to_document(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return str(value) if found is None else found.name[len(_prefix(field.enum_type)) :].lower()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _prefix(enum: EnumDescriptor) -> str:
    zero = enum.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


def _fill(document: object, message: Message, path: str, faults: list[tuple[str, str]]) -> None:
    if not isinstance(document, Mapping):
        faults.append((path, "expected a mapping of keys to values"))
        return
    fields = message.DESCRIPTOR.fields_by_name
    for key, value in document.items():
        where = f"{path}.{key}" if path else str(key)
        field = fields.get(key) if isinstance(key, str) else None
        output_only = key in _OUTPUT_ONLY and message.DESCRIPTOR.name in ("Plan", "Meter")
        if field is None or output_only:
            faults.append((where, f"unknown key; expected one of {', '.join(_keys(message))}"))
        elif key == "where":
            _fill_where(value, message, where, faults)
        elif field.is_repeated:
            _fill_list(field, value, getattr(message, key), where, faults)
        elif field.message_type is not None:
            getattr(message, key).SetInParent()
            _fill(value, getattr(message, key), where, faults)
        else:
            scalar = _scalar(field, value, where, faults)
            if scalar is not None:
                setattr(message, key, scalar)


def _keys(message: Message) -> list[str]:
    skip = _OUTPUT_ONLY if message.DESCRIPTOR.name in ("Plan", "Meter") else frozenset[str]()
    return [field.name for field in message.DESCRIPTOR.fields if field.name not in skip]


def _fill_where(value: object, charge: Any, path: str, faults: list[tuple[str, str]]) -> None:
    if not isinstance(value, Mapping) or not value:
        faults.append((path, "expected a mapping of dimension names to values"))
        return
    for name, values in value.items():
        listed = values if isinstance(values, list) else [values]
        if not listed or not all(isinstance(item, str) for item in listed):
            faults.append((f"{path}.{name}", "expected a value or a list of values, as text"))
        else:
            charge.where[name].values.extend(listed)


def _fill_list(
    field: FieldDescriptor, value: object, target: Any, path: str, faults: list[tuple[str, str]]
) -> None:
    if not isinstance(value, list) or not value:
        faults.append((path, "expected a list that is not empty"))
        return
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        if field.message_type is None:
            scalar = _scalar(field, item, where, faults)
            if scalar is not None:
                target.append(scalar)
        elif field.message_type.full_name == _METER_REF and isinstance(item, str):
            target.add(id=item)
        elif field.message_type.full_name == _EXAMPLE:
            _fill_example(item, target.add(), where, faults)
        else:
            _fill(item, target.add(), where, faults)


def _fill_example(
    value: object, example: plan_pb2.PlanExample, path: str, faults: list[tuple[str, str]]
) -> None:
    expect = value.get("expect") if isinstance(value, Mapping) else None
    usage = value.get("usage") if isinstance(value, Mapping) else None
    if (
        not isinstance(value, Mapping)
        or not isinstance(expect, Mapping)
        or not isinstance(usage, Mapping)
        or set(value) != {"usage", "expect"}
        or not set(expect) <= {"total", "lines"}
    ):
        faults.append((path, "expected usage: {…} and expect: {total, lines}"))
        return
    _text_into(example, "total", expect.get("total"), f"{path}.expect.total", faults)
    lines = expect.get("lines", {})
    if not isinstance(lines, Mapping) or not all(isinstance(v, str) for v in lines.values()):
        faults.append((f"{path}.expect.lines", "expected a mapping of line ids to amounts"))
    else:
        for name, amount in lines.items():
            example.lines[name] = amount
    for meter, quantities in usage.items():
        entry = example.usage.add(meter=str(meter))
        _fill_quantities(quantities, entry, f"{path}.usage.{meter}", faults)


def _fill_quantities(
    value: object, entry: plan_pb2.MeterUsage, path: str, faults: list[tuple[str, str]]
) -> None:
    for index, item in enumerate(value if isinstance(value, list) else [value]):
        where = f"{path}[{index}]" if isinstance(value, list) else path
        dimensions = item.get("dimensions", {}) if isinstance(item, Mapping) else {}
        if isinstance(item, str):
            entry.quantities.add(quantity=item, match_all=True)
        elif (
            isinstance(item, Mapping)
            and set(item) <= {"quantity", "dimensions"}
            and isinstance(item.get("quantity"), str)
            and isinstance(dimensions, Mapping)
            and all(isinstance(word, str) for word in dimensions.values())
        ):
            entry.quantities.add(quantity=item["quantity"], dimensions=dict(dimensions))
        else:
            faults.append((where, "expected a quantity, or {quantity, dimensions}, as text"))


def _text_into(
    message: Message, key: str, value: object, path: str, faults: list[tuple[str, str]]
) -> None:
    if isinstance(value, str) and value:
        setattr(message, key, value)
    else:
        faults.append((path, "expected a text that is not empty"))


def _scalar(
    field: FieldDescriptor, value: object, path: str, faults: list[tuple[str, str]]
) -> str | int | bool | None:
    if not isinstance(value, str) or (not value and field.name not in _MAY_BE_EMPTY):
        faults.append((path, "expected a text that is not empty"))
        return None
    if field.enum_type is not None:
        prefix = _prefix(field.enum_type)
        found = field.enum_type.values_by_name.get(prefix + value.upper())
        if found is None or found.number == 0 or value != value.lower():
            names = [v.name[len(prefix) :].lower() for v in field.enum_type.values if v.number]
            faults.append((path, f"expected one of {', '.join(names)}, got {value!r}"))
            return None
        return int(found.number)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if value not in ("true", "false"):
            faults.append((path, f"expected true or false, got {value!r}"))
            return None
        return value == "true"
    if field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            faults.append((path, f"expected a whole number, got {value!r}"))
            return None
        return int(value)
    return value
