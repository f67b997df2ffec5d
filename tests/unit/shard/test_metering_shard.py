"""Every status of S7.3, its precedence, and what its place in the batch has to do with it."""

from __future__ import annotations

import pytest

from rating_core.catalog import BillingPeriod
from rating_core.metering.calls import DAY_US, Configure, RecordCall
from rating_core.metering.contracts.ledger_calls import FinalizePeriod
from rating_core.metering.deciding.record import UsageRecord, batch_of

NOW = 1_767_571_200_000_000  # 2026-01-05T00:00Z
START = NOW - 30 * DAY_US


def use(event_id="e", quantity=1, *, meter="tokens", time=NOW, customer="acme", dims=(), scale=0):
    return UsageRecord(customer, meter, event_id, quantity, time, dims, scale)


NINE = tuple((f"d{i}", "v") for i in range(9))


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (use(), "ACCEPTED"),
        (use(quantity=-5), "ACCEPTED"),
        (use(quantity=0), "ACCEPTED"),
        (use("é" * 127), "ACCEPTED"),
        (use(""), "MALFORMED"),
        (use("x" * 256), "MALFORMED"),
        (use("\ud800"), "MALFORMED"),
        (use(time=None), "MALFORMED"),
        (use(meter="nothing"), "UNKNOWN_METER"),
        (use(quantity=15, scale=1), "QUANTITY_PRECISION"),
        (use(quantity=150, scale=2, meter="calls"), "QUANTITY_PRECISION"),
        (use(quantity=1, scale=13), "QUANTITY_PRECISION"),
        (use(quantity=2**63 // 1000 + 1, meter="seconds"), "QUANTITY_OUT_OF_RANGE"),
        (use(quantity=-(2**63), meter="seconds"), "QUANTITY_OUT_OF_RANGE"),
        (use(quantity=2**80), "QUANTITY_OUT_OF_RANGE"),
        (use(quantity=2**80 * 10 + 5, scale=1), "QUANTITY_PRECISION"),
        (use(quantity=2**80 * 10 + 5, scale=1, meter="seconds"), "QUANTITY_OUT_OF_RANGE"),
        (use(quantity=2**62 * 10, scale=1), "ACCEPTED"),
        (use(quantity=2**80 * 10, scale=1), "QUANTITY_OUT_OF_RANGE"),
        (use(quantity=-1, meter="paid"), "QUANTITY_OUT_OF_RANGE"),
        (use(quantity=-(2**63)), "ACCEPTED"),
        (use(quantity=1500, scale=3), "QUANTITY_PRECISION"),
        (use(quantity=3000, scale=3), "ACCEPTED"),
        (use(quantity=-1500, scale=6, meter="seconds"), "QUANTITY_PRECISION"),
        (use(dims=(("model", "a"), ("region", "eu"))), "ACCEPTED"),
        (use(dims=(("model", ""),)), "ACCEPTED"),
        (use(dims=(("colour", "red"),)), "DIMENSION_INVALID"),
        (use(dims=(("colour", ""),)), "DIMENSION_INVALID"),
        (use(dims=NINE), "DIMENSION_INVALID"),
        (use(dims=(("model", "é" * 128),)), "DIMENSION_INVALID"),
        (use(dims=(("model", "a"), ("model", "b"))), "DIMENSION_INVALID"),
        (use(customer="nobody"), "NO_SUBSCRIPTION"),
        (use(customer=""), "NO_SUBSCRIPTION"),
        (use(time=START - 1), "NO_SUBSCRIPTION"),
        (use(time=NOW + 60_000_000), "ACCEPTED"),
        (use(time=NOW + 60_000_001), "IN_FUTURE"),
        (use(time=NOW - 7 * DAY_US), "TOO_OLD"),
        (use(time=NOW - 7 * DAY_US + 1), "ACCEPTED"),
    ],
)
def test_status_of_one_record(driver, record, status, statuses):
    """One record alone gets the status of S7.3; a refused one leaves no id and no entry."""
    decision = driver.decide(record)
    assert statuses(decision.answers[0]) == [status]
    assert (decision.body is None) == (status != "ACCEPTED")


