"""Settings that decide belong to the store; mistakes in others are one line; no orphan stays."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from ratewright.v1 import usage_service_pb2 as usage


def without_window(server) -> None:
    """Start the next time without naming an acceptance window."""
    flag = server._flags.index("--acceptance-window")
    del server._flags[flag : flag + 2]


def ready_lines(server, starts: int) -> list[dict[str, object]]:
    """Return what the server logged when it was ready, one a start; it answers calls before."""
    deadline = time.monotonic() + 30
    while True:
        text = server.log.read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        ready = [line for line in lines if line["event"] == "ready"]
        if len(ready) >= starts or time.monotonic() > deadline:
            return ready
        time.sleep(0.05)


def test_the_window_is_the_stores_and_widens_while_no_id_was_forgotten(server_factory, road):
    """A default start takes the stored window; a narrow one can be widened again, and is told."""
    server = server_factory()
    window = server._flags.index("--acceptance-window") + 1
    server._flags[window] = "1h"
    server.start()
    road.subscribe(server, "window", "window-customer")
    old = usage.RecordUsageRequest(
        records=[road.record("old", "window-customer", "window-calls", "1")]
    )
    assert server.usage.RecordUsage(old).results[0].reason == usage.REJECT_REASON_TOO_OLD
    server.stop()
    server._flags[window] = "unlimited"
    server.start()
    assert server.usage.RecordUsage(old).results[0].status == usage.RECORD_STATUS_ACCEPTED
    server.stop()
    without_window(server)
    server.start()
    assert server.usage.RecordUsage(old).results[0].status == usage.RECORD_STATUS_DUPLICATE
    assert [line["window"] for line in ready_lines(server, 3)] == ["1h", "unlimited", "unlimited"]
    assert "window of this store was 1h and is now unlimited" in server.log.read_text()


def test_a_new_store_takes_seven_days(server_factory):
    """Without a word, a new store's window is 7 days."""
    server = server_factory()
    without_window(server)
    server.start()
    assert ready_lines(server, 1)[0]["window"] == "168h"


def test_a_port_file_that_cannot_be_is_one_line(server_factory):
    """A directory that does not exist is said at once, before anything is started."""
    server = server_factory()
    server.port_file = server.root / "none" / "port"
    with pytest.raises(AssertionError):
        server.start()
    (line,) = server.log.read_text().strip().splitlines()
    assert line == f"ratewright: --port-file: no directory {server.root / 'none'}"
    assert not server.data_dir.exists()


def test_a_server_whose_parent_is_gone_already_ends(tmp_path):
    """A parent that was killed before the server looked for it is not taken for another one."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    serve = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
    serve += ["--data-dir", str(tmp_path / "data"), "--stop-with-parent"]
    done = subprocess.run([*serve, "--parent-pid", str(gone.pid)], timeout=60, check=False)
    assert done.returncode == 0


def test_a_server_can_end_with_its_parent(tmp_path):
    """With --stop-with-parent a kill -9 of the parent leaves neither server nor store."""
    serve = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
    serve += ["--port-file", str(tmp_path / "port"), "--data-dir", str(tmp_path / "data")]
    script = f"import subprocess, time; subprocess.Popen({[*serve, '--stop-with-parent']!r});"
    script += "time.sleep(600)"
    with (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen([sys.executable, "-c", script], stdout=log, stderr=log)
    expires = time.monotonic() + 120
    while not (tmp_path / "port").exists() and time.monotonic() < expires:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while "stopped" not in (tmp_path / "log").read_text() and time.monotonic() < expires:
        time.sleep(0.05)
    status = [sys.executable, "-m", "rating_server.cli.entry", "store", "status"]
    shown = subprocess.run(
        [*status, "--data-dir", str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert "STOPPED" in shown.stdout.upper() or "NO STORE" in shown.stdout.upper(), shown
