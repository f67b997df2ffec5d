"""The composition root: the only module that builds concrete objects and runs them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from pathlib import Path

import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rating_core.metering.log.protocol import AckLevel
from rating_server import warm
from rating_server.currency import minor_unit
from rating_server.logs import configure_logs
from rating_server.ports import StoreRefused
from rating_server.servicers import catalog, credit, customer, rating, statements, usage
from rating_server.servicers.arrivals import Arrivals
from rating_server.servicers.stream import Gate
from rating_server.settings import Settings
from rating_server.store.data_directory import DataDirectory
from rating_server.store.embedded import EmbeddedStore
from rating_server.store.id_files import IdFiles
from rating_server.store.id_spill import IdSpill
from rating_server.store.usage_options import UsageStoreOptions
from rating_server.store.usage_store import RedisUsageStore, system_clock
from rating_server.usecases.context import Context
from rating_server.usecases.move_plans import keep_moving
from rating_server.usecases.plan_shelf import PlanShelf

SERVICES = (usage.SERVICE, catalog.SERVICE, customer.SERVICE, rating.SERVICE)
_HEALTH_INTERVAL_S = 0.5
_COLLECTED_OBJECTS = 20_000
_COLLECTED_FACTOR = 20
_READ_AHEAD_BYTES = 1024 * 1024
_PARENT_INTERVAL_S = 0.5
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter from another: gRPC's hands over each message."""
_HANDOVER_LIMIT_S = 10.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger("server")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises StoreRefused where the store or the address cannot be used as configured, StoreError
    where the store does not answer or takes no writes.
    """
    if settings.port_file is not None and not settings.port_file.parent.is_dir():
        raise StoreRefused("NO_DIRECTORY", f"--port-file: no directory {settings.port_file.parent}")
    configure_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    if settings.stop_with_parent:
        _stop_when_orphaned(loop, stop, settings.parent_pid or os.getppid())
    started = time.perf_counter_ns()
    shelf = PlanShelf()
    store = _build_store(settings, shelf)
    starting = asyncio.create_task(_start(settings, store, shelf))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    serving = starting.result()
    _calm_collector()
    elapsed = (time.perf_counter_ns() - started) // 1_000_000
    address = f"{settings.host}:{serving.port}"
    window = "as stored" if store.window is None else str(store.window)
    _log.info("ready", address=address, window=window, after_ms=elapsed)
    try:
        await stop.wait()
    finally:
        stopping.cancel()
        await serving.drain()
        await store.close()
        _log.info("stopped")


def _stop_when_orphaned(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, parent: int) -> None:
    if os.getppid() == parent:
        loop.call_later(_PARENT_INTERVAL_S, _stop_when_orphaned, loop, stop, parent)
    else:
        _log.warning("the process that started this server has ended")
        stop.set()


def _calm_collector() -> None:
    """Have cycles looked for less often, and not in what was read before the start (ADR 37)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_OBJECTS, _COLLECTED_FACTOR, _COLLECTED_FACTOR)


