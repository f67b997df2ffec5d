"""A small real gRPC server that counts records in memory and fails as it is told to.

It answers for what a wire can do to a client: streams cut after some answers or before them, RETRY,
UNAVAILABLE with RetryInfo, refused batches, silence. Both writers are driven through one face.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from ratewright.v1 import usage_service_pb2 as api
from ratewright.v1 import usage_service_pb2_grpc as api_grpc
from rating_client import (
    AsyncClient,
    AsyncUsageWriter,
    Client,
    RatewrightError,
    UsageRecord,
    UsageWriter,
)
from rating_client import WriterOptions as Options

START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Fault:
    """What goes wrong on one stream; by default nothing."""

    cut_after: int | None = None
    """Abort when one more batch than these answers was counted: that answer is lost."""
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    reason: str = "STORE_UNAVAILABLE"
    retry_after: float | None = None
    end_well: bool = False
    """End with OK instead of an abort."""
    retry_every: int = 0
    """Answer RETRY, without counting, for every n-th record."""
    refuse: Callable[[api.UsageBatch], bool] | None = None
    """Refuse such a batch with INVALID_ARGUMENT; the stream then ends."""
    forget: bool = False
    """Do not even count the batch whose answer is lost."""


class WireServer(api_grpc.UsageServiceServicer):
    """Counts records by (customer, event id) in memory."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, bytes], tuple[Any, ...]] = {}
        self.times_counted = 0
        self.faults: deque[Fault] = deque()
        self.unary_failures = 0
        self.gate = threading.Event()
        self.gate.set()
        self.streams = 0
        self.batch_sizes: list[int] = []
        self.metadata: list[str] = []
        self._lock = threading.Lock()
        self.port = 0
        self._server: grpc.Server | None = None

    @property
    def target(self) -> str:
        """Where the server listens, or did."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the port of before if there was one."""
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        api_grpc.add_UsageServiceServicer_to_server(self, self._server)
        expires = time.monotonic() + 10
        while True:
            try:
                self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
            except RuntimeError:
                assert time.monotonic() < expires
                time.sleep(0.02)
            else:
                break
        self._server.start()

    def stop(self) -> None:
        """Drop all connections and stop listening."""
        if self._server is not None:
            self.gate.set()
            self._server.stop(0).wait()
            self._server = None

    def count(self, batch: api.UsageBatch, fault: Fault) -> tuple[list[int], list[int]]:
        """Count the records of a batch; return statuses and reasons."""
        statuses, reasons = [], []
        ends = list(accumulate(batch.event_id_lengths))
        customers = batch.customer_index or [0] * len(ends)
        meters = batch.meter_index or [0] * len(ends)
        sets = batch.dimension_set_index
        for row, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            meter = batch.meters[meters[row]]
            dimensions = batch.dimension_sets[sets[row]].dimensions if sets else {}
            key = (batch.customers[customers[row]], batch.event_ids[start:end])
            payload = (
                meter.meter,
                batch.quantities[row] * 10 ** (12 - meter.scale),
                batch.event_times_micros[row],
                tuple(sorted(dimensions.items())),
            )
            reason = 0
            if fault.retry_every and row % fault.retry_every == 0:
                status = api.RECORD_STATUS_RETRY
            elif key in self.records:
                same = self.records[key] == payload
                status = api.RECORD_STATUS_DUPLICATE if same else api.RECORD_STATUS_CONFLICT
            elif meter.meter == "unknown":
                status, reason = api.RECORD_STATUS_REJECTED, api.REJECT_REASON_UNKNOWN_METER
            else:
                self.records[key] = payload
                self.times_counted += 1
                status = api.RECORD_STATUS_ACCEPTED
            statuses.append(status)
            reasons.append(reason)
        return statuses, reasons

    def IngestUsage(self, request_iterator: Any, context: Any) -> Iterator[Any]:  # noqa: N802 - gRPC's name
        """Answer batches in order, as well as the stream's fault lets it."""
        with self._lock:
            self.streams += 1
            fault = self.faults.popleft() if self.faults else Fault()
        for answered, request in enumerate(request_iterator):
            self.gate.wait()
            with self._lock:
                self.batch_sizes.append(len(request.batch.event_id_lengths))
                if fault.refuse is not None and fault.refuse(request.batch):
                    self.abort(context, grpc.StatusCode.INVALID_ARGUMENT, "BATCH_INVALID")
                last = answered == fault.cut_after
                statuses, reasons = [], []
                if not (last and fault.forget):
                    statuses, reasons = self.count(request.batch, fault)
            if last and fault.end_well:
                return
            if last:
                self.abort(context, fault.code, fault.reason, fault.retry_after)
            yield self.answer(request.batch_number, statuses, reasons)

    def RecordUsage(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Count single records by their ids."""
        if self.unary_failures:
            self.unary_failures -= 1
            self.abort(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", 0.25)
        results = []
        for item in request.records:
            key = (item.customer, item.event_id.encode())
            known = key in self.records
            self.records[key] = (item.meter, item.quantity)
            status = api.RECORD_STATUS_DUPLICATE if known else api.RECORD_STATUS_ACCEPTED
            results.append(api.RecordResult(status=status))
        return api.RecordUsageResponse(results=results)

    @staticmethod
    def answer(number: int, statuses: list[int], reasons: list[int]) -> api.IngestUsageResponse:
        """Return the answer to a batch, without the columns that say nothing."""
        all_accepted = set(statuses) == {api.RECORD_STATUS_ACCEPTED}
        return api.IngestUsageResponse(
            batch_number=number,
            statuses=[] if all_accepted else statuses,
            reasons=reasons if any(reasons) else [],
        )

    @staticmethod
    def abort(
        context: Any, code: grpc.StatusCode, reason: str, retry_after: float | None = None
    ) -> None:
        """End the call with a rich status."""
        details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="ratewright.v1")]
        if retry_after is not None:
            delay = Duration()
            delay.FromTimedelta(timedelta(seconds=retry_after))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=code.value[0], message="as told", details=packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "as told")


class Server:
    """`ratewright serve` in a process of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, at the port of before if there was one, and wait until it answers."""
        port_file = self.root / "port"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "rating_server.cli.entry", "serve"]
        command += ["--port", str(self.port), "--port-file", str(port_file)]
        command += ["--data-dir", str(self.root / "data"), "--acceptance-window", "unlimited"]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        expires = time.monotonic() + 120
        while not (port_file.exists() and port_file.read_text().strip()):
            assert self.process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < expires, (self.root / "log").read_text()
            time.sleep(0.02)
        self.port = int(port_file.read_text())

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        assert self.process is not None
        os.kill(self.process.pid, number)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def store_pid(self) -> int:
        """Return the pid of the embedded store."""
        record = json.loads((self.root / "data" / "store.json").read_text())
        return int(record["pid"])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running server with an empty store."""
    root = Path(tempfile.mkdtemp(prefix="rw-client-"))
    server = Server(root)
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGTERM)
        shutil.rmtree(root)


