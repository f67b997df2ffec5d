"""What decides besides ids and counters: settings, subscriptions, closes, request ids (DESIGN §6).

All of it is changed by control entries only, so every server decides in the same order (P4, P11).
A view lays the staged control entries, oldest first, over what is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.catalog import BillingPeriod, LateUsage
from rating_core.errors import LogCorrupt
from rating_core.metering.calls import (
    Bands,
    ControlAnswer,
    Settings,
    Subscription,
    canonical_json,
)
from rating_core.metering.cells import grown
from rating_core.metering.entry import ControlEntry
from rating_core.metering.key_table import ABSENT, KeyTable
from rating_core.metering.keyed_hash import HashKey
from rating_core.metering.snapshot import pack_state, unpack_state
from rating_core.period import PERIOD_CODES
from rating_core.units import INT64_MAX, INT64_MIN

CONFIGURE = "configure"
CREATE_SUBSCRIPTION = "create_subscription"
CLOSE_PERIOD = "close_period"

START, END, PERIOD, CLOSED_UNTIL, PROFILE = range(5)
"""Columns of what records need to know of a customer; see `Directory.rows_of`."""
_NOBODY = (INT64_MAX, INT64_MIN, 0, INT64_MIN, 0)


def subscription_facts(subscription: Subscription) -> dict[str, Any]:
    """Return a subscription as JSON values."""
    return {
        "customer": subscription.customer,
        "subscription_id": subscription.subscription_id,
        "plan_id": subscription.plan_id,
        "plan_version": subscription.plan_version,
        "billing_period": subscription.billing_period.value,
        "late_usage": subscription.late_usage.value,
        "start_time": subscription.start_time,
        "end_time": subscription.end_time,
        "create_time": subscription.create_time,
        "bands": {
            meter: {charge: list(band) for charge, band in charges.items()}
            for meter, charges in subscription.bands.items()
        },
    }


def subscription_from_facts(facts: dict[str, Any]) -> Subscription:
    """Return the subscription that `subscription_facts` gave these JSON values of."""
    known = dict(facts)
    known["billing_period"] = BillingPeriod(known["billing_period"])
    known["late_usage"] = LateUsage(known["late_usage"])
    known["bands"] = {
        meter: {charge: (band[0], band[1]) for charge, band in charges.items()}
        for meter, charges in known["bands"].items()
    }
    return Subscription(**known)


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
        self.numbers: dict[str, int] = {}
        """Number of each customer with a subscription; its index in ``subscriptions``."""
        self.requests: dict[str, tuple[str, ControlAnswer]] = {}
        self.profiles: list[Bands] = [{}]
        self._profile_numbers: dict[bytes, int] = {canonical_json({}): 0}
        self._rows: NDArray[np.int64] = np.array([_NOBODY], np.int64)

    def apply(self, entry: ControlEntry) -> None:
        """Put one committed control entry in force; LogCorrupt if it does not fit the state."""
        facts = entry.facts
        if entry.kind == CONFIGURE:
            self.settings = configured(facts)
        elif entry.kind == CREATE_SUBSCRIPTION:
            self._subscribe(subscription_from_facts(facts))
        elif entry.kind == CLOSE_PERIOD:
            self._rows[1 + self.numbers[facts["customer"]], CLOSED_UNTIL] = facts["period_end"]
        else:
            raise LogCorrupt(f"control entry of unknown kind {entry.kind!r}")
        if entry.request_id:
            self.requests[entry.request_id] = (
                entry.fingerprint,
                ControlAnswer(True, "", entry.value),
            )

    def _subscribe(self, subscription: Subscription) -> None:
        if subscription.customer in self.numbers:
            raise LogCorrupt("a second subscription of one customer")
        key = canonical_json(subscription_facts(subscription)["bands"])
        profile = self._profile_numbers.setdefault(key, len(self.profiles))
        if profile == len(self.profiles):
            self.profiles.append(subscription.bands)
        number = len(self.subscriptions)
        self.subscriptions.append(subscription)
        self.numbers[subscription.customer] = number
        self._table.insert(self._hash_key.hash_names([subscription.customer]))
        self._rows = grown(self._rows, number + 2)
        self._rows[number + 1] = _row(subscription, profile)

    def dump(self) -> bytes:
        """Return all of it as the section of a snapshot (P10)."""
        settings = self.settings
        document = {
            "settings": asdict(settings) if settings.configured else None,
            "subscriptions": [subscription_facts(s) for s in self.subscriptions],
            "requests": [
                [name, fingerprint, answer.value]
                for name, (fingerprint, answer) in self.requests.items()
            ],
        }
        count = len(self.subscriptions)
        return pack_state(document, {"closed": self._rows[1 : count + 1, CLOSED_UNTIL]})

    def load(self, section: bytes) -> None:
        """Take what `dump` gave, into an empty directory."""
        document, arrays = unpack_state(section)
        if document["settings"] is not None:
            self.settings = Settings(**document["settings"])
        for facts in document["subscriptions"]:
            self._subscribe(subscription_from_facts(facts))
        self._rows[1 : len(self.subscriptions) + 1, CLOSED_UNTIL] = arrays["closed"]
        for name, fingerprint, value in document["requests"]:
            self.requests[name] = (fingerprint, ControlAnswer(True, "", value))

    def closed_until(self, number: int) -> int:
        """Return the end of the last closed period of a customer, INT64_MIN before the first."""
        return int(self._rows[number + 1, CLOSED_UNTIL])

    def bands_of(self, customer: str, staged: Sequence[ControlEntry]) -> Bands:
        """Return the bands of a customer's plan (S3.4)."""
        subscription = DirectoryView(self, staged).subscription(customer)
        return {} if subscription is None else subscription.bands

    def knows(self, hashes: NDArray[np.uint64]) -> bool:
        """Return whether all customers of these hashes, uint64[c, 2], have a subscription."""
        return bool((self._table.find(hashes) != ABSENT).all())

    def rows_of(
        self,
        customers: Sequence[str],
        hashes: NDArray[np.uint64],
        staged: Sequence[ControlEntry],
    ) -> tuple[NDArray[np.int64], list[Bands]]:
        """Return int64[c, 5] of what records need of each customer, and the profiles it names.

        Columns: start and end of the subscription (µs; an empty interval without one), code of the
        billing period, instant up to which periods are closed, index of the plan's bands.
        """
        rows = self._rows[self._table.find(hashes) + 1]
        profiles = self.profiles
        for entry in staged:
            if entry.kind == CONFIGURE or entry.facts["customer"] not in customers:
                continue
            # A sender's dictionary may name a customer twice.
            same = [i for i, name in enumerate(customers) if name == entry.facts["customer"]]
            if entry.kind == CLOSE_PERIOD:
                rows[same, CLOSED_UNTIL] = entry.facts["period_end"]
            else:
                subscription = subscription_from_facts(entry.facts)
                rows[same] = _row(subscription, len(profiles))
                profiles = [*profiles, subscription.bands]
        return rows, profiles


