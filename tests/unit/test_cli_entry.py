"""The console script: light, quiet when interrupted, clear when something is missing."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rating_server.cli import app
from rating_server.cli.entry import run
from rating_server.cli.failure import complain

PLAN = """
id: api
currency: USD
billing_period: month
charges: [{id: base, model: flat_fee, amount: "5"}]
examples: [{usage: {}, expect: {total: "5"}}]
"""
MODULE = [sys.executable, "-m", "rating_server.cli.entry"]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    """`--help` needs neither numba nor grpc nor anything else that takes time to import."""
    done = _python(
        "import sys; from rating_server.cli.entry import run; assert run(['--help']) == 0\n"
        "heavy = {'numba', 'numpy', 'redis', 'grpc', 'pydantic', 'rich', 'yaml', 'structlog'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("serve", "check", "ingest", "demo"):
        assert f"  {command} " in done.stdout


def test_help_is_fast() -> None:
    """The best of three `--help` takes less than 0.4 s of processor time.

    Time on the clock would be that of whatever else the machine does.
    """
    best = min(_processor_seconds([*MODULE, "--help"]) for _ in range(3))
    assert best < 0.4


def _processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("missing", ["click", "numba", "yaml"])
def test_missing_package_is_one_line(missing: str, tmp_path: Path) -> None:
    """Without a package of the server the command names the pip command and exits with 2."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    done = _python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from rating_server.cli.entry import run\n"
        f"sys.exit(run(['check', {str(tmp_path / 'plan.yaml')!r}]))"
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"ratewright: the package {missing} is missing: pip install 'ratewright[server]'\n"
    )


def test_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A defect of ours shows as one line and status 1; its traceback only with --debug."""

    def broken(_: list[str]) -> int:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(app, "execute", broken)
    assert run(["plan"]) == 1
    line = "ratewright: unexpected RuntimeError: two lines (--debug shows where)\n"
    assert capsys.readouterr().err == line
    assert run(["--debug", "plan"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Traceback")
    assert errors.endswith(line)


def test_complaints_are_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of an input reach no terminal, and break no line."""
    complain("row 1: customer a\x1b[31m\nb é")
    assert capsys.readouterr().err == "ratewright: row 1: customer a\\x1b[31m\\nb é\n"


def test_interrupt_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends a command with status 130 and no word."""

    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "execute", interrupted)
    assert run(["plan"]) == 130
    assert capsys.readouterr().err == ""


def test_interrupt_of_a_process() -> None:
    """SIGINT in the middle of reading standard input: 130, no traceback."""
    code = (
        "import sys, io; from rating_server.cli import app\n"
        "from rating_server.cli.entry import main\n"
        "app.execute = lambda _: (print('up', flush=True), sys.stdin.read()) and 0\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, b"")


def test_closed_output_is_quiet() -> None:
    """A reader that goes away, as `head` does, ends the command without a word."""
    process = subprocess.Popen([*MODULE, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(20), errors) == (141, b"")
