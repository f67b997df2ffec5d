"""What a shard is asked about money and what it answers: grants, promotions, statements (S9, S10).

Each names a subscription by customer and id; an empty id is the one that is active now, or else the
one that was last. All instants are int microseconds UTC (S1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from rating_core.contract.facts import to_facts
from rating_core.contract.usage import ContractUsage, PlanRef
from rating_core.contract.values import Grant, Promotion
from rating_core.metering.calls import Control, Subscription
from rating_core.metering.contracts.account import Account, BookedStatement
from rating_core.metering.deciding.records_entry import EntryMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCall(Control):
    """A call about one subscription's account."""

    customer: str
    subscription_id: str = ""

    def body(self) -> dict[str, object]:
        """Return the call as JSON values, without its request id and what was asked."""
        names = (f.name for f in fields(self) if f.name not in ("request_id", "asked"))
        return {name: to_facts(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGrant(LedgerCall):
    """Grant a credit (S10.1); its create_time and void_time are the shard's to set.

    Reasons of refusal: NO_SUBSCRIPTION, ALREADY_EXISTS, ID_TAKEN and ID_RESERVED (S2.2),
    OUT_OF_RANGE (amount not above 0 or beyond int64, or validity empty), AMOUNT_PRECISION (more
    decimals than the plan's amounts), UNKNOWN_CHARGE (``covers``), PLAN_NOT_LOADED.
    """

    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidGrant(LedgerCall):
    """End a grant at once (S10.1): it pays no more. Reasons: GRANT_NOT_FOUND, NO_SUBSCRIPTION.

    A grant that is void already stays so from its first void on.
    """

    grant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePromotion(LedgerCall):
    """Add a promotion (S10.3). Reasons of refusal: as `CreateGrant`, for its value and charges."""

    promotion: Promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizePeriod(LedgerCall):
    """Finalise the billing period that starts at ``period_start`` (S9.2).

    ``None``: the period that ended last. ``correction``: the statement that carries what came after
    the last period was finalised (S9.3). The entry and the answer hold all that the statement was
    priced from, the statement, and what it books (P4, S9.5). A period that is finalised already is
    not finalised again: the answer is ``replayed`` and names the version of its entry.

    Reasons of refusal: NO_SUBSCRIPTION, PERIOD_NOT_FOUND, PERIOD_NOT_NEXT (periods are finalised in
    order; ``value`` names the next), PERIOD_NOT_ENDED (``value`` names the earliest instant, its
    end + grace), NOTHING_TO_CORRECT, OUT_OF_RANGE (S1.2), PLAN_NOT_LOADED (``value`` is the
    reference; load it and call again).
    """

    period_start: int | None = None
    correction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizePeriods(Control):
    """Finalise the next period of many customers: of those from number ``cursor`` on, ``limit``.

    Periods that end at ``until`` (µs) or before, and may be finalised now; ``plan_id``: only of
    customers on this plan, empty for all. One call finalises plain contracts of one plan version
    and one period end; the same call again goes on. When there are none left the answer has no
    ``customers``; ``single`` names what is due and not plain (customer, subscription id, period
    start), to be finalised by `FinalizePeriod`, and ``cursor`` where the next customers begin, if
    there are ``more``. Reason of refusal: PLAN_NOT_LOADED.
    """

    cursor: int = 0
    limit: int = 2_000
    until: int
    plan_id: str = ""


@dataclass(frozen=True, slots=True)
class GetContract:
    """Ask what prices the period that holds ``instant`` at ``now``, or a correction (S9.4)."""

    customer: str
    subscription_id: str
    instant: int
    now: int
    correction: bool = False


@dataclass(frozen=True, slots=True)
class ContractAnswer:
    """What a statement of [start, end) is priced from, at the log's (version, token).

    ``subscription`` is ``None`` where none holds the instant. ``missing``: a plan that has to be
    loaded first; then ``usage`` is ``None``. It is ``None`` also where the period is finalised:
    then ``statement`` says where its statement stands.
    """

    subscription: Subscription | None
    start: int = 0
    end: int = 0
    usage: ContractUsage | None = None
    meters: Mapping[str, EntryMeter] = field(default_factory=dict)
    missing: PlanRef | None = None
    statement: BookedStatement | None = None
    version: int = 0
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class GetAccount:
    """Ask for the account of a subscription; the answer is an `AccountAnswer`."""

    customer: str
    subscription_id: str
    now: int


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """The account of a subscription, ``None`` both where the customer has no such one."""

    subscription: Subscription | None
    account: Account | None
