"""The catalogue's state machine: immutable meters and plan versions, one order for all servers."""

from __future__ import annotations

import pytest

from rating_core.catalog import Aggregation, Meter
from rating_core.errors import LogCorrupt
from rating_core.metering.calls import ControlAnswer, StateDigest
from rating_core.metering.catalogue import Catalogue
from rating_core.metering.catalogue_calls import (
    MOVE_AHEAD_US,
    CreateMeter,
    CreatePlan,
    FinishMove,
    GetMeter,
    GetPlan,
    ListMeters,
    ListMoves,
    ListPlans,
    StoredMeter,
)
from rating_core.metering.log.entry import ControlEntry, encode_control

NOW = 1_767_571_200_000_000
TOKENS = {"id": "tokens", "aggregation": "sum", "scale": "0", "dimensions": ["model", "region"]}


def plan(*meters, name="llm"):
    return {"id": name, "currency": "USD", "meters": list(meters), "charges": []}


@pytest.fixture
def catalogue():
    return Catalogue()


@pytest.fixture
def run(catalogue):
    def call(what, now=NOW):
        decision = catalogue.decide([what], now)
        if decision.body is not None:
            catalogue.stage(decision, now)
            catalogue.confirm(catalogue.version + 1, bytes(16))
        return decision.answers[0]

    return call


def test_meters_are_created_once(catalogue, run):
    """An equal meter exists already, another one of the same id is a mismatch."""
    answer = run(CreateMeter(document=TOKENS))
    assert answer == ControlAnswer(True, "", {"meter": TOKENS, "create_time": NOW})
    turned = {**TOKENS, "dimensions": ["region", "model"]}
    assert run(CreateMeter(document=turned)).reason == "ALREADY_EXISTS"
    assert run(CreateMeter(document={**TOKENS, "scale": "2"})).reason == "METER_MISMATCH"
    assert run(CreateMeter(document={"id": "x"})).reason == "PLAN_INVALID"
    meter = Meter("tokens", Aggregation.SUM, "", 0, ("model", "region"))
    assert catalogue.meters == {"tokens": meter}
    assert catalogue.query(GetMeter("tokens")) == StoredMeter(meter, NOW)
    assert catalogue.query(GetMeter("other")) is None


def test_plan_versions_count_up_and_stay(catalogue, run):
    """Each creation is the next version; earlier ones stay readable; 0 is the latest."""
    for version in (1, 2, 3):
        assert run(CreatePlan(document=plan(TOKENS))).value["version"] == version
    assert run(CreatePlan(document=plan(name="other"))).value["version"] == 1
    assert catalogue.query(GetPlan("llm")).version == 3
    assert catalogue.query(GetPlan("llm", 2)).document == plan(TOKENS)
    assert catalogue.query(GetPlan("llm", 4)) is None
    assert catalogue.query(GetPlan("none")) is None
    assert [(p.plan_id, p.version) for p in catalogue.query(ListPlans())] == [
        ("llm", 1),
        ("llm", 2),
        ("llm", 3),
        ("other", 1),
    ]
    assert len(catalogue.query(ListPlans("llm"))) == 3
    assert set(catalogue.plans) == {("llm", 1), ("llm", 2), ("llm", 3), ("other", 1)}


def test_a_plan_creates_its_inline_meters(catalogue, run):
    """Meters that do not exist come into being with the plan, in one entry (S2)."""
    calls = {"id": "calls", "aggregation": "count"}
    assert run(CreatePlan(document=plan("tokens"))).reason == "UNKNOWN_METER"
    assert run(CreatePlan(document=plan(TOKENS, calls))).value["created_meters"] == [
        "tokens",
        "calls",
    ]
    assert run(CreatePlan(document=plan("tokens", calls))).value["created_meters"] == []
    other = {**TOKENS, "aggregation": "count"}
    assert run(CreatePlan(document=plan(other))).reason == "METER_MISMATCH"
    assert run(CreatePlan(document=plan({"id": "bad"}))).reason == "PLAN_INVALID"
    assert run(CreatePlan(document={"currency": "USD"})).reason == "PLAN_INVALID"
    assert [m.meter.id for m in catalogue.query(ListMeters())] == ["calls", "tokens"]
    assert catalogue.version == 2


def test_request_ids_replay(catalogue, run):
    """A repeated request gets the earlier answer and makes no second version (P4)."""
    call = CreatePlan(document=plan(TOKENS), request_id="r")
    first = run(call)
    again = run(call, now=NOW + 5)
    assert again == ControlAnswer(True, "", first.value, replayed=True)
    assert run(CreatePlan(document=plan(), request_id="r")).reason == "REQUEST_ID_REUSED"
    assert catalogue.version == 1


def test_staged_entries_decide(catalogue):
    """Versions, meters and request ids in flight are seen; unstaged, they never were (P1)."""
    call = CreatePlan(document=plan(TOKENS), request_id="r")
    before = catalogue.query(StateDigest())
    catalogue.stage(catalogue.decide([call], NOW), NOW)
    assert catalogue.decide([call], NOW).answers[0].replayed
    second = catalogue.decide([CreatePlan(document=plan("tokens"))], NOW)
    assert second.answers[0].value["version"] == 2
    assert catalogue.decide([CreateMeter(document=TOKENS)], NOW).answers[0].reason == (
        "ALREADY_EXISTS"
    )
    catalogue.stage(second, NOW)
    assert catalogue.query(StateDigest()) == before
    catalogue.unstage()
    assert catalogue.decide([CreatePlan(document=plan("tokens"))], NOW).answers[0].reason == (
        "UNKNOWN_METER"
    )


