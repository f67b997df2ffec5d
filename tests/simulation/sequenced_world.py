"""Sequenced producers over two shards, two servers and two incarnations of the producer (P12, P13).

The shards' machines, their sessions and the servers' streams are the real code; played here are the
network, two Redis (redis_model.py) and a producer that keeps every batch it ever numbered. A record
that is refused for want of a subscription comes again, mended, in a batch of its own.

The truth: `appended` folds every chain of entries in plain Python. In the end each record stands
exactly once in what the two Redis hold.
"""

from __future__ import annotations

from collections import Counter

from redis_model import Connection, Node, RedisModel, State
from sequenced_parts import (
    BATCHES,
    DUPLICATE,
    METERS,
    PRODUCER,
    REJECTED,
    SHARDS,
    WINDOW,
    Side,
    Stream,
    Writer,
    batch_of,
    decode_once,
    subscription,
)
from truth import START_US, Violation

from rating_core.metering.batch import RecordStatus
from rating_core.metering.deciding.records_entry import RecordsEntry
from rating_core.metering.log.entry import decode_envelope, encode_envelope
from rating_core.metering.log.protocol import AckLevel, Answer, Reconnect, SetTimer, chain_token
from rating_core.metering.sequencing import sequenced
from rating_core.metering.sequencing.producers import ProducerEntry
from rating_core.metering.shard import UsageShard


