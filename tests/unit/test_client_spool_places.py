"""What is no spool is told so: paths that are files, foreign files, heads that say nothing."""

from __future__ import annotations

import json

import pytest

from rating_client import SpoolError, WriterOptions
from rating_client.spool import Spool
from rating_client.spool_directory import segment_head, segment_path
from rating_client.spool_frames import Kind, frame_bytes

QUICK = WriterOptions(spool_fsync="none")
HEAD = json.loads(segment_head(None, None, 1, []))


def refused(place) -> None:
    """Open it as a spool: one clear error that names it."""
    with pytest.raises(SpoolError, match=f"spool {place}: ") as raised:
        Spool(place, QUICK, None)
    assert raised.value.reason == "SPOOL_MISMATCH"


def test_a_path_that_is_a_file_is_told_so(tmp_path):
    """Neither a file nor a path through one is taken for a spool, and the file stays."""
    file = tmp_path / "file.spool"
    file.write_text("mine")
    refused(file)
    refused(file / "below")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["x.spool", "7.spool", "00000000000000_1.spool"])
def test_a_foreign_file_is_named_and_left_alone(tmp_path, name):
    """A file with the suffix that no spool has written stops the writer and stays."""
    (tmp_path / name).write_text("mine")
    refused(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    "head",
    [b"{", b"[]", b"7", b"{}", b"\xff"]
    + [json.dumps(HEAD | {name: "1"}).encode() for name in ("format", "offset", "next_number")],
)
def test_a_head_that_says_nothing_is_told_so(tmp_path, head):
    """A whole frame whose text is not that of a segment is no ValueError of some library."""
    segment_path(tmp_path, 1).write_bytes(frame_bytes(Kind.SEGMENT, 0, 0, head))
    refused(tmp_path)
    segment_path(tmp_path, 1).write_bytes(
        frame_bytes(Kind.SEGMENT, 0, 0, json.dumps(HEAD).encode())
    )
    Spool(tmp_path, QUICK, None).close()
