"""How every method is served: bytes are parsed here, failures become statuses here.

Handlers are registered with raw bytes, because grpc.aio answers UNKNOWN when its own deserializer
raises; bytes that do not parse are the caller's mistake: INVALID_ARGUMENT.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from rating_server.errors import code_of, failure_of, status_of
from rating_server.usecases.failure import Failure, InvalidRequest, Violation

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Answer = TypeVar("Answer", bound=Message | bytes)

_STATUS_KEY = "grpc-status-details-bin"
_NOT_AGAIN = ("grpc-retry-pushback-ms", "-1")
_SPARED_SHARE = 10
_SPARED_MOST_S = 0.25
_ENOUGH_S = 3.0
"""Longer than clients wait between two tries."""
_log = structlog.get_logger("rpc")


def parse(data: bytes, message: type[Request]) -> Request:
    """Return the message that ``data`` holds; InvalidRequest REQUEST_UNPARSABLE."""
    try:
        return message.FromString(data)
    except DecodeError as error:
        fault = Violation("", "REQUEST_UNPARSABLE", f"not a {message.DESCRIPTOR.full_name}")
        raise InvalidRequest([fault], "REQUEST_UNPARSABLE") from error


async def abort(
    context: aio.ServicerContext[Any, Any], method: str, error: Exception, *, again: bool = True
) -> NoReturn:
    """End the call with the status of ``error``; what is not a failure on purpose is logged.

    Unless it may be tried ``again``, gRPC's own retries in the client are told not to.
    """
    failure = failure_of(error)
    if failure.reason == "INTERNAL":
        _log.error("internal error", method=method, exc_info=error)
    status = status_of(failure)
    details: list[tuple[str, str | bytes]] = [(_STATUS_KEY, status.SerializeToString())]
    if not again:
        details.append(_NOT_AGAIN)
    try:
        await context.abort(code_of(failure), status.message, tuple(details))
    except aio.AbortError:
        raise
    except Exception:  # noqa: BLE001 - see _gone
        raise _gone(method) from None
    raise RuntimeError("abort returned")


def _gone(method: str) -> asyncio.CancelledError:
    """Return how a call ends whose client has cancelled it: quietly.

    gRPC raises an internal error of its own where what is sent finds no call any more, and logs it
    as the server's fault unless it has heard of the cancellation by then.
    """
    _log.debug("call cancelled", method=method)
    return asyncio.CancelledError()


def unary(
    method: str, message: type[Request], handle: Callable[[Request], Awaitable[Response]]
) -> grpc.RpcMethodHandler[bytes, Response]:
    """Serve a unary method: ``handle`` takes the parsed request and returns the response."""

    async def serve(data: bytes, context: aio.ServicerContext[bytes, Response]) -> Response:
        started = time.perf_counter_ns()
        try:
            response = await _in_time(handle(parse(data, message)), context)
        except Exception as error:  # noqa: BLE001 - every error gets a canonical status
            elapsed = _elapsed_us(started)
            _log.info("call failed", method=method, reason=failure_of(error).reason, us=elapsed)
            await abort(context, method, error, again=_worth_another(context, elapsed))
        _log.debug("call", method=method, us=_elapsed_us(started))
        return response

    return grpc.unary_unary_rpc_method_handler(serve, response_serializer=_serialize)


def _worth_another(context: aio.ServicerContext[Any, Any], elapsed_us: int) -> bool:
    """Whether another try may answer in time, or would end as DEADLINE_EXCEEDED and not say why."""
    left = context.time_remaining()
    enough = elapsed_us / 1_000_000 + _SPARED_MOST_S
    return left is None or left > min(enough, _ENOUGH_S)


async def _in_time(answer: Awaitable[Response], context: aio.ServicerContext[Any, Any]) -> Response:
    """Return a call's answer; Failure STORE_UNAVAILABLE shortly before its deadline.

    So that a caller that waits less than a store call may take learns why, too.
    """
    left = context.time_remaining()
    if left is None:
        return await answer
    try:
        async with asyncio.timeout(left - min(left / _SPARED_SHARE, _SPARED_MOST_S)) as limit:
            return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        text = "the store did not answer within the deadline of the call"
        raise Failure("STORE_UNAVAILABLE", text) from None


def bidirectional(
    method: str,
    handle: Callable[[AsyncIterator[bytes]], AsyncIterator[Answer]],
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Serve a bidirectional stream: ``handle`` takes raw requests and yields responses.

    A response is a message, or the bytes of one.
    """

    async def send(response: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        try:
            await context.write(response)
        except Exception:  # noqa: BLE001 - see _gone
            raise _gone(method) from None

    async def serve(
        requests: AsyncIterator[bytes], context: aio.ServicerContext[bytes, bytes]
    ) -> None:
        responses = handle(requests)
        try:
            async for response in responses:
                await send(_serialize(response), context)
        except Exception as error:  # noqa: BLE001 - every error gets a canonical status
            _log.info("stream failed", method=method, reason=failure_of(error).reason)
            await abort(context, method, error)
        finally:
            close = getattr(responses, "aclose", None)
            if close is not None:
                await close()

    return grpc.stream_stream_rpc_method_handler(serve)


def server_stream(
    method: str,
    message: type[Request],
    handle: Callable[[Request], AsyncIterator[Response]],
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Serve a method with one request and a stream of answers."""

    async def serve(data: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        try:
            async for response in handle(parse(data, message)):
                try:
                    await context.write(_serialize(response))
                except Exception:  # noqa: BLE001 - see _gone
                    raise _gone(method) from None
        except Exception as error:  # noqa: BLE001 - every error gets a canonical status
            _log.info("stream failed", method=method, reason=failure_of(error).reason)
            await abort(context, method, error)

    return grpc.unary_stream_rpc_method_handler(serve)


def draining() -> Failure:
    """Return the failure that ends a stream when the server stops."""
    return Failure("DRAINING", "the server is stopping; connect again and resend what is open")


def add_service(
    server: aio.Server, service: str, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]
) -> None:
    """Register the methods of one service."""
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


def _serialize(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _elapsed_us(started: int) -> int:
    return (time.perf_counter_ns() - started) // 1_000
