"""What decides besides ids and counters: settings, subscriptions, closes, request ids (DESIGN §6).

All of it is changed by control entries only, so every server decides in the same order (P4, P11).
A view lays the staged control entries, oldest first, over what is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import LogCorrupt
from rating_core.metering.calls import Bands, ControlAnswer, Settings, Subscription
from rating_core.metering.contracts.account import FINALIZE_PERIOD, FINALIZE_PERIODS, LEDGER_KINDS
from rating_core.metering.contracts.contract_rows import (
    CLOSED_UNTIL,
    MANY,
    NOBODY,
    PERIOD,
    START,
    Calendars,
    CustomerRows,
    Profiles,
    Row,
    gathered,
    placed,
    rows_of_contract,
)
from rating_core.metering.contracts.plain_contracts import PlainContracts
from rating_core.metering.contracts.subscription import (
    CANCEL_SUBSCRIPTION,
    CHANGE_PLAN,
    CREATE_SUBSCRIPTION,
    MIGRATE_PLAN,
    ZONE_TABLE,
    Contract,
    changed,
    movers,
    subscription_facts,
    subscription_from_facts,
    touches,
)
from rating_core.metering.counting.cells import grown
from rating_core.metering.deciding.key_table import ABSENT, KeyTable
from rating_core.metering.deciding.keyed_hash import HashKey
from rating_core.metering.log.entry import ControlEntry
from rating_core.metering.log.snapshot import Taken, take_state, unpack_state
from rating_core.units import INT64_MIN
from rating_core.zone import ZoneTable

__all__ = [
    "CANCEL_SUBSCRIPTION",
    "CHANGE_PLAN",
    "CONFIGURE",
    "CREATE_SUBSCRIPTION",
    "MIGRATE_PLAN",
    "Directory",
    "DirectoryView",
    "subscription_facts",
    "subscription_from_facts",
]

CONFIGURE = "configure"
_NO_ROWS = np.zeros((0, 5), np.int64)
_NOTHING = np.zeros(0, np.int64)
_ABOUT_SUBSCRIPTIONS = (CREATE_SUBSCRIPTION, CHANGE_PLAN, CANCEL_SUBSCRIPTION, MIGRATE_PLAN)


def configured(facts: dict[str, Any]) -> Settings:
    """Return the settings that a configure entry puts in force."""
    return Settings(**facts, configured=True)


class Directory:
    """Committed settings, subscriptions, closes and request ids of a shard."""

    def __init__(self, hash_key: HashKey) -> None:
        self._hash_key = hash_key
        self._table = KeyTable()
        self.settings = Settings()
        self.subscriptions: list[Subscription] = []
        """All subscriptions as they are now, in order of creation; the index is their number."""
        self.customers: list[str] = []
        """Customers in order of their first subscription; the index is their number."""
        self.numbers: dict[str, int] = {}
        """Number of each customer that ever had a subscription."""
        self.zones: dict[str, ZoneTable] = {}
        """Tables of time zones that subscriptions brought, by digest (S8.1)."""
        self.moves: list[dict[str, Any]] = []
        """Facts of all migrations of plans: later subscriptions move too (S8.6)."""
        self.requests: dict[str, tuple[str, ControlAnswer]] = {}
        self._held: list[list[int]] = []
        self.closed: NDArray[np.int64] = np.full(16, INT64_MIN, np.int64)
        """End of each subscription's last closed period by number, INT64_MIN for none."""
        self._profiles = Profiles()
        self._calendars = Calendars()
        self._phases: NDArray[np.int64] = np.zeros((0, 5), np.int64)
        self._phase_count = 0
        self._rows: NDArray[np.int64] = np.array([NOBODY], np.int64)
        self.plain = PlainContracts()

    @property
    def clamped(self) -> bool:
        """Whether any plan that a subscription was ever on has bands (S3.4)."""
        return len(self._profiles.bands) > 1

    def apply(self, entry: ControlEntry) -> None:
        """Put one committed control entry in force; LogCorrupt if it does not fit the state."""
        facts = entry.facts
        if entry.kind == CONFIGURE:
            self.settings = configured(facts)
        elif entry.kind in _ABOUT_SUBSCRIPTIONS:
            self._change(entry)
        elif entry.kind == FINALIZE_PERIOD:
            self.close(facts["customer"], facts["subscription_id"], facts["period_end"])
        elif entry.kind == FINALIZE_PERIODS:
            numbers = [self.numbers[name] for name in facts["customers"]]
            subscriptions, refusing = self.plain.closing(numbers)
            self.closed[subscriptions] = facts["period_end"]
            self._rows[refusing + 1, CLOSED_UNTIL] = facts["period_end"]
        elif entry.kind not in LEDGER_KINDS:
            raise LogCorrupt(f"control entry of unknown kind {entry.kind!r}")
        if entry.request_id:
            self.requests[entry.request_id] = (
                entry.fingerprint,
                ControlAnswer(True, "", entry.value),
            )

    def close(self, customer: str, subscription_id: str, period_end: int) -> None:
        """Close the periods of a subscription that end at or before ``period_end`` (S7.5, S9.2)."""
        names = [one.subscription_id for one in self.contract(customer)]
        held = self._held[self.numbers[customer]]
        self.closed[held[names.index(subscription_id)]] = period_end
        self._place(self.numbers[customer])

    def _change(self, entry: ControlEntry) -> None:
        if ZONE_TABLE in entry.facts:
            zone = ZoneTable.from_facts(entry.facts[ZONE_TABLE])
            self.zones[zone.digest] = zone
        if entry.kind == CREATE_SUBSCRIPTION:
            self._enter(subscription_from_facts(entry.facts, self.zones))
            return
        if entry.kind == MIGRATE_PLAN:
            self._migrate(entry.facts)
            return
        customer = entry.facts["customer"]
        number = self.numbers[customer]
        after = changed(self.contract(customer), entry, self.zones)
        for place, subscription in zip(self._held[number], after, strict=True):
            self.subscriptions[place] = subscription
        self._place(number)

    def _migrate(self, facts: dict[str, Any]) -> None:
        """Move every subscription that stands on an earlier version (S8.6): there may be many."""
        self.moves.append(facts)
        for place, after in movers(self.subscriptions, facts):
            self.subscriptions[place] = after
            self._place(self.numbers[after.customer])

    def _enter(self, subscription: Subscription) -> None:
        """Enter a subscription that was just created."""
        customer = subscription.customer
        number = self.numbers.setdefault(customer, len(self.customers))
        if number == len(self.customers):
            self.customers.append(customer)
            self._held.append([])
            self._table.insert(self._hash_key.hash_names([customer]))
            self._rows = grown(self._rows, number + 2)
        made = len(self.subscriptions)
        self.subscriptions.append(subscription)
        if made == self.closed.size:
            self.closed = grown(self.closed, made + 1)
        self.closed[made] = INT64_MIN
        held = sorted((*self._held[number], made), key=lambda n: self.subscriptions[n].start_time)
        self._held[number] = held
        contract = [one for one in self.contract(customer) if not one.void]
        for first, second in pairwise(contract):
            if first.end_time is None or first.end_time > second.start_time:
                raise LogCorrupt("subscriptions of one customer overlap")
        self._place(number)

    def _place(self, number: int) -> None:
        """Write the row of a customer, and its phases if it has several."""
        held = self._held[number]
        rows = rows_of_contract(
            [self.subscriptions[n] for n in held],
            self.closed[held].tolist(),
            self._calendars,
            self._profiles,
        )
        row, self._phases, self._phase_count = placed(rows, self._phases, self._phase_count)
        self._rows[number + 1] = row
        self.plain.place(number, held, [self.subscriptions[n] for n in held])

    def take(self) -> Taken:
        """Take all of it for a snapshot (P10), to be encoded later."""
        settings, subscriptions = self.settings, list(self.subscriptions)
        zones, moves = list(self.zones.values()), list(self.moves)
        requests = list(self.requests.items())

        def document() -> dict[str, Any]:
            return {
                "settings": asdict(settings) if settings.configured else None,
                "subscriptions": [subscription_facts(s) for s in subscriptions],
                "zones": [zone.to_facts() for zone in zones],
                "moves": moves,
                "requests": [[name, known[0], known[1].value] for name, known in requests],
            }

        return take_state(document, {"closed": self.closed[: len(subscriptions)]})

    def load(self, section: bytes) -> None:
        """Take what `take` gave, into an empty directory."""
        document, arrays = unpack_state(section)
        if document["settings"] is not None:
            self.settings = Settings(**document["settings"])
        for facts in document["zones"]:
            zone = ZoneTable.from_facts(facts)
            self.zones[zone.digest] = zone
        for facts in document["subscriptions"]:
            self._enter(subscription_from_facts(facts, self.zones))
        self.moves = document["moves"]
        self.closed[: len(self.subscriptions)] = arrays["closed"]
        for number in range(len(self.customers)):
            self._place(number)
        for name, fingerprint, value in document["requests"]:
            self.requests[name] = (fingerprint, ControlAnswer(True, "", value))

    def document(self) -> dict[str, Any]:
        """Return what of it decides, as JSON values, for `StateDigest`."""
        return {
            "settings": repr(self.settings),
            "subscriptions": [subscription_facts(s) for s in self.subscriptions],
            "zones": sorted(self.zones),
            "moves": self.moves,
            "closed": self.closed[: len(self.subscriptions)].tolist(),
            "requests": {
                name: [fingerprint, answer.value]
                for name, (fingerprint, answer) in self.requests.items()
            },
        }

    def contract(self, customer: str) -> Contract:
        """Return a customer's subscriptions by start, none for a customer that is not known."""
        number = self.numbers.get(customer)
        return () if number is None else tuple(self.subscriptions[n] for n in self._held[number])

    def closed_until(self, customer: str, subscription_id: str) -> int:
        """Return the end of a subscription's last closed period, INT64_MIN before the first."""
        for number in self._held[self.numbers[customer]] if customer in self.numbers else ():
            if self.subscriptions[number].subscription_id == subscription_id:
                return int(self.closed[number])
        return INT64_MIN

    def bands_of(self, customer: str, instant: int, staged: Sequence[ControlEntry]) -> Bands:
        """Return the bands of the plan that a customer is on at an instant (S3.4)."""
        subscription = DirectoryView(self, staged).subscription_at(customer, instant)
        return {} if subscription is None else subscription.phase_at(instant).bands

    def knows(self, hashes: NDArray[np.uint64]) -> bool:
        """Return whether all customers of these hashes, uint64[c, 2], have a subscription."""
        return bool((self._table.find(hashes) != ABSENT).all())

    def rows_of(
        self,
        customers: Sequence[str],
        hashes: NDArray[np.uint64],
        staged: Sequence[ControlEntry],
        event_times: NDArray[np.int64],
        bounds: tuple[int, int],
    ) -> CustomerRows:
        """Return what records need of each customer.

        ``event_times``: of the batch, µs, n ≥ 1; ``bounds``: the oldest and latest that are taken.
        """
        rows = self._rows[self._table.find(hashes) + 1]
        phases, count, profiles = self._phases, self._phase_count, self._profiles
        if staged:
            made_by_name, profiles = self._staged_rows(customers, staged)
            for name, made in made_by_name.items():
                # Committed phases stay as they are: these stand behind them, or in a copy.
                row, phases, count = placed(made, phases.copy(), count)
                # A sender's dictionary may name a customer twice.
                rows[[i for i, other in enumerate(customers) if other == name]] = row
        if not count and not self._calendars.calendars:
            return CustomerRows(rows, _NO_ROWS, _NOTHING, _NOTHING, profiles.bands)
        phases = gathered(rows, phases)
        codes = np.concatenate([rows[:, PERIOD], phases[:, PERIOD]])
        starts = np.concatenate([rows[rows[:, PERIOD] != MANY, START], phases[:, START]])
        low = max(int(event_times.min()), bounds[0], int(starts.min()))
        high = max(low, min(int(event_times.max()), bounds[1]))
        borders, ends = self._calendars.tables(codes, low, high)
        return CustomerRows(rows, phases, borders, ends, profiles.bands)

    def _staged_rows(
        self, customers: Sequence[str], staged: Sequence[ControlEntry]
    ) -> tuple[dict[str, list[Row]], Profiles]:
        """Return the phases' rows of the customers that staged entries are about."""
        view = DirectoryView(self, staged)
        profiles = self._profiles.copy()
        rows = {}
        for name in set(customers):
            if not any(touches(e, name) or _closes(e, name) for e in staged):
                continue
            contract = view.contract(name)
            closed = [view.closed_until(name, one.subscription_id) for one in contract]
            rows[name] = rows_of_contract(contract, closed, self._calendars, profiles)
        return rows, profiles


