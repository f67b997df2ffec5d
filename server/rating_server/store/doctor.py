"""Looks at everything that a store needs to count safely, and changes nothing.

Facts are read from every node, from every log and from this machine; `findings.py` judges them. A
node that does not answer is one finding, and does not hide the others.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError

from rating_core.errors import LogCorrupt
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.archive import paths_to, whole
from rating_core.metering.log.entry import decode_body, decode_envelope
from rating_core.metering.log.protocol import AckLevel, LogEntry, LogPage
from rating_core.metering.log.recovery import in_log
from rating_server.ports import StoreRefused, StoreUnavailable
from rating_server.store import findings as judge
from rating_server.store.adapter import LinkOptions
from rating_server.store.address import Node, parse_address
from rating_server.store.archive_place import ArchiveUnusable
from rating_server.store.connection import (
    CONNECTION_ERRORS,
    ask_redis,
    disconnect,
    establish,
    open_connection,
    parse_info,
    words_of,
)
from rating_server.store.data_directory import DataDirectory, is_locked
from rating_server.store.findings import Finding, State
from rating_server.store.keys import LogKeys, catalogue_keys, shard_keys
from rating_server.store.log_reader import LogReader, log_reader, read_initialised
from rating_server.store.mend_archive import damaged_segments
from rating_server.store.preflight import node_facts
from rating_server.store.registry import read_members
from rating_server.store.wire import LIBRARY_NAME, library_source
from rating_server.topology import Member

if TYPE_CHECKING:
    from rating_server.store.archive_files import ArchiveFiles

_UNFOLDED_LOOK = 64
"""Entries after F that are looked at for records; control entries change no counter."""


async def examine_store(
    options: LinkOptions,
    files: ArchiveFiles | None,
    wanted: AckLevel,
    *,
    replicas: int = 1,
    trust: bool = False,
) -> list[Finding]:
    """Return what is found about a store: all its nodes, its logs, servers and archive.

    ``wanted``: the ack level that shall be reachable, with ``replicas`` at REPLICATED; ``trust``
    as in `check_store`. Never raises for what is wrong with the store: that is a finding.
    """
    try:
        async with asyncio.timeout(options.deadline):
            urls = await options.topology.primaries()
    except (*CONNECTION_ERRORS, TimeoutError, StoreRefused) as error:
        return [_silent("store", "all", error)]
    found: list[Finding] = []
    for url in urls:
        found += await _primary(url, options, wanted, replicas, trust=trust)
    for part in (_logs(options, files), _archive(files)):
        try:
            found += await part
        except (*CONNECTION_ERRORS, TimeoutError, StoreUnavailable) as error:
            found.append(_silent("logs", "all", error))
    return found


def _silent(check: str, where: str, error: BaseException) -> Finding:
    words = f"no answer: {words_of(error)}"
    return Finding(check, where, State.FAIL, words, "start it, or correct its URL")


def place_of(url: str) -> str:
    """Return host and port of a node's URL, or `socket`: never its login."""
    parts = urlsplit(url)
    return "socket" if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


@asynccontextmanager
async def _asking(url: str, options: LinkOptions) -> AsyncIterator[Connection]:
    connection = open_connection(url, options.connect_timeout)
    try:
        async with asyncio.timeout(options.deadline):
            await establish(connection)
            yield connection
    finally:
        await disconnect(connection)


async def _primary(
    url: str, options: LinkOptions, wanted: AckLevel, replicas: int, *, trust: bool
) -> list[Finding]:
    where, found = place_of(url), list[Finding]()
    try:
        async with _asking(url, options) as connection:
            facts = await node_facts(connection)
            found.append(judge.judge_node(where, facts))
            found.append(judge.judge_ack_level(where, facts, wanted, replicas, trust))
            found += await _node(connection, where)
            raw = await ask_redis(connection, b"INFO", b"replication")
    except (*CONNECTION_ERRORS, TimeoutError) as error:
        return [*found, _silent("store", where, error)]
    for state, lag, node in _replicas(parse_info(raw)):
        found += await _replica(parse_address(url).node_url(node), options, state, lag)
    return found


async def _node(connection: Connection, where: str) -> list[Finding]:
    """What every node is asked, primary or replica."""
    memory = parse_info(await ask_redis(connection, b"INFO", b"memory"))
    persistence = parse_info(await ask_redis(connection, b"INFO", b"persistence"))
    return [
        judge.judge_persistence(where, persistence),
        judge.judge_memory(where, memory),
        await _library(connection, where),
        await _clock(connection, where),
    ]


