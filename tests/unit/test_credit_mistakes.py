"""Grants and promotions that cannot be: every fault is named by its field, numbers by one line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rating_core.contract.values import Grant, GrantKind, Promotion, PromotionKind
from rating_server.cli.entry import run
from rating_server.usecases.grant_credit import grant_violations, promotion_violations


def test_all_faults_of_a_grant_are_named() -> None:
    """Id, amount and validity of a grant are told at once, each by its field (S10.1)."""
    bad = Grant(id="Bad", amount=Decimal(0), kind=GrantKind.BONUS, effective=2_000, expires=2_000)
    assert [one.field for one in grant_violations(bad)] == [
        "grant.id",
        "grant.amount",
        "grant.expire_time",
    ]
    good = Grant(
        id="g1", amount=Decimal("0.01"), kind=GrantKind.BONUS, effective=2_000, expires=2_001
    )
    assert not list(grant_violations(good))


def test_all_faults_of_a_promotion_are_named() -> None:
    """Value, periods and end of a promotion are told at once, each by its field (S10.3)."""
    kind = PromotionKind.PERCENT_OFF
    bad = Promotion(id="p", kind=kind, value=Decimal(120), instant=5, periods=0, until=5)
    assert [one.field for one in promotion_violations(bad)] == [
        "promotion.value",
        "promotion.periods",
        "promotion.end_time",
        "promotion.end_time",
    ]
    multiplied = PromotionKind.ALLOWANCE_MULTIPLIER
    good = Promotion(id="p", kind=multiplied, value=Decimal(120), instant=5, until=6)
    assert not list(promotion_violations(good))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (PromotionKind.PERCENT_OFF, "1.1234567"),
        (PromotionKind.AMOUNT_OFF, "0.0000000000001"),
        (PromotionKind.ALLOWANCE_MULTIPLIER, "1000000000000000"),
    ],
)
def test_a_promotion_has_the_numbers_of_a_plan(kind: PromotionKind, value: str) -> None:
    """Percentages of 7 decimals, amounts of 13 and numbers from 10^15 on are refused (S1.2)."""
    bad = Promotion(id="p", kind=kind, value=Decimal(value), instant=5)
    assert [one.field for one in promotion_violations(bad)] == ["promotion.value"]


@pytest.mark.parametrize(
    "command",
    [("credit", "grant", "acme", "g1", "1e3"), ("promote", "acme", "p1", "percent_off", "NaN")],
)
def test_no_number_is_wrong_usage(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no decimal number ends with one line and status 2, before any call (S1.1)."""
    assert run(list(command)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"expected a decimal number such as 12.50, got '{command[-1]}'" in error
