"""Sets of plans, compiled together for `rate_batch` and kept while they fit; all bounded by size.

Plan versions and meters never change, so a set stays right for as long as its key is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from rating_core.bulk import BulkPlans, compile_bulk
from rating_core.catalog import Meter, Plan
from rating_core.errors import PlanInvalid
from rating_core.plan.document import plan_from_document
from rating_server.usecases.context import Context, PricedPlan
from rating_server.usecases.failure import Failure, InvalidRequest, Violation

PLANS_MAX = 10_000
"""Most plans of one set."""
SET_BYTES_MAX = 160 << 20
"""Most bytes that a set may take, compiled, as `_size` estimates them."""
_CACHED_BYTES_MAX = 256 << 20
_LIVE_BYTES_MAX = 512 << 20
"""Most bytes of all sets: in the cache, in use by streams, and being compiled."""
_COMPILED_AT_ONCE = 2
_LOOK_UPS_AT_ONCE = 64
_NAMES_SHOWN = 5

# Measured: what a plan, each of its tiers (a charge without tiers is one), each row of a table of
# one charge position, and each charge that a commitment covers take when compiled.
_PLAN_BYTES = 1_000
_TIER_BYTES = 700
_ROW_BYTES = 200
_COVER_BYTES = 24

PlanKey = tuple[str, int] | tuple[bytes, tuple[Meter | None, ...]]


@dataclass(frozen=True, slots=True)
class StatedPlan:
    """A plan that came whole: its document, and bytes that are equal for equal documents."""

    key: bytes
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class PlanSet:
    """Plans compiled together. ``versions`` holds 0 for a plan that came whole.

    ``size`` is an estimate of the bytes that the set takes.
    """

    plans: tuple[Plan, ...]
    versions: tuple[int, ...]
    compiled: BulkPlans
    size: int


class PlanSets:
    """Compiles sets of plans and keeps the latest used ones.

    ``cached_bytes_max``: most bytes of the sets kept; ``live_bytes_max``: of all sets.
    """

    def __init__(
        self,
        context: Context,
        *,
        cached_bytes_max: int = _CACHED_BYTES_MAX,
        live_bytes_max: int = _LIVE_BYTES_MAX,
    ) -> None:
        self._cached_bytes_max = cached_bytes_max
        self._live_bytes_max = live_bytes_max
        self._context = context
        self._sets: dict[tuple[PlanKey, ...], PlanSet] = {}
        self._live: WeakSet[PlanSet] = WeakSet()
        self._turns = asyncio.Semaphore(_COMPILED_AT_ONCE)
        self._compiling = 0

    async def get(self, stated: Sequence[tuple[str, int] | StatedPlan]) -> PlanSet:
        """Return the set of 1 to `PLANS_MAX` plans: (id, version or 0), or whole ones.

        Raises InvalidRequest with the faults of all plans that came whole, or for a set beyond
        `SET_BYTES_MAX`; Failure PLAN_NOT_FOUND, and TOO_MUCH_IN_FLIGHT while other sets in use
        leave no room.
        """
        named = await self._named([entry for entry in stated if isinstance(entry, tuple)])
        meters = self._meters(stated)
        key = tuple(
            (entry[0], named[entry].version)
            if isinstance(entry, tuple)
            else (entry.key, tuple(meters.get(name) for name in _meter_ids(entry.document)))
            for entry in stated
        )
        found = self._sets.pop(key, None)
        if found is None:
            size = _size(stated, named)
            await self._turns.acquire()
            compiling = asyncio.create_task(self._in_turn(key, stated, named, meters, size))
            # What is being compiled keeps its turn when its stream is cancelled: a thread goes on.
            found = await asyncio.shield(compiling)
        self._sets[key] = found
        self._forget()
        return found

    async def _in_turn(
        self,
        key: tuple[PlanKey, ...],
        stated: Sequence[tuple[str, int] | StatedPlan],
        named: Mapping[tuple[str, int], PricedPlan],
        meters: Mapping[str, Meter],
        size: int,
    ) -> PlanSet:
        try:
            found = self._sets.pop(key, None)
            if found is not None:
                return found
            self._make_room(size)
            self._compiling += size
            try:
                # Reading and compiling many plans takes long: off the event loop.
                found = await asyncio.to_thread(self._compile, stated, named, meters, size)
            finally:
                self._compiling -= size
            self._live.add(found)
            return found
        finally:
            self._turns.release()

    def _meters(self, stated: Sequence[tuple[str, int] | StatedPlan]) -> dict[str, Meter]:
        """Return what the catalogue says now of the meters that whole plans name or repeat.

        They belong to a set's key: whether a plan is accepted, and what it means, rests on them.
        """
        known = self._context.store.meters
        whole = [entry for entry in stated if isinstance(entry, StatedPlan)]
        names = {name for entry in whole for name in _meter_ids(entry.document)}
        return {name: known[name] for name in names if name in known}

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
        meters: Mapping[str, Meter],
        size: int,
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
                plans.append(plan_from_document(entry.document, self._context.minor_unit, meters))
                versions.append(0)
            except PlanInvalid as error:
                prefix = f"plans[{index}].plan."
                violations += [
                    Violation(prefix + fault.path, fault.reason, fault.message)
                    for fault in error.faults
                ]
        if violations:
            raise InvalidRequest(violations, "PLAN_INVALID")
        return PlanSet(tuple(plans), tuple(versions), compile_bulk(plans), size)

    def _make_room(self, size: int) -> None:
        """Drop cached sets until ``size`` more bytes fit; Failure TOO_MUCH_IN_FLIGHT."""
        while self._held() + size > self._live_bytes_max and self._sets:
            del self._sets[next(iter(self._sets))]
        if self._held() + size > self._live_bytes_max:
            raise Failure(
                "TOO_MUCH_IN_FLIGHT",
                f"the plans that streams use take more than {self._live_bytes_max} bytes;"
                " try again later",
                max_bytes=str(self._live_bytes_max),
            )

    def _held(self) -> int:
        return self._compiling + sum(each.size for each in self._live)

    def _forget(self) -> None:
        """Drop the sets used longest ago, but never the latest."""
        held = sum(each.size for each in self._sets.values())
        while len(self._sets) > 1 and held > self._cached_bytes_max:
            oldest = next(iter(self._sets))
            held -= self._sets.pop(oldest).size


def _meter_ids(document: Mapping[str, Any]) -> list[str]:
    """Return the ids in a plan document's `meters`: names, or meters stated whole (S2)."""
    items = document.get("meters", ())
    return [item if isinstance(item, str) else item.get("id", "") for item in items]


