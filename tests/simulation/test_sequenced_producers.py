"""Sequenced producers under faults: many seeded histories, and copies with a reading switched off.

Both run in processes of their own at once. A failing seed is replayed with

    python tests/simulation/sequenced_histories.py --replay SEED
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("sequenced_histories.py")
HISTORIES = 240
BROKEN_HISTORIES = 300
DEEP = (
    "PRODUCER_FENCED",
    "SEQUENCE_LOST",
    "commits refused: MOVED",
    "commits refused: full",
    "entries rolled back",
    "entries sent again",
    "failovers that lose writes",
    "handshakes above 0",
    "marks",
    "redis crashes that lose writes",
    "requests of a dead connection",
    "server crashes",
    "status DUPLICATE",
    "status REJECTED",
)
"""States that a campaign must have reached, or it proves little."""


@pytest.fixture(scope="module")
def campaigns():
    """The two campaigns, running."""
    arguments = (["--count", str(HISTORIES)], ["--every-broken", "--count", str(BROKEN_HISTORIES)])
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(SCRIPT), *each], stdout=subprocess.PIPE, text=True
        )
        for each in arguments
    ]
    results = []
    for process in running:
        output, _ = process.communicate()
        assert process.returncode in (0, 1), output
        results.append(json.loads(output))
    return results


@pytest.mark.timeout(300)
def test_every_record_of_a_producer_is_counted_once(campaigns):
    """P12, P13: whatever fails, each record stands once, and no status changes."""
    found, _ = campaigns
    assert not found["violations"]
    assert found["histories"] == HISTORIES
    covered = {name: found["coverage"].get(name, 0) for name in DEEP}
    assert min(covered.values()) >= 3, covered


@pytest.mark.timeout(300)
def test_each_reading_switched_off_is_caught(campaigns):
    """A copy that breaks one reading of P12 or P13 is found out."""
    _, broken = campaigns
    missed = [name for name, violations in broken.items() if not violations]
    assert not missed
