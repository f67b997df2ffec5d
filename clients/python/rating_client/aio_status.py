"""The status that a server ended an asyncio stream with.

A request that is being written while the server ends the stream fails, and grpc.aio then puts an
error of its own, INTERNAL, in the place of the status that the server sent (grpc/grpc#36066). So
the status is kept at the moment when it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

from rating_client.errors import RatewrightError, error_from_rpc

T = TypeVar("T")
_WRITE_FAILED = "Internal error from Core"
_WAIT_SECONDS = 1.0
"""For the status that a failed write came before; where none comes, gRPC's error stays."""


class StreamStatus:
    """Watches the end of one ``call`` of grpc.aio, from when it is made."""

    def __init__(self, call: Any) -> None:
        self._sent: grpc.aio.AioRpcError | None = None
        self._came = asyncio.Event()
        call.add_done_callback(self._ended)

    def _ended(self, call: Any) -> None:
        # Called for every status in turn, gRPC's own too. It is there, so nothing below waits.
        status = grpc.aio.AioRpcError(
            _at_once(call.code()),
            _at_once(call.initial_metadata()),
            _at_once(call.trailing_metadata()),
            _at_once(call.details()),
        )
        if self._sent is None and not _is_failed_write(status):
            self._sent = status
            self._came.set()

    async def error(self, met: grpc.RpcError) -> RatewrightError | None:
        """Return the error of the stream whose reader met ``met``: the server's, where it sent one.

        ``None``: the server ended the stream well, and only a write that met the end failed. Waits
        up to a second where the write failed before the status was read.
        """
        if not _is_failed_write(met):
            return error_from_rpc(met)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._came.wait()
        except TimeoutError:
            return error_from_rpc(met)
        if self._sent is None or self._sent.code() is grpc.StatusCode.OK:
            return None
        return error_from_rpc(self._sent)


def _is_failed_write(error: Any) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _WRITE_FAILED


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("a call that has ended has no status")