def _closes(entry: ControlEntry, customer: str) -> bool:
    if entry.kind == FINALIZE_PERIODS:
        return customer in entry.facts["customers"]
    return entry.kind == FINALIZE_PERIOD and bool(entry.facts["customer"] == customer)


class DirectoryView:
    """Committed state with the staged control entries, oldest first, on top (P1)."""

    def __init__(self, directory: Directory, staged: Sequence[ControlEntry]) -> None:
        self._directory = directory
        self._staged = staged

    def settings(self) -> Settings:
        """Return the settings in force."""
        settings = self._directory.settings
        for entry in self._staged:
            if entry.kind == CONFIGURE:
                settings = configured(entry.facts)
        return settings

    def windows(self) -> list[int | None]:
        """Return every acceptance window that is, or was since the commit, in force (P11)."""
        staged = [configured(e.facts).window_us for e in self._staged if e.kind == CONFIGURE]
        return [self._directory.settings.window_us, *staged]

    def zones(self) -> dict[str, ZoneTable]:
        """Return the tables of time zones that the log holds, by digest (S8.1)."""
        zones = self._directory.zones
        for entry in self._staged:
            if ZONE_TABLE in entry.facts:
                zone = ZoneTable.from_facts(entry.facts[ZONE_TABLE])
                zones = {**zones, zone.digest: zone}
        return zones

    def moves(self) -> list[dict[str, Any]]:
        """Return the facts of all migrations of plans, oldest first (S8.6)."""
        staged = [entry.facts for entry in self._staged if entry.kind == MIGRATE_PLAN]
        return [*self._directory.moves, *staged]

    def contract(self, customer: str) -> Contract:
        """Return the customer's subscriptions by start (S7.7)."""
        contract = self._directory.contract(customer)
        zones = None
        for entry in self._staged:
            if touches(entry, customer):
                zones = self.zones() if zones is None else zones
                contract = changed(contract, entry, zones)
        return contract

    def subscription(
        self, customer: str, subscription_id: str | None = None
    ) -> Subscription | None:
        """Return a subscription of the customer, without an id the latest; or ``None``."""
        contract = self.contract(customer)
        if subscription_id is None:
            return contract[-1] if contract else None
        named = [one for one in contract if one.subscription_id == subscription_id]
        return named[0] if named else None

    def subscription_at(self, customer: str, instant: int) -> Subscription | None:
        """Return the subscription that holds an instant, or ``None`` (S7.7)."""
        held = [one for one in self.contract(customer) if one.holds(instant)]
        return held[0] if held else None

    def closed_until(self, customer: str, subscription_id: str) -> int:
        """Return the end of a subscription's last closed period, INT64_MIN before the first."""
        until = self._directory.closed_until(customer, subscription_id)
        for entry in self._staged:
            if _closes(entry, customer) and entry.facts["subscription_id"] == subscription_id:
                until = int(entry.facts["period_end"])
        return until

    def earlier_answer(self, request_id: str) -> tuple[str, ControlAnswer] | None:
        """Return fingerprint and answer of an earlier call of this request id (P4)."""
        for entry in self._staged:
            if request_id and entry.request_id == request_id:
                return entry.fingerprint, ControlAnswer(True, "", entry.value)
        return self._directory.requests.get(request_id)
