"""What the doctor makes of the facts it finds: one line each, ok, warn or fail, and what to do.

Pure: facts in, findings out. No text here repeats a URL, a login or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rating_core.metering.log.protocol import AckLevel
from rating_core.metering.log.settlement import FOLD_DELAY_MOST_US
from rating_server.ports import StoreRefused
from rating_server.store.guard import memory_problem
from rating_server.store.preflight import Facts, durability_of, require_usable

DISK_RESERVE = 256 * 1024 * 1024
"""Free bytes below which commits to an embedded store stop (P15)."""
_DISK_LOW = 4 * DISK_RESERVE
_CLOCK_WARN_US = 1_000_000
_CLOCK_FAIL_US = 5_000_000
"""`commit` refuses a `now` further ahead of the store's clock (P11)."""
_LAG_WARN_US = 2 * FOLD_DELAY_MOST_US
"""A record just too late for a round waits for that round, the longest pause and the next one."""
_LAG_FAIL_US = 3 * _LAG_WARN_US
_LOG_BYTES_WARN = 4 * 1024**3
_IDS_WARN = (8, 10)


class State(StrEnum):
    """How bad a finding is. FAIL: records are, or soon will be, refused or not safe."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one place: what was found and, unless all is well, what to do about it."""

    check: str
    where: str
    state: State
    found: str
    remedy: str = ""


def exit_status(findings: list[Finding]) -> int:
    """Return 0 if all is well, 1 if there are warnings, 2 if anything fails."""
    worst = {finding.state for finding in findings}
    return 2 if State.FAIL in worst else int(State.WARN in worst)


def judge_node(where: str, facts: Facts) -> Finding:
    """Version, role and eviction policy (DESIGN §6): what `serve` would refuse."""
    try:
        require_usable(facts)
    except StoreRefused as refused:
        remedies = {
            "STORE_EVICTS": "CONFIG SET maxmemory-policy noeviction, and in its configuration file",
            "STORE_TOO_OLD": "upgrade the store",
        }
        remedy = remedies.get(refused.reason, "correct --redis-url")
        return Finding("store", where, State.FAIL, str(refused), remedy)
    found = f"{facts.server} {facts.version}, {facts.role}, maxmemory-policy {facts.eviction}"
    return Finding("store", where, State.OK, found)


def judge_ack_level(
    where: str, facts: Facts, wanted: AckLevel, replicas: int, trust: bool
) -> Finding:
    """Whether the level asked for can be reached, by persistence and replicas (P6)."""
    promise = durability_of(facts, replicas if wanted is AckLevel.REPLICATED else 0, trust)
    if promise.level >= wanted:
        return Finding("ack level", where, State.OK, f"{wanted.name}: {promise.line}")
    remedy = (
        "set appendonly yes, appendfsync always, no-appendfsync-on-rewrite no"
        if wanted is AckLevel.DURABLE
        else f"connect {replicas} replicas, or serve with fewer --replicas"
    )
    return Finding("ack level", where, State.FAIL, f"{wanted.name}: {promise.line}", remedy)


def judge_persistence(where: str, info: dict[str, str]) -> Finding:
    """The last writes and rewrites of the append-only file, by INFO persistence."""
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    wrong = [f"{name} {info[name]}" for name in names if info.get(name, "ok") != "ok"]
    if info.get("loading", "0") != "0":
        return Finding(
            "append-only file", where, State.FAIL, "the store is reading its files", "wait"
        )
    if wrong:
        state = State.FAIL if "aof_last_write_status" in wrong[0] else State.WARN
        remedy = "look at the store's own log; free disk space, then BGREWRITEAOF"
        return Finding("append-only file", where, state, ", ".join(wrong), remedy)
    size = int(info.get("aof_current_size", "0"))
    return Finding("append-only file", where, State.OK, f"{size} bytes, last writes ok")


def judge_memory(where: str, info: dict[str, str]) -> Finding:
    """Memory against maxmemory (P15: commits stop at 90 %), by INFO memory."""
    used, limit = int(info.get("used_memory", "0")), int(info.get("maxmemory", "0"))
    remedy = "raise maxmemory, or archive old entries sooner (--archive-after)"
    problem = memory_problem(info)
    if problem:
        return Finding("memory", where, State.FAIL, problem, remedy)
    system = int(info.get("total_system_memory", "0"))
    if not limit:
        found = f"{used} bytes used, no maxmemory"
        if system and used * 4 > system * 3:
            return Finding("memory", where, State.WARN, f"{found}, {system} in all", remedy)
        return Finding("memory", where, State.OK, found)
    found = f"{used} of {limit} bytes used"
    state = State.WARN if used * 4 >= limit * 3 else State.OK
    return Finding("memory", where, state, found, remedy if state is State.WARN else "")


