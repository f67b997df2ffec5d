"""The deliveries of one writer, one for each server that it sends to. Sans I/O.

A batch whose customers have several servers is sent in parts and reported as a whole. What a server
does not answer goes to another one, under the same ids: whatever the first one did with it, it
counts once (S7.1). A sequenced producer has one lane, which moves as a whole (P12).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import grpc

from ratewright.v1 import usage_service_pb2 as usage_api
from rating_client.columns import Payload
from rating_client.delivery import BatchResult, Delivery
from rating_client.errors import RatewrightError
from rating_client.routes import Routes
from rating_client.values import RecordStatus
from rating_client.verdict import Verdict, verdict

_RETRY = bytes([RecordStatus.RETRY])


@dataclass(slots=True, eq=False)
class Lane:
    """The batches on their way to one server."""

    address: str
    delivery: Delivery


@dataclass(slots=True, eq=False)
class _Whole:
    """A batch that travels in parts: the result so far; ``open`` parts have none yet."""

    result: BatchResult
    statuses: bytearray
    reasons: bytearray
    open: int


class Lanes:
    """All lanes of a writer. ``build`` makes a delivery. ``fixed``: one lane, never split."""

    def __init__(self, routes: Routes, build: Callable[[], Delivery], *, fixed: bool) -> None:
        self._routes = routes
        self._build = build
        self._fixed = fixed
        self._home = Lane(routes.home, build())
        self._lanes: dict[str, Lane] = {routes.home: self._home}
        self._parts: dict[int, tuple[_Whole, list[int]]] = {}
        self._last_part = 0
        self._resent_before = 0

    @property
    def all(self) -> list[Lane]:
        """The lanes in use."""
        return list(self._lanes.values())

    @property
    def home(self) -> Lane:
        """The lane that is always there; a sequenced producer's only one."""
        return self._home

    @property
    def resent_batches(self) -> int:
        """Times that a batch, or a part of one, was sent again."""
        return self._resent_before + sum(lane.delivery.resent_batches for lane in self.all)

    @property
    def idle_slot(self) -> bool:
        """Whether every lane could send a further batch at once."""
        return all(lane.delivery.idle_slot for lane in self._lanes.values())

    def put(self, payload: Payload, first_record: int) -> None:
        """Take a batch; it is kept until all its records have a status."""
        if self._fixed:
            self._home.delivery.put(payload, first_record)
            return
        single = self._routes.single
        if single is not None:
            self._lane_for(single).delivery.put(payload, first_record)
            return
        rows = self._rows_by_owner(payload)
        if len(rows) == 1:
            self._lane_for(next(iter(rows))).delivery.put(payload, first_record)
            return
        count = payload.record_count
        result = BatchResult(first_record, b"", b"", 0, payload)
        whole = _Whole(result, bytearray(_RETRY * count), bytearray(count), len(rows))
        for address, own in rows.items():
            self._last_part -= 1
            self._parts[self._last_part] = (whole, own)
            self._lane_for(address).delivery.put(payload.subset(own), self._last_part)

    def answers(
        self, lane: Lane, answer: usage_api.IngestUsageResponse, now: float
    ) -> list[BatchResult]:
        """Take any answer of a lane's stream; return the results that it brings."""
        self._routes.answered(lane.address)
        self._routes.hint(answer.topology_revision)
        return self._merged(lane.delivery.answers(answer, now))

    def lost(self, lane: Lane, error: RatewrightError, now: float) -> list[BatchResult]:
        """Take the end of a lane's stream; what is unanswered goes elsewhere if that is possible.

        Returns the results of batches that end here; a fatal error is raised (`Delivery.lost`).
        """
        results = self._merged(lane.delivery.lost(error, now))
        gone = verdict(error) is Verdict.RETRY
        if gone and error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            self._routes.failed(lane.address)
            other = self._routes.instead_of(lane.address)
            if other is not None:
                self._move(lane, other, now)
        return results

    def expired(self, lane: Lane, now: float) -> list[BatchResult]:
        """Return the results of batches whose time is over; unknown records are RETRY."""
        return self._merged(lane.delivery.expired(now))

    def abandon(self, error: RatewrightError) -> list[BatchResult]:
        """Return the results of all batches as they stand, unknown records as RETRY."""
        found = [result for lane in self.all for result in lane.delivery.abandon(error)]
        return sorted(self._merged(found), key=lambda result: result.first_record)

    def retire(self, lane: Lane) -> bool:
        """Take out a lane with nothing to do whose server is gone; return whether it was."""
        if lane is self._home or len(lane.delivery) or lane.address in self._routes.addresses:
            return False
        self._resent_before += lane.delivery.resent_batches
        del self._lanes[lane.address]
        return True

    def _rows_by_owner(self, payload: Payload) -> dict[str, list[int]]:
        customers = payload.customers()
        owners = {customer: self._routes.owner(customer) for customer in set(customers)}
        rows: dict[str, list[int]] = {owner: [] for owner in owners.values()}
        if len(rows) > 1:
            places = {customer: rows[owner].append for customer, owner in owners.items()}
            for row, customer in enumerate(customers):
                places[customer](row)
        return rows

    def _lane_for(self, address: str) -> Lane:
        if not self._routes.reachable(address):
            address = self._routes.instead_of(address) or address
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = Lane(address, self._build())
        return lane

    def _move(self, lane: Lane, address: str, now: float) -> None:
        if self._fixed:
            lane.address = address
            lane.delivery.resume_at = now
        else:
            self._lane_for(address).delivery.adopt(lane.delivery.withdraw())

    def _merged(self, results: list[BatchResult]) -> list[BatchResult]:
        """Return the results of whole batches; parts are put together."""
        if not self._parts:
            return results
        merged = []
        for result in results:
            part = self._parts.pop(result.first_record, None)
            if part is None:
                merged.append(result)
                continue
            whole, rows = part
            for row, status, reason in zip(rows, result.statuses, result.reasons, strict=True):
                whole.statuses[row] = status
                whole.reasons[row] = reason
            whole.open -= 1
            whole.result = replace(
                whole.result,
                attempts=max(whole.result.attempts, result.attempts),
                error=whole.result.error or result.error,
            )
            if not whole.open:
                statuses, reasons = bytes(whole.statuses), bytes(whole.reasons)
                merged.append(replace(whole.result, statuses=statuses, reasons=reasons))
        return merged
