"""The status of an asyncio stream, whatever gRPC puts in its place and when."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from rating_client import Internal, InvalidArgument, RatewrightError
from rating_client.aio_status import StreamStatus

FAILED_WRITE = (grpc.StatusCode.INTERNAL, "Internal error from Core")
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, "no such column")


class EndedCall:
    """A call that is given one status after another, as grpc.aio does."""

    def __init__(self) -> None:
        self._status: tuple[grpc.StatusCode, str] = (grpc.StatusCode.OK, "")
        self._watchers: list[Any] = []

    def add_done_callback(self, callback: Any) -> None:
        self._watchers.append(callback)

    def end(self, status: tuple[grpc.StatusCode, str]) -> grpc.aio.AioRpcError:
        """Set a status; return the error that a reader would meet now."""
        self._status = status
        for watcher in self._watchers:
            watcher(self)
        empty = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(status[0], empty, empty, details=status[1])

    async def code(self) -> grpc.StatusCode:
        return self._status[0]

    async def details(self) -> str:
        return self._status[1]

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()


@pytest.mark.parametrize("order", ["status first", "failed write first", "no failed write"])
def test_the_servers_status_is_told(order: str) -> None:
    """Whichever of the two comes first, the caller is told what the server said."""

    async def run() -> RatewrightError | None:
        call = EndedCall()
        status = StreamStatus(call)
        if order == "failed write first":
            met = call.end(FAILED_WRITE)
            asyncio.get_running_loop().call_later(0.01, call.end, REFUSED)
        else:
            met = call.end(REFUSED)
            if order == "status first":
                met = call.end(FAILED_WRITE)
        return await status.error(met)

    error = asyncio.run(run())
    assert isinstance(error, InvalidArgument)
    assert "no such column" in str(error)


def test_a_stream_that_ended_well_has_no_error() -> None:
    """A write that met a good end is no error of the stream."""

    async def run() -> RatewrightError | None:
        call = EndedCall()
        status = StreamStatus(call)
        call.end((grpc.StatusCode.OK, ""))
        return await status.error(call.end(FAILED_WRITE))

    assert asyncio.run(run()) is None


def test_a_failed_write_without_a_status_is_told_as_it_is() -> None:
    """No status in a second: gRPC's own error, and no endless wait."""

    async def run() -> RatewrightError | None:
        call = EndedCall()
        status = StreamStatus(call)
        return await status.error(call.end(FAILED_WRITE))

    started = time.monotonic()
    assert isinstance(asyncio.run(run()), Internal)
    assert time.monotonic() - started < 5