class AsyncFace:
    """An AsyncUsageWriter on a loop in another thread, with the face of a UsageWriter."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: str, **arguments: Any) -> None:
        self._loop = loop
        self._wait(self._open(target, arguments))

    async def _open(self, target: str, arguments: dict[str, Any]) -> None:
        self._client = AsyncClient(target)
        self._writer = AsyncUsageWriter(self._client, **arguments)

    def _wait(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(60)

    @property
    def counters(self) -> Any:
        """As UsageWriter.counters."""
        return self._writer.counters

    def write(self, record: UsageRecord, *, timeout: float | None = None) -> Any:
        """As UsageWriter.write."""
        return self._wait(self._writer.write(record, timeout=timeout))

    def write_columns(self, columns: Any, *, timeout: float | None = None) -> Any:
        """As UsageWriter.write_columns."""
        return self._wait(self._writer.write_columns(columns, timeout=timeout))

    def flush(self, timeout: float | None = None) -> Any:
        """As UsageWriter.flush."""
        return self._wait(self._writer.flush(timeout))

    def close(self, timeout: float | None = None) -> Any:
        """As UsageWriter.close."""
        return self._wait(self._writer.close(timeout))

    def end(self) -> None:
        """Close the connection."""
        self._wait(self._client.close())


class SyncFace(UsageWriter):
    """A UsageWriter with a client of its own."""

    def __init__(self, target: str, **arguments: Any) -> None:
        self._client = Client(target)
        super().__init__(self._client, **arguments)

    def end(self) -> None:
        """Close the connection."""
        self._client.close()


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A running server without faults."""
    server = WireServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in another thread; one for all, as gRPC likes it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=["sync", "async"])
def open_writer(
    request: pytest.FixtureRequest, wire: WireServer, loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[..., Any]]:
    """A function that opens a writer of either kind to the wire server, with quick options."""
    opened: list[Any] = []

    def build(on_batch: Any = None, spool_dir: Any = None, **options: Any) -> Any:
        quick = {"batch_delay_seconds": 0.01, "backoff_initial_seconds": 0.01} | options
        arguments = {"on_batch": on_batch, "options": Options(**quick), "spool_dir": spool_dir}
        if request.param == "sync":
            opened.append(SyncFace(wire.target, **arguments))
        else:
            opened.append(AsyncFace(loop, wire.target, **arguments))
        return opened[-1]

    yield build
    for writer in opened:
        with suppress(RatewrightError, TimeoutError):  # the test is over; it has said its say
            writer.close(timeout=0)
        writer.end()


@pytest.fixture
def fault() -> type[Fault]:
    """The class of faults."""
    return Fault


@pytest.fixture
def record() -> Callable[..., UsageRecord]:
    """A function that makes record number n, spread over 10 customers, 2 meters and 3 models."""

    def build(number: int, **changes: Any) -> UsageRecord:
        values: dict[str, Any] = {
            "event_id": f"event-{number}",
            "customer": f"customer-{number % 10}",
            "meter": ("input-tokens", "output-tokens")[number % 2],
            "event_time": START + timedelta(seconds=number),
            "quantity": number % 1000,
            "dimensions": {"model": "abc"[number % 3]} if number % 5 else {},
        }
        return UsageRecord(**(values | changes))

    return build
