"""The client's reference page: its first example runs as it stands, against a fresh server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "rating_server.cli.entry"]


@pytest.fixture
def target() -> Iterator[str]:
    """The target of `ratewright serve` with the default acceptance window."""
    root = Path(tempfile.mkdtemp(prefix="rw-page-"))
    port_file = root / "port"
    command = [*COMMAND, "serve", "--port", "0", "--port-file", str(port_file)]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(root / "data")], stdout=log, stderr=log
        )
    expires = time.monotonic() + 60
    while not (port_file.exists() and port_file.read_text().strip()):
        assert process.poll() is None, (root / "log").read_text()
        assert time.monotonic() < expires, (root / "log").read_text()
        time.sleep(0.02)
    yield f"localhost:{port_file.read_text().strip()}"
    os.kill(process.pid, signal.SIGTERM)
    process.wait(30)
    shutil.rmtree(root)


def test_the_first_example_runs_after_the_readme(target: str) -> None:
    """It prints what the page says beside the README's plan, and runs a second time."""
    for arguments in (
        ["plan", "publish", "docs/examples/llm-api.yaml"],
        ["subscribe", "acme", "--plan", "llm-api", "--start", "2026-01-01T00:00:00Z"],
    ):
        subprocess.run([*COMMAND, "--target", target, *arguments], check=True, cwd=ROOT, timeout=60)
    page = (ROOT / "docs" / "reference" / "client.md").read_text()
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert "localhost:50051" in found[1]
    code = found[1].replace("localhost:50051", target)
    promised = re.search(r"It prints `(.*?)`, `(.*?)` and `(.*?)`", page)
    assert promised is not None

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    assert run() == list(promised.groups())
    assert run() == ["1 counted, 0 rejected", "2400 tokens", "6.00 USD"]