async def _library(connection: Connection, where: str) -> Finding:
    name = LIBRARY_NAME.decode()
    try:
        listed = await ask_redis(
            connection, b"FUNCTION", b"LIST", b"LIBRARYNAME", LIBRARY_NAME, b"WITHCODE"
        )
    except ResponseError as error:
        remedy = "allow this user FUNCTION LIST to have it checked"
        return Finding("function library", where, State.WARN, f"not told: {error}", remedy)
    fields = dict(zip(listed[0][0::2], listed[0][1::2], strict=True)) if listed else {}
    return judge.judge_library(where, name, fields.get(b"library_code"), library_source())


async def _clock(connection: Connection, where: str) -> Finding:
    before = time.time_ns()
    seconds, micros = await ask_redis(connection, b"TIME")
    middle = (before + time.time_ns()) // 2_000
    return judge.judge_clock(where, middle - (int(seconds) * 1_000_000 + int(micros)))


def _replicas(info: dict[str, str]) -> list[tuple[str, int, Node]]:
    """Return state, lag in seconds, and address of each replica in INFO replication."""
    found = []
    for number in range(int(info.get("connected_slaves", "0"))):
        line = info.get(f"slave{number}", "")
        facts = dict(pair.split("=", 1) for pair in line.split(",") if "=" in pair)
        if "ip" in facts:
            node = Node(facts["ip"], int(facts.get("port", "0")))
            found.append((facts.get("state", "?"), int(facts.get("lag", "0")), node))
    return found


async def _replica(url: str, options: LinkOptions, state: str, lag: int) -> list[Finding]:
    where = f"{place_of(url)} (replica)"
    good = state == "online" and lag <= 5
    remedy = "" if good else "look at the replica's log; REPLICATED waits for it"
    words = f"{state}, {lag} s behind"
    found = [Finding("replica", where, State.OK if good else State.WARN, words, remedy)]
    try:
        async with _asking(url, options) as connection:
            found += await _node(connection, where)
    except (*CONNECTION_ERRORS, TimeoutError) as error:
        words = f"cannot be asked from here: {' '.join(str(error).split())}"
        found.append(Finding("replica", where, State.WARN, words, "run the doctor nearer to it"))
    return found


async def _logs(options: LinkOptions, files: ArchiveFiles | None) -> list[Finding]:
    stored = await read_initialised(options)
    if stored is None:
        words = "never used: it holds no logs"
        return [Finding("logs", "all", State.OK, words)]
    members = await read_members(options)
    found = _servers(members)
    for keys in (*(shard_keys(shard) for shard in range(stored.shards)), catalogue_keys()):
        try:
            async with log_reader(options, keys) as reader:
                found += await _log(reader, keys, len(members), files)
        except (LogCorrupt, StoreUnavailable, ValueError) as error:
            remedy = "run `ratewright verify`"
            found.append(Finding("log", f"log {keys.name}", State.FAIL, str(error), remedy))
    return found


def _servers(members: Sequence[Member]) -> list[Finding]:
    if not members:
        words, remedy = "none lives", "start one: nothing is counted or folded meanwhile"
        return [Finding("servers", "all", State.WARN, words, remedy)]
    leaving = sum(member.leaving for member in members)
    words = f"{len(members)} live, {leaving} of them leaving"
    found = [Finding("servers", "all", State.OK, words)]
    told = [member for member in members if member.most_ids]
    return [*found, *(judge.judge_ids(m.address, m.ids, m.most_ids) for m in told)]


async def _log(
    reader: LogReader, keys: LogKeys, servers: int, files: ArchiveFiles | None
) -> list[Finding]:
    where = f"log {keys.name}"
    mark = await reader.mark()
    first = [entry async for entry in reader.log(0, 1)]
    version, _ = await reader.head()
    entries, last = await reader.extent()
    size = await reader.memory()
    # An entry that was appended between the two reads is no fault.
    head = (version, last) if last < version else (last, last)
    begins = first[0].version if first else 0
    found = [judge.judge_log(where, entries, size, begins, head, archive=files is not None)]
    if files is not None and begins > 1 and not await _leads(files, reader, first[0]):
        words = f"it holds nothing that leads to entry {begins}, with which the log begins"
        remedy = "name the archive of this store, or restore its files: no server can start so"
        found.append(Finding("archive", where, State.FAIL, words, remedy))
    if files is not None:
        found += await _damaged(files, reader, begins)
    if keys != catalogue_keys():
        age = await _unfolded_age(reader, mark)
        found.append(judge.judge_fold(where, version, mark, age, servers))
    return found


