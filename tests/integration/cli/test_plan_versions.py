"""Plan versions on a real server: effective times, moves, and what differs between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rating_client import Client

PLAN = """
id: {id}
currency: USD
billing_period: month
meters:
  - {{id: {id}-calls, aggregation: count}}
charges:
  - {{id: calls, meter: {id}-calls, model: per_unit, unit_price: "{price}"}}
"""
Command = Callable[..., Any]


def write(tmp_path: Path, name: str, price: str) -> Path:
    """Return the path of a plan file."""
    path = tmp_path / f"{name}-{price}.yaml"
    path.write_text(PLAN.format(id=name, price=price))
    return path


def test_versions_take_effect_in_time(command: Command, server: str, tmp_path: Path) -> None:
    """New subscriptions take the version of their start; times are shown, moves keep order."""
    command("plan", "publish", write(tmp_path, "timed", "0.5"))
    late = ("--effective", "2090-01-01T00:00:00Z", "--existing-effective", "2090-02-01T00:00:00Z")
    answer = command("plan", "publish", write(tmp_path, "timed", "0.4"), *late)
    assert answer.out == "published timed@2\n"
    rows = json.loads(command("plan", "list", "timed", "--format", "json").out)
    assert [(row["effective"], row["existing_effective"]) for row in rows] == [
        ("", ""),
        ("2090-01-01T00:00:00Z", "2090-02-01T00:00:00Z"),
    ]
    for start, version in (("2089-12-31T23:59:59Z", 1), ("2090-01-01T00:00:00Z", 2)):
        customer = f"timed-{version}"
        assert command("subscribe", customer, "--plan", "timed", "--start", start).status == 0
        with Client(server) as client:
            (found,) = client.list_subscriptions(customer)
        assert found.start_time.ToJsonString() == start
        assert found.plan_version >= version  # who starts on the first version moves on
    soon = command(
        "plan", "publish", write(tmp_path, "timed", "0.3"), "--existing-effective", "2089-01-01"
    )
    assert soon.status == 1
    assert "2090-02-01T00:00:00Z" in soon.err


def test_diff_of_files_and_versions(command: Command, tmp_path: Path) -> None:
    """Status 1 and a line a key where plans differ, 0 where not, 2 where one is not there."""
    first, second = write(tmp_path, "differs", "0.50"), write(tmp_path, "differs", "0.4")
    command("plan", "publish", first)
    command("plan", "publish", second)
    line = "~ charges[calls].unit_price: 0.5 → 0.4\n"
    for pair in ((first, second), ("differs@1", "differs"), (first, "differs@2")):
        answer = command("plan", "diff", *pair)
        assert (answer.status, answer.out) == (1, line)
    answer = command("plan", "diff", "differs@2", first, "--json")
    assert json.loads(answer.out) == [
        {"path": "charges[calls].unit_price", "kind": "changed", "old": "0.4", "new": "0.5"}
    ]
    assert command("plan", "diff", "differs@1", first).status == 0
    assert command("plan", "diff", tmp_path / "none.yaml", first).status == 2
    gone = command("plan", "diff", "differs@3", first)
    assert (gone.status, "differs" in gone.err) == (1, True)


def test_own_prices_price_the_customer_who_has_them(
    command: Command, server: str, tmp_path: Path
) -> None:
    """A patch prices its customer's statements; a faulty one is named by path, and refused."""
    command("plan", "publish", write(tmp_path, "owned", "0.5"))
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text('charges: [{id: calls, unit_price: "0.25"}]\nminimum_amount: "7"\n')
    bad.write_text('charges: [{id: calls, unit_price: "-1"}, {id: other}]\ncurrency: EUR\n')
    to_plan = ("--plan", "owned", "--start", "2026-01-01T00:00:00Z")
    refused = command("subscribe", "own-2", *to_plan, "--overrides", bad)
    assert refused.status != 0
    assert "charges[1].id" in refused.err
    assert "currency" in refused.err
    for customer, more in (("own-1", ()), ("own-2", ("--overrides", good))):
        assert command("subscribe", customer, *to_plan, *more).status == 0
    with Client(server) as client:
        totals = [client.preview_statement(customer).total for customer in ("own-1", "own-2")]
    assert totals == [0, 7]
    again = command("change-plan", "own-2", "--effective", "2089-01-20T00:00:00Z")
    assert again.out.splitlines() == [
        "from 2026-01-01T00:00:00Z: owned@1, own prices",
        "from 2089-01-20T00:00:00Z: owned@1",
    ]
