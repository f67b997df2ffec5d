"""The smallest machine that has everything the protocol cares about.

Records with ids and payloads, an acceptance window, subscriptions, a close that holds what it
closes, grants (controls that may happen many times) and request ids. It stages by copying its state
and knows nothing of NumPy, so that the session can be tested without the usage shard.
"""

from __future__ import annotations

import json

from rating_core.errors import LogCorrupt
from rating_core.metering.log.archive import SnapshotName
from rating_core.metering.log.flight import HURRIED_BYTES
from rating_core.metering.log.protocol import EMPTY_TOKEN, Decision
from rating_core.metering.log.snapshot import GetHead, Snapshot, TakeSnapshot

DAY_US = 86_400_000_000
WINDOW_US = 7 * DAY_US
FUTURE_US = 60_000_000


class _State:
    __slots__ = ("closed", "grants", "ids", "now", "requests", "subscribed", "sums")

    def __init__(self):
        self.ids = {}
        self.sums = {}
        self.subscribed = set()
        self.closed = set()
        self.grants = 0
        self.requests = {}
        self.now = 0

    def copy(self):
        new = _State.__new__(_State)
        new.ids, new.sums = dict(self.ids), dict(self.sums)
        new.subscribed, new.closed = set(self.subscribed), set(self.closed)
        new.grants, new.requests, new.now = self.grants, dict(self.requests), self.now
        return new

    def apply(self, entry, now):
        """Apply one decoded entry; return the fields it changed."""
        changed = set()
        self.now = max(self.now, now)
        for event_id, customer, quantity, event_time, field in entry["records"]:
            self.ids[customer, event_id] = (quantity, event_time, field, now)
            self.sums[customer, field] = self.sums.get((customer, field), 0) + quantity
            changed.add((customer, field))
        control = entry["control"]
        if control:
            op, customer, request_id, _ = control
            if op == "subscribe":
                self.subscribed.add(customer)
            elif op == "close":
                self.closed.add(customer)
            else:
                self.grants += 1
            if request_id:
                self.requests[request_id] = control
        live = self.now - WINDOW_US - DAY_US
        if any(stored[3] < live for stored in self.ids.values()):
            self.ids = {k: stored for k, stored in self.ids.items() if stored[3] >= live}
        return changed

    def total(self, customer):
        return sum(value for (owner, _), value in self.sums.items() if owner == customer)

    def record_status(self, record, now):
        event_id, customer, quantity, event_time, field = record
        known = self.ids.get((customer, event_id))
        if known:
            return "DUPLICATE" if known[:3] == (quantity, event_time, field) else "CONFLICT"
        if customer not in self.subscribed:
            return "NO_SUBSCRIPTION"
        if event_time > now + FUTURE_US:
            return "IN_FUTURE"
        if event_time <= now - WINDOW_US:
            return "TOO_OLD"
        return "PERIOD_CLOSED" if customer in self.closed else "ACCEPTED"


