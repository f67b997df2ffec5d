"""A customer's own prices: a patch of a plan version's document (S8.6, ADR 28).

A patch names charges and commitments by id and states the keys that differ, tiers whole; also the
plan's minimum and maximum. What is priced and how it is counted stay the plan's: the patched
document is read again as a plan, so nothing gets in that a plan could not say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rating_core.catalog import Plan
from rating_core.errors import Fault, PlanInvalid
from rating_core.plan.document import plan_from_document
from rating_core.plan.fields import FaultList, Fields, Place, listed
from rating_core.plan.output import plan_to_document

OVERRIDES_BYTES_MAX = 65_536
"""Most bytes of the canonical JSON of one patch."""
PATCHES_MAX = 1_000
PLAN_KEYS = ("maximum_amount", "minimum_amount")
CHARGE_KEYS = (
    "amount",
    "discount_percent",
    "fixed_fee_per_event",
    "flat_fee_at_zero_usage",
    "free_amount",
    "free_events",
    "included_units",
    "max_per_event",
    "maximum_amount",
    "min_per_event",
    "minimum_amount",
    "package_price",
    "package_size",
    "percent",
    "tiers",
    "unit_price",
)
COMMITMENT_KEYS = (
    "amount",
    "discount_percent",
    "overage_factor",
    "quantity",
    "rollover",
    "schedule",
    "true_up",
)
_KEYS = {"charges": CHARGE_KEYS, "commitments": COMMITMENT_KEYS}
_INSTEAD = {"amount": "quantity", "quantity": "amount"}
"""Of a commitment: a key that the other one takes the place of (S5.6)."""
_PATCHED = re.compile(r"(charges|commitments)\[(\d+)\](.*)", re.DOTALL)

Document = dict[str, Any]


def read_overrides(plan: Plan, document: object, path: str = "overrides") -> tuple[str, Plan]:
    """Return the canonical JSON of a patch of ``plan``, and the plan with it (S8.6).

    The text is empty for a patch that states nothing. ``document`` is a tree of dict, list and str
    (S1.1): `charges` and `commitments`, lists of mappings with the `id` of what they patch, and
    `minimum_amount`, `maximum_amount`. Raises PlanInvalid with all faults, paths below ``path``.
    """
    faults = FaultList()
    fields = Fields.open(document, Place(path), faults)
    patch: Document = {}
    places: dict[str, dict[str, int]] = {}
    if fields is not None:
        for section in _KEYS:
            patches, places[section] = _read_section(fields, faults, plan, section)
            if patches:
                patch[section] = patches
        patch |= {key: fields.take(key) for key in PLAN_KEYS if key in fields}
        misplaced = [name for name in plan_to_document(plan) if name not in (*_KEYS, *PLAN_KEYS)]
        fields.finish(misplaced=misplaced, here="in overrides: it is the plan's")
    if len(faults):
        raise PlanInvalid(faults.in_document_order())
    try:
        patched = _patched(plan, patch)
    except PlanInvalid as error:
        raise PlanInvalid([_moved(plan, fault, path, places) for fault in error.faults]) from None
    text = _canonical(patch)
    if len(text.encode(errors="surrogatepass")) > OVERRIDES_BYTES_MAX:
        message = f"expected at most {OVERRIDES_BYTES_MAX} bytes"
        raise PlanInvalid([Fault(path, "TOO_LARGE", message)])
    return text, patched


def apply_overrides(plan: Plan, overrides: str) -> Plan:
    """Return ``plan`` with a patch as `read_overrides` gave it; itself for an empty one.

    Raises PlanInvalid if it is no patch of this plan.
    """
    if not overrides:
        return plan
    try:
        document = json.loads(overrides)
    except ValueError:
        message = "expected the JSON of overrides"
        raise PlanInvalid([Fault("overrides", "NOT_A_DOCUMENT", message)]) from None
    _, patched = read_overrides(plan, document)
    return patched


def _read_section(
    fields: Fields, faults: FaultList, plan: Plan, section: str
) -> tuple[list[Document], dict[str, int]]:
    """Return the patches of a section sorted by id, and by id where they stand in the list."""
    known = {item.id for item in getattr(plan, section)}
    found: dict[str, tuple[int, Document]] = {}
    seen: set[str] = set()
    for index, (at, item) in enumerate(
        fields.items(section, at_most=PATCHES_MAX, empty=True) or []
    ):
        part = Fields.open(item, at, faults)
        if part is None:
            continue
        name = part.id("id", required=True)
        if name is not None and name not in known:
            message = f"expected the id of one of the plan's {section}: {listed(sorted(known))}"
            part.fault("id", "UNKNOWN_ID", message)
        elif name in seen:
            part.fault("id", "DUPLICATE_ID", f"{name} stands twice")
        values = {key: part.take(key) for key in _KEYS[section] if key in part}
        rest = [key for key in part.names() if key not in values and key != "id"]
        for key in rest:
            part.take(key)
            message = f"not a price: overrides of {section} may hold {listed(_KEYS[section])}"
            part.fault(key, "NOT_ALLOWED", message)
        if name is not None:
            seen.add(name)
        if name is not None and values:
            found.setdefault(name, (index, {"id": name, **values}))
    patches = [found[name][1] for name in sorted(found)]
    return patches, {name: index for name, (index, _) in found.items()}


def _patched(plan: Plan, patch: Mapping[str, Any]) -> Plan:
    """Return the plan of the patched document; its examples, of other prices, are left out."""
    document = plan_to_document(replace(plan, examples=()))
    for section in _KEYS:
        patches = {item["id"]: item for item in patch.get(section, ())}
        for place, item in enumerate(document.get(section, ())):
            own = patches.get(item["id"], {})
            kept = {
                key: value
                for key, value in item.items()
                if section == "charges" or _INSTEAD.get(key) not in own
            }
            document[section][place] = kept | own
    document |= {key: patch[key] for key in PLAN_KEYS if key in patch}
    return plan_from_document(document, {plan.currency: plan.rounding.scale}.get)


def _moved(plan: Plan, fault: Fault, path: str, places: Mapping[str, Mapping[str, int]]) -> Fault:
    """Return a fault of the patched plan as one of the patch that made it."""
    match = _PATCHED.fullmatch(fault.path)
    if match is None:
        return replace(fault, path=f"{path}.{fault.path}")
    section, number, rest = match[1], int(match[2]), match[3]
    name = getattr(plan, section)[number].id
    index = places[section].get(name)
    if index is None:  # as a schedule, which no longer adds up to a quantity's new price
        return Fault(f"{path}.{section}", fault.reason, f"{name}{rest}: {fault.message}")
    return replace(fault, path=f"{path}.{section}[{index}]{rest}")


def _canonical(patch: Mapping[str, Any]) -> str:
    if not patch:
        return ""
    return json.dumps(patch, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
