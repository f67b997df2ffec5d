"""The one decorator for compiled code.

A kernel takes arrays and scalars, writes into arrays, and releases the interpreter lock. With
``NUMBA_DISABLE_JIT=1`` it stays a plain Python function, so that NumPy's overflow warnings find
every integer that would wrap silently in machine code.

Compiled code is cached on disk in a directory that is named by a digest of the sources it may
depend on: Numba's own cache looks only at the decorated file, so a changed callee or constant in
another module would run stale machine code. Kernels of `metering` may depend on all of rating_core,
those of pricing on all but `metering`, which an import contract keeps; so a change in counting
leaves the compiled prices valid. Where no directory is writable, nothing is cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

config: Any = numba.config
"""Numba fills this module at run time, so it has no static attributes."""

F = TypeVar("F", bound=Callable[..., object])

_ROOT = Path(__file__).resolve().parent
_COUNTING = "metering"


def source_digest(root: Path = _ROOT, without: str = "") -> str:
    """Return 16 hex digits that change when a source below ``root``, or Numba, changes.

    Sources in the folder ``without`` do not count.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] != without:
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".probe"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError:
        return False
    return True


@lru_cache(maxsize=2)
def _cache_directory(without: str) -> str | None:
    name = f"numba-{source_digest(without=without)}"
    for base in (_ROOT / "__pycache__", Path("~/.cache/ratewright").expanduser()):
        if _writable(base / name):
            return str(base / name)
    return None


def kernel(function: F) -> F:
    """Compile ``function`` with Numba: no interpreter lock, no fast math, cached by sources."""
    if config.DISABLE_JIT:
        return function
    dispatcher: Any = numba.njit(nogil=True)(function)
    counting = f".{_COUNTING}." in function.__module__
    directory = _cache_directory("" if counting else _COUNTING)
    if directory is not None:
        previous = config.CACHE_DIR
        config.CACHE_DIR = directory
        try:
            dispatcher.enable_caching()
        finally:
            config.CACHE_DIR = previous
    return cast("F", dispatcher)


def inlined(function: F) -> F:
    """Compile ``function`` into each kernel that calls it: for what is called once a row.

    A call between kernels costs as much as an amount. Pass scalars: arrays are counted references.
    """
    if config.DISABLE_JIT:
        return function
    return cast("F", numba.njit(nogil=True, forceinline=True)(function))
