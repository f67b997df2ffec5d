"""Several server processes on one machine: started, watched, restarted and drained as one.

The supervisor holds the data directory and its embedded store; the workers reach that store by its
socket like any server reaches a Redis. Each worker is a process of its own, spawned and never
forked, with a port of its own, which no other process can listen on at the same time. A worker that
dies is started again at its port, later each time it fails in a row. Workers whose supervisor has
died drain by themselves; the store lives on until the next start adopts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import structlog

from rating_server.logs import configure_logs
from rating_server.ports import StoreRefused
from rating_server.settings import Settings, worker_environment
from rating_server.store.embedded import EmbeddedStore

_log = structlog.get_logger("supervisor")

_POLL_S = 0.05
_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 10.0
_FAILURES_AT_START = 5
_DRAIN_GRACE_S = 15.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def supervise(settings: Settings) -> None:
    """Run the workers until SIGTERM or SIGINT, then drain them all.

    Raises StoreRefused where the store cannot be used as configured, or the workers do not start.
    """
    configure_logs(settings.log_level, settings.log_format)
    asyncio.run(_Supervisor(settings).run())


class _Worker:
    """One worker: its process now, its port, and how often it failed in a row."""

    def __init__(self, number: int, settings: Settings, folder: Path) -> None:
        self.number = number
        self.port = settings.port + number if settings.port else 0
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self.start_at = 0.0
        self._settings = settings
        self._port_file = folder / f"port-{number}"

    @property
    def ready(self) -> bool:
        """Whether the running process has said that it answers."""
        return self.process is not None and self._port_file.exists()

    def start(self, store_url: str | None, *, configures: bool) -> None:
        """Start the process. ``configures``: it puts the given settings of the store in force."""
        self._port_file.unlink(missing_ok=True)
        own = worker_environment(
            self._settings,
            port=self.port,
            port_file=self._port_file,
            store_url=store_url,
            configures=configures,
        )
        # A group of its own: Ctrl-C reaches the supervisor, which drains the workers in order.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rating_server.cli.entry", "serve"],
            env=own,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def note_ready(self) -> None:
        """Keep the port that it got for its next run, and forget its failures."""
        self.port = int(self._port_file.read_text())
        self.failures = 0

    def note_end(self, now: float) -> None:
        """Set when the process that ended may be started again."""
        self.process = None
        wait = min(_FIRST_BACKOFF_S * float(2 ** min(self.failures, 10)), _LONGEST_BACKOFF_S)
        self.failures += 1
        self.start_at = now + wait


class _Supervisor:
    """The workers of one machine, from their start to their end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._store: EmbeddedStore | None = None
        self._configured = False

    async def run(self) -> None:
        """Start everything, watch it, and end it."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop.set)
        settings = self._settings
        if settings.redis_url is None:
            self._store = EmbeddedStore(settings.data_dir)
            await self._store.start()
        with tempfile.TemporaryDirectory(prefix="ratewright-workers-") as folder:
            workers = [
                _Worker(number, settings, Path(folder)) for number in range(settings.workers)
            ]
            try:
                await self._start(workers)
                await self._watch(workers)
            finally:
                await self._drain(workers)
                if self._store is not None:
                    await self._store.stop()
                _log.info("stopped")

    async def _start(self, workers: list[_Worker]) -> None:
        """Start the first worker, which configures the store, then the others together."""
        for group in (workers[:1], workers[1:]):
            while not self._stop.is_set() and not all(worker.ready for worker in group):
                self._look_after(group)
                failing = [w for w in group if w.failures >= _FAILURES_AT_START]
                if failing:
                    raise StoreRefused(
                        "WORKER_NOT_STARTED",
                        f"worker {failing[0].number} does not start: its own line says why",
                    )
                await asyncio.sleep(_POLL_S)
            for worker in group:
                if worker.ready:
                    worker.note_ready()
            self._configured = True
        ports = [worker.port for worker in workers]
        if not self._stop.is_set():
            _log.info("ready", workers=len(workers), ports=ports)
            if self._settings.port_file is not None:
                lines = "".join(f"{port}\n" for port in ports)
                await asyncio.to_thread(_write_whole, self._settings.port_file, lines)

    async def _watch(self, workers: list[_Worker]) -> None:
        while not self._stop.is_set():
            self._look_after(workers)
            for worker in workers:
                if worker.failures and worker.ready:
                    worker.note_ready()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._stop.wait()

    def _look_after(self, workers: list[_Worker]) -> None:
        """Note who has ended, and start who is due."""
        now = time.monotonic()
        for worker in workers:
            process = worker.process
            if process is not None and process.poll() is not None:
                _log.warning("a worker has ended", worker=worker.number, status=process.returncode)
                worker.note_end(now)
            elif process is None and now >= worker.start_at:
                url = self._store.url() if self._store is not None else None
                worker.start(url, configures=not self._configured)
                _log.info("worker started", worker=worker.number, pid=_pid(worker))

    async def _drain(self, workers: list[_Worker]) -> None:
        """Stop all workers gracefully; those that take too long are killed."""
        alive = [worker.process for worker in workers if worker.process is not None]
        for process in alive:
            process.terminate()
        expires = time.monotonic() + self._settings.drain_timeout / 1_000 + _DRAIN_GRACE_S
        for process in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                left = max(expires - time.monotonic(), 0.0)
                await asyncio.to_thread(process.wait, left)
            if process.poll() is None:
                _log.warning("a worker does not end and is killed", pid=process.pid)
                process.kill()
            process.wait()


def _pid(worker: _Worker) -> int:
    return worker.process.pid if worker.process is not None else 0


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
