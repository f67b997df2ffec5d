"""The digest that names the cache of compiled code."""

from pathlib import Path

from rating_core.jit import source_digest


def test_digest_follows_every_source_it_covers_and_no_other(tmp_path: Path) -> None:
    """A changed source changes the digest, unless it lies in the folder that is left out."""
    counting = tmp_path / "metering"
    counting.mkdir()
    (tmp_path / "a.py").write_text("ONE = 1\n")
    (counting / "b.py").write_text("TWO = 2\n")
    whole, part = source_digest(tmp_path), source_digest(tmp_path, without="metering")
    assert whole != part
    (counting / "b.py").write_text("TWO = 3\n")
    assert source_digest(tmp_path) != whole
    assert source_digest(tmp_path, without="metering") == part
    (tmp_path / "a.py").write_text("ONE = 2\n")
    assert source_digest(tmp_path, without="metering") != part
