"""Price columns of quantities, each row on one plan of a set (S11.3); nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rating_core import bulk
from rating_core.catalog import Plan
from rating_core.errors import PlanInvalid
from rating_core.plan_document import plan_from_document
from rating_server.usecases.context import Context, PricedPlan
from rating_server.usecases.failure import Failure, InvalidRequest, Violation

PLANS_MAX = 10_000
"""Most plans of one set."""
_SETS_CACHED = 32
_CACHED_PLANS_MAX = 40_000
_LOOK_UPS_AT_ONCE = 64
_NAMES_SHOWN = 5

PlanKey = tuple[str, int] | bytes


@dataclass(frozen=True, slots=True)
class StatedPlan:
    """A plan that came whole: its document, and bytes that are equal for equal documents."""

    key: bytes
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PlanSet:
    """Plans compiled together. ``versions`` holds 0 for a plan that came whole."""

    plans: tuple[Plan, ...]
    versions: tuple[int, ...]
    compiled: bulk.BulkPlans


class PlanSets:
    """Compiles sets of plans and keeps the latest used ones: plan versions are immutable."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sets: dict[tuple[PlanKey, ...], PlanSet] = {}

    async def get(self, stated: Sequence[tuple[str, int] | StatedPlan]) -> PlanSet:
        """Return the set of 1 to `PLANS_MAX` plans: (id, version or 0), or whole ones.

        Raises InvalidRequest with the faults of all plans that came whole, Failure PLAN_NOT_FOUND.
        """
        named = await self._named([entry for entry in stated if isinstance(entry, tuple)])
        key = tuple(
            (entry[0], named[entry].version) if isinstance(entry, tuple) else entry.key
            for entry in stated
        )
        found = self._sets.pop(key, None)
        if found is None:
            # Reading and compiling many plans takes long: off the event loop.
            found = await asyncio.to_thread(self._compile, stated, named)
        self._sets[key] = found
        self._forget()
        return found

    async def _named(self, names: Sequence[tuple[str, int]]) -> dict[tuple[str, int], PricedPlan]:
        """Look the plans of the catalogue up; Failure PLAN_NOT_FOUND names the first few."""
        wanted = list(dict.fromkeys(names))
        found: dict[tuple[str, int], PricedPlan] = {}
        missing: list[Failure] = []
        for start in range(0, len(wanted), _LOOK_UPS_AT_ONCE):
            part = wanted[start : start + _LOOK_UPS_AT_ONCE]
            answers = await asyncio.gather(
                *(self._context.plan(*name) for name in part), return_exceptions=True
            )
            for name, answer in zip(part, answers, strict=True):
                if isinstance(answer, PricedPlan):
                    found[name] = answer
                elif isinstance(answer, Failure) and answer.reason == "PLAN_NOT_FOUND":
                    missing.append(answer)
                else:
                    raise answer
        if missing:
            shown = "; ".join(failure.message for failure in missing[:_NAMES_SHOWN])
            more = len(missing) - _NAMES_SHOWN
            text = shown + (f"; and {more} more" if more > 0 else "")
            raise Failure("PLAN_NOT_FOUND", text, **missing[0].metadata)
        return found

    def _compile(
        self,
        stated: Sequence[tuple[str, int] | StatedPlan],
        named: Mapping[tuple[str, int], PricedPlan],
    ) -> PlanSet:
        plans: list[Plan] = []
        versions: list[int] = []
        violations: list[Violation] = []
        for index, entry in enumerate(stated):
            if isinstance(entry, tuple):
                plans.append(named[entry].plan)
                versions.append(named[entry].version)
                continue
            try:
                plans.append(self._read(entry))
                versions.append(0)
            except PlanInvalid as error:
                prefix = f"plans[{index}].plan."
                violations += [
                    Violation(prefix + fault.path, fault.reason, fault.message)
                    for fault in error.faults
                ]
        if violations:
            raise InvalidRequest(violations, "PLAN_INVALID")
        return PlanSet(tuple(plans), tuple(versions), bulk.compile_bulk(plans))

    def _read(self, entry: StatedPlan) -> Plan:
        context = self._context
        return plan_from_document(entry.document, context.minor_unit, context.store.meters)

    def _forget(self) -> None:
        """Drop the sets used longest ago, but never the latest."""
        held = sum(len(key) for key in self._sets)
        while len(self._sets) > 1 and (len(self._sets) > _SETS_CACHED or held > _CACHED_PLANS_MAX):
            oldest = next(iter(self._sets))
            held -= len(oldest)
            del self._sets[oldest]


def rate_batch(
    plans: PlanSet, plan_index: npt.NDArray[np.int32] | int, quantities: npt.NDArray[np.int64]
) -> bulk.BatchAmounts:
    """Price rows, each on the plan of the set that ``plan_index`` names, or all on one (S11.3).

    ``quantities`` is rows × meter positions, in units of 10^-scale of the meters. One thread:
    the batches of all streams are priced beside each other.
    """
    return bulk.rate_batch(plans.compiled, plan_index, quantities)