def test_precedence_of_reasons(new_driver, subscribe):
    """Of several faults the first of S7.3 is named; mended one by one, the next appears."""
    driver = new_driver()
    driver.control(subscribe(billing_period=BillingPeriod.DAY))
    driver.control(Configure(window_us=3 * DAY_US, max_series=1))
    driver.send(use("taken", dims=(("model", "a"),)))
    old, late = START - 1, NOW + 10**9
    bad = (("colour", "red"),)
    steps = [
        (use("", 15, meter="nothing", scale=1, dims=bad, time=old), "MALFORMED"),
        (use("taken", 15, meter="nothing", scale=1, dims=bad, time=old), "CONFLICT"),
        (use("new", 15, meter="nothing", scale=13, dims=bad, time=old), "UNKNOWN_METER"),
        (use("new", 2**80, scale=13, dims=bad, time=old), "QUANTITY_PRECISION"),
        (use("new", 2**80, dims=bad, time=old), "QUANTITY_OUT_OF_RANGE"),
        (use("new", dims=bad, time=old), "DIMENSION_INVALID"),
        (use("new", time=old), "NO_SUBSCRIPTION"),
        (use("new", time=late), "IN_FUTURE"),
        (use("new", time=START), "TOO_OLD"),
        (use("new", dims=(("model", "b"),)), "TOO_MANY_SERIES"),
        (use("new", dims=(("model", "a"),)), "ACCEPTED"),
        (use("new", dims=(("model", "a"), ("region", ""))), "DUPLICATE"),
    ]
    for record, status in steps:
        assert driver.send(record) == [status], record


def test_closed_period_comes_after_too_old(driver):
    """PERIOD_CLOSED is named only where the acceptance window still holds the record."""
    yesterday = NOW - DAY_US
    driver.control(Configure(window_us=10 * DAY_US, grace_us=0))
    for day in range(30):
        start = START + day * DAY_US
        assert driver.control(FinalizePeriod(customer="acme", period_start=start)).ok
    assert driver.send(use("a", time=yesterday), use("b", time=START)) == [
        "PERIOD_CLOSED",
        "TOO_OLD",
    ]
    assert driver.send(use("a", time=NOW)) == ["ACCEPTED"]


@pytest.mark.parametrize(
    "other",
    [
        use("id", 6, dims=(("model", "a"),)),
        use("id", 5, dims=(("model", "b"),)),
        use("id", 5),
        use("id", 5, dims=(("model", "a"),), time=NOW - 1),
        use("id", 5, meter="calls", dims=(("model", "a"),)),
        use("id", 55, dims=(("model", "a"),), scale=1),
        use("id", 2**80, dims=(("model", "a"),)),
        use("id", 5, meter="nothing", dims=(("model", "a"),)),
    ],
)
def test_another_payload_is_a_conflict(driver, other):
    """A known id with any other payload is CONFLICT, also one that cannot be normalised (S7.2)."""
    assert driver.send(use("id", 5, dims=(("model", "a"),))) == ["ACCEPTED"]
    assert driver.send(other) == ["CONFLICT"]
    assert driver.send(use("id", 5, dims=(("model", "a"),))) == ["DUPLICATE"]
    assert driver.value() == 5


def test_a_payload_without_a_form_never_equals_zero(driver):
    """A quantity that the meter's scale cannot hold is another payload than 0 (S7.2)."""
    assert driver.send(use("id", 0)) == ["ACCEPTED"]
    assert (
        driver.send(use("id", 2**80), use("id", 5, scale=1), use("id", 0, scale=13))
        == ["CONFLICT"] * 3
    )


def test_equal_payloads_in_other_words_are_duplicates(driver):
    """Other scales, orders of dimensions and explicit empty values state the same payload."""
    assert driver.send(use("id", 5, dims=(("region", "eu"), ("model", "a")))) == ["ACCEPTED"]
    assert driver.send(
        use("id", 500, scale=2, dims=(("model", "a"), ("region", "eu"))),
        use("id", 5, dims=(("region", "eu"), ("model", "a"))),
    ) == ["DUPLICATE", "DUPLICATE"]


def test_first_position_wins_within_a_batch_and_across_joined_calls(driver, statuses):
    """Equal ids of one entry: the first that can be accepted is, the rest are measured by it."""
    first = RecordCall(batch_of([use("a", time=START), use("a", 1), use("a", 2), use("b", 3)]))
    second = RecordCall(batch_of([use("b", 3), use("a", 1), use("c", 1)]))
    answers = driver.commit(driver.shard.decide([first, second], NOW))
    assert statuses(answers[0]) == ["TOO_OLD", "ACCEPTED", "CONFLICT", "ACCEPTED"]
    assert statuses(answers[1]) == ["DUPLICATE", "DUPLICATE", "ACCEPTED"]
    assert driver.value() == 5


def test_ids_are_of_their_customer(driver, subscribe):
    """The same event id of two customers is two identities (S7.1)."""
    driver.control(subscribe("other"))
    assert driver.send(use("id", 1), use("id", 2, customer="other")) == ["ACCEPTED", "ACCEPTED"]


