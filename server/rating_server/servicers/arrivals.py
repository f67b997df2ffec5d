"""Announces unary calls when gRPC has seen their names, before their messages are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio


class Arrivals(aio.ServerInterceptor):
    """Calls ``announce`` for each unary call: its sender waits for one round trip.

    From here to the handler gRPC takes several turns of the event loop; large work that began in
    between would be waited for each time.
    """

    def __init__(self, announce: Callable[[], None]) -> None:
        self._announce = announce

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler as it is; announce the call if it is a unary one."""
        handler = await continuation(handler_call_details)
        if handler is not None and handler.unary_unary is not None:
            self._announce()
        return handler