class TinyMachine:
    """A `Machine` over plain dicts; calls are ("records", …) and ("control", op, customer, id)."""

    two_lanes = False

    def __init__(self):
        self.reset()

    def reset(self):
        self.version, self.token, self.now = 0, EMPTY_TOKEN, 0
        self._state = _State()
        self._staged = []
        self._fields = {}

    def decide(self, calls, now):
        state = self._staged[-1][0] if self._staged else self._state
        if calls[0][0] == "control":
            return self._control(state, calls[0])
        records, answers, seen = [], [], {}
        for _, rows in calls:
            answer = []
            for row in rows:
                status = state.record_status(row, now)
                first = seen.get((row[1], row[0]))
                if first and status not in ("DUPLICATE", "CONFLICT"):
                    status = "DUPLICATE" if first == row else "CONFLICT"
                elif status == "ACCEPTED":
                    seen[row[1], row[0]] = row
                    records.append(row)
                answer.append(status)
            answers.append(tuple(answer))
        if not records:
            return Decision(tuple(answers), None)
        return self._entry(answers, records, None)

    def _control(self, state, call):
        _, op, customer, request_id = call
        earlier = state.requests.get(request_id)
        if earlier:
            return Decision((("OK", earlier[3]),), None)
        if op == "subscribe" and customer in state.subscribed:
            return Decision((("ALREADY_EXISTS", 0),), None)
        if op == "close" and customer in state.closed:
            return Decision((("PERIOD_CLOSED", 0),), None)
        value = state.total(customer) if op == "close" else 0
        return self._entry([("OK", value)], [], (op, customer, request_id, value))

    @staticmethod
    def _entry(answers, records, control):
        entry = {"records": records, "control": control}
        return Decision(tuple(answers), json.dumps(entry).encode(), entry)

    def stage(self, decision, now):
        state = (self._staged[-1][0] if self._staged else self._state).copy()
        self._staged.append((state, state.apply(decision.staged, now), now))

    def unstage(self):
        self._staged.clear()

    def confirm(self, version, token):
        state, changed, now = self._staged.pop(0)
        self._commit(state, changed, now, version, token)

    def apply(self, body, now, version, token):
        assert not self._staged
        try:
            entry = json.loads(body)
        except ValueError as error:
            raise LogCorrupt(str(error)) from error
        state = self._state.copy()
        entry["records"] = [tuple(row) for row in entry["records"]]
        self._commit(state, state.apply(entry, now), now, version, token)

    def _commit(self, state, changed, now, version, token):
        self._state = state
        self.version, self.token, self.now = version, token, max(self.now, now)
        for key in changed:
            self._fields[key] = version

    def query(self, question):
        if isinstance(question, GetHead):
            return SnapshotName(self.version, self.token)
        if isinstance(question, TakeSnapshot):
            return self.snapshot()
        return self._state.total(question)

    def joins(self, first, call):
        return first[0] == call[0] == "records"

    def size(self, call):
        # With two lanes calls of either size overtake each other in the queue.
        return HURRIED_BYTES + 1 if self.two_lanes and len(str(call)) % 2 == 0 else 100

    def hurries(self, call):
        return True

    def changed_hashes(self, after):
        owners = {f"c:{key[0]}" for key, version in self._fields.items() if version > after}
        return sorted(owners)

    def fields_of(self, hashes):
        return [self.hash_fields(*each) for each in hashes]

    def hash_fields(self, key, after):
        return [
            (field, self._state.sums[owner, field])
            for (owner, field), version in self._fields.items()
            if f"c:{owner}" == key and version > after
        ]

    def folded(self, mark):
        pass

    def snapshot(self):
        state = self._state
        facts = {
            "ids": [[*key, *stored] for key, stored in state.ids.items()],
            "sums": [[*key, total] for key, total in state.sums.items()],
            "subscribed": sorted(state.subscribed),
            "closed": sorted(state.closed),
            "grants": state.grants,
            "requests": state.requests,
            "now": state.now,
            "fields": [[*key, version] for key, version in self._fields.items()],
        }
        sections = {"tiny": json.dumps(facts).encode()}
        return Snapshot("tiny", self.version, self.token, self.now, sections)

    def restore(self, snapshot):
        self.reset()
        facts = json.loads(snapshot.sections["tiny"])
        state = self._state
        state.ids = {(row[0], row[1]): tuple(row[2:]) for row in facts["ids"]}
        state.sums = {(row[0], row[1]): row[2] for row in facts["sums"]}
        state.subscribed, state.closed = set(facts["subscribed"]), set(facts["closed"])
        state.grants, state.requests = facts["grants"], facts["requests"]
        state.now = facts["now"]
        self._fields = {(row[0], row[1]): row[2] for row in facts["fields"]}
        self.version, self.token, self.now = snapshot.version, snapshot.token, snapshot.now
