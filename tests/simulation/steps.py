"""The single steps of a history: what each does to the world, False if it cannot happen now."""

from __future__ import annotations

import contracts
from redis_model import Node
from truth import DAY_US, SECOND_US

TICKS = (SECOND_US // 1000, SECOND_US // 50, SECOND_US, DAY_US, 2 * DAY_US, 4 * DAY_US)
SKEWS = (0, SECOND_US, -SECOND_US, 20 * DAY_US, -20 * DAY_US)
MAX_NODES = 4


def send(world, client, first, count, server):
    todo = world.todo[client]
    if not todo:
        return False
    places = sorted(todo)
    count = (1, 2, len(places))[count]
    chosen = [places[(first + i) % len(places)] for i in range(min(count, len(places)))]
    call = world._new_call(client, tuple(todo[place] for place in chosen), None)
    world.network.append(("call", call, server))
    return True


def control(world, op, customer, request_id, server):
    call = world._new_call("admin", (), (op, customer, request_id))
    world.network.append(("call", call, server))
    return True


def recount(world, which, stale, server):
    """Who was refused a change reads the log, maybe that of a node that is no master any more."""
    if not world.recounts:
        return False
    refused, answer = world.recounts.pop(which % len(world.recounts))
    alive = [node for node in world.nodes if node.alive]
    node = alive[0] if stale and alive else world.master
    call = world._new_call("admin", (), refused.control)
    call.recount = contracts.read_log(answer, node.history[-1], world.subject.reading_class)
    world.coverage["recounts read"] += 1
    world.coverage["recounts of another log"] += call.recount[1] is None
    world.network.append(("call", call, server))
    return True


def ask(world, customer, server):
    if world.servers[server].session is None:
        return False
    call = world._new_call("reader", (), ("ask", customer, ""))
    world._deliver(call, world.servers[server])
    return True


def net(world, which):
    if not world.network:
        return False
    kind, call, other = world.network.pop(which % len(world.network))
    if kind == "call":
        world._deliver(call, world.servers[other])
    else:
        world._client_gets(call, other)
    return True


def lose(world, which):
    if not world.network:
        return False
    kind, call, _ = world.network.pop(which % len(world.network))
    if kind == "call":
        call.open = False
    world.coverage["messages lost"] += 1
    return True


def flush(world, index):
    server = world.servers[index]
    if server.session is None:
        return False
    if not server.session._questions and not len(server.session._queue):
        return False
    flight = server.session.in_flight
    server.session.flush()
    changed = bool(server.session._commands)
    if server.session.in_flight > flight:
        world.coverage[f"decided with {flight} in flight"] += 1
    world._drain(server)
    return changed


def execute(world, which):
    busy = [c for c in world.connections if c.requests and c.node.alive]
    return bool(busy) and world._execute(busy[which % len(busy)])


def recv(world, index):
    connection = world.servers[index].connection
    return bool(connection and connection.replies) and world._receive(world.servers[index])


def sync(world, which):
    node = world.nodes[which % len(world.nodes)]
    if node.synced == len(node.history) - 1:
        return False
    node.synced = len(node.history) - 1
    return True


def replicate(world, steps):
    node = world.master
    behind = len(node.history) - 1 - node.replicated
    if not behind:
        return False
    node.replicated += 1 + steps % behind
    return True


def tick(world, which):
    world.time += TICKS[which]
    return True


def lose_connection(world, index):
    server = world.servers[index]
    if server.connection is None:
        return False
    world._lose(server)
    return True


def reconnect(world, index):
    server = world.servers[index]
    if server.session is None or server.connection is not None:
        return False
    world._connect(server)
    return True


def crash(world, index):
    server = world.servers[index]
    if server.session is None:
        return False
    world.coverage["server crashes"] += 1
    world.coverage["server crashes with entries in flight"] += bool(server.session.in_flight)
    return close(world, server)


def close(world, server):
    """Take a server's session away; requests that it has sent may still be executed."""
    if server.connection:
        server.connection.open = False
        server.connection.replies = []
        server.connection = None
    for call in server.calls.values():
        call.open = False
    server.session = None
    server.archiver.drop()
    return True


def boot(world, index):
    server = world.servers[index]
    if server.session is not None:
        return False
    server.skew = 0
    world._start(server)
    return True


def leave(world, index):
    """Another server has the shard now: this one closes its session when nobody waits for it."""
    server = world.servers[index]
    if server.session is None or server.calls or server.session.in_flight:
        return False
    world.coverage["sessions closed"] += 1
    return close(world, server)


def timer(world, index, which):
    server = world.servers[index]
    if server.session is None or not server.timers:
        return False
    names = sorted(server.timers)
    name = names[which % len(names)]
    del server.timers[name]
    server.session.on_timer(name)
    world._drain(server)
    return True


def skew(world, index, which):
    world.servers[index].skew = SKEWS[which]
    return True


def redis_crash(world, keep):
    node = world.master
    length = len(node.history) - 1
    kept = node.synced + keep % (length - node.synced + 1)
    world.coverage["redis crashes"] += 1
    world.coverage["redis crashes that lose writes"] += kept < length
    node.history = node.history[: kept + 1]
    node.synced = kept
    node.replicated = min(node.replicated, kept)
    node.turn = (b"", -1)
    world._kill_connections(node)
    return True


def failover(world, keep, isolate):
    if len(world.nodes) >= MAX_NODES:
        return False
    node = world.master
    length = len(node.history) - 1
    kept = node.replicated + keep % (length - node.replicated + 1)
    world.master = Node(node.history[: kept + 1])
    world.nodes.append(world.master)
    world.era += 1
    if not world.replicated:
        world.grants_answered = min(world.grants_answered, world.head_truth().grants)
    world.coverage["failovers"] += 1
    world.coverage["failovers that lose writes"] += kept < length
    if isolate:
        node.isolated = True
        world.coverage["split brains"] += 1
    else:
        node.alive = False
        world._kill_connections(node)
    return True


def end_split(world):
    for node in world.nodes:
        if node.isolated and node.alive:
            node.alive = False
            world._kill_connections(node)
            return True
    return False


def drop_dead_requests(world, which):
    dead = [c for c in world.connections if c.requests and not c.open]
    if not dead:
        return False
    dead[which % len(dead)].requests = []
    return True


def full(world, on):
    if world.master.full == bool(on):
        return False
    world.master.full = bool(on)
    return True


def rot(world):
    """All snapshots become unreadable; rounds under way, which count on them, are given up."""
    snapshots = world.archive.snapshots
    if not snapshots or any(server.archiver.asked for server in world.servers):
        return False
    for server in world.servers:
        server.archiver.drop()
    snapshots.update(dict.fromkeys(snapshots))
    world.coverage["snapshots rotten"] += 1
    return True


def spoil(world):
    """Segments whose entries the logs still hold are damaged; or the operator mends them all."""
    archive = world.archive
    if any(server.archiver.asked for server in world.servers):
        return False
    least = max(node.history[-1].first for node in world.nodes)
    held = {name: entries for name, entries in archive.segments.items() if name.first >= least}
    if not held and not archive.spoiled:
        return False
    for server in world.servers:
        server.archiver.drop()
    if archive.spoiled:
        archive.segments |= archive.spoiled
        archive.spoiled = {}
        world.coverage["segments mended"] += 1
    else:
        archive.spoiled = held
        archive.segments |= dict.fromkeys(held, ())
        world.coverage["segments spoiled"] += 1
    return True