def _row(subscription: Subscription, profile: int) -> tuple[int, int, int, int, int]:
    end = INT64_MAX if subscription.end_time is None else subscription.end_time
    code = PERIOD_CODES[subscription.billing_period]
    return subscription.start_time, end, code, INT64_MIN, profile


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

    def subscription(self, customer: str) -> Subscription | None:
        """Return the customer's subscription, if it has one."""
        for entry in self._staged:
            if entry.kind == CREATE_SUBSCRIPTION and entry.facts["customer"] == customer:
                return subscription_from_facts(entry.facts)
        number = self._directory.numbers.get(customer)
        return None if number is None else self._directory.subscriptions[number]

    def closed_until(self, customer: str) -> int:
        """Return the end of the customer's last closed period, INT64_MIN before the first."""
        number = self._directory.numbers.get(customer)
        until = INT64_MIN if number is None else self._directory.closed_until(number)
        for entry in self._staged:
            if entry.kind == CLOSE_PERIOD and entry.facts["customer"] == customer:
                until = int(entry.facts["period_end"])
        return until

    def earlier_answer(self, request_id: str) -> tuple[str, ControlAnswer] | None:
        """Return fingerprint and answer of an earlier call of this request id (P4)."""
        for entry in self._staged:
            if request_id and entry.request_id == request_id:
                return entry.fingerprint, ControlAnswer(True, "", entry.value)
        return self._directory.requests.get(request_id)
