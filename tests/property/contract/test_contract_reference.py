"""`contract` and its oracle are two independent readings of the rules: they must agree."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rating_core.contract.rate import rate_contract
from rating_core.reference_contract import reference_contract
from rating_core.statement import LineKind, Statement
from rating_core.units import RoundingStage

SETTINGS = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _own_lines(statement: Statement) -> dict[str, int]:
    """Return what is not 0 of the sums of the lines by id, without credits."""
    sums: Counter[str] = Counter()
    for line in statement.lines:
        if line.kind is not LineKind.CREDIT:
            sums[line.id] += line.amount
    return {name: amount for name, amount in sums.items() if amount}


def _not_zero(amounts: dict[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount}


@pytest.mark.parametrize("stage", list(RoundingStage), ids=str)
@SETTINGS
@given(random=st.randoms(use_true_random=False))
def test_contracts_agree_with_the_reference(stage: RoundingStage, contracts, random) -> None:
    """Random contracts: each line, what is due and what is drawn agrees in all statements."""
    usage = contracts(random, stage).contract().usage()
    for rated, expected in zip(rate_contract(usage), reference_contract(usage), strict=True):
        assert _own_lines(rated.statement) == _not_zero(expected.lines)
        assert rated.statement.amount_due == expected.amount_due
        assert _not_zero(dict(rated.drawn)) == _not_zero(expected.drawn)
