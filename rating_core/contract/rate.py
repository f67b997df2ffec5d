"""The statements of a contract in time: one a period that is not finalised (S9, S10).

Finalised periods are priced again, with what is counted for them now; what they lack goes into the
first statement that is not finalised, as the line `late`. So what is booked of a period in all
always is what it comes to (S9.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rating_core.calendar import BillingCalendar
from rating_core.catalog import CreditPlacement
from rating_core.charge_inputs import unpriced_meters
from rating_core.contract.credits import credit_lines, draw, grant_units, grants_in_order
from rating_core.contract.late import LateDeltas
from rating_core.contract.period import PricedPeriod, price_period
from rating_core.contract.promotions import covering_promotions
from rating_core.contract.rating import RatedPeriod
from rating_core.contract.usage import Booked, Carry, ContractUsage, PartUsage, PeriodUsage
from rating_core.contract.values import Promotion
from rating_core.errors import OutOfRange
from rating_core.statement import Line, Statement, StatementPart, StatementPeriod
from rating_core.units import fits_int64


@dataclass(slots=True)
class _Account:
    """What runs on from one statement of a contract to the next."""

    carry: Carry
    drawn: dict[str, int]
    late: LateDeltas
    rated: list[RatedPeriod] = field(default_factory=list)


def rate_contract(usage: ContractUsage) -> tuple[RatedPeriod, ...]:
    """Return the statement of each period that is not finalised, in order (S9.4).

    With ``usage.correction`` it is the one correction statement of a subscription that has no
    period left; none if nothing is to be corrected (S9.3). Raises OutOfRange if an amount or a sum
    of usage does not fit int64 (S1.2), ValueError if finalised periods do not come first or there
    is no period.
    """
    if not usage.periods:
        raise ValueError("a contract is rated from one period at least")
    calendar = contract_calendar(usage)
    scale = usage.periods[-1].parts[-1].plan.rounding.scale
    account = _Account(usage.carry, dict(usage.drawn), LateDeltas(scale))
    open_periods = [period for period in usage.periods if period.booked is None]
    if usage.periods[len(usage.periods) - len(open_periods) :] != tuple(open_periods):
        raise ValueError("finalised periods come before all others")
    for period in usage.periods:
        priced = _price(usage, period, account.carry, calendar)
        account.carry = priced.carry
        if period.booked is not None:
            account.late.compare(period, period.booked, priced)
        else:
            _state(usage, period, priced, account)
    if usage.correction and account.late.deltas:
        _correct(usage, account)
    return tuple(account.rated)


def contract_calendar(usage: ContractUsage) -> BillingCalendar:
    """Return the contract's calendar; of calendar periods in UTC if none is given (S8.1)."""
    if usage.calendar is not None:
        return usage.calendar
    return BillingCalendar(usage.periods[-1].parts[-1].plan.billing_period)


def needs_calendar(periods: Iterable[PeriodUsage], promotions: Iterable[Promotion]) -> bool:
    """Return whether pricing looks at more of a calendar than the bounds of its periods.

    Terms longer than a period and promotions for so many periods do (S5.3, S10.3).
    """
    terms = (
        commitment.term is not None and not commitment.hourly
        for period in periods
        for part in period.parts
        for commitment in part.plan.commitments
    )
    return any(terms) or any(promotion.periods is not None for promotion in promotions)


def _price(
    usage: ContractUsage, period: PeriodUsage, carry: Carry, calendar: BillingCalendar
) -> PricedPeriod:
    promotions = covering_promotions(usage, period, calendar)
    return price_period(period, carry, promotions, calendar, usage.now)


def _state(
    usage: ContractUsage, period: PeriodUsage, priced: PricedPeriod, account: _Account
) -> None:
    """Append the statement of a period: its lines, late deltas, credits."""
    payable: dict[str, int] = {}
    for line in priced.lines:
        charge_id = line.charge_id or line.id
        payable[charge_id] = payable.get(charge_id, 0) + line.amount
    _append(usage, period, priced, payable, account)


def _correct(usage: ContractUsage, account: _Account) -> None:
    """Append a correction statement: late deltas and credits, no usage of its own (S9.3).

    Grants may pay for it that may pay for the subscription's last period.
    """
    last = usage.periods[-1]
    nothing = PricedPeriod((), {}, 0, account.carry)
    _append(usage, last, nothing, {}, account, correction=True)


def _append(
    usage: ContractUsage,
    period: PeriodUsage,
    priced: PricedPeriod,
    payable: dict[str, int],
    account: _Account,
    *,
    correction: bool = False,
) -> None:
    late, scale = account.late, account.late.scale
    lines = list(priced.lines)
    late_line = late.line(period.end)
    if late_line is not None:
        lines.append(late_line)
        for line_id, amount in late.amounts().items():
            payable[line_id] = payable.get(line_id, 0) + amount
    before_credits = sum(line.amount for line in lines)
    for back in late.given_back:
        account.drawn[back.grant_id] = account.drawn.get(back.grant_id, 0) - back.amount
    due = before_credits + sum(back.amount for back in late.given_back)
    grants = grants_in_order(usage.grants, period.start, period.end, usage.now)
    draws = draw(grants, account.drawn, payable, due, scale)
    for grant_id, amount in draws:
        account.drawn[grant_id] = account.drawn.get(grant_id, 0) + amount
    balances = {
        grant.id: grant_units(grant, scale) - account.drawn.get(grant.id, 0) for grant in grants
    }
    credited = credit_lines(late.given_back, draws, balances, scale, period.end)
    account.rated.append(
        RatedPeriod(
            start=period.start,
            end=period.end,
            number=period.number,
            statement=_statement(period, lines, credited, correction=correction),
            booked=Booked(priced.amounts, priced.total, tuple(draws), priced.carry),
            rebooked=late.rebooked,
            drawn=dict(account.drawn),
        )
    )
    account.late = LateDeltas(scale)


def _statement(
    period: PeriodUsage, lines: list[Line], credited: list[Line], *, correction: bool
) -> Statement:
    """Return the statement; credits are lines of the total or come after it (S10.2)."""
    plan = period.parts[-1].plan
    after_total = plan.credits is CreditPlacement.AFTER_TOTAL
    of_total = lines if after_total else lines + credited
    parts = () if correction else tuple(_statement_part(part) for part in period.parts)
    unpriced = [
        meter for part in period.parts for meter in unpriced_meters(part.plan, part.counters)
    ]
    statement = Statement(
        plan_id=plan.id,
        currency=plan.currency,
        scale=plan.rounding.scale,
        lines=tuple(of_total),
        total=sum(line.amount for line in of_total),
        unpriced_meters=() if correction else tuple(sorted(set(unpriced))),
        period=StatementPeriod(period.start, period.end, period.number, parts, correction),
        credit_lines=tuple(credited) if after_total else (),
    )
    if not fits_int64(statement.total) or not fits_int64(statement.amount_due):
        raise OutOfRange(f"plan {plan.id}: the total does not fit 64 bits")
    return statement


def _statement_part(part: PartUsage) -> StatementPart:
    return StatementPart(
        start=part.start,
        end=part.end,
        plan_id=part.plan_ref.plan_id,
        plan_version=part.plan_ref.version,
        overrides=part.plan_ref.overrides,
        share_by_second=part.share_by_second,
        share_by_day=part.share_by_day,
        counters=part.counters,
        window=part.window,
    )
