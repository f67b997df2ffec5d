"""What tests of all kinds share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Tests start a hundred processes: modules that are compiled once save each half a second."""
LONG_FIRST = "tests/simulation/"
"""Few tests, each of them long: begun last, they would leave a core idle at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, all others as they stand."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_FIRST))


@pytest.fixture(scope="session")
def pass_without_compiled_code() -> Callable[..., None]:
    """Return a check that tests also pass as plain Python, where NumPy warns of every wrap.

    It takes test files, the expression that chooses among their tests, and environment variables.
    A run that has no compiled code already is that check, and starts no other.
    """

    def check(*files: str | Path, chosen: str = "", **environment: str) -> None:
        if os.environ.get("NUMBA_DISABLE_JIT") == "1":
            return
        options = ["-q", "-x", "-p", "no:cacheprovider", *(["-k", chosen] if chosen else [])]
        result = subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", *options, *map(str, files)],
            cwd=ROOT,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1", **environment},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
        assert " passed" in result.stdout

    return check
