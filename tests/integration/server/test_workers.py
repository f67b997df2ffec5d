"""`ratewright serve --workers N`: one supervisor, several servers, one store, through kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rating_client import Client, RatewrightError, UsageRecord
from rating_server.settings import Settings, worker_environment
from rating_server.store.embedded import status

METER = "crew-calls"
AT = datetime(2026, 1, 3, tzinfo=UTC)


def eventually(what, seconds: float = 30.0) -> Any:
    """Return what the function returns as soon as that is true."""
    expires = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < expires
        time.sleep(0.05)
    return found


def workers_of(supervisor: int) -> list[int]:
    """The server processes that a supervisor started, oldest first."""
    found = []
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if any(item.startswith(b"RATEWRIGHT_STOP_WITH_PARENT=") for item in environment):
            found.append(int(child))
    return found


def servers_at(port: int) -> dict[str, tuple[int, ...]]:
    """The shards of each living server, as the one at this port tells; empty if it does not."""
    try:
        with Client(f"127.0.0.1:{port}") as client:
            return {one.address: one.shards for one in client.get_topology(timeout=2).servers}
    except RatewrightError:
        return {}


def balanced(port: int) -> bool:
    """Whether two servers have two shards each, as the one at this port tells."""
    return sorted(len(shards) for shards in servers_at(port).values()) == [2, 2]


def count(port: int, first: int, records: int) -> int:
    """Write records of one customer at this port; return how many are counted."""
    with Client(f"127.0.0.1:{port}") as client, client.ingest() as writer:
        for number in range(first, first + records):
            event_id = f"w{number}"
            writer.write(
                UsageRecord(event_id=event_id, customer="crew", meter=METER, event_time=AT)
            )
        return writer.flush(60).counted


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_workers_live_die_and_drain_as_one(server_factory, road):
    """A killed worker comes back at its port; a killed supervisor leaves no worker behind, and the
    next start adopts the store with all that was counted.
    """
    crew = server_factory("--workers", "2", "--shards", "4", "--session-idle", "500")
    crew.start()
    ports = [int(line) for line in crew.port_file.read_text().split()]
    assert len(set(ports)) == 2
    eventually(lambda: balanced(ports[0]))
    crew.port_file.write_text(f"{ports[0]}\n")
    road.subscribe(crew, "crew", "crew")
    assert count(ports[0], 0, 500) == 500

    victims = workers_of(crew.process.pid)
    assert len(victims) == 2
    os.kill(victims[-1], signal.SIGKILL)
    eventually(lambda: balanced(ports[0]) and balanced(ports[1]))
    assert count(ports[1], 250, 500) == 500
    assert "a worker has ended" in crew.log.read_text()

    left = workers_of(crew.process.pid)
    crew.kill()
    eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in left))
    assert status(crew.data_dir).state == "ORPHAN"
    crew.start()
    assert "adopted the store" in crew.log.read_text()
    port = int(crew.port_file.read_text().split()[0])
    with Client(f"127.0.0.1:{port}") as client:
        assert client.get_usage("crew", AT).counters[0].event_count == 750
    assert crew.stop() == 0
    assert status(crew.data_dir).state == "STOPPED"


@pytest.mark.timeout(60)
def test_workers_that_cannot_start_end_with_one_line(tmp_path, free_port):
    """A port that is taken ends the supervisor with status 1, and leaves no process behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        command = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--workers", "2"]
        command += ["--port", str(free_port), "--data-dir", str(tmp_path / "data")]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{free_port}" in done.stderr
    assert "worker 0 does not start" in done.stderr.splitlines()[-1]
    assert status(tmp_path / "data").state == "STOPPED"


def test_a_workers_environment_is_the_supervisors_settings(tmp_path, monkeypatch):
    """Workers get every setting but what is their own; only the first puts stored ones in force."""
    monkeypatch.setenv("RATEWRIGHT_MAX_IDS", "5000")
    settings = Settings(
        workers=3, port=7000, acceptance_window="30d", log_level="error", data_dir=tmp_path
    )
    for configures in (True, False):
        made = worker_environment(
            settings,
            port=7001,
            port_file=tmp_path / "p",
            store_url="unix:///s",
            configures=configures,
        )
        for name in [name for name in made if name.startswith("RATEWRIGHT_")]:
            monkeypatch.setenv(name, made[name])
        if not configures:
            monkeypatch.delenv("RATEWRIGHT_ACCEPTANCE_WINDOW")
        worker = Settings()
        assert (worker.workers, worker.port) == (1, 7001)
        assert (worker.stop_with_parent, worker.parent_pid) == (True, os.getpid())
        assert worker.redis_url.get_secret_value() == "unix:///s"
        assert (worker.max_ids, worker.log_level) == (5000, "error")
        assert worker.store_disk == tmp_path
        assert worker.acceptance_window == ("30d" if configures else None)
        assert ("RATEWRIGHT_ACCEPTANCE_WINDOW" in made) is configures