class SequencedWorld:
    """One simulated installation. ``variant``: a `Variant` of sequenced_broken.py."""

    def __init__(self, config, variant, coverage=None):
        self.config = config
        self.variant = variant
        self.coverage = Counter() if coverage is None else coverage
        self.time = START_US
        self.trace = None
        self.step = 0
        self.truth = [{bytes(16): {}} for _ in SHARDS]
        self.epoch = 0
        self.redis = [self._redis(shard) for shard in SHARDS]
        self.masters = []
        self.connections = []
        for shard in SHARDS:
            self.masters.append(Node([self._seeded(shard)]))
        self.servers = [[Side(shard) for shard in SHARDS] for _ in (0, 1)]
        self.boots = self.tickets = 0
        self.down = [False, False]
        for index in (0, 1):
            self._boot(index)
        self.writers = [Writer(1)]
        self.batches = dict(config["batches"])
        self.told = {}
        self.taken = 0
        self.mended = set()
        self.subscribed = False
        self.failed_over = False

    def say(self, *words):
        if self.trace is not None:
            self.trace.append(f"{self.step:4d} " + " ".join(str(word) for word in words))

    # --- Redis ---------------------------------------------------------------------------------

    def _redis(self, shard):
        def appended(node, previous, token, entry):
            self._appended(shard, previous, token, entry, node)

        return RedisModel(appended, None, None, self.coverage)

    def _seeded(self, shard):
        machine = UsageShard(bytes(16), METERS.get)
        body = machine.decide([subscription(f"c{shard}")], START_US).body
        entry = encode_envelope(bytes(16), 1, START_US, body)
        token = chain_token(bytes(16), entry)
        self._appended(shard, bytes(16), token, entry)
        state = State()
        state.log = ((token, bytes(16), entry),)
        state.version, state.token, state.now = 1, token, START_US
        return state

    def _appended(self, shard, previous, token, entry, node=None):
        """See an append: no record is counted twice on any chain (DOUBLE)."""
        before = self.truth[shard][previous]
        body = decode_once(decode_envelope(entry).body)
        counted = body.words[0].tolist() if isinstance(body, RecordsEntry) else []
        self.truth[shard][token] = {**before, **dict.fromkeys(counted, True)}
        facts = ()
        if isinstance(body, RecordsEntry | ProducerEntry):
            facts = body.producers if isinstance(body, RecordsEntry) else body.facts
        self.say("  appended to", shard, "records", counted, facts)
        oldest = min((fact.epoch for fact in facts), default=self.epoch)
        if node is not None and node is self.masters[shard] and oldest < self.epoch:
            raise Violation(f"FENCE: epoch {oldest} wrote after {self.epoch} was told")
        double = [record for record in counted if record in before]
        if double:
            raise Violation(f"DOUBLE: records {double} are counted twice in shard {shard}")

    def counted(self, shard):
        """Return the records that the shard's Redis holds now."""
        return self.truth[shard][self.masters[shard].history[-1].token]

    # --- servers -------------------------------------------------------------------------------

    def _boot(self, index):
        self.down[index] = False
        for side in self.servers[index]:
            self.boots += 1
            boot = bytes([index + 1, self.boots % 256, self.boots // 256]) + bytes(13)
            machine = UsageShard(bytes(16), METERS.get)
            machine.sequenced_decision = self.variant.decision
            side.session = self.variant.session(machine, boot, AckLevel.DURABLE, lambda: self.time)
            side.session.eager = True
            side.session.coverage = self.coverage
            side.tickets, side.timers = {}, {}
            self._connect(side)

    def _connect(self, side):
        side.connection = Connection(self.masters[side.shard], side)
        self.connections.append(side.connection)
        side.session.on_connected()
        self._drain(side)

    def _drain(self, side):
        session = side.session
        commands = session.take_commands()
        if commands:
            side.connection.requests += commands
        for effect in session.take_effects():
            kind = type(effect)
            if kind is SetTimer:
                side.timers[effect.name] = True
            elif kind is Reconnect:
                raise Violation(f"SESSION: {effect.reason}")
            elif hasattr(effect, "ticket"):
                heard = side.tickets.pop(effect.ticket)
                heard(effect.answer if kind is Answer else None)

    def lose(self, side):
        """The connection of a session is gone; what it had sent may still arrive."""
        if side.connection is None:
            return False
        side.connection.open = False
        side.connection.replies = []
        side.connection = None
        side.session.on_lost()
        self._drain(side)
        return True

    def crash(self, index):
        """A server dies with its streams."""
        if self.down[index]:
            return False
        self.down[index] = True
        self.coverage["server crashes"] += 1
        for side in self.servers[index]:
            if side.connection is not None:
                side.connection.open = False
                side.connection.replies = []
                side.connection = None
            side.session, side.tickets, side.timers = None, {}, {}
        for writer in self.writers:
            if writer.stream is not None and writer.stream.server == index:
                self.end(writer.stream, "the server crashed")
                writer.stream.queue.clear()
        return True

    def _submit(self, stream, shard, call, heard, *, question=False):
        side = self.servers[stream.server][shard]
        self.tickets += 1
        ticket = self.tickets
        side.tickets[ticket] = heard
        if question:
            side.session.ask(ticket, call)
        else:
            side.session.submit(ticket, call)
        side.session.flush()
        self._drain(side)

    # --- streams, the server's end -------------------------------------------------------------

    def end(self, stream, why):
        """A stream ends, whoever ends it: answers to it go nowhere."""
        if stream.open:
            self.say("  the stream of epoch", stream.epoch, "ends:", why)
            stream.open = False

    def hello(self, which, index):
        """A writer opens a stream at a server: the handshake begins."""
        writer = self.writers[which % len(self.writers)]
        if not writer.alive or self.down[index]:
            return False
        if writer.stream is not None and writer.stream.open:
            return False
        opening = self.variant.opening(PRODUCER, writer.epoch, start_anew=False)
        stream = Stream(which % len(self.writers), index, writer.epoch, opening)
        writer.stream = stream
        self.variant.handshake(self, stream)
        return True

    def round(self, stream, calls, then, *, question=False):
        """Ask both shards, and go on when both have answered without an error."""
        answers = {}

        def heard(shard, answer):
            if not stream.open:
                return
            if answer is None or getattr(answer, "error", ""):
                self._failed(stream, answer)
                return
            answers[shard] = answer
            if len(answers) == len(SHARDS):
                then([answers[shard] for shard in SHARDS])

        for shard in SHARDS:
            self._submit(
                stream,
                shard,
                calls,
                lambda answer, shard=shard: heard(shard, answer),
                question=question,
            )

    def opened(self, stream, states):
        """The handshake is complete: the writer learns what is durable."""
        error = stream.opening.error(states)
        if error:
            self._refused(stream, error)
            return
        stream.real = self.variant.stream(PRODUCER, stream.epoch, [s.mark for s in states])
        stream.sent = stream.answered = stream.real.durable
        self.say("  handshake: durable is", stream.real.durable)
        self.coverage["handshakes"] += 1
        if not self.failed_over:
            self.epoch = max(self.epoch, stream.epoch)
        self.coverage["handshakes above 0"] += stream.real.durable > 0

    def _failed(self, stream, answer):
        if answer is None:
            self.end(stream, "a shard did not answer")
        else:
            self._refused(stream, answer.error)

    def _refused(self, stream, error):
        self.coverage[error] += 1
        if error == sequenced.FENCED:
            self.writers[stream.writer].alive = False
        elif error != sequenced.LOST:
            raise Violation(f"ERROR: {error} for a producer that keeps its duties")
        self.end(stream, error)

    def handle(self, which):
        """A server takes the oldest request of a stream, and calls the shards it touches."""
        streams = [w.stream for w in self.writers if w.stream is not None and w.stream.queue]
        if not streams:
            return False
        stream = streams[which % len(streams)]
        sequence, taken = stream.queue.pop(0)
        if self.down[stream.server]:
            return True
        real, parts = stream.real, self.batches[sequence]
        if real.admit(sequence):
            raise Violation(f"GAP: batch {sequence} came before {real.expected}")
        real.taken(taken)
        real.begin(sequence, list(parts))
        stream.waiting[sequence] = {}
        for shard, (customer, record) in parts.items():
            call = self.variant.call(
                real, shard, sequence, 7 * sequence + 1, batch_of(customer, record)
            )
            self._submit(
                stream,
                shard,
                call,
                lambda answer, shard=shard: self._heard(stream, shard, sequence, answer),
            )
        return True

    def _heard(self, stream, shard, sequence, answer):
        if not stream.open:
            return
        if answer is None or answer.error:
            self._failed(stream, answer)
            return
        stream.real.heard(shard, answer, sequence)
        parts = stream.waiting[sequence]
        parts[shard] = RecordStatus(int(answer.outcome[0, 0])).name
        while stream.answered + 1 in stream.waiting:
            following = stream.waiting[stream.answered + 1]
            if len(following) < len(self.batches[stream.answered + 1]):
                break
            stream.answered += 1
            del stream.waiting[stream.answered]
            self._told(stream.answered, following)

    def _told(self, sequence, statuses):
        """The writer takes an answer: the statuses of a batch never change (P12)."""
        self.say("  told", sequence, statuses)
        for shard, status in statuses.items():
            self.coverage[f"status {status}"] += 1
            customer, record = self.batches[sequence][shard]
            earlier = self.told.setdefault((sequence, shard), status)
            if DUPLICATE not in (earlier, status) and earlier != status:
                raise Violation(f"STATUS: batch {sequence} was {earlier} and is {status}")
            if status == REJECTED and record not in self.mended:
                self.mended.add(record)
                self.batches[max(self.batches) + 1] = {shard: (customer, record)}
        while all((self.taken + 1, s) in self.told for s in self.batches.get(self.taken + 1, "?")):
            self.taken += 1

    def mark(self, which, *, everywhere=True):
        """The timer of an open stream: marks for the shards that lag, a look at the others."""
        streams = [w.stream for w in self.writers if w.stream is not None and w.stream.open]
        streams = [s for s in streams if s.real is not None and not self.down[s.server]]
        if not streams:
            return False
        stream = streams[which % len(streams)]
        stream.real.taken(self.taken)
        lagging = stream.real.lagging()
        shards = SHARDS if everywhere else lagging
        self.coverage["marks"] += bool(lagging)
        for shard in shards:
            call = self.variant.mark_call(stream.real, shard)
            self._submit(
                stream,
                shard,
                call,
                lambda answer, shard=shard: self._marked(stream, shard, answer),
            )
        return bool(shards)

    def _marked(self, stream, shard, answer):
        if not stream.open:
            return
        if answer is None or answer.error:
            self._failed(stream, answer)
            return
        stream.real.heard(shard, answer)

    # --- the writer's end ----------------------------------------------------------------------

    def send(self, which):
        """A writer sends its next batch, no more than the window above what is answered (P12)."""
        writer = self.writers[which % len(self.writers)]
        stream = writer.stream
        if not writer.alive or stream is None or not stream.open or stream.real is None:
            return False
        following = stream.sent + 1
        late = self.batches.get(following, {})
        if following not in self.batches or len(stream.queue) >= 3:
            return False
        if any(c.startswith("late") and r in self.mended for c, r in late.values()):
            # A mended record goes out when its customer is subscribed; the first try did not wait.
            first_try = following <= BATCHES
            if not first_try and not self.subscribed:
                return False
        if self.variant.windowed and following > stream.answered + WINDOW:
            return False
        stream.sent = following
        stream.queue.append((following, self.taken))
        return True
