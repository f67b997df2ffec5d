"""Plan changes and cancellations, dated back and ahead, through faults (S8.2, S8.6, P5).

Histories run in processes of their own, as in test_commit_protocol.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
HISTORIES = 100
CHAIN_HISTORIES = 400


def result(script, *arguments):
    """Run a script of histories; return what it printed. It exits with 1 at a violation."""
    command = [sys.executable, "-W", "error", str(FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout
    return json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_random_histories_with_changes_of_contracts():
    """Parts, hashes, reads and closes are what all records come to under the final contract."""
    found = result("simulate.py", "--subject", "contracts", "--count", HISTORIES)
    assert not found["violations"], found["explained"]
    covered = found["coverage"]
    assert covered["recounts read"] >= HISTORIES
    assert covered["recounts of another log"] >= 1
    assert covered["control CLOSED"] >= 5


@pytest.mark.timeout(300)
def test_a_fault_at_each_step_of_a_change():
    """Crash, lost connection, failover, another server's entry: wherever they come in between."""
    found = result("contract_steps.py")
    assert not found["violations"], found["violations"]
    assert found["coverage"]["recounts read"] >= 100
    assert found["coverage"]["failovers that lose writes"] >= 20


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rule", ["recount token", "recount newer", "recount booking"])
def test_a_rule_switched_off_is_caught(rule):
    """A copy of the shard that breaks one rule of changes dated back is found out."""
    assert result("contract_steps.py", "--broken", rule)["violations"]


@pytest.mark.timeout(300)
def test_a_reader_of_any_log_is_caught():
    """Who takes entries by version, whatever chain they are of, is found out (P5)."""
    words = "--subject", "contracts", "--broken", "recount chain", "--count", CHAIN_HISTORIES
    assert result("simulate.py", *words)["violations"]
