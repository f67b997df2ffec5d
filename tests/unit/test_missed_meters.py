"""How long a meter that the newest catalogue lacks is taken for missing."""

from __future__ import annotations

from rating_server.store.missed_meters import KEPT_S, MissedMeters


def test_a_missed_meter_is_asked_for_once_a_second() -> None:
    """Within a second nothing asks again for it; after that, or for another one, it does."""
    now = [100.0]
    missed = MissedMeters(lambda: now[0])
    assert not missed.worth_asking([])
    assert missed.worth_asking(["tokens"])
    missed.enter(["tokens"])
    assert not missed.worth_asking(["tokens"])
    assert missed.worth_asking(["tokens", "calls"])
    now[0] += KEPT_S
    assert missed.worth_asking(["tokens"])


def test_what_is_no_id_is_never_asked_for() -> None:
    """No meter can have another name, so a sender cannot make the server ask or remember."""
    missed = MissedMeters()
    names = ["", "No id", "x" * 10_000_000, "é"]
    missed.enter(names)
    assert not missed.worth_asking(names)
