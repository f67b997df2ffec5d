"""Single connections to Redis: opened, asked one thing at a time, and closed.

redis-py opens and parses; its retries are off, because a repeated commit would be a second one
(DESIGN §8).
"""

from __future__ import annotations

import logging
import math
from typing import Any

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rating_server.ports import StoreRefused
from rating_server.store.address import URL_FORMS
from rating_server.store.wire import ReplyUnreadable, pack

_log = logging.getLogger(__name__)

CONNECTION_ERRORS = (RedisError, OSError, AttributeError, EOFError, ReplyUnreadable)
"""All that a lost node can surface as; redis-py raises AttributeError for a closed stream."""


def words_of(error: BaseException) -> str:
    """Return an error in one line; one of time has no words of its own."""
    return " ".join(str(error).split()) or "nothing came in time"


def open_connection(url: str, connect_timeout: float) -> Connection:
    """Return an unconnected redis-py connection: raw bytes, no retries, no health checks.

    StoreRefused if the URL is none; it is not repeated, since it may hold a password.
    """
    try:
        arguments: dict[str, Any] = dict(parse_url(url))
        kind = arguments.pop("connection_class", Connection)
        arguments.update(
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            socket_timeout=None,
            socket_connect_timeout=connect_timeout,
            protocol=2,
            driver_info=None,
        )
        connection: Connection = kind(**arguments)
    except (ValueError, TypeError) as error:
        raise StoreRefused(
            "STORE_URL_INVALID",
            f"the store's URL cannot be used: expected {URL_FORMS}",
        ) from error
    return connection


async def establish(connection: Connection) -> None:
    """Connect and authenticate; raises one of CONNECTION_ERRORS."""
    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped


async def ask_redis(connection: Connection, *arguments: bytes) -> Any:
    """Send one command on an idle connection and return its reply; raises redis-py's errors."""
    await connection.send_packed_command(pack(*arguments), check_health=False)
    return await connection.read_response(timeout=math.inf)


def parse_info(raw: bytes) -> dict[str, str]:
    """Return the reply of INFO as a dictionary."""
    pairs = (line.partition(":") for line in raw.decode(errors="replace").splitlines())
    return {name: value for name, separator, value in pairs if separator}


async def disconnect(connection: Connection) -> None:
    """Close a connection at once; errors of a dead one do not matter."""
    try:
        await connection.disconnect(nowait=True)
    except CONNECTION_ERRORS as error:
        _log.debug("closing a dead connection: %s", error)
