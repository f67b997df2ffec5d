"""A server of the demo's own: a child process on a free port, with its store in a directory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import click

from rating_server.cli.failure import CommandError
from rating_server.settings import neutral_environment

_START_TIMEOUT_S = 600
_TELL_AFTER_S = 20
"""A start that takes longer compiles kernels, as the first one on a machine does."""
_STOP_TIMEOUT_S = 45
_POLL_S = 0.02


def _command(directory: Path, port_file: Path) -> list[str]:
    return [
        *[sys.executable, "-m", "rating_server.cli.entry", "serve"],
        *["--stop-with-parent", "--parent-pid", str(os.getpid())],
        *["--host", "127.0.0.1", "--port", "0", "--port-file", str(port_file)],
        *["--data-dir", str(directory / "data"), "--acceptance-window", "unlimited"],
        *["--log-level", "warning"],
    ]


def _log_tail(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"


def _wait_for_port(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> int:
    begun = monotonic()
    told = False
    while monotonic() < begun + _START_TIMEOUT_S:
        if not told and monotonic() > begun + _TELL_AFTER_S:
            click.echo("compiling the kernels, once (a minute or two)", err=True)
            told = True
        if process.poll() is not None:
            raise CommandError(f"the server ended at its start: {_log_tail(log)}")
        text = port_file.read_text() if port_file.exists() else ""
        if text.strip().isdecimal():
            return int(text)
        sleep(_POLL_S)
    raise CommandError(f"the server was not ready in {_START_TIMEOUT_S} s: {_log_tail(log)}")


def _stop(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """End the server, and its store even if the server had to be killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if data_dir.is_dir():
        from rating_server.store.embedded import stop_orphan

        asyncio.run(stop_orphan(data_dir))


@contextmanager
def running_server(directory: Path) -> Iterator[str]:
    """Yield the target of a new server on loopback; server and store end with the block.

    Its settings come from here alone, not from the environment. It has a session of its own, so
    that Ctrl-C reaches the demo, which then stops it in order.
    """
    port_file = directory / "port"
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module, with our own arguments
            _command(directory, port_file),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=neutral_environment(),
            start_new_session=True,
        )
        try:
            yield f"127.0.0.1:{_wait_for_port(process, port_file, log)}"
        finally:
            _stop(process, directory / "data")
