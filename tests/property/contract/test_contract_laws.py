"""Laws of contracts in time: what must hold whatever the plans, the usage and its arrival."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rating_core.adjustments.commitment import priced_commitments
from rating_core.contract.credits import grant_units
from rating_core.contract.facts import from_facts, to_facts
from rating_core.contract.rate import rate_contract
from rating_core.contract.rating import RatedPeriod
from rating_core.contract.usage import Booked, Carry
from rating_core.statement import Line, LineKind, SliceKind
from rating_core.units import RoundingStage

SETTINGS = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RANDOMS = st.randoms(use_true_random=False)
STAGES = st.sampled_from(RoundingStage)


class Books:
    """Finalises the periods of a contract one by one, as records arrive in between."""

    def __init__(self, contract) -> None:
        self.contract = contract
        self.booked: list[Booked] = []
        self.drawn: dict[str, int] = {}
        self.rated: list[RatedPeriod] = []

    def preview(self, until: int) -> RatedPeriod:
        """Return the last of the periods up to ``until``, all before it assumed finalised."""
        usage = self.contract.usage(self.booked, until=until, drawn=self.drawn)
        return rate_contract(usage)[-1]

    def finalise(self, events) -> RatedPeriod:
        """Finalise the next period with what has arrived by now."""
        self.contract = replace(self.contract, events=tuple(events))
        return self._book(self.preview(len(self.booked) + 1))

    def read_anew(self) -> None:
        """Take what is booked from texts without an order of keys, as one who reads the log."""
        texts = [json.dumps(to_facts(booked), sort_keys=True) for booked in self.booked]
        found = [json.loads(text, object_pairs_hook=_reversed) for text in texts]
        self.booked = [from_facts(Booked, facts) for facts in found]

    def correct(self, events) -> RatedPeriod | None:
        """Return the correction statement after the last period, if one is due."""
        self.contract = replace(self.contract, events=tuple(events))
        usage = self.contract.usage(self.booked, drawn=self.drawn, correction=True)
        rated = rate_contract(usage)
        return self._book(rated[0], correction=True) if rated else None

    def _book(self, rated: RatedPeriod, *, correction: bool = False) -> RatedPeriod:
        for number in range(len(self.booked)):
            start = self.contract.span(number)[0]
            self.booked[number] = rated.rebooked.get(start, self.booked[number])
        if not correction:
            self.booked.append(rated.booked)
        self.drawn = dict(rated.drawn)
        self.rated.append(rated)
        return rated


def _reversed(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return dict(reversed(pairs))


def _arrivals(contract, random: Random) -> list[list]:
    """Return what has arrived when each period is finalised, and at the end: all of it."""
    rounds: list[list] = [[] for _ in range(contract.months + 1)]
    for event in contract.events:
        number = next(n for n in range(contract.months) if event.time < contract.span(n)[1])
        late = random.choice([0, 0, 1, contract.months])
        for later in range(min(number + late, contract.months), contract.months + 1):
            rounds[later].append(event)
    for arrived in rounds:
        random.shuffle(arrived)
    return rounds


def _finalise_all(contract, rounds) -> Books:
    books = Books(contract)
    for arrived in rounds[:-1]:
        books.finalise(arrived)
    books.correct(rounds[-1])
    return books


def _check_lines(rated: RatedPeriod) -> None:
    statement = rated.statement
    unit = Fraction(1, 10**statement.scale)
    assert sum(line.amount for line in statement.lines) == statement.total
    for line in (*statement.lines, *statement.credit_lines):
        slices = sum((Fraction(piece.amount) for piece in line.slices), Fraction(0))
        assert slices == line.amount * unit


def _net_draws(lines: tuple[Line, ...]) -> Counter[str]:
    net: Counter[str] = Counter()
    for line in lines:
        if line.kind is LineKind.CREDIT:
            net[line.id] -= line.amount
    return net


@SETTINGS
@given(random=RANDOMS, stage=STAGES)
def test_statements_and_late_deltas_add_up_to_what_all_usage_costs(contracts, random, stage):
    """Before credits, statements with all later deltas are the statements of all usage, by line."""
    contract = contracts(random, stage).contract()
    books = _finalise_all(contract, _arrivals(contract, random))
    known = rate_contract(contract.usage())
    for booked, expected in zip(books.booked, known, strict=True):
        assert dict(booked.lines) == dict(expected.booked.lines)
        assert booked.carry == expected.booked.carry
    stated = sum(rated.statement.total_before_credits for rated in books.rated)
    assert stated == sum(rated.booked.total_before_credits for rated in known)


@SETTINGS
@given(random=RANDOMS, stage=STAGES)
def test_order_of_arrival_and_splitting_change_no_final_total(contracts, random, stage):
    """However records arrive, and in how many pieces, the final totals before credits are one."""
    contract = contracts(random, stage).contract()
    totals = set()
    for pieces in (1, 3):
        events = [
            replace(event, quantity=quantity)
            for event in contract.events
            for quantity in _split(event.quantity, pieces, random)
        ]
        split = replace(contract, events=tuple(events))
        books = _finalise_all(split, _arrivals(split, random))
        totals.add(sum(rated.statement.total_before_credits for rated in books.rated))
    assert len(totals) == 1


@SETTINGS
@given(random=RANDOMS, stage=STAGES)
def test_a_server_that_read_the_log_states_the_same(contracts, random, stage):
    """Statements do not depend on the order of keys, which an entry of the log does not keep."""
    contract = contracts(random, stage).contract(covers=True)
    rounds = _arrivals(contract, random)
    kept, read = Books(contract), Books(contract)
    for arrived in rounds[:-1]:
        assert kept.finalise(arrived).statement == read.finalise(arrived).statement
        read.read_anew()
    first, second = kept.correct(rounds[-1]), read.correct(rounds[-1])
    assert (first and first.statement) == (second and second.statement)


def _split(quantity: int, pieces: int, random: Random) -> list[int]:
    parts = [random.randint(-5, quantity + 5) for _ in range(pieces - 1)] if quantity > 0 else []
    return [*parts, quantity - sum(parts)]


@SETTINGS
@given(random=RANDOMS, stage=STAGES)
def test_a_preview_is_what_is_finalised_if_nothing_arrives(contracts, random, stage):
    """A preview over several open periods gives each statement that finalising then gives."""
    contract = contracts(random, stage).contract()
    previews = rate_contract(contract.usage())
    books = Books(contract)
    for preview in previews:
        final = books.finalise(contract.events)
        assert final.statement == preview.statement
        assert final.booked == preview.booked
        assert {k: v for k, v in final.drawn.items() if v} == {
            k: v for k, v in preview.drawn.items() if v
        }


@SETTINGS
@given(random=RANDOMS, stage=STAGES)
def test_a_carry_stands_for_all_periods_before_it(contracts, random, stage):
    """A period priced from the carry of the one before it costs what it costs with them all."""
    contract = contracts(random, stage).contract()
    known = rate_contract(contract.usage())
    carry, drawn = Carry(), {}
    for number, expected in enumerate(known):
        usage = contract.usage(carry=carry, first=number, until=number + 1, drawn=drawn)
        (rated,) = rate_contract(usage)
        assert rated == expected
        carry, drawn = rated.booked.carry, rated.drawn


@SETTINGS
@given(random=RANDOMS, stage=STAGES)
def test_the_ledger_balances(contracts, random, stage):
    """Draw-downs never exceed a grant or a total, and stand booked as the lines say."""
    contract = contracts(random, stage).contract(covers=True)
    books = _finalise_all(contract, _arrivals(contract, random))
    amounts = {
        grant.id: grant_units(grant, books.rated[0].statement.scale) for grant in contract.grants
    }
    net: Counter[str] = Counter()
    for rated in books.rated:
        _check_lines(rated)
        statement = rated.statement
        before = statement.total_before_credits
        back = sum(
            line.amount
            for line in statement.lines
            if line.kind is LineKind.CREDIT and line.amount > 0
        )
        drawn = sum(amount for _, amount in rated.booked.draws)
        assert statement.total == before + back - drawn
        assert drawn <= max(before + back, 0)
        net.update(_net_draws(statement.lines))
    for grant_id, amount in amounts.items():
        assert 0 <= books.drawn.get(grant_id, 0) <= amount
        assert net[grant_id] == books.drawn.get(grant_id, 0)


@SETTINGS
@given(random=RANDOMS)
def test_commitments_never_cover_more_than_they_promise(contracts, random):
    """The list usage that a commitment's lines cover in a term stays within its limit."""
    contract = contracts(random).contract()
    contract = replace(contract, phases=contract.phases[:1])
    (entry,) = contract.phases
    limits = {one.commitment.id: one.limit for one in priced_commitments(entry[1])}
    months = {item.id: 3 if item.term else 1 for item in entry[1].commitments}
    covered: Counter[tuple[str, int]] = Counter()
    for rated in rate_contract(contract.usage()):
        for line in rated.statement.lines:
            for piece in line.slices:
                if piece.kind is SliceKind.COMMITTED:
                    term = (line.id, rated.number // months[line.id])
                    covered[term] += Fraction(piece.quantity)
                    assert covered[term] <= limits[line.id]


@SETTINGS
@given(random=RANDOMS)
def test_shares_of_the_parts_add_up_to_one(contracts, random):
    """The parts of a full period share it out whole, by second and by day, and so do its fees."""
    contract = contracts(random).contract()
    for period in contract.usage().periods:
        if period.number == 0 or period.last:
            continue
        assert sum(part.share_by_second for part in period.parts) == 1
        assert sum(part.share_by_day for part in period.parts) == 1