async def _leads(files: ArchiveFiles, reader: LogReader, first: LogEntry) -> bool:
    """Whether an archive has, by the names of its files, what a trimmed log goes on from (P10)."""
    listing = await asyncio.to_thread(files.listing, reader.log_name)
    if listing.problem:
        return True  # told of the archive as a whole
    end = first.version - 1
    for name in listing.snapshots:
        if name.version == end and name.token == first.previous:
            return True
        if name.version > end:
            page = LogPage(tuple([entry async for entry in reader.log(name.version - 1, 1)]))
            if in_log(name, page):
                return True
    for path in paths_to(listing, end, first.previous):
        begins = path[0].first - 1
        if whole(path) or any(begins <= name.version < end for name in listing.snapshots):
            return True
    return False


async def _damaged(files: ArchiveFiles, reader: LogReader, begins: int) -> list[Finding]:
    """Look at the segments with which archiving goes on: damaged ones stop it (P10)."""
    try:
        names = await damaged_segments(reader, files, after=begins - 2)
    except ArchiveUnusable:
        return []  # told of the archive as a whole
    where, remedy = f"log {reader.log_name}", "run `ratewright log mend`; see `ratewright log`"
    return [
        Finding("archive", where, State.FAIL, f"segment {n.first}-{n.last} is damaged", remedy)
        for n in names
    ]


async def _unfolded_age(reader: LogReader, mark: int) -> int | None:
    """Return the age in µs of the first records after F, None if there are none near it."""
    async for entry in reader.log(mark, _UNFOLDED_LOOK):
        envelope = decode_envelope(entry.entry)
        if isinstance(decode_body(envelope.body), RecordsEntry):
            return max(time.time_ns() // 1_000 - envelope.now, 0)
    return None


async def _archive(files: ArchiveFiles | None) -> list[Finding]:
    if files is None:
        return []
    try:
        names = await asyncio.to_thread(files.logs)
        listings = [await asyncio.to_thread(files.listing, name) for name in names]
    except (OSError, ArchiveUnusable) as error:
        remedy = "make it reachable for this machine, with the servers' rights"
        return [Finding("archive", "all", State.FAIL, " ".join(str(error).split()), remedy)]
    problems = [listing.problem for listing in listings if listing.problem]
    if problems:
        remedy = "make it reachable for this machine, with the servers' rights"
        return [Finding("archive", "all", State.FAIL, problems[0], remedy)]
    segments = sum(len(listing.segments) for listing in listings)
    snapshots = sum(len(listing.snapshots) for listing in listings)
    words = f"{len(names)} logs, {segments} segments, {snapshots} snapshots"
    return [Finding("archive", "all", State.OK, words)]


def examine_directory(path: Path) -> list[Finding]:
    """Return what is found about a data directory: rights, holder, disk, inodes."""
    directory, where = DataDirectory(path), "data directory"
    found: list[Finding] = []
    for name, check in _DIRECTORY_CHECKS.items():
        try:
            found.append(check(directory))
        except OSError as error:
            words = error.strerror or str(error)
            remedy = "give this user the directory"
            found.append(Finding(name, where, State.FAIL, words, remedy))
    usage, system = shutil.disk_usage(path), os.statvfs(path)
    found += judge.judge_disk(where, usage.free, usage.total, system.f_favail, system.f_files)
    return found


def _rights(directory: DataDirectory) -> Finding:
    held = directory.path.stat()
    mode = stat.S_IMODE(held.st_mode)
    if not os.access(directory.path, os.R_OK | os.W_OK | os.X_OK):
        remedy = "run as the directory's owner, or chown it"
        return Finding("rights", "data directory", State.FAIL, "not writable", remedy)
    if mode & 0o077:
        remedy = f"chmod 700 {directory.path}"
        found = f"mode {mode:03o}: others may enter, and usage is read with it"
        return Finding("rights", "data directory", State.WARN, found, remedy)
    return Finding("rights", "data directory", State.OK, f"mode {mode:03o}, writable")


def _lock(directory: DataDirectory) -> Finding:
    served, store = is_locked(directory.server_lock), is_locked(directory.store_lock)
    if store and not served:
        found = "a store runs whose server is gone"
        remedy = "start `ratewright serve`, which adopts it, or `ratewright store stop`"
        return Finding("lock", "data directory", State.WARN, found, remedy)
    found = f"held by the server with pid {directory.holder()}" if served else "held by nobody"
    return Finding("lock", "data directory", State.OK, found)


_DIRECTORY_CHECKS: dict[str, Callable[[DataDirectory], Finding]] = {
    "rights": _rights,
    "lock": _lock,
}
