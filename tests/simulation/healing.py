"""The end of a history: faults stop, everything comes to its end, every promise is looked at."""

from __future__ import annotations

from actions import act
from truth import DAY_US, SECOND_US, START_US, WINDOW_US, Violation

HEAL_ROUNDS = 1500


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
        while server.session and server.archiver.round and server.archiver.step(0):
            idle = False  # a round that began comes to its end
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
        if act(world, ("recount", 0, False, rng.randrange(2))):
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
    world.check_losses_noticed()
    if world.subject.changing:
        world.subject.check(world)
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
