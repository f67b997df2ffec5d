"""The actions of a history: single steps, and some that are many of them in a row."""

from __future__ import annotations

import contracts
import steps
from steps import MAX_NODES, TICKS

from rating_core.metering.log.archiver import WriteSegment
from rating_core.metering.log.protocol import FoldRead, Trim

CONTROLS = (
    ("subscribe", "b", "subscribe-b"),
    ("subscribe", "b", "subscribe-b"),
    ("close", "a", "close-a"),
    ("grant", "a", ""),
    ("grant", "a", "grant-1"),
)


def act(world, action):
    """Carry out one action; False if it cannot happen now (then nothing has changed)."""
    world.step += 1
    if world.trace is not None:
        world.trace.append(f"{world.step:4d} {action}")
        size = len(world.trace)
        if not _ACTIONS[action[0]](world, *action[1:]):
            del world.trace[size - 1 :]
            return False
        return True
    return _ACTIONS[action[0]](world, *action[1:])


def _burst(world, index, first):
    """Both clients call one server at once, and an admin too; it decides after each arrival."""
    server = world.servers[index]
    if server.session is None:
        return False
    for step in range(3):
        client = (first + step) % 2
        steps.send(world, client, first + step, step % 2, index)
        if first % 5 == step:
            steps.control(world, *CONTROLS[first % len(CONTROLS)], index)
        while world.network and world.network[-1][0] == "call":
            world._deliver(world.network.pop()[1], server)
            steps.flush(world, index)
    return True


def _run(world, index, rounds):
    """One server and Redis work undisturbed for a while; its due timers may run."""
    server = world.servers[index]
    worked = False
    for i in range(1 + rounds):
        if server.session is None or server.connection is None:
            break
        connection = server.connection
        worked |= steps.flush(world, index)
        node = connection.node
        if rounds % 2 and not node.isolated:
            node.replicated = len(node.history) - 1
        while connection.requests and node.alive and world._execute(connection):
            worked = True
            if i % 2:
                break
        node.synced = len(node.history) - 1
        if connection.replies:
            worked |= world._receive(server)
    return worked


def _stall(world, index, which):
    """A call is decided, its commit hangs in a lost connection, and a new one works meanwhile."""
    server = world.servers[index]
    if server.session is None or server.connection is None or not server.session.ready:
        return False
    steps.send(world, which % 2, which, 0, index)
    while world.network and world.network[-1][0] == "call":
        world._deliver(world.network.pop()[1], server)
        steps.flush(world, index)
    steps.lose_connection(world, index)
    steps.tick(world, which % len(TICKS))
    steps.reconnect(world, index)
    _run(world, index, 7)
    return True


def _archive(world, index, kept, steps):
    """An archiver goes on for some steps; anything may happen before its next."""
    server = world.servers[index]
    if server.session is None:
        return False
    worked = False
    for _ in range(1 + steps):
        if not server.archiver.step(kept):
            break
        worked = True
    return worked


def _fork(world, index, which, keep):
    """A round is about to write, to look for F or to trim when a failover begins another history.

    The other server writes there, and may archive, before the round goes on with the old one's
    steps.
    """
    server, goal = world.servers[index], (WriteSegment, FoldRead, Trim)[which % 3]
    if server.session is None or len(world.nodes) >= MAX_NODES:
        return False
    _work(world, index, which, 6)  # an even number leaves the replicas behind
    for _ in range(30):
        if type(server.archiver.command) is goal:
            break
        if not server.archiver.step(0):
            _run(world, index, 6)
    steps.failover(world, keep, 0)
    other = 1 - index
    _work(world, other, which + 1, 7)
    for _ in range(12 if goal is WriteSegment or which >= 9 else 0):
        if not _archive(world, other, 0, 3):
            _run(world, other, 7)
    _work(world, index, which, 7)
    for _ in range(4):
        _archive(world, index, 0, 4)
        _run(world, index, 7)
    world.coverage["forks"] += 1
    return True


def _work(world, index, which, rounds):
    """A server takes calls, commits and folds until it has nothing left to do."""
    steps.reconnect(world, index)
    _burst(world, index, which)
    for _ in range(3):
        _run(world, index, rounds)
        for _ in range(len(world.servers[index].timers)):
            steps.timer(world, index, 0)


def _look(world):
    if not world.head().hashes:
        return False
    world.check_hashes()
    return True


def _contract(world, which, index):
    return steps.control(world, *contracts.CONTROLS[which % len(contracts.CONTROLS)], index)


_ACTIONS = {
    "send": steps.send,
    "control": steps.control,
    "contract": _contract,
    "recount": steps.recount,
    "ask": steps.ask,
    "net": steps.net,
    "lose": steps.lose,
    "flush": steps.flush,
    "burst": _burst,
    "exec": steps.execute,
    "recv": steps.recv,
    "sync": steps.sync,
    "replicate": steps.replicate,
    "tick": steps.tick,
    "break": steps.lose_connection,
    "reconnect": steps.reconnect,
    "crash": steps.crash,
    "boot": steps.boot,
    "leave": steps.leave,
    "timer": steps.timer,
    "skew": steps.skew,
    "redis crash": steps.redis_crash,
    "failover": steps.failover,
    "end split": steps.end_split,
    "drop dead": steps.drop_dead_requests,
    "full": steps.full,
    "run": _run,
    "stall": _stall,
    "look": _look,
    "archive": _archive,
    "fork": _fork,
    "rot": steps.rot,
    "spoil": steps.spoil,
}
