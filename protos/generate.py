"""Generate the stubs beside the protos, or check that the committed ones are fresh (--check)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(out: Path) -> list[Path]:
    """Write stubs of all protos below ``out``; return their paths relative to it."""
    protos = sorted(str(path) for path in (ROOT / "ratewright").rglob("*.proto"))
    include = str(files("grpc_tools") / "_proto")
    arguments = ["protoc", f"-I{ROOT}", f"-I{include}"]
    arguments += [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + protos) != 0:
        raise SystemExit("protoc failed")
    return sorted(path.relative_to(out) for path in out.rglob("*_pb2*.py*") if path.is_file())


def check() -> int:
    """Return 0 if the committed stubs are what protoc makes of the protos now."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        made = {path: (fresh / path).read_bytes() for path in generate(fresh)}
    committed = {
        path.relative_to(ROOT): path.read_bytes()
        for path in ROOT.rglob("*_pb2*.py*")
        if path.suffix in {".py", ".pyi"}
    }
    paths = made.keys() | committed.keys()
    stale = sorted(path.as_posix() for path in paths if made.get(path) != committed.get(path))
    for path in stale:
        sys.stderr.write(f"stale stub: protos/{path} (run `make protos`)\n")
    return 1 if stale else 0


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    if parser.parse_args().check:
        return check()
    generate(ROOT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