def judge_library(where: str, name: str, held: bytes | None, ours: bytes) -> Finding:
    """Whether a node holds the function library of this version, to the byte."""
    if held == ours:
        return Finding("function library", where, State.OK, f"{name}, as in this version")
    if held is None:
        remedy = "none needed on a primary: the next server to start loads it"
        return Finding("function library", where, State.WARN, f"{name} is not loaded", remedy)
    remedy = f"end all servers, run FUNCTION DELETE {name} on each primary, start them again"
    return Finding("function library", where, State.FAIL, f"{name} is another text", remedy)


def judge_clock(where: str, skew_us: int) -> Finding:
    """Clock of this machine minus the store's, µs (P11)."""
    ahead = f"this machine is {abs(skew_us) / 1e6:.3f} s {'ahead of' if skew_us > 0 else 'behind'}"
    found, remedy = f"{ahead} the store", "synchronise both clocks (NTP)"
    if abs(skew_us) > _CLOCK_FAIL_US:
        return Finding("clock", where, State.FAIL, found, remedy)
    if abs(skew_us) > _CLOCK_WARN_US:
        return Finding("clock", where, State.WARN, found, remedy)
    return Finding("clock", where, State.OK, found)


def judge_disk(where: str, free: int, total: int, inodes: int, all_inodes: int) -> list[Finding]:
    """Free bytes and inodes of a directory's disk; ``all_inodes`` 0 where it has no such number."""
    remedy = "free disk space; archived entries leave the store (--archive-after)"
    state = State.FAIL if free < DISK_RESERVE else State.OK
    if state is State.OK and free < max(_DISK_LOW, total // 20):
        state = State.WARN
    found = f"{free} of {total} bytes free, {DISK_RESERVE} are the reserve"
    findings = [Finding("disk", where, state, found, remedy if state is not State.OK else "")]
    if all_inodes:
        state = State.OK if inodes * 50 > all_inodes else State.WARN
        state = State.FAIL if inodes < 100 else state
        remedy = "" if state is State.OK else "remove small files from this file system"
        found = f"{inodes} of {all_inodes} free"
        findings.append(Finding("inodes", where, state, found, remedy))
    return findings


def judge_fold(where: str, head: int, mark: int, age_us: int | None, servers: int) -> Finding:
    """The fold: ``age_us`` of the oldest record that no hash reflects, None if there is none."""
    if age_us is None:
        return Finding("fold", where, State.OK, f"F {mark}, head {head}, no record is unfolded")
    found = f"F {mark}, head {head}, the oldest unfolded record is {age_us / 1e6:.1f} s old"
    if age_us < _LAG_WARN_US:
        return Finding("fold", where, State.OK, found)
    if not servers:
        return Finding("fold", where, State.WARN, found, "start a server: it folds what is left")
    state = State.FAIL if age_us > _LAG_FAIL_US else State.WARN
    remedy = "look at the servers' logs and at the store's load; reads stay exact meanwhile"
    return Finding("fold", where, state, found, remedy)


def judge_log(
    where: str, entries: int, size: int, first: int, head: tuple[int, int], *, archive: bool
) -> Finding:
    """A log as it stands in the store; ``head``: version of the head, and of the last entry."""
    found = f"{entries} entries, {size} bytes, from {first} to {head[1]}"
    if head[0] != head[1]:
        remedy = "run `ratewright verify`, restore the store from a backup"
        return Finding("log", where, State.FAIL, f"{found}, but the head is {head[0]}", remedy)
    if first > 1 and not archive:
        remedy = "name the archive with --archive: without it no server can start"
        return Finding("log", where, State.FAIL, f"{found}: the rest is archived", remedy)
    if size > _LOG_BYTES_WARN:
        return Finding("log", where, State.WARN, found, "archive old entries (--archive-after)")
    return Finding("log", where, State.OK, found)


def judge_ids(where: str, ids: int, most: int) -> Finding:
    """A server's id index against its limit (P15: full, it refuses new ids)."""
    found, remedy = f"{ids} of {most} ids", "raise --max-ids, or number batches by a producer"
    if ids >= most:
        return Finding("id index", where, State.FAIL, found, remedy)
    if ids * _IDS_WARN[1] >= most * _IDS_WARN[0]:
        return Finding("id index", where, State.WARN, found, remedy)
    return Finding("id index", where, State.OK, found)
