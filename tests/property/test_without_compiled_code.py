"""The same tests again without compiled code: what would wrap in machine code warns here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_kernel_and_reference_agree_without_compiled_code():
    """NUMBA_DISABLE_JIT=1 and warnings as errors: all random plans and all golden cases pass."""
    chosen = [TESTS / "property" / "test_agreement.py", TESTS / "golden" / "test_cases.py"]
    done = subprocess.run(
        [
            *[sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            *["-k", "not reduced", *map(str, chosen)],
        ],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
