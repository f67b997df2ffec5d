"""The data directory of an embedded store: who holds it, and where its store lives.

    server.lock   flock held by the server that owns the directory; its pid as text
    store.lock    flock held by the store process itself, through an inherited descriptor
    store.json    record of the store: socket, pid, start of the process, run_id
    store.log     what the store prints
    store/        the store's own files (append-only file)

Locks, not pids, say who lives: a lock ends with its process whatever kills it, and a pid may be
another process's by now. The unix socket lies in a short private run directory elsewhere, because
a socket's path has at most 107 bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rating_server.ports import StoreRefused

SOCKET_PATH_LIMIT = 107
_SOCKET_NAME = "s"


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """What a server writes down about the store it started.

    ``pid`` is 0 and ``run_id`` empty until the store has answered. ``start_ticks`` is when the
    process started, in ticks since boot, 0 where the system does not tell.
    """

    socket: str
    pid: int = 0
    start_ticks: int = 0
    run_id: str = ""


class FileLock:
    """An exclusive flock on a file, for as long as the object, or a child that inherited it, lives.

    Python's descriptors are closed in children unless they are passed on purpose.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """Take the lock; None if another process holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def write(self, text: str) -> None:
        """Replace the file's content."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)

    def release(self) -> None:
        """Close this process's descriptor; the lock stays if a child inherited it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock; probes with a shared lock, so probes never collide."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def process_start_ticks(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 if it is gone or cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


class DataDirectory:
    """Paths and records of one data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.server_lock = self.path / "server.lock"
        self.store_lock = self.path / "store.lock"
        self.record_file = self.path / "store.json"
        self.store_log = self.path / "store.log"
        self.store_files = self.path / "store"

    def create(self) -> None:
        """Make the directory, private to this user. StoreRefused if that cannot be done."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.store_files.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreRefused(
                "DATA_DIRECTORY_UNUSABLE", f"{self.path} cannot be used: {error.strerror}"
            ) from error

    def hold(self) -> FileLock:
        """Take the directory for this server. StoreRefused, naming the holder's pid, if held."""
        try:
            lock = FileLock.take(self.server_lock)
        except OSError as error:
            raise StoreRefused(
                "DATA_DIRECTORY_UNUSABLE", f"{self.server_lock}: {error.strerror}"
            ) from error
        if lock is None:
            raise StoreRefused(
                "DATA_DIRECTORY_IN_USE",
                f"{self.path} is in use by the server with pid {self.holder()}: stop that one, or "
                "give this one another data directory",
            )
        lock.write(f"{os.getpid()}\n")
        return lock

    def holder(self) -> int:
        """Return the pid that the holding server wrote down; 0 if there is none."""
        try:
            return int(self.server_lock.read_text().strip() or 0)
        except (OSError, ValueError):
            return 0

    def read_record(self) -> StoreRecord | None:
        """Return the record of the store; None if there is none that can be read."""
        try:
            document = json.loads(self.record_file.read_text())
            return StoreRecord(
                socket=str(document["socket"]),
                pid=int(document["pid"]),
                start_ticks=int(document["start_ticks"]),
                run_id=str(document["run_id"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, record: StoreRecord) -> None:
        """Write the record down, whole or not at all."""
        draft = self.record_file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(record)) + "\n")
        draft.replace(self.record_file)

    def socket_path(self) -> str:
        """Return where the store shall put its socket, in a private run directory.

        The run directory of the record is used again if it is still there and ours; otherwise a
        new one is made. StoreRefused if every place makes the path too long.
        """
        record = self.read_record()
        if record is not None and _is_private(Path(record.socket).parent):
            return record.socket
        root = tempfile.gettempdir()
        directory = tempfile.mkdtemp(prefix="ratewright-", dir=root)
        socket = f"{directory}/{_SOCKET_NAME}"
        if len(os.fsencode(socket)) > SOCKET_PATH_LIMIT:
            Path(directory).rmdir()
            raise StoreRefused(
                "RUN_DIRECTORY_UNUSABLE",
                f"a unix socket below {root} has a path of more than {SOCKET_PATH_LIMIT} bytes: "
                "set TMPDIR to a shorter one",
            )
        return socket

    def forget_store(self) -> None:
        """Remove the record and the run directory of a store that has ended."""
        record = self.read_record()
        if record is not None and _is_private(Path(record.socket).parent):
            shutil.rmtree(Path(record.socket).parent, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.record_file.unlink()

    def log_tail(self, lines: int = 3) -> str:
        """Return the last lines that the store printed, joined by ` | `."""
        try:
            text = self.store_log.read_text(errors="replace")
        except OSError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:])

    def free_bytes(self) -> int:
        """Return the free bytes of the disk that holds the directory."""
        return shutil.disk_usage(self.path).free


def _is_private(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return (
        directory.name.startswith("ratewright-")
        and stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and stat.S_IMODE(found.st_mode) == 0o700
    )
