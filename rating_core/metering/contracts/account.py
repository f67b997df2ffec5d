"""The account of one subscription: its grants, promotions, draw-downs and statements (S9, S10).

Changed by control entries alone, and none of them needs a plan or a price to be applied, because
each says what it books (P4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from rating_core.contract.facts import from_facts
from rating_core.contract.usage import Booked
from rating_core.contract.values import Grant, Promotion
from rating_core.metering.log.entry import ControlEntry
from rating_core.units import from_units

CREATE_GRANT = "create_grant"
VOID_GRANT = "void_grant"
CREATE_PROMOTION = "create_promotion"
FINALIZE_PERIOD = "finalize_period"
FINALIZE_PERIODS = "finalize_periods"
LEDGER_KINDS = (CREATE_GRANT, VOID_GRANT, CREATE_PROMOTION, FINALIZE_PERIOD, FINALIZE_PERIODS)
"""Kinds of control entries that the ledger folds."""


@dataclass(frozen=True, slots=True)
class BookedStatement:
    """A finalised statement, as far as later decisions need it (S9.2).

    ``number`` counts the statements of a subscription from 0; corrections go on counting after the
    last period and have ``period`` False. ``version`` is that of the entry that finalised it and
    ``time`` when that was, µs. ``total`` is what the statement said; ``booked`` what stands booked
    for its period since, late deltas included (S9.1). ``scale``: decimals of the amounts.
    """

    number: int
    start: int
    end: int
    version: int
    time: int
    total: int
    scale: int
    booked: Booked
    period: bool = True


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of what a grant has paid: drawn (positive) or given back (negative) at ``time``."""

    time: int
    grant: str
    amount: int
    number: int


@dataclass(slots=True)
class Account:
    """What one subscription has been given and has been billed, in the order of its entries.

    ``settled``: version of the entry that finalised it last; records of finalised periods after it
    are late usage that no statement has yet (S9.3). ``scale``: decimals of its amounts, known from
    the first grant or statement.
    """

    grants: dict[str, Grant] = field(default_factory=dict)
    promotions: dict[str, Promotion] = field(default_factory=dict)
    statements: list[BookedStatement] = field(default_factory=list)
    drawn: dict[str, int] = field(default_factory=dict)
    movements: list[Movement] = field(default_factory=list)
    settled: int = 0
    scale: int = 0
    rebooked: dict[int, Booked] = field(default_factory=dict)
    """By period start, what stands booked since for statements that were finalised in bulk."""

    def names(self) -> frozenset[str]:
        """Return the ids of grants and promotions, which share one name space (S2.2)."""
        return frozenset(self.grants) | frozenset(self.promotions)

    def copy(self) -> Account:
        """Return an account that can be changed without changing this one."""
        return Account(
            dict(self.grants),
            dict(self.promotions),
            list(self.statements),
            dict(self.drawn),
            list(self.movements),
            self.settled,
            self.scale,
            dict(self.rebooked),
        )

    @property
    def closed_until(self) -> int | None:
        """Return the end of the last finalised period, ``None`` before the first (S9.2)."""
        ends = [one.end for one in self.statements if one.period]
        return ends[-1] if ends else None

    def statement_of(self, start: int) -> BookedStatement | None:
        """Return the statement of the period that starts at ``start``, if it is finalised."""
        for one in self.statements:
            if one.period and one.start == start:
                return one
        return None

    def drawn_until(self, grant: str, instant: int) -> int:
        """Return what statements finalised up to ``instant`` have drawn from a grant, net."""
        return sum(m.amount for m in self.movements if m.grant == grant and m.time <= instant)

    def balance(self, grant: Grant, instant: int) -> Decimal:
        """Return what a grant can still pay at ``instant``, µs (S10.1).

        0 before it is made, from its void on, and once it has expired and every period that its
        validity overlaps is finalised: until then it may pay for them.
        """
        nothing = from_units(0, self.scale)
        if instant < grant.create_time:
            return nothing
        if grant.void_time is not None and grant.void_time <= instant:
            return nothing
        if grant.expires is not None and grant.expires <= instant:
            known = [s for s in self.statements if s.period and s.time <= instant]
            if known and known[-1].end >= grant.expires:
                return nothing
        return grant.amount - from_units(self.drawn_until(grant.id, instant), self.scale)

    def with_rows(self, rows: list[BookedStatement]) -> None:
        """Take in the statements that were finalised in bulk."""
        rows = [replace(one, booked=self.rebooked.get(one.start, one.booked)) for one in rows]
        self.statements = sorted([*self.statements, *rows], key=lambda one: one.number)
        self.settled = max([self.settled, *(one.version for one in rows)])
        self.scale = self.statements[-1].scale

    # --- folding ---------------------------------------------------------------------------------

    def apply(self, entry: ControlEntry, version: int) -> None:
        """Fold one entry about this account; ``version`` is the entry's."""
        facts = entry.facts
        if entry.kind == CREATE_GRANT:
            grant = from_facts(Grant, facts["grant"])
            self.grants[grant.id] = grant
            self.scale = facts["scale"]
        elif entry.kind == VOID_GRANT:
            self.grants[facts["id"]] = replace(self.grants[facts["id"]], void_time=facts["time"])
        elif entry.kind == CREATE_PROMOTION:
            promotion = from_facts(Promotion, facts["promotion"])
            self.promotions[promotion.id] = promotion
        else:
            self._finalize(facts, version)

    def _finalize(self, facts: Mapping[str, Any], version: int) -> None:
        rebooked = {int(start): from_facts(Booked, b) for start, b in facts["rebooked"].items()}
        for place, one in enumerate(self.statements):
            if one.period and one.start in rebooked:
                self.statements[place] = replace(one, booked=rebooked.pop(one.start))
        self.rebooked |= rebooked
        self.scale = facts["scale"]
        number = facts["number"]
        drawn = {name: int(amount) for name, amount in facts["drawn"].items()}
        for name in sorted(drawn.keys() | self.drawn.keys()):
            change = drawn.get(name, 0) - self.drawn.get(name, 0)
            if change:
                self.movements.append(Movement(facts["time"], name, change, number))
        self.drawn = drawn
        self.statements.append(
            BookedStatement(
                number=number,
                start=facts["period_start"],
                end=facts["period_end"],
                version=version,
                time=facts["time"],
                total=facts["total"],
                scale=self.scale,
                booked=from_facts(Booked, facts["booked"]),
                period=not facts["correction"],
            )
        )
        self.settled = version
