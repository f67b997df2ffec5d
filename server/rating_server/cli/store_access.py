"""Commands that read a store and its archive themselves, with or without a server beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rating_server.cli.failure import CommandError, bad_input

if TYPE_CHECKING:
    from rating_server.store.adapter import LinkOptions
    from rating_server.store.archive_files import ArchiveFiles
    from rating_server.store.keys import LogKeys

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where the store and its archive are, as the options say; empty texts where not given."""

    redis_url: str
    data_dir: Path
    archive: str


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """A store that answers: how to reach it, its shards, its hash key, its archive if any."""

    options: LinkOptions
    shards: int
    hash_key: bytes
    files: ArchiveFiles | None

    def keys(self, chosen: tuple[int, ...]) -> list[LogKeys]:
        """Return the keys of the chosen shards, of all if none; bad input if one is not there."""
        from rating_server.store.keys import shard_keys

        for shard in chosen:
            if not 0 <= shard < self.shards:
                raise bad_input(f"--shard {shard}: the store has shards 0 to {self.shards - 1}")
        return [shard_keys(shard) for shard in (chosen or range(self.shards))]


_LOCATION = (
    click.option(
        "--redis-url",
        envvar="RATEWRIGHT_REDIS_URL",
        metavar="URL",
        default="",
        help="The store; default: the embedded one of the data directory.",
    ),
    click.option(
        "--data-dir",
        envvar="RATEWRIGHT_DATA_DIR",
        default="ratewright-data",
        show_default=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Data directory of a server with an embedded store.",
    ),
    click.option(
        "--archive",
        envvar="RATEWRIGHT_ARCHIVE",
        metavar="PLACE",
        default="",
        help="Path or URI of the archive; default: `archive` in the data directory, if there.",
    ),
)
_SHARD = click.option(
    "--shard", "shards", type=int, multiple=True, metavar="N", help="Only this shard; repeat."
)


def location_options(command: F) -> F:
    """Give a command the options that name a store: `redis_url`, `data_dir`, `archive`."""
    for option in reversed(_LOCATION):
        command = option(command)
    return command


def store_options(command: F) -> F:
    """Give a command the options that name a store, and `shards` of it."""
    return location_options(_SHARD(command))


def run(body: Coroutine[Any, Any, Any]) -> Any:
    """Run a command's coroutine; a store that fails is one line and status 1."""
    from rating_core.errors import LogCorrupt
    from rating_server.ports import StoreError, StoreRefused
    from rating_server.store.archive_place import ArchiveUnusable
    from rating_server.store.connection import CONNECTION_ERRORS, words_of

    try:
        return asyncio.run(body)
    except StoreRefused as error:
        raise bad_input(str(error)) from None
    except (StoreError, LogCorrupt, ArchiveUnusable) as error:
        raise CommandError(str(error)) from None
    except (*CONNECTION_ERRORS, TimeoutError) as error:
        raise CommandError(f"the store does not answer: {words_of(error)}") from None


def require_data_directory(place: StorePlace) -> None:
    """Bad input unless a URL is given or the data directory has a store, so that none is made."""
    if place.redis_url:
        return
    if not place.data_dir.is_dir():
        raise bad_input(f"{place.data_dir}: no such data directory; is --redis-url meant?")
    if not (place.data_dir / "store").is_dir():
        raise bad_input(f"{place.data_dir}: not a data directory, it has no store in it")


@contextlib.asynccontextmanager
async def opened(place: StorePlace) -> AsyncIterator[StoreAccess]:
    """Yield access to the store; an embedded one that does not run is started meanwhile."""
    from rating_server.store.adapter import LinkOptions
    from rating_server.store.archive_place import open_archive
    from rating_server.store.log_reader import read_initialised

    require_data_directory(place)
    async with contextlib.AsyncExitStack() as stack:
        url = place.redis_url or await stack.enter_async_context(embedded(place.data_dir))
        options = LinkOptions(url=lambda: url)
        stored = await read_initialised(options)
        if stored is None:
            raise CommandError("the store was never used: it holds no logs")
        archive = place.archive
        own = place.data_dir / "archive"
        if not archive and not place.redis_url and own.is_dir():
            archive = str(own)
        files = open_archive(archive) if archive else None
        yield StoreAccess(options, stored.shards, stored.hash_key, files)


@contextlib.asynccontextmanager
async def embedded(data_dir: Path) -> AsyncIterator[str]:
    """Yield the URL of a data directory's store; one that does not run is started meanwhile."""
    from rating_server.store.embedded import EmbeddedStore, status
    from rating_server.store.store_process import unix_url

    found = status(data_dir)
    if found.socket:
        yield unix_url(found.socket)
        return
    store = EmbeddedStore(data_dir)
    await store.start()
    try:
        yield store.url()
    finally:
        await store.stop()