async def _start(settings: Settings, store: RedisUsageStore, shelf: PlanShelf) -> _Serving:
    """Start the store, warm the kernels beside it, then answer; what fails leaves nothing behind.

    StoreRefused or StoreError, as `RedisUsageStore.start` and `_Serving.start` raise them.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(store.start())
            group.create_task(asyncio.to_thread(warm.warm_kernels))
        serving = _Serving(settings, store, shelf)
        await serving.start()
    except ExceptionGroup as failed:
        # The tasks do nothing for each other: the first failure is the reason, others follow.
        await store.close()
        raise failed.exceptions[0] from None
    except BaseException:
        await store.close()
        raise
    return serving


def _build_store(settings: Settings, shelf: PlanShelf) -> RedisUsageStore:
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    options = UsageStoreOptions(
        url=url,
        level=AckLevel[settings.ack_level.name],
        shards=settings.shards,
        window=settings.window,
        max_series=settings.max_series,
        grace_us=settings.grace_us,
        plan_of=shelf.get,
        max_ids=settings.max_ids,
        spill=IdSpill(IdFiles(settings.spill_place), settings.id_memory),
        deadline=settings.store_timeout / 1_000,
        replicas=settings.replicas,
        trust=settings.trust_store_durability,
        archive=settings.archive_place,
        archive_after_us=settings.archive_after_us,
        session_idle=settings.session_idle / 1_000,
        disk=None if settings.store_disk is None else DataDirectory(settings.store_disk).free_bytes,
    )
    return RedisUsageStore(options, None if url else EmbeddedStore(settings.data_dir))


class _Serving:
    """The gRPC server with its services, from `start` to `drain`."""

    def __init__(self, settings: Settings, store: RedisUsageStore, shelf: PlanShelf) -> None:
        self.port = 0
        self._settings = settings
        self._store = store
        self._gate = Gate(settings.max_bytes_in_flight)
        self._server = aio.server(
            interceptors=[Arrivals(store.turns.make_way)], options=_server_options(settings)
        )
        self._health = health.aio.HealthServicer()
        self._watcher: asyncio.Task[None] | None = None
        self._context = Context(store, system_clock, minor_unit, shelf=shelf)
        self._mover: asyncio.Task[None] | None = None
        self._register(self._context)

    def _register(self, context: Context) -> None:
        settings, server = self._settings, self._server
        usage.register(
            server,
            usage.UsageServicer(
                context, self._gate, settings.max_batch_records, settings.max_stream_batches
            ),
        )
        catalog.register(server, catalog.CatalogServicer(context))
        customer.register(server, customer.CustomerServicer(context))
        limits = rating.BatchLimits(
            rows=settings.max_batch_records,
            batches=settings.max_stream_batches,
            answer_bytes=settings.max_message_bytes,
        )
        rating.register(server, rating.RatingServicer(context, self._gate, limits))
        statements.register(server, statements.StatementServicer(context))
        credit.register(server, credit.CreditServicer(context))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)

    async def start(self) -> None:
        """Listen; StoreRefused ADDRESS_TAKEN if the address cannot be had."""
        settings = self._settings
        address = f"{settings.host}:{settings.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StoreRefused(
                "ADDRESS_TAKEN", f"cannot listen on {address}: taken, or not an address"
            ) from error
        await self._server.start()
        await self._store.announce(settings.advertise or _reachable(settings.host, self.port))
        await self._set_health()
        self._watcher = asyncio.create_task(self._watch_health())
        self._mover = asyncio.create_task(keep_moving(self._context))
        if settings.port_file is not None:
            await asyncio.to_thread(_write_whole, settings.port_file, f"{self.port}\n")

    async def drain(self) -> None:
        """Stop gracefully: other servers take over, streams answer what they read, then it ends."""
        limit = self._settings.drain_timeout / 1_000
        await self._store.leave(min(limit, _HANDOVER_LIMIT_S))
        for task in (self._watcher, self._mover):
            if task is not None:
                task.cancel()
        await self._health.enter_graceful_shutdown()
        _log.info("draining", limit_s=limit)
        try:
            async with asyncio.timeout(limit):
                await self._gate.drain()
        except TimeoutError:
            _log.warning("drain timed out; open calls are cancelled")
        await self._server.stop(grace=1.0)

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(_HEALTH_INTERVAL_S)
            await self._set_health()

    async def _set_health(self) -> None:
        ready = self._store.health.ready
        states = health_pb2.HealthCheckResponse
        serving = states.SERVING if ready else states.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, serving)


def _server_options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Two servers on one port would otherwise both start, silently.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # What gRPC reads ahead of us is memory that nobody counts: a message or so of each stream,
        # and not what its guess of the line's capacity would allow, 16 MiB of each (ADR 37).
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _READ_AHEAD_BYTES),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _reachable(host: str, port: int) -> str:
    """Return the address to advertise for a server that listens here."""
    host = host.removeprefix("[").removesuffix("]")
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
