"""The commit protocol under faults: many seeded histories, and copies with a rule switched off.

Histories run in processes of their own (never forked: compiled code and threads do not survive it),
one for each core that the machine gives us. A failing seed prints its shortest history and the
command that replays it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SIMULATE = Path(__file__).with_name("simulate.py")
HISTORIES = 2_500
TINY_HISTORIES = 7_500
MOVING_HISTORIES = 200
BROKEN_HISTORIES = 2_000

DEEP = (
    "commits",
    "commits refused: MOVED",
    "commits refused: CLOCK",
    "commits refused: YIELD",
    "commits refused: full",
    "connections lost with entries in flight",
    "decided with 2 in flight",
    "entries found in the log after an unknown outcome",
    "entries rolled back",
    "entries sent again",
    "failovers that lose writes",
    "fold rounds",
    "hash checks",
    "losses noticed",
    "reads checked",
    "rebuilds",
    "redis crashes that lose writes",
    "requests of a dead connection",
    "segments looked at",
    "segments mended",
    "segments replayed",
    "segments spoiled",
    "server crashes with entries in flight",
    "snapshots loaded",
    "split brains",
    "status ACCEPTED",
    "status CONFLICT",
    "status DUPLICATE",
    "status IN_FUTURE",
    "status NO_SUBSCRIPTION",
    "status PERIOD_CLOSED",
    "status TOO_OLD",
    "trims",
    "trims refused",
    "turns taken",
)
"""States that a campaign must have reached, or it proves little."""


def start(*arguments):
    """Start a campaign in a process of its own."""
    command = [sys.executable, "-W", "error", str(SIMULATE), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(process):
    """Return what a campaign printed; it exits with 1 when it found a violation."""
    output, _ = process.communicate()
    assert process.returncode in (0, 1), output
    return json.loads(output)


def campaign(subject, histories):
    """Run seeds 0 … histories − 1 on all cores and return the results."""
    workers = min(len(os.sched_getaffinity(0)), 4)
    share = -(-histories // workers)
    bounds = [(i * share, min(share, histories - i * share)) for i in range(workers)]
    running = [start("--subject", subject, "--first", a, "--count", n) for a, n in bounds]
    return [result(process) for process in running]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("subject", "histories"), [("usage", HISTORIES), ("tiny", TINY_HISTORIES)])
def test_no_history_breaks_a_promise(subject, histories):
    """Seeded histories of faults leave every invariant whole, and reach every deep state."""
    results = campaign(subject, histories)
    for found in results:
        assert not found["violations"], found["explained"]
    assert sum(found["histories"] for found in results) == histories
    covered = {name: sum(r["coverage"].get(name, 0) for r in results) for name in DEEP}
    assert min(covered.values()) >= 20, covered


@pytest.mark.timeout(300)
def test_shards_change_their_owners():
    """Sessions that close when idle, and open with a call while others write, break no promise."""
    results = campaign("moving", MOVING_HISTORIES)
    for found in results:
        assert not found["violations"], found["explained"]
    for name in ("sessions closed", "sessions opened by a call"):
        assert sum(found["coverage"][name] for found in results) >= MOVING_HISTORIES // 2


@pytest.mark.parametrize(
    "rule",
    [
        "P1",
        "P2",
        "P3",
        "P4",
        "P5",
        "P6",
        "P6 old writes",
        "P7 increments",
        "P7 mark",
        "P7 token",
        "P8 cursor",
        "P8 trim",
        "P10 trim token",
        "P10 trim snapshot",
        "P10 snapshot",
        "P10 not archived",
        "P10 damage",
        "P10 trims by version",
        "P10 names",
        "P10 recovery",
    ],
)
def test_a_rule_switched_off_is_caught(rule):
    """A copy of the session, or of Redis, that breaks one rule is found out."""
    found = result(start("--broken", rule, "--count", BROKEN_HISTORIES))
    assert found["violations"], f"{rule}: nothing found in {found['histories']} histories"


def test_a_failing_seed_prints_its_shortest_history():
    """The seed that catches a broken rule replays to the same kind of violation, and shrinks."""
    found = result(start("--broken", "P3", "--count", BROKEN_HISTORIES))
    (seed,) = found["violations"]
    explained, _ = start("--broken", "P3", "--replay", seed).communicate()
    assert explained.splitlines()[0] == f"seed {seed}: {found['violations'][seed]}"
    assert f"--replay {seed} --broken P3" in explained
    actions = explained.split("shortest history (")[1].split()[0]
    assert int(actions) <= 12
