"""What the log says, folded in plain Python, and the error of a broken promise."""

from __future__ import annotations

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
WINDOW_US = 7 * DAY_US
START_US = 20_000 * DAY_US + DAY_US // 2
CLOCK_TOLERANCE_US = 5 * SECOND_US


class Violation(Exception):
    """An invariant of the protocol does not hold."""


class Truth:
    """The plain fold of one chain of entries."""

    __slots__ = ("closed", "fields", "grants", "ids", "now", "requests", "subscribed", "totals")

    def __init__(self):
        self.ids = {}
        self.fields = {}
        self.totals = {}
        self.subscribed = frozenset()
        self.closed = frozenset()
        self.requests = {}
        self.grants = 0
        self.now = 0

    def after(self, records, control, increments, now):
        new = type(self).__new__(type(self))
        new.now = max(self.now, now)
        new.ids, new.fields, new.totals = self.ids, self.fields, self.totals
        if records:
            new.ids, new.fields = dict(self.ids), dict(self.fields)
            new.totals = dict(self.totals)
            for record in records:
                new.ids[record[0]] = (record, now)
                new.totals[record[1]] = new.totals.get(record[1], 0) + record[2]
            for key, field, increment in increments:
                new.fields[key, field] = new.fields.get((key, field), 0) + increment
        new.subscribed, new.closed, new.grants = self.subscribed, self.closed, self.grants
        new.requests = self.requests
        if control:
            op, customer, request_id, value = control
            if op == "subscribe":
                new.subscribed = self.subscribed | {customer}
            elif op == "close":
                new.closed = self.closed | {customer}
            elif op == "grant":
                new.grants += 1
            if request_id:
                new.requests = {**self.requests, request_id: value}
        return new

    def covers(self, record):
        """Whether a record may be counted: a subscription holds its event time."""
        return record[1] in self.subscribed

    def held(self, customer):
        """Return what the entry that closes a period of a customer holds."""
        return self.totals.get(customer, 0)
