"""A server with a store of its own for the command line's tests, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rating_server.cli.demo_server import running_server
from rating_server.cli.entry import run


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The target of a server with an unlimited acceptance window."""
    with running_server(tmp_path_factory.mktemp("server")) as target:
        yield target


@pytest.fixture
def command(
    server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run a command line in this process against the server."""
    monkeypatch.setenv("RATEWRIGHT_TARGET", server)

    def run_command(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    return run_command
