"""The faults: what breaks in a round, and how it is mended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.fault_installations import Clustered, Installation, Pair, Workers
from benchmarks.fault_parts import Process, eventually, kill_pid
from benchmarks.fault_proxy import Proxy

if TYPE_CHECKING:
    from benchmarks.faults import Round

_WRITING_S = 1.5
"""How long a client takes at least to write the records of a round, so that all faults meet it."""
_PAUSE_S = 3.0
_WATCH_S = 6.0
_FOLD = b"rw1_fold"
_TRIM = b"rw1_trim"
_COMMIT = b"rw1_commit"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by its name, and the installations in which it can happen. ``quick``: in tests.

    ``play`` may return what the row is to tell about it.
    """

    name: str
    installations: tuple[type[Installation], ...]
    play: Callable[[Round, Any], str | None]
    quick: bool = False

    def where(self, quick: bool) -> tuple[type[Installation], ...]:
        """Return the installations in which it is played; one if that is to be quick."""
        return self.installations[:1] if quick else self.installations


def _begin(this: Round) -> None:
    """Let both kinds of clients write, and wait until they are in the middle of it."""
    this.send("ids", this.indices, this.rng.randrange(2), seconds=_WRITING_S)
    this.send("seq", this.indices, this.rng.randrange(2), seconds=_WRITING_S)
    this.until_acknowledged(this.rng.uniform(0.05, 0.6))


def _rest(this: Round) -> None:
    time.sleep(this.rng.uniform(0, 0.5))


def _kill(process: Process, this: Round) -> None:
    _begin(this)
    process.kill()
    _rest(this)


def _pause(process: Process, this: Round) -> None:
    _begin(this)
    process.signal(signal.SIGSTOP)
    time.sleep(_PAUSE_S)
    process.signal(signal.SIGCONT)


def _client_killed(this: Round, _: Installation) -> None:
    _begin(this)
    (ids,) = (sender for sender in this.senders if sender.job.kind == "ids")
    ids.process.kill()
    ids.process.wait()


def _spooling_killed(this: Round, at: Installation) -> None:
    """Both clients are killed; others go on with their spools."""
    for kind in ("ids", "seq"):
        spool = str(at.folder / f"spool-{this.number}-{kind}")
        this.send(kind, this.indices, seconds=_WRITING_S, spool=spool)
    this.until_acknowledged(this.rng.uniform(0.05, 0.6))
    for sender in list(this.senders):
        sender.process.kill()
        sender.process.wait()
        this.take_over(sender)


def _server_killed(this: Round, at: Installation) -> None:
    _kill(this.rng.choice(at.servers), this)


def _all_servers_killed(this: Round, at: Installation) -> None:
    _begin(this)
    for server in at.servers:
        server.kill()
    _rest(this)


def _server_stopped(this: Round, at: Installation) -> None:
    _begin(this)
    this.rng.choice(at.servers).stop()


def _server_paused(this: Round, at: Installation) -> None:
    _pause(this.rng.choice(at.servers), this)


def _store_killed(this: Round, at: Pair) -> None:
    _kill(at.store, this)


def _store_paused(this: Round, at: Pair) -> None:
    _pause(at.store, this)


def _everything_killed(this: Round, at: Pair) -> None:
    _begin(this)
    victims: list[Process] = [at.store, *at.servers]
    this.rng.shuffle(victims)
    for victim in victims:
        victim.kill()
    _rest(this)


def _cut(this: Round, proxies: list[Proxy], most_bytes: int) -> str:
    """Cut all connections four times, each time after up to so many bytes of replies."""
    before = sum(proxy.cuts for proxy in proxies)
    for _ in range(4):
        for proxy in proxies:
            proxy.cut_after(this.rng.randrange(1, most_bytes))
        time.sleep(0.2)
    for proxy in proxies:
        proxy.disarm()
    return f"{sum(proxy.cuts for proxy in proxies) - before} cuts"


def _client_link_cut(this: Round, at: Pair) -> str:
    _begin(this)
    return _cut(this, at.doors, 400)


def _store_link_cut(this: Round, at: Pair) -> str:
    _begin(this)
    return _cut(this, at.links, 2_000)


def _at_call(pattern: bytes) -> Callable[[Round, Pair], str]:
    """Return a fault: half of a call has left the server, which is killed, or the store is."""

    def play(this: Round, at: Pair) -> str:
        _begin(this)
        died = threading.Event()
        number = this.rng.randrange(len(at.links))
        victim: Process = this.rng.choice((at.servers[number], at.store))

        def kill() -> None:
            victim.kill()
            died.set()

        at.links[number].watch_for(pattern, kill)
        died.wait(_WATCH_S)
        missed = at.links[number].disarm()
        if missed:
            victim.kill()  # the call did not come: the other server has the shards
        _rest(this)
        return "no such call came by" if missed else f"{victim.log.stem} killed"

    return play


