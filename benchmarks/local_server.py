"""A server process on this machine, with its embedded store, and the processor time of both."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER_TICKS, _SYSTEM_TICKS = 11, 12
"""Columns of /proc/PID/stat, counted after the name of the process."""


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its threads have taken so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_S


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A server that answers on ``address``, with its process and that of its store."""

    address: str
    pid: int
    store_pid: int

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time of client, server and store so far, in seconds."""
        return {
            "client": time.process_time(),
            "server": cpu_seconds(self.pid),
            "store": cpu_seconds(self.store_pid),
        }


@contextlib.contextmanager
def running_server(folder: Path, *options: str) -> Iterator[LocalServer]:
    """Start a server of its own data in ``folder``; stop it at the end."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
    command += ["--port-file", str(port_file), "--data-dir", str(folder / "data")]
    command += ["--acceptance-window", "unlimited", "--log-level", "warning", *options]
    process = subprocess.Popen(command)
    try:
        while not port_file.exists():
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        record = json.loads((folder / "data" / "store.json").read_text())
        address = f"127.0.0.1:{port_file.read_text().strip()}"
        yield LocalServer(address, process.pid, int(record["pid"]))
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def local_server(folder: Path) -> Iterator[str]:
    """Start a server as `running_server` does; yield its address."""
    with running_server(folder) as server:
        yield server.address


@contextlib.contextmanager
def server_on(folder: Path, url: str) -> Iterator[str]:
    """Start one of several servers on the store at ``url``; yield its address, then stop it."""
    folder.mkdir()
    port_file = folder / "port"
    command = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
    command += ["--port-file", str(port_file), "--redis-url", url]
    command += ["--acceptance-window", "unlimited", "--log-level", "warning"]
    process = subprocess.Popen(command)
    try:
        while not port_file.exists():
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        yield f"127.0.0.1:{port_file.read_text().strip()}"
    finally:
        process.terminate()
        process.wait()