def test_a_sum_never_wraps(driver):
    """A record that would overflow its counter is refused, in the order of the batch (S1.2)."""
    most = 2**63 - 1
    assert driver.send(use("a", most), use("b", 1), use("c", -1), use("d", 1), use("e", 1)) == [
        "ACCEPTED",
        "QUANTITY_OUT_OF_RANGE",
        "ACCEPTED",
        "ACCEPTED",
        "QUANTITY_OUT_OF_RANGE",
    ]
    assert driver.value() == most
    assert driver.send(use("f", 1), use("g", 1, dims=(("model", "a"),))) == [
        "QUANTITY_OUT_OF_RANGE",
        "ACCEPTED",
    ]
    assert driver.send(use("h", 1, time=NOW + 10**9)) == ["QUANTITY_OUT_OF_RANGE"]
    assert driver.send(use("i", -(2**63), time=NOW - DAY_US), use("j", -1, time=NOW - DAY_US)) == [
        "ACCEPTED",
        "QUANTITY_OUT_OF_RANGE",
    ]


def test_series_are_limited_per_period(driver):
    """The most series holds for each billing period by itself, also within one batch."""
    driver.control(Configure(max_series=2))
    records = [use(f"e{i}", dims=(("model", f"m{i}"),)) for i in range(4)]
    assert driver.send(*records) == ["ACCEPTED", "ACCEPTED", "TOO_MANY_SERIES", "TOO_MANY_SERIES"]
    yesterday = use("y", dims=(("model", "m9"),), time=NOW - DAY_US)
    assert driver.send(records[0], yesterday) == ["DUPLICATE", "ACCEPTED"]


def test_a_customer_that_a_dictionary_names_twice_is_one_customer(driver, subscribe, statuses):
    """S7.3: a subscription in flight counts for every row of its customer, whichever word it is."""
    made = driver.shard.decide([subscribe("twice")], NOW)
    driver.shard.stage(made, NOW)
    batch = batch_of([use("a", customer="twice"), use("b", customer="other")])
    batch.customers[1] = "twice"
    assert statuses(driver.shard.decide([RecordCall(batch)], NOW).answers[0]) == ["ACCEPTED"] * 2


def test_dictionaries_of_many_meters_and_dimension_sets_cost_their_sum(driver, statuses):
    """S6.1: 20,000 meters and as many sets, a table of 4 × 10^8 cells, are no matter."""
    count = 20_000
    records = [
        use(f"e{i}", meter="tokens" if i < 2 else f"m{i}", dims=((f"d{i}", "x"),))
        for i in range(count)
    ]
    records[0] = use("e0", dims=(("region", "eu"), ("model", "x")))
    records[2] = use("e2", meter="paid", dims=(("model", "x"),))
    answer = driver.decide(*records).answers[0]
    assert statuses(answer)[:4] == [
        "ACCEPTED",
        "DIMENSION_INVALID",
        "DIMENSION_INVALID",
        "UNKNOWN_METER",
    ]


def test_a_value_that_a_staged_batch_did_not_take_still_counts_against_the_limit(driver, statuses):
    """What is in flight takes room for the values that it counts, and for no others (S7.3)."""
    shard = driver.shard
    driver.control(Configure(max_values=2))

    def visit(event_id, user):
        return UsageRecord("acme", "users", event_id, 1, NOW, attributes=(("user", user),))

    first = driver.decide(visit("a", "u1"), visit("b", "u2"), visit("c", "u3"))
    assert statuses(first.answers[0]) == ["ACCEPTED", "ACCEPTED", "TOO_MANY_SERIES"]
    shard.stage(first, NOW)
    second = driver.decide(visit("d", "u3"), visit("e", "u2"))
    assert statuses(second.answers[0]) == ["TOO_MANY_SERIES", "ACCEPTED"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("k" * 64, "ACCEPTED"),
        ("k" * 65, "DIMENSION_INVALID"),
        ("é" * 33, "DIMENSION_INVALID"),
        ("", "DIMENSION_INVALID"),
        ("a\nb", "DIMENSION_INVALID"),
        ("a\x7f", "DIMENSION_INVALID"),
    ],
)
def test_names_of_attributes_are_short_and_printable(driver, name, status):
    """A name of 1 to 64 bytes without control characters, whatever the meter counts (S7.2)."""
    record = UsageRecord("acme", "tokens", "e", 1, NOW, attributes=((name, "v"),))
    assert driver.send(record) == [status]
