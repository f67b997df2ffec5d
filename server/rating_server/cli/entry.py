"""The console script. Imports the standard library alone, so that a bare installation can say
which packages are missing.

Exit status: 0 all is well, 1 ran but failed, 2 wrong usage or input, 130 interrupted, 141 the
reader of the output went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_OURS = ("rating_core", "rating_server", "rating_client", "ratewright")


def _complain(line: str) -> None:
    sys.stderr.write(f"ratewright: {line}\n")


def _silence_output() -> None:
    """Let the interpreter's last flush of a broken pipe go nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _unexpected(error: Exception, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        import traceback

        traceback.print_exc()
    words = " ".join(str(error).split()) or type(error).__name__
    _complain(f"unexpected {type(error).__name__}: {words} (--debug shows where)")
    return EXIT_FAILED


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; never raises, never prints a traceback."""
    try:
        from rating_server.cli.app import execute

        status = execute(list(arguments))
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            return _unexpected(error, arguments)
        _complain(f"the package {missing} is missing: pip install 'ratewright[server]'")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_output()
        return EXIT_BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last resort of the command line: one line
        return _unexpected(error, arguments)
    return status


def main() -> None:
    """Run the command line of this process and exit with its status."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
