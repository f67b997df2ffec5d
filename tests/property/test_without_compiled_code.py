"""The same tests again without compiled code: what would wrap in machine code warns here."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_kernel_and_reference_agree_without_compiled_code(pass_without_compiled_code):
    """NUMBA_DISABLE_JIT=1 and warnings as errors: all random plans and all golden cases pass."""
    pass_without_compiled_code(
        TESTS / "property" / "test_agreement.py", TESTS / "golden" / "test_cases.py"
    )
