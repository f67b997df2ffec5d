"""The reply to a write of the log follows its fsync: seen from outside the store, by strace.

This is what makes DURABLE mean durable (DESIGN §6): `appendfsync always` on the node that answers.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

STRACE = shutil.which("strace") or ""
CALL = re.compile(r"^\d+ +(\w+)\((\d+)<([^>]*)>.*= (-?\d+)")
TRACED = "trace=write,writev,sendto,sendmsg,fsync,fdatasync"
COMMITS = 20


def trace_of(store, folder: Path, commands: int) -> list[tuple[str, str]]:
    """Return (call, file or socket) of the store's writes and syncs while it takes commands."""
    out = folder / "trace"
    tracer = subprocess.Popen(
        [STRACE, "-f", "-y", "-e", TRACED, "-o", str(out), "-p", str(store.process.pid)],
        stderr=subprocess.PIPE,
    )
    try:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert b"attached" in line, line
        for number in range(commands):
            store.ask("XADD", "log", f"{number + 1}-0", "e", "x" * 500)
        time.sleep(0.1)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=20)
    found = (CALL.match(line) for line in out.read_text().splitlines())
    return [(call[1], call[3]) for call in found if call is not None and int(call[4]) >= 0]


def steps(trace: list[tuple[str, str]]) -> str:
    """Return the order of events: A append to the file, F its sync, R a reply to a client."""
    told = ""
    for call, place in trace:
        if ".aof" in place:
            told += "F" if "sync" in call else "A"
        elif place.startswith(("UNIX", "socket", "TCP")):
            told += "R"
    return told


@pytest.mark.skipif(not STRACE, reason="strace is not installed")
@pytest.mark.parametrize(("policy", "durable"), [("always", True), ("everysec", False)])
def test_the_reply_follows_the_fsync(store_factory, tmp_path, policy: str, durable: bool) -> None:
    """With `always` each append is synced before its reply leaves; with `everysec` it is not."""
    store = store_factory(appendfsync=policy)
    told = steps(trace_of(store, tmp_path, COMMITS))
    assert told.count("A") >= COMMITS
    assert told.count("R") >= COMMITS
    unsynced = re.search("A[^F]*R", told)
    assert (unsynced is None) == durable, told
