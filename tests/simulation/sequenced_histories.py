"""Run seeded histories of sequenced producers over two shards, or replay one (P12, P13).

    python tests/simulation/sequenced_histories.py --count 1000
    python tests/simulation/sequenced_histories.py --broken 'P13 greatest mark' --count 500
    python tests/simulation/sequenced_histories.py --replay 123

A campaign prints one JSON object: histories, actions, seconds, violations, what was covered.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from redis_model import Node
from sequenced_broken import AS_IT_IS, BROKEN
from sequenced_parts import BATCHES, SHARDS, WINDOW, Writer, subscription
from sequenced_world import SequencedWorld
from truth import SECOND_US, Violation

from rating_core.metering.sequencing import sequenced

MAX_NODES = 4
HEAL_ROUNDS = 400
_ALWAYS = (("hello", 6), ("send", 14), ("handle", 14), ("exec", 22), ("recv", 22), ("sync", 8))
_ALWAYS += (("reconnect", 8), ("boot", 6), ("timer", 6), ("mark", 6), ("replicate", 5))
_SOMETIMES = (("lose", 3), ("brk", 3), ("crash", 2), ("redis crash", 2), ("failover", 2))
_SOMETIMES += (("full", 4), ("takeover", 1), ("subscribe", 2), ("run", 16), ("drop dead", 1))


class History:
    """One history: its world, and its actions by name, each with one drawn number."""

    def __init__(self, seed, variant, coverage):
        self.rng = random.Random(seed)
        drawn = [action for action in _SOMETIMES if self.rng.random() < 0.55]
        self.names = [*_ALWAYS, *(variant.focus or drawn)]
        # A failover may lose a refusal that was told already, and its mended record stays: nobody
        # promises otherwise. So the two are not drawn together.
        late = 0 if any(name == "failover" for name, _ in self.names) else 0.15
        batches, record = {}, 0
        for number in range(1, BATCHES + 1):
            batches[number] = {}
            for shard in sorted(self.rng.sample(SHARDS, self.rng.choice((1, 1, 2)))):
                record += 1
                kind = "late" if self.rng.random() < late else "c"
                batches[number][shard] = (f"{kind}{shard}", record)
        self.records = record
        self.world = SequencedWorld({"batches": batches}, variant, coverage)
        self.actions = {name: getattr(self, "_" + name.replace(" ", "_")) for name, _ in self.names}

    def run(self):
        """Draw and do actions, then let everything heal; raise Violation."""
        names = [name for name, _ in self.names]
        weights = [weight for _, weight in self.names]
        done = 0
        for name in self.rng.choices(names, weights, k=2 * self.rng.randrange(20, 110)):
            done += self.do(name, self.rng.randrange(60))
        self.heal()
        return done

    def do(self, name, number):
        world = self.world
        world.step += 1
        if world.trace is not None:
            world.trace.append(f"{world.step:4d} {name} {number}")
        return bool(self.actions[name](number))

    # --- actions -------------------------------------------------------------------------------

    def _sides(self):
        world = self.world
        return [side for i in (0, 1) if not world.down[i] for side in world.servers[i]]

    def _hello(self, number):
        return self.world.hello(number // 2, number % 2)

    def _send(self, number):
        return self.world.send(number)

    def _handle(self, number):
        return self.world.handle(number)

    def _mark(self, number):
        return self.world.mark(number, everywhere=number % 2)

    def _exec(self, number):
        busy = [c for c in self.world.connections if c.requests and c.node.alive]
        if not busy:
            return False
        connection = busy[number % len(busy)]
        return self.world.redis[connection.server.shard].execute(connection, self.world.time)

    def _recv(self, number):
        ready = [s for s in self._sides() if s.connection and s.connection.replies]
        return bool(ready) and self._receive(ready[number % len(ready)])

    def _receive(self, side):
        reply, state = side.connection.replies[0]
        if side.connection.node.synced < state:
            return False
        side.connection.replies.pop(0)
        side.session.on_reply(reply)
        self.world._drain(side)
        return True

    def _sync(self, number):
        node = self.world.masters[number % 2]
        node.synced = len(node.history) - 1
        return True

    def _replicate(self, number):
        node = self.world.masters[number % 2]
        node.replicated = len(node.history) - 1
        return True

    def _timer(self, number):
        due = [(s, name) for s in self._sides() for name in sorted(s.timers)]
        if not due:
            return False
        side, name = due[number % len(due)]
        del side.timers[name]
        self.world.time += SECOND_US // 50
        side.session.on_timer(name)
        self.world._drain(side)
        return True

    def _reconnect(self, number):
        lost = [s for s in self._sides() if s.connection is None]
        if not lost:
            return False
        self.world._connect(lost[number % len(lost)])
        return True

    def _boot(self, number):
        index = number % 2
        if not self.world.down[index]:
            return False
        self.world._boot(index)
        return True

    def _lose(self, number):
        sides = self._sides()
        return bool(sides) and self.world.lose(sides[number % len(sides)])

    def _brk(self, number):
        streams = [w.stream for w in self.world.writers if w.stream and w.stream.open]
        if not streams:
            return False
        stream = streams[number % len(streams)]
        self.world.end(stream, "broken")
        if number % 3 == 0:
            stream.queue.clear()
        return True

    def _crash(self, number):
        return self.world.crash(number % 2)

    def _kill(self, node):
        for connection in list(self.world.connections):
            if connection.node is node:
                connection.requests, connection.replies = [], []
                if connection.open:
                    self.world.lose(connection.server)

    def _redis_crash(self, number):
        node = self.world.masters[number % 2]
        length = len(node.history) - 1
        kept = node.synced + number // 2 % (length - node.synced + 1)
        self.world.coverage["redis crashes that lose writes"] += kept < length
        node.history = node.history[: kept + 1]
        node.synced, node.replicated = kept, min(node.replicated, kept)
        node.turn = (b"", -1)
        self._kill(node)
        return True

    def _failover(self, number):
        world, shard = self.world, number % 2
        node = world.masters[shard]
        if sum(c.node.alive for c in world.connections) == 0:
            return False
        length = len(node.history) - 1
        kept = node.replicated + number // 2 % (length - node.replicated + 1)
        world.coverage["failovers that lose writes"] += kept < length
        world.failed_over = world.failed_over or kept < length
        world.epoch = 0 if kept < length else world.epoch
        world.masters[shard] = Node(node.history[: kept + 1])
        node.alive = False
        self._kill(node)
        return True

    def _takeover(self, number):
        if len(self.world.writers) > 1:
            return False
        self.world.writers.append(Writer(2))
        return True

    def _subscribe(self, number):
        world, index = self.world, number % 2
        if world.down[index]:
            return False
        missing = [s for s in SHARDS if not self._subscribed(s)]
        if not missing:
            world.subscribed = True
            return False
        for shard in missing:
            side = world.servers[index][shard]
            world.tickets += 1
            ticket = world.tickets
            side.tickets[ticket] = lambda _: None
            side.session.submit(ticket, subscription(f"late{shard}"))
            side.session.flush()
            world._drain(side)
        return True

    def _subscribed(self, shard):
        """Whether the shard's Redis holds the subscription for good."""
        node = self.world.masters[shard]
        stable = min(node.synced, node.replicated)
        text = f"subscribe-late{shard}".encode()
        return any(text in entry for _, _, entry in node.history[stable].log)

    def _full(self, number):
        """Memory runs out in one Redis, or is there again: a batch refused, its successor not."""
        node = self.world.masters[number % 2]
        node.full = not node.full
        return True

    def _drop_dead(self, number):
        dead = [c for c in self.world.connections if c.requests and not c.open]
        if not dead:
            return False
        dead[number % len(dead)].requests = []
        return True

    def _run(self, number):
        """All works undisturbed for a while."""
        for _ in range(1 + number % 8):
            self._settle()
            if number % 3 == 0:
                self._handle(number)
                self._send(number)
        return True

    def _settle(self):
        world = self.world
        for connection in list(world.connections):
            while connection.requests and connection.node.alive:
                world.redis[connection.server.shard].execute(connection, world.time)
        for node in world.masters:
            node.synced = len(node.history) - 1
        for side in self._sides():
            while side.connection and side.connection.replies:
                self._receive(side)

    # --- the end -------------------------------------------------------------------------------

    def heal(self):
        """Faults stop: the newest writer brings all to its end, and each record stands once."""
        world = self.world
        newest = len(world.writers) - 1
        quiet = 0
        for number in range(HEAL_ROUNDS):
            world.step += 1
            world.time += SECOND_US // 50
            for index in (0, 1):
                self._boot(index)
            while self._reconnect(0):
                pass
            for node in world.masters:
                node.replicated, node.full = len(node.history) - 1, False
            self._settle()
            for _ in range(6):
                self._timer(number)
            if not world.subscribed:
                self._subscribe(0)
            if not world.writers[newest].alive:
                raise Violation("STUCK: the newest writer is fenced")
            world.hello(newest, number // 40 % 2)
            while world.handle(0) or world.send(newest):
                pass
            stream = world.writers[newest].stream
            finished = stream.open and stream.real and stream.answered >= max(world.batches)
            finished = finished and not any(s.tickets for s in self._sides())
            quiet = quiet + 1 if finished else 0
            if finished and stream.real.durable == max(world.batches) and quiet > 3:
                break
            if finished:
                world.mark(newest)
        else:
            stuck = {n: dict(p) for n, p in world.batches.items()}
            raise Violation(f"STUCK: {stuck}, told {world.told}")
        self._check()

    def _check(self):
        counted = Counter()
        for shard in SHARDS:
            counted.update(self.world.counted(shard).keys())
        for record in range(1, self.records + 1):
            if counted[record] != 1:
                kind = "LOST" if not counted[record] else "DOUBLE"
                raise Violation(f"{kind}: record {record} is counted {counted[record]} times")


def run(variant, first, count, stop_after, trace=False):
    """Run seeds first … first + count − 1; return the result as JSON values."""
    sequenced.SEQUENCES_MAX = WINDOW
    coverage, violations = Counter(), {}
    began, actions, histories, lines = time.monotonic(), 0, 0, None
    for seed in range(first, first + count):
        history = History(seed, variant, coverage)
        histories += 1
        if trace:
            history.world.trace = lines = []
        try:
            actions += history.run()
        except Violation as violation:
            violations[seed] = str(violation)
            if len(violations) >= stop_after:
                break
    result = {
        "subject": "sequenced",
        "histories": histories,
        "actions": actions,
        "seconds": round(time.monotonic() - began, 1),
        "violations": violations,
        "coverage": dict(sorted(coverage.items())),
    }
    return result, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broken", choices=sorted(BROKEN))
    parser.add_argument("--every-broken", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--stop-after", type=int, default=1)
    parser.add_argument("--replay", type=int, metavar="SEED")
    options = parser.parse_args()
    if options.every_broken:
        found = {
            name: run(copy, options.first, options.count, 1)[0]["violations"]
            for name, copy in BROKEN.items()
        }
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return 0 if all(found.values()) else 1
    variant = BROKEN[options.broken] if options.broken else AS_IT_IS
    if options.replay is not None:
        result, lines = run(variant, options.replay, 1, 1, trace=True)
        sys.stdout.write("\n".join([*lines, str(result["violations"])]) + "\n")
        return 0
    result, _ = run(variant, options.first, options.count, options.stop_after)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
