"""A machine's committed state as bytes: what lets a log be trimmed and a start be short (P10).

A snapshot is named by the version and token of the log at which it was taken. Small folds are
sections of one file; large ones, such as the id index, are parts: immutable pieces named by the
SHA-256 of their content, so that a piece that has not changed is not written again. The format is
described in docs/reference/log-format.md. What does not fit raises SnapshotInvalid; whoever reads
then takes an older snapshot, or the log.

Taking one is copying: what is in a state that goes on changing is copied, and encoded when it is
asked for, which may be in another thread (`Encoded`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rating_core.errors import SnapshotInvalid
from rating_core.metering.calls import canonical_json

_MAGIC = b"RWS1"
_HEAD = struct.Struct("<4sI")
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
_TOKEN_BYTES = 16
_ALIGNMENT = 8
_DTYPES = ("|u1", "<u2", "<u4", "<u8", "<i4", "<i8")
_READ_ERRORS = (LookupError, TypeError, ValueError, OverflowError, RecursionError, struct.error)

Arrays = dict[str, NDArray[Any]]
Taken = Callable[[], bytes]
"""Encodes what was taken of a fold; nothing that it refers to changes any more."""


class Encoded(Mapping[str, bytes]):
    """Sections or parts of a snapshot, each encoded when it is first asked for, in any one thread.

    Equal to any mapping with the same bytes.
    """

    def __init__(self, taken: Mapping[str, Taken]) -> None:
        self._taken = taken
        self._made: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        """Return the bytes of one; LookupError."""
        if name not in self._made:
            self._made[name] = self._taken[name]()
        return self._made[name]

    @property
    def made(self) -> frozenset[str]:
        """The names of those that were encoded already."""
        return frozenset(self._made)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in order; nothing is encoded."""
        return iter(self._taken)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._taken)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Committed state at (``version``, ``token``); ``now``: the greatest now of its entries, µs.

    ``kind``: which machine it is of. ``sections``: its small folds by name; ``parts``: its large
    ones. A machine refuses names that it does not know.
    """

    kind: str
    version: int
    token: bytes
    now: int
    sections: Mapping[str, bytes]
    parts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Ask a machine for the `Snapshot` of its committed state."""


@dataclass(frozen=True, slots=True)
class GetHead:
    """Ask a machine for the version and token of its committed state, a `SnapshotName`."""


def part_digest(content: bytes) -> str:
    """Return the name of a part: the SHA-256 of its content, in hex."""
    return hashlib.sha256(content).hexdigest()


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the file of a snapshot; its parts are only named in it."""
    header = canonical_json(
        {
            "kind": snapshot.kind,
            "version": snapshot.version,
            "token": snapshot.token.hex(),
            "now": snapshot.now,
            "sections": [[name, len(data)] for name, data in snapshot.sections.items()],
            "parts": {name: part_digest(data) for name, data in snapshot.parts.items()},
        }
    )
    whole = b"".join([_HEAD.pack(_MAGIC, len(header)), header, *snapshot.sections.values()])
    return whole + hashlib.sha256(whole).digest()


def decode_snapshot(data: bytes, part_of: Callable[[str], bytes]) -> Snapshot:
    """Return the snapshot of a file. ``part_of`` returns the part of a digest (hex).

    SnapshotInvalid if file or parts are not what was written.
    """
    header, whole, position = _opened(data)
    try:
        token = bytes.fromhex(header["token"])
        sections = {}
        for name, size in header["sections"]:
            sections[name] = whole[position : position + size]
            position += size
        names = dict(header["parts"])
        version, now, kind = int(header["version"]), int(header["now"]), str(header["kind"])
    except _READ_ERRORS as error:
        raise SnapshotInvalid(f"snapshot cannot be read: {error}") from error
    if position != len(whole) or len(token) != _TOKEN_BYTES:
        raise SnapshotInvalid("snapshot does not fit its header")
    parts = {}
    for name, wanted in names.items():
        parts[name] = part_of(wanted)
        if part_digest(parts[name]) != wanted:
            raise SnapshotInvalid(f"part {name} of the snapshot is damaged")
    return Snapshot(kind, version, token, now, sections, parts)


def part_digests(data: bytes) -> set[str]:
    """Return the digests of the parts that the file of a snapshot names; SnapshotInvalid."""
    header, _, _ = _opened(data)
    try:
        return set(dict(header["parts"]).values())
    except _READ_ERRORS as error:
        raise SnapshotInvalid(f"snapshot cannot be read: {error}") from error


def _opened(data: bytes) -> tuple[dict[str, Any], bytes, int]:
    """Return header, all but the digest, and where the sections begin."""
    if len(data) < _HEAD.size + _DIGEST_BYTES:
        raise SnapshotInvalid("snapshot is cut")
    whole, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(whole).digest() != digest:
        raise SnapshotInvalid("snapshot is damaged")
    magic, length = _HEAD.unpack_from(whole)
    if magic != _MAGIC:
        raise SnapshotInvalid("snapshot does not begin with RWS1")
    start = _HEAD.size + length
    try:
        header = json.loads(whole[_HEAD.size : start].decode(errors="surrogatepass"))
    except _READ_ERRORS as error:
        raise SnapshotInvalid(f"snapshot cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise SnapshotInvalid("snapshot has no header")
    return header, whole, start


def take_state(document: Callable[[], object], arrays: Mapping[str, NDArray[Any]]) -> Taken:
    """Return what packs a fold's state as it is now: arrays are copied.

    ``document`` returns the rest; what it refers to must not change.
    """
    held = {name: array.copy() for name, array in arrays.items()}
    return lambda: pack_state(document(), held)


def pack_state(document: object, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a fold's bytes: a JSON ``document``, then arrays of fixed little-endian types."""
    descriptors, pieces, offset = [], [], 0
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        data = raw.tobytes()
        descriptors.append([name, raw.dtype.str, list(raw.shape), offset])
        pieces += [data, bytes(-len(data) % _ALIGNMENT)]
        offset += len(data) + -len(data) % _ALIGNMENT
    header = canonical_json({"document": document, "arrays": descriptors})
    header += b" " * (-(len(header) + _LENGTH.size) % _ALIGNMENT)
    return b"".join([_LENGTH.pack(len(header)), header, *pieces])


def unpack_state(data: bytes) -> tuple[Any, Arrays]:
    """Return what `pack_state` packed; the arrays are copies. SnapshotInvalid if it did not."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        start = _LENGTH.size + length
        header = json.loads(data[_LENGTH.size : start].decode(errors="surrogatepass"))
        arrays: Arrays = {}
        for name, dtype, shape, offset in header["arrays"]:
            if dtype not in _DTYPES or min([*shape, offset]) < 0:
                raise SnapshotInvalid(f"array {name} is of an unknown type or size")
            count = int(np.prod(shape, dtype=np.int64))
            raw = np.frombuffer(data, dtype, count, start + offset)
            arrays[name] = raw.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))
        return header["document"], arrays
    except _READ_ERRORS as error:
        raise SnapshotInvalid(f"state cannot be read: {error}") from error
