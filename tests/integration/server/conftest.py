"""Real servers for the integration tests: started as users start them, killed as crashes do."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ratewright.document import plan_from_document
from ratewright.v1 import catalog_service_pb2 as catalog
from ratewright.v1 import (
    catalog_service_pb2_grpc,
    customer_service_pb2_grpc,
    plan_pb2,
    rating_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from ratewright.v1 import customer_service_pb2 as customers
from ratewright.v1 import usage_service_pb2 as usage
from rating_server.store.data_directory import DataDirectory
from rating_server.store.embedded import stop_orphan

START_SECONDS = 120
JANUARY = 1_767_225_600  # 2026-01-01T00:00:00Z


class ServerProcess:
    """One `ratewright serve`, on a data directory of its own or on a store's URL."""

    def __init__(self, root: Path, *flags: str, url: str = "") -> None:
        self.root = root
        self.data_dir = root / "data"
        self.log = root / "serve.log"
        self.port_file = root / "port"
        self._flags = [*flags, "--acceptance-window", "unlimited"]
        self._flags += ["--redis-url", url] if url else ["--data-dir", str(self.data_dir)]
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: grpc.Channel | None = None

    def start(self) -> ServerProcess:
        """Start, and wait until it answers."""
        self.port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "rating_server.cli.entry", "serve", "--port", "0"]
        command += ["--port-file", str(self.port_file), *self._flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        expires = time.monotonic() + START_SECONDS
        while not self.port_file.exists():
            if self.process.poll() is not None or time.monotonic() > expires:
                raise AssertionError(self.log.read_text()[-2000:])
            time.sleep(0.01)
        return self

    @property
    def target(self) -> str:
        """Address of the server."""
        return f"127.0.0.1:{self.port_file.read_text().strip()}"

    def connect(self) -> grpc.Channel:
        """Return the one channel of this server run."""
        if self.channel is None:
            self.channel = grpc.insecure_channel(self.target)
        return self.channel

    def disconnect(self) -> None:
        """Close the channel, if one is open."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    @property
    def usage(self) -> usage_service_pb2_grpc.UsageServiceStub:
        """Stub of UsageService."""
        return usage_service_pb2_grpc.UsageServiceStub(self.connect())

    @property
    def catalog(self) -> catalog_service_pb2_grpc.CatalogServiceStub:
        """Stub of CatalogService."""
        return catalog_service_pb2_grpc.CatalogServiceStub(self.connect())

    @property
    def customers(self) -> customer_service_pb2_grpc.CustomerServiceStub:
        """Stub of CustomerService."""
        return customer_service_pb2_grpc.CustomerServiceStub(self.connect())

    @property
    def rating(self) -> rating_service_pb2_grpc.RatingServiceStub:
        """Stub of RatingService."""
        return rating_service_pb2_grpc.RatingServiceStub(self.connect())

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the server at once; its embedded store lives on."""
        assert self.process is not None
        self.disconnect()
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop gracefully; return the exit status."""
        assert self.process is not None
        self.disconnect()
        self.process.terminate()
        return self.process.wait(60)

    @property
    def store_pid(self) -> int:
        """The pid of the embedded store."""
        record = DataDirectory(self.data_dir).read_record()
        assert record is not None
        return record.pid

    def end(self) -> None:
        """Make sure that nothing is left; how a server stops in order is for tests to try."""
        self.disconnect()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        asyncio.run(stop_orphan(self.data_dir))


class Road:
    """What the tests of the road share: a plan, a customer on it, a record, an error read."""

    @staticmethod
    def plan(plan_id: str) -> plan_pb2.Plan:
        """A plan with a base fee, tiers by model, and a clamped percentage."""
        return plan_from_document(
            {
                "id": plan_id,
                "currency": "USD",
                "billing_period": "month",
                "meters": [
                    {"id": f"{plan_id}-tokens", "aggregation": "sum", "dimensions": ["model"]},
                    {"id": f"{plan_id}-payments", "aggregation": "sum", "scale": "2"},
                    {"id": f"{plan_id}-calls", "aggregation": "count"},
                ],
                "charges": [
                    {"id": "base", "model": "flat_fee", "amount": "49"},
                    {
                        "id": "large",
                        "meter": f"{plan_id}-tokens",
                        "where": {"model": "large"},
                        "model": "graduated",
                        "tiers": [
                            {"up_to": "1000", "unit_price": "0.01"},
                            {"unit_price": "0.005"},
                        ],
                    },
                    {
                        "id": "pay",
                        "meter": f"{plan_id}-payments",
                        "model": "percentage",
                        "percent": "2",
                        "fixed_fee_per_event": "0.3",
                        "min_per_event": "0.5",
                        "max_per_event": "5",
                    },
                ],
            }
        )

    @staticmethod
    def subscribe(server, plan_id: str, customer: str) -> None:
        """Publish the plan and put the customer on it from January on."""
        server.catalog.CreatePlan(
            catalog.CreatePlanRequest(plan=Road.plan(plan_id), request_id=f"plan-{plan_id}")
        )
        subscription = customers.Subscription(
            customer=customer, plan_id=plan_id, start_time=Timestamp(seconds=JANUARY)
        )
        server.customers.CreateSubscription(
            customers.CreateSubscriptionRequest(subscription=subscription)
        )

    @staticmethod
    def record(event_id: str, customer: str, meter: str, quantity: str, **dimensions: str):
        """A record of 2 January."""
        return usage.UsageRecord(
            event_id=event_id,
            customer=customer,
            meter=meter,
            quantity=quantity,
            event_time=Timestamp(seconds=JANUARY + 86_400),
            dimensions=dimensions,
        )

    @staticmethod
    def error_of(call: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[str]]:
        """Return (code, reason, violated fields) of a failed call."""
        status = rpc_status.from_call(call)
        assert status is not None, call
        reason, fields = "", []
        for detail in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                assert info.domain == "ratewright.v1"
                reason = info.reason
            elif detail.Unpack(bad):
                fields = [violation.field for violation in bad.field_violations]
        return call.code(), reason, fields


@pytest.fixture(scope="session")
def road() -> type[Road]:
    """Plan, subscription and record makers."""
    return Road


ServerFactory = Callable[..., ServerProcess]


@pytest.fixture
def server_factory() -> Iterator[ServerFactory]:
    """A function that makes servers (not started); flags as arguments, `url=` for a store."""
    made: list[ServerProcess] = []

    def build(*flags: str, url: str = "") -> ServerProcess:
        server = ServerProcess(Path(tempfile.mkdtemp(prefix="rw-serve-")), *flags, url=url)
        made.append(server)
        return server

    yield build
    for server in made:
        server.end()
        shutil.rmtree(server.root)


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """One running server, shared: tests use customers and plans of their own."""
    root = Path(tempfile.mkdtemp(prefix="rw-serve-"))
    running = ServerProcess(root)
    try:
        yield running.start()
    finally:
        running.end()
        shutil.rmtree(root)