def test_recovery_is_the_same_state(catalogue):
    """Applying the entries gives the digest of the machine that decided them."""
    other = Catalogue()
    calls = [
        CreateMeter(document=TOKENS, request_id="m"),
        CreatePlan(document=plan("tokens"), request_id="p"),
        CreatePlan(document=plan({"id": "calls", "aggregation": "count"})),
    ]
    for version, call in enumerate(calls, 1):
        decision = catalogue.decide([call], NOW + version)
        catalogue.stage(decision, NOW + version)
        catalogue.confirm(version, bytes(16))
        other.apply(decision.body, NOW + version, version, bytes(16))
    assert catalogue.query(StateDigest()) == other.query(StateDigest())
    assert other.now == NOW + 3
    other.reset()
    assert other.query(StateDigest()) == Catalogue().query(StateDigest())


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("configure", {}),
        ("create_meter", {}),
        ("create_meter", {"meters": [{"id": "x"}], "create_time": 1}),
        ("create_plan", {"meters": [], "create_time": 1}),
        ("create_plan", {"meters": [], "create_time": 1, "plan": {"id": "p"}, "version": 2}),
    ],
)
def test_entries_that_do_not_fit_are_corrupt(catalogue, kind, facts):
    """An entry of another machine, without its facts, or out of order is refused (P5)."""
    body = encode_control(ControlEntry(kind, "", "f", facts, {}))
    with pytest.raises(LogCorrupt):
        catalogue.apply(body, NOW, 1, bytes(16))
    assert (catalogue.version, catalogue.meters, catalogue.plans) == (0, {}, {})


def test_it_has_no_counters_and_no_joint_entries(catalogue):
    """What only shards have is empty; unknown calls and questions raise."""
    call = CreateMeter(document=TOKENS)
    assert not catalogue.joins(call, call)
    assert catalogue.size(call) > 0
    assert catalogue.size("x") == 0
    catalogue.folded(5)
    assert (catalogue.changed_hashes(0), catalogue.hash_fields("c:a:b", 0)) == ((), ())
    for wrong in (lambda: catalogue.decide(["x"], NOW), lambda: catalogue.query("x")):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError):
        catalogue.stage(catalogue.decide([CreateMeter(document={"id": "bad"})], NOW), NOW)
    catalogue.stage(catalogue.decide([call], NOW), NOW)
    with pytest.raises(ValueError, match="nothing is staged"):
        catalogue.apply(b"", NOW, 1, bytes(16))


def version_at(catalogue, instant):
    """The version of plan llm that a subscription takes which starts at an instant."""
    return catalogue.query(GetPlan("llm", start=instant)).version


def test_new_subscriptions_take_the_version_effective_at_their_start(catalogue, run):
    """The latest version whose time has come; without one, always; before all, the first."""
    assert catalogue.query(GetPlan("llm", start=NOW)) is None
    run(CreatePlan(document=plan(TOKENS), effective_time=NOW))
    run(CreatePlan(document=plan("tokens"), effective_time=NOW + 10))
    assert [version_at(catalogue, NOW + d) for d in (-1, 0, 9, 10)] == [1, 1, 1, 2]
    run(CreatePlan(document=plan("tokens"), effective_time=NOW + 5))
    assert [version_at(catalogue, NOW + d) for d in (-1, 4, 5, 20)] == [1, 1, 3, 3]
    run(CreatePlan(document=plan("tokens")))
    assert version_at(catalogue, NOW - 10**12) == 4
    assert catalogue.query(GetPlan("llm", 2, start=NOW)).version == 2


def test_moves_are_listed_until_they_are_finished(catalogue, run):
    """A version that standing ones move to is open until all shards have the move (S8.6)."""
    soon = CreatePlan(document=plan(TOKENS), existing_effective_time=NOW + MOVE_AHEAD_US - 1)
    assert run(soon) == ControlAnswer(
        False, "EFFECTIVE_TOO_SOON", {"earliest": NOW + MOVE_AHEAD_US}
    )
    run(CreatePlan(document=plan(TOKENS)))
    when = NOW + MOVE_AHEAD_US
    answer = run(CreatePlan(document=plan("tokens"), existing_effective_time=when))
    assert answer.value["existing_effective_time"] == when
    back = CreatePlan(document=plan("tokens"), existing_effective_time=when - 1)
    assert run(back, now=NOW - 10).value == {"earliest": when}
    (move,) = catalogue.query(ListMoves())
    assert (move.plan_id, move.version, move.existing_effective_time) == ("llm", 2, when)
    assert run(FinishMove(plan_id="llm", version=1)).reason == "PLAN_NOT_FOUND"
    twice = [catalogue.decide([FinishMove(plan_id="llm", version=2)], NOW) for _ in "ab"]
    catalogue.stage(twice[0], NOW)
    assert catalogue.decide([FinishMove(plan_id="llm", version=2)], NOW).body is None
    catalogue.confirm(catalogue.version + 1, bytes(16))
    assert catalogue.query(ListMoves()) == ()
    version = catalogue.version
    assert run(FinishMove(plan_id="llm", version=2)).ok
    assert catalogue.version == version
    other = Catalogue()
    other.restore(catalogue.snapshot())
    assert other.query(StateDigest()) == catalogue.query(StateDigest())


@pytest.mark.parametrize("key", ["currency", "billing_period", "rounding"])
def test_standing_ones_move_only_between_alike_versions(catalogue, run, key):
    """Currency, billing period and rounding of all earlier versions stay (S8.6)."""
    first = plan(TOKENS)
    run(CreatePlan(document=first))
    call = CreatePlan(document={**first, key: "other"}, existing_effective_time=NOW + MOVE_AHEAD_US)
    assert run(call).reason == f"{key.upper()}_DIFFERS"
    assert run(CreatePlan(document={**first, key: "other"})).ok
