"""A server process on this machine, with its embedded store."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def local_server(folder: Path) -> Iterator[str]:
    """Start a server of its own data in ``folder``; yield its address; stop it at the end."""
    port_file = folder / "port"
    command = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
    command += ["--port-file", str(port_file), "--data-dir", str(folder / "data")]
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