def _archive_crash(this: Round, at: Pair) -> None:
    """Kill both servers at the moment at which anything new appears in the archive."""
    _begin(this)
    before = {*at.archive.rglob("*")}
    expires = time.monotonic() + _WATCH_S
    while {*at.archive.rglob("*")} <= before and time.monotonic() < expires:
        time.sleep(0.0005)
    for server in at.servers:
        server.kill()
    _rest(this)


def _memory_full(this: Round, at: Pair) -> None:
    _begin(this)
    used = int(at.store.info("memory")["used_memory"])
    at.store.ask("CONFIG", "SET", "maxmemory", used + this.rng.randrange(1, 200_000))
    time.sleep(1.0)
    at.store.ask("CONFIG", "SET", "maxmemory", 0)


def _disk_full(this: Round, at: Pair) -> str:
    """The store's disk is full: it ends, since it could not keep its word; or its files may not
    grow, where the machine lets nobody mount a small disk."""
    _begin(this)
    if at.disk.problem:
        return f"{at.disk.problem}; instead: {_files_limited(this, at)}"
    at.disk.fill()
    note = _until_noticed(this, at)
    _rest(this)
    at.disk.free()
    return note


def _file_limit(this: Round, at: Pair) -> str:
    _begin(this)
    return _files_limited(this, at)


def _files_limited(this: Round, at: Pair) -> str:
    at.store.limit_files(this.rng.randrange(1, 20_000))
    note = _until_noticed(this, at)
    at.store.kill()  # it keeps its limit for life
    return note


def _until_noticed(this: Round, at: Pair) -> str:
    eventually(lambda: not at.store.alive or not _writing(this), "the store notices")
    return "the store lives on" if at.store.alive else "the store ends"


def _writing(this: Round) -> bool:
    return any(sender.process.poll() is None for sender in this.senders)


def _duplicates(this: Round, _: Installation) -> None:
    """Records are sent again in any order, several times, while they are sent at first."""
    _begin(this)
    for _ in range(2):
        again = [index for index in this.indices for _ in range(this.rng.randrange(3))]
        this.rng.shuffle(again)
        this.send("ids", again, this.rng.randrange(2), follow=False)


def _two_clients(this: Round, _: Installation) -> None:
    """Two clients send the same ids to two servers at once, each in an order of its own."""
    this.send("seq", this.indices)
    for target in range(2):
        mixed = list(this.indices)
        this.rng.shuffle(mixed)
        this.send("ids", mixed, target, follow=False, seconds=_WRITING_S / 2)


def _worker_killed(this: Round, at: Workers) -> None:
    _begin(this)
    kill_pid(this.rng.choice(at.supervisor.children()))
    _rest(this)


def _supervisor_killed(this: Round, at: Workers) -> None:
    _begin(this)
    at.supervisor.kill()
    _rest(this)


def _embedded_store_killed(this: Round, at: Workers) -> None:
    _begin(this)
    kill_pid(at.store_pid)
    _rest(this)


def _node_killed(this: Round, at: Clustered) -> None:
    _kill(this.rng.choice(at.cluster.nodes), this)


def _node_paused(this: Round, at: Clustered) -> None:
    _pause(this.rng.choice(at.cluster.nodes), this)


_ANY = (Pair, Workers, Clustered)

FAULTS = (
    Fault("client killed", _ANY, _client_killed),
    Fault("spooling clients killed", _ANY, _spooling_killed, quick=True),
    Fault("server killed", (Pair, Clustered), _server_killed),
    Fault("all servers killed", (Pair,), _all_servers_killed),
    Fault("server stopped", (Pair,), _server_stopped),
    Fault("server paused", (Pair,), _server_paused),
    Fault("worker killed", (Workers,), _worker_killed),
    Fault("supervisor killed", (Workers,), _supervisor_killed, quick=True),
    Fault("store killed", (Pair,), _store_killed),
    Fault("store paused", (Pair,), _store_paused),
    Fault("store and servers killed", (Pair,), _everything_killed),
    Fault("embedded store killed", (Workers,), _embedded_store_killed),
    Fault("cut client to server", (Pair,), _client_link_cut),
    Fault("cut server to store", (Pair,), _store_link_cut, quick=True),
    Fault("killed in a commit", (Pair,), _at_call(_COMMIT)),
    Fault("killed in a fold", (Pair,), _at_call(_FOLD), quick=True),
    Fault("killed in a trim", (Pair,), _at_call(_TRIM)),
    Fault("killed while archiving", (Pair,), _archive_crash),
    Fault("memory full", (Pair,), _memory_full, quick=True),
    Fault("disk full", (Pair,), _disk_full, quick=True),
    Fault("file size limit", (Pair,), _file_limit),
    Fault("resends in any order", (Pair, Workers), _duplicates),
    Fault("same ids to two servers", _ANY, _two_clients),
    Fault("node killed", (Clustered,), _node_killed),
    Fault("node paused", (Clustered,), _node_paused),
)
"""All faults. A producer without a spool is not killed: nobody knows what it had not sent."""
