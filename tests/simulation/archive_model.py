"""An archive that all servers reach, and the archivers that fill it, one command at a time.

The archive keeps the rule that a piece is never overwritten, unless a broken copy says otherwise.
Pieces may rot: a snapshot that cannot be read must be passed over, never half believed, and what a
damaged segment should hold must stay in the log until the segment is mended.
"""

from __future__ import annotations

from truth import Violation

from rating_core.metering.log.archive import (
    ListArchive,
    Listing,
    LoadedSnapshot,
    LoadSnapshot,
    ReadSegment,
    SegmentName,
    SnapshotName,
    paths_to,
    whole,
)
from rating_core.metering.log.archiver import ArchiveRound, WriteSnapshot
from rating_core.metering.log.protocol import FoldRead, LogPage, ReadLog, Trim, chain_token
from rating_core.metering.log.snapshot import GetHead, TakeSnapshot

KEPT_US = (0, 1_000_000, 86_400_000_000)
"""How long entries stay in the log before they are archived, drawn for each round."""


class ArchiveModel:
    """Segments and snapshots by name."""

    def __init__(self, coverage, broken):
        self.segments = {}
        self.snapshots = {}
        self.spoiled = {}
        self.coverage = coverage
        self.broken = broken

    def read(self, request):
        """Answer what a session asks of the archive."""
        if type(request) is ListArchive:
            return Listing(tuple(self.segments), tuple(self.snapshots))
        if type(request) is LoadSnapshot:
            self.coverage["snapshots loaded"] += 1
            return LoadedSnapshot(self.snapshots.get(request.name))
        self.coverage["segments replayed"] += 1
        return LogPage(self.segments.get(request.name, ()))

    def write(self, request):
        """Carry out WriteSegment or WriteSnapshot."""
        if type(request) is WriteSnapshot:
            snapshot = request.snapshot
            self.snapshots[SnapshotName(snapshot.version, snapshot.token)] = snapshot
            self.coverage["snapshots written"] += 1
            return True
        name = request.name
        if name in self.spoiled:
            return False
        if "archive names" in self.broken:
            # Named by versions alone, the later writer's piece takes the place of the earlier's.
            for other in [n for n in self.segments if (n.first, n.last) == (name.first, name.last)]:
                del self.segments[other]
        held = self.segments.setdefault(name, request.entries)
        self.coverage["segments written"] += 1
        if [entry.entry for entry in held] != [entry.entry for entry in request.entries]:
            raise Violation(f"ARCHIVE: two contents of segment {name.first}-{name.last}")
        return True

    def leads_to(self, state):
        """Whether all before ``state.first`` can be had from segments, and a snapshot is there."""
        first = state.first
        if first == 1:
            return ""
        previous = state.log[first - 1][1]
        if not any(
            name.version >= first - 1 and name.token == state.log[name.version - 1][0]
            for name in self.snapshots
            if name.version <= state.version
        ):
            return "no snapshot of this log at the trimmed version or later"
        listing = Listing(tuple(self.segments), ())
        for path in paths_to(listing, first - 1, previous):
            if whole(path) and self._tokens(path).get(first - 1) == previous:
                return ""
        return "no segments lead to the trimmed version"

    def _tokens(self, path: list[SegmentName]):
        return {
            entry.version: chain_token(entry.previous, entry.entry)
            for name in path
            for entry in self.segments[name]
        }


class BrokenRounds:
    """Rounds of archiving with a rule left out, by the name of the rule."""

    class WithoutSnapshot(ArchiveRound):
        """P10: what is archived is trimmed although no snapshot is there."""

        def _snapshot_there(self, listing, least):
            return (yield GetHead())

    class WithoutMark(ArchiveRound):
        """P8: the caller does not care for F; the function does."""

        def _shorten(self, listing, first, archived):
            steps = super()._shorten(listing, first, archived)
            reply = None
            while True:
                try:
                    command = steps.send(reply)
                except StopIteration:
                    return
                reply = yield command
                if type(command) is FoldRead:
                    reply = type(reply)(10**9, reply.cursor, reply.versions)

    class BelievesNames(ArchiveRound):
        """P10: what an earlier round wrote is trimmed without a look at it."""

        def _whole(self, first, until):
            return True
            yield

    class TrimsUnarchived(ArchiveRound):
        """P10: up to F is trimmed, whatever the archive holds."""

        def _shorten(self, listing, first, archived):
            head = yield GetHead()
            yield from super()._shorten(listing, first, (head.version, head.token))

    class TrimsByVersion(ArchiveRound):
        """P10: what is trimmed is what was archived if the versions agree."""

        def _steps(self, first, until, archived):
            page = yield ReadLog(until - 1, 1)
            return [(e.version, chain_token(e.previous, e.entry)) for e in page.entries]


class Archiver:
    """The archiver of one server: a round under way and the command it waits for."""

    def __init__(self, world, server, kind=ArchiveRound):
        self.world = world
        self.server = server
        self.kind = kind
        self.round = None
        self.command = None
        self.asked = False

    def drop(self):
        """The process is gone, and its round with it."""
        self.round = self.command = None
        self.asked = False

    def step(self, kept):
        """Do one atomic thing: begin a round, or carry out its next command."""
        if self.round is None:
            world = self.world
            self.round = self.kind(world.time - KEPT_US[kept], 300).run()
            self._go_on(None)
            world.coverage["archive rounds"] += 1
            return True
        command = self.command
        if self.asked:
            return False
        if type(command) in (GetHead, TakeSnapshot):
            self.asked = True
            call = self.world._new_call("archiver", (), ("archive", "", ""))
            self.server.calls[call.number] = call
            self.server.session.ask(call.number, command)
            self.world._drain(self.server)
            return True
        connection = self.server.connection
        if connection is None or not connection.node.alive:
            return False
        node = connection.node  # after a failover another one, in the middle of the round
        if node.synced < len(node.history) - 1:
            return False  # a reply follows the sync of what it rests on
        if type(command) in (ReadLog, FoldRead):
            execute = self.world.redis._execute[type(command)]
            reply, _ = execute(self.world.redis, node, node.history[-1], command, 0)
        elif type(command) is Trim:
            reply = self.world.redis.trim(node, command)
        elif type(command) is ListArchive:
            reply = self.world.archive.read(command)
        elif type(command) is ReadSegment:
            reply = LogPage(self.world.archive.segments.get(command.name, ()))
            self.world.coverage["segments looked at"] += 1
        else:
            reply = self.world.archive.write(command)
            self.world._trimmed(self.world.head())
        self._go_on(reply)
        return True

    def answered(self, answer):
        """The session has answered, or refused to (None)."""
        self.asked = False
        if answer is None or self.round is None:
            self.drop()
        else:
            self._go_on(answer)

    def _go_on(self, reply):
        try:
            self.command = self.round.send(reply)
        except StopIteration as end:
            self.world.coverage["archive rounds ended"] += 1
            self.world.coverage["archive problems"] += bool(end.value.problem)
            self.drop()