def _size(
    stated: Sequence[tuple[str, int] | StatedPlan], named: Mapping[tuple[str, int], PricedPlan]
) -> int:
    """Return about how many bytes the compiled plans will take.

    InvalidRequest BATCH_INVALID if they are more than `SET_BYTES_MAX`.
    """
    tiers = covers = depth = 0
    for entry in stated:
        if isinstance(entry, tuple):
            plan = named[entry].plan
            counts = [len(charge.tiers) for charge in plan.charges]
            covers += len(plan.commitments) * len(counts)
        else:
            counts = [len(charge.get("tiers", ())) for charge in entry.document.get("charges", ())]
            covers += len(entry.document.get("commitments", ())) * len(counts)
        tiers += sum(max(count, 1) for count in counts)
        depth = max(depth, len(counts))
    rows = len(stated) * depth
    size = (
        _PLAN_BYTES * len(stated) + _TIER_BYTES * tiers + _ROW_BYTES * rows + _COVER_BYTES * covers
    )
    if size > SET_BYTES_MAX:
        text = (
            f"{len(stated)} plans of {tiers} tiers in all (a charge without tiers counts as one)"
            f" would take {size >> 20} MiB, more than {SET_BYTES_MAX >> 20};"
            " send fewer plans, charges or tiers at once"
        )
        raise InvalidRequest([Violation("plans", "TOO_LARGE", text)], "BATCH_INVALID")
    return size
