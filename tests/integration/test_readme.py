"""The README's commands do what it says, as a newcomer would paste them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_from_a_first_record_to_a_first_statement(tmp_path, free_port):
    """The five commands of the README, pasted into a shell, end in the statement it promises."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## From a first record to a first statement")[1]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert block is not None
    lines = block[1].splitlines()
    assert lines[0] == ". .venv/bin/activate"
    script = "\n".join(
        ["set -e", *lines[1:], "kill %1", "wait %1", ""],
    )
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RATEWRIGHT_PORT": str(free_port),
        "RATEWRIGHT_TARGET": f"127.0.0.1:{free_port}",
        "RATEWRIGHT_DATA_DIR": str(tmp_path / "data"),
        "RATEWRIGHT_LOG_LEVEL": "warning",
        "HOME": os.environ.get("HOME", str(tmp_path)),
    }
    done = subprocess.run(
        ["bash", "-m", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "published llm-api@1" in done.stdout
    assert re.search(r"ACCEPTED +1\b", done.stdout)
    assert re.search(r"^total +50\.00$", done.stdout, re.MULTILINE)
