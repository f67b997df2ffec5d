"""The actions of a history, how they are drawn, and the healing at its end."""

from __future__ import annotations

from bisect import bisect

from redis_model import Node
from world import DAY_US, MAX_NODES, SECOND_US, START_US, WINDOW_US, Violation

TICKS = (SECOND_US // 1000, SECOND_US // 50, SECOND_US, DAY_US, 2 * DAY_US, 4 * DAY_US)
SKEWS = (0, SECOND_US, -SECOND_US, 20 * DAY_US, -20 * DAY_US)
HEAL_ROUNDS = 1500


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


def _send(world, client, first, count, server):
    todo = world.todo[client]
    if not todo:
        return False
    places = sorted(todo)
    count = (1, 2, len(places))[count]
    chosen = [places[(first + i) % len(places)] for i in range(min(count, len(places)))]
    call = world._new_call(client, tuple(todo[place] for place in chosen), None)
    world.network.append(("call", call, server))
    return True


def _control(world, op, customer, request_id, server):
    call = world._new_call("admin", (), (op, customer, request_id))
    world.network.append(("call", call, server))
    return True


def _ask(world, customer, server):
    if world.servers[server].session is None:
        return False
    call = world._new_call("reader", (), ("ask", customer, ""))
    world._deliver(call, world.servers[server])
    return True


def _net(world, which):
    if not world.network:
        return False
    kind, call, other = world.network.pop(which % len(world.network))
    if kind == "call":
        world._deliver(call, world.servers[other])
    else:
        world._client_gets(call, other)
    return True


def _lose(world, which):
    if not world.network:
        return False
    kind, call, _ = world.network.pop(which % len(world.network))
    if kind == "call":
        call.open = False
    world.coverage["messages lost"] += 1
    return True


def _flush(world, index):
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


def _burst(world, index, first):
    """Both clients call one server at once, and an admin too; it decides after each arrival."""
    server = world.servers[index]
    if server.session is None:
        return False
    for step in range(3):
        client = (first + step) % 2
        _send(world, client, first + step, step % 2, index)
        if first % 5 == step:
            _control(world, *CONTROLS[first % len(CONTROLS)], index)
        while world.network and world.network[-1][0] == "call":
            world._deliver(world.network.pop()[1], server)
            _flush(world, index)
    return True


def _exec(world, which):
    busy = [c for c in world.connections if c.requests and c.node.alive]
    return bool(busy) and world._execute(busy[which % len(busy)])


def _recv(world, index):
    connection = world.servers[index].connection
    return bool(connection and connection.replies) and world._receive(world.servers[index])


def _sync(world, which):
    node = world.nodes[which % len(world.nodes)]
    if node.synced == len(node.history) - 1:
        return False
    node.synced = len(node.history) - 1
    return True


def _replicate(world, steps):
    node = world.master
    behind = len(node.history) - 1 - node.replicated
    if not behind:
        return False
    node.replicated += 1 + steps % behind
    return True


def _tick(world, which):
    world.time += TICKS[which]
    return True


def _break(world, index):
    server = world.servers[index]
    if server.connection is None:
        return False
    world._lose(server)
    return True


def _reconnect(world, index):
    server = world.servers[index]
    if server.session is None or server.connection is not None:
        return False
    world._connect(server)
    return True


def _crash(world, index):
    server = world.servers[index]
    if server.session is None:
        return False
    world.coverage["server crashes"] += 1
    world.coverage["server crashes with entries in flight"] += bool(server.session.in_flight)
    if server.connection:
        server.connection.open = False
        server.connection.replies = []
        server.connection = None
    for call in server.calls.values():
        call.open = False
    server.session = None
    return True


def _boot(world, index):
    server = world.servers[index]
    if server.session is not None:
        return False
    server.skew = 0
    world._start(server)
    return True


def _timer(world, index, which):
    server = world.servers[index]
    if server.session is None or not server.timers:
        return False
    names = sorted(server.timers)
    name = names[which % len(names)]
    del server.timers[name]
    server.session.on_timer(name)
    world._drain(server)
    return True


def _skew(world, index, which):
    world.servers[index].skew = SKEWS[which]
    return True


def _redis_crash(world, keep):
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


def _failover(world, keep, isolate):
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


def _end_split(world):
    for node in world.nodes:
        if node.isolated and node.alive:
            node.alive = False
            world._kill_connections(node)
            return True
    return False


def _drop_dead_requests(world, which):
    dead = [c for c in world.connections if c.requests and not c.open]
    if not dead:
        return False
    dead[which % len(dead)].requests = []
    return True


def _full(world, on):
    if world.master.full == bool(on):
        return False
    world.master.full = bool(on)
    return True


def _run(world, index, rounds):
    """One server and Redis work undisturbed for a while; its due timers may run."""
    server = world.servers[index]
    worked = False
    for i in range(1 + rounds):
        if server.session is None or server.connection is None:
            break
        connection = server.connection
        worked |= _flush(world, index)
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
    _send(world, which % 2, which, 0, index)
    while world.network and world.network[-1][0] == "call":
        world._deliver(world.network.pop()[1], server)
        _flush(world, index)
    _break(world, index)
    _tick(world, which % len(TICKS))
    _reconnect(world, index)
    _run(world, index, 7)
    return True


def _look(world):
    if not world.head().hashes:
        return False
    world.check_hashes()
    return True


_ACTIONS = {
    "send": _send,
    "control": _control,
    "ask": _ask,
    "net": _net,
    "lose": _lose,
    "flush": _flush,
    "burst": _burst,
    "exec": _exec,
    "recv": _recv,
    "sync": _sync,
    "replicate": _replicate,
    "tick": _tick,
    "break": _break,
    "reconnect": _reconnect,
    "crash": _crash,
    "boot": _boot,
    "timer": _timer,
    "skew": _skew,
    "redis crash": _redis_crash,
    "failover": _failover,
    "end split": _end_split,
    "drop dead": _drop_dead_requests,
    "full": _full,
    "run": _run,
    "stall": _stall,
    "look": _look,
}

_ALWAYS = (("send", 10), ("net", 22), ("exec", 22), ("recv", 22), ("flush", 14), ("sync", 8))
_ALWAYS += (("timer", 6), ("reconnect", 10), ("boot", 6), ("replicate", 8))
_SOMETIMES = (
    ("lose", 4),
    ("drop dead", 1),
    ("tick", 4),
    ("redis crash", 2),
    ("failover", 2),
    ("end split", 1),
    ("break", 5),
    ("crash", 3),
    ("skew", 2),
    ("ask", 5),
    ("control", 4),
    ("look", 3),
    ("full", 2),
    ("run", 14),
    ("burst", 6),
    ("stall", 2),
)


def draw_config(rng, focus=None):
    """Draw what is fixed for one history; ``focus`` (name → weight) replaces what is drawn."""
    on = [name for name, _ in _SOMETIMES if rng.random() < 0.55]
    return {
        "level": rng.choice(("durable", "durable", "replicated")),
        "same": rng.random() < 0.6,
        "page": rng.choice((1, 2, 3, 64)),
        "eager": rng.random() < 0.6,
        "recover": rng.random() < 0.25,
        "on": on if focus is None else list(focus),
        "weights": focus or {},
    }


def draw_weights(config):
    """Return names and cumulative weights of the actions that are on."""
    chosen = [*_ALWAYS, *((name, w) for name, w in _SOMETIMES if name in config["on"])]
    total, cumulative = 0, []
    for name, weight in chosen:
        total += config["weights"].get(name, weight)
        cumulative.append(total)
    return [name for name, _ in chosen], cumulative


def draw_action(rng, names, cumulative):
    """Draw one action with all its arguments."""
    name = names[bisect(cumulative, rng.random() * cumulative[-1])]

    def below(limit):
        return int(rng.random() * limit)

    if name == "send":
        return (name, below(2), below(4), below(2), below(2))
    if name in ("net", "lose", "exec", "sync", "replicate", "drop dead", "redis crash"):
        return (name, below(60))
    if name == "tick":
        return (name, below(len(TICKS)))
    if name == "failover":
        return (name, below(60), below(2))
    if name == "run":
        return (name, below(2), 1 + below(8))
    if name == "skew":
        return (name, below(2), below(len(SKEWS)))
    if name == "ask":
        return (name, "ab"[below(2)], below(2))
    if name == "control":
        return (name, *CONTROLS[below(len(CONTROLS))], below(2))
    if name in ("burst", "stall"):
        return (name, below(2), below(12))
    if name == "timer":
        return (name, below(2), below(4))
    if name == "full":
        return (name, below(2))
    if name in ("end split", "look"):
        return (name,)
    return (name, below(2))


def _settle_once(world, rng):
    """Let everything that can move without a fault move once; True if nothing did."""
    idle = True
    master = world.master
    for connection in world.connections:
        while connection.requests and connection.node.alive:
            master.replicated = len(master.history) - 1
            if not world._execute(connection):
                break
            idle = False
            if rng.random() < 0.5:
                break
    master.synced = master.replicated = len(master.history) - 1
    for server in world.servers:
        if act(world, ("boot", server.index)) or act(world, ("reconnect", server.index)):
            idle = False
        while server.connection and server.connection.replies:
            idle = False
            if not world._receive(server):
                break
        if act(world, ("flush", server.index)):
            idle = False
        idle = idle and not (server.connection and server.connection.requests)
    while world.network:
        act(world, ("net", rng.randrange(99)))
        idle = False
    if idle or rng.random() < 0.2:
        for server in world.servers:
            for place in reversed(range(len(server.timers))):
                act(world, ("timer", server.index, place))
    return idle


def heal(world, rng):
    """Faults stop. Every server, call and record must come to its end (nobody is stuck)."""
    master = world.master
    for node in world.nodes:
        node.full = False
        if node is not master and node.alive:
            node.alive = False
            world._kill_connections(node)
    for server in world.servers:
        server.skew = 0
    world.time = max(world.time, START_US + 2 * DAY_US)  # nothing is in the future any more
    for _ in range(HEAL_ROUNDS):
        if not _settle_once(world, rng):
            world.time += SECOND_US // 500
            continue
        if any(server.calls for server in world.servers):
            world.time += SECOND_US // 500
            continue
        waiting = [client for client in (0, 1) if world.todo[client]]
        if not waiting:
            return
        if "b" not in world.head_truth().subscribed:
            act(world, ("control", "subscribe", "b", "subscribe-b", rng.randrange(2)))
            continue
        for client in waiting:
            act(world, ("send", client, rng.randrange(9), 2, rng.randrange(2)))
        world.time += SECOND_US
    stuck = [call.number for server in world.servers for call in server.calls.values()]
    raise Violation(f"STUCK: records {world.todo}, calls {stuck}")


def finish(world, rng):
    """Heal, and hold the end of the history against everything that was promised."""
    heal(world, rng)
    head = world.head_truth()
    for record, era in world.acknowledged:
        if world.replicated or era == world.era:
            here = head.ids.get(record[0])
            if not here or here[0] != record:
                raise Violation(f"LOST: {record[0]} was acknowledged and is not in the log")
    for record, status, call, current, time in world.rejected:
        here = head.ids.get(record[0])
        if here and status == "TOO_OLD" and time > here[1] + WINDOW_US + DAY_US - SECOND_US * 5:
            continue  # it came back after its id was forgotten (S7.1)
        acknowledged = any(known[0] == record for known in world.acknowledged)
        if here and here[0] == record and current and not acknowledged:
            if _open(world, call, record):
                continue
            raise Violation(f"REJECTED: {status} for {record[0]}, which was counted after all")
    world.check_hashes()
    if world.config["recover"]:
        _check_recovery(world, rng)


def _open(world, call, record):
    """Whether another attempt of a record was open beside this call (S7.3)."""
    return any(
        other is not call
        and (other.open or other.ended is None or other.ended > call.began)
        and any(other_record[0] == record[0] for other_record in other.records)
        for other in world.calls
    )


def _check_recovery(world, rng):
    """Both servers start anew from the log, fold everything, and read what the log says."""
    for server in world.servers:
        act(world, ("crash", server.index))
    for customer in "ab":
        for index in (0, 1):
            act(world, ("boot", index))
            act(world, ("ask", customer, index))
    for _ in range(60):
        settled = _settle_once(world, rng) and not any(s.calls for s in world.servers)
        if settled and world.head().mark >= _last_change(world):
            break
    else:
        raise Violation("STUCK: reads or folds do not end after recovery")
    world.check_hashes()
    for (key, field), value in world.head_truth().fields.items():
        if world.head().hashes[key][1][field] != value:
            raise Violation(f"FOLD: {key} {field} is not the fold of the whole log")


def _last_change(world):
    """The version of the last entry that changed a counter."""
    token = world.head().token
    fields = world.truth[token].fields
    while token in world.parents and world.truth[world.parents[token]].fields == fields:
        token = world.parents[token]
    return world.versions[token] if fields else 0


assert START_US > WINDOW_US
