"""Golden scenarios: contracts over time, whose amounts were worked out by hand (S12.2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rating_core.scenario.outcome import Difference
from rating_core.scenario.run import run_scenario
from rating_server.cli.scenario_check import load_scenario
from rating_server.documents import read_document

FILES = {path.stem: path for path in sorted((Path(__file__).parent / "scenarios").rglob("*.yaml"))}


@pytest.mark.parametrize("name", FILES)
def test_scenario_comes_out_as_expected(name: str) -> None:
    """Every expectation of the scenario is met, and no step is refused unexpectedly."""
    scenario = load_scenario(read_document(FILES[name]))
    assert not isinstance(scenario, list), "\n".join(scenario)
    outcome = run_scenario(scenario)
    assert list(_words(outcome.differences)) == []
    assert outcome.warnings == ()


def _words(differences: tuple[Difference, ...]) -> Iterator[str]:
    return (f"{one.path}: {message}" for one in differences for message in one.messages)


def test_scenarios_are_named_as_their_files() -> None:
    """The id of a scenario is its file's name, so that no id stands twice."""
    for name, path in FILES.items():
        scenario = load_scenario(read_document(path))
        assert not isinstance(scenario, list), path
        assert scenario.id == name
