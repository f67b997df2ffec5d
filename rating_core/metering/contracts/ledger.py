"""The ledger of a shard: grants, promotions and booked statements of its customers (S9, S10).

One more fold of the log. A grant is never drawn below zero or twice for one statement, as its
draw-downs and the statement are one entry (P4). Statements that were finalised in bulk stand in
columns (`BookedRows`), all others as values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from rating_core.contract.facts import from_facts, to_facts
from rating_core.contract.usage import Booked
from rating_core.contract.values import Grant, Promotion
from rating_core.metering.contracts.account import (
    FINALIZE_PERIODS,
    LEDGER_KINDS,
    Account,
    BookedStatement,
    Movement,
)
from rating_core.metering.contracts.booked_rows import BookedRows, chunk_of
from rating_core.metering.deciding.key_table import ABSENT
from rating_core.metering.log.entry import ControlEntry
from rating_core.metering.log.snapshot import Taken, take_state, unpack_state

Key = tuple[str, str]
"""Customer and subscription id."""
StagedControl = tuple[ControlEntry, int]
"""A control entry in flight, and the version that it will have."""


class Ledger:
    """All accounts of a shard. ``numbers``: number of each customer, as the directory has it."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._number_of = partial(_number_of, numbers)
        self.accounts: dict[Key, Account] = {}
        self.rows = BookedRows()

    def apply(self, entry: ControlEntry, version: int) -> None:
        """Fold a committed entry of `LEDGER_KINDS`; ``version`` is the entry's."""
        if entry.kind == FINALIZE_PERIODS:
            self.rows.add(chunk_of(entry.facts, version, self._number_of))
            return
        key = key_of(entry)
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = Account()
        account.apply(entry, version)

    def account(self, key: Key, staged: Iterable[StagedControl] = ()) -> Account:
        """Return what stands on a subscription's account, as a copy.

        ``staged``: the control entries in flight, oldest first (P1).
        """
        known = self.accounts.get(key)
        account = Account() if known is None else known.copy()
        number = self._number_of(key[0])
        rows = list(self.rows.statements(number, key[1]))
        for entry, version in staged:
            if entry.kind == FINALIZE_PERIODS:
                if key[1] == entry.facts["subscription_id"]:
                    found = chunk_of(entry.facts, version, self._number_of).statement(number)
                    rows += [] if found is None else [found]
            elif entry.kind in LEDGER_KINDS and key_of(entry) == key:
                account.apply(entry, version)
        if rows:
            account.with_rows(rows)
        return account

    def dump(self) -> bytes:
        """Return all of it as the section of a snapshot (P10); equal where ledgers are equal."""
        return self.take()()

    def take(self) -> Taken:
        """Take all of it for a snapshot, to be encoded later."""
        accounts = [(key, account.copy()) for key, account in self.accounts.items()]
        rows = self.rows.document()

        def document() -> dict[str, Any]:
            accounts.sort(key=itemgetter(0))
            facts = [[*key, _account_facts(account)] for key, account in accounts]
            return {"accounts": facts, "rows": rows}

        return take_state(document, self.rows.arrays())

    def load(self, section: bytes) -> None:
        """Take what `take` gave, into an empty ledger."""
        document, arrays = unpack_state(section)
        for customer, subscription_id, facts in document["accounts"]:
            self.accounts[customer, subscription_id] = _account_from_facts(facts)
        self.rows.load(document["rows"], arrays)


def _number_of(numbers: Mapping[str, int], customer: str) -> int:
    return numbers.get(customer, ABSENT)


def key_of(entry: ControlEntry) -> Key:
    """Return the account that an entry of `LEDGER_KINDS` is about; not of a bulk entry."""
    return entry.facts["customer"], entry.facts["subscription_id"]


def _account_facts(account: Account) -> dict[str, Any]:
    return {
        "grants": to_facts(list(account.grants.values())),
        "promotions": to_facts(list(account.promotions.values())),
        "statements": to_facts(account.statements),
        "drawn": account.drawn,
        "movements": to_facts(account.movements),
        "settled": account.settled,
        "scale": account.scale,
        "rebooked": {str(start): to_facts(booked) for start, booked in account.rebooked.items()},
    }


def _account_from_facts(facts: dict[str, Any]) -> Account:
    grants = [from_facts(Grant, item) for item in facts["grants"]]
    promotions = [from_facts(Promotion, item) for item in facts["promotions"]]
    return Account(
        grants={grant.id: grant for grant in grants},
        promotions={promotion.id: promotion for promotion in promotions},
        statements=[from_facts(BookedStatement, item) for item in facts["statements"]],
        drawn=facts["drawn"],
        movements=[from_facts(Movement, item) for item in facts["movements"]],
        settled=facts["settled"],
        scale=facts["scale"],
        rebooked={int(start): from_facts(Booked, b) for start, b in facts["rebooked"].items()},
    )
