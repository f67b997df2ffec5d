"""Count the numbered batches of one producer exactly once, over one stream (P12, P13)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from rating_core.metering.batch import RecordBatch
from rating_core.metering.sequencing import sequenced
from rating_core.metering.sequencing.producer_stream import GAP, OVERTAKEN, Opening, ProducerStream
from rating_core.metering.sequencing.producers import SEQUENCES_MAX, ProducerState
from rating_core.metering.sequencing.sequenced import ProducerAnswer, ProducerCall, batch_checksum
from rating_server.ports import StoreError
from rating_server.usecases.context import Context, failure_of_store, reach
from rating_server.usecases.failure import Failure
from rating_server.usecases.record_usage import Recorded

MARK_INTERVAL_S = 5.0
"""How often shards that a producer's batches do not touch get its mark (P13)."""


class SequencedStream:
    """One opened stream; see `open_stream`."""

    def __init__(self, context: Context, stream: ProducerStream, previous_epoch: int) -> None:
        self.previous_epoch = previous_epoch
        """The epoch that numbered batches before this stream; 0: none, or not in all shards."""
        self._context = context
        self._stream = stream
        self._turn = asyncio.Lock()

    @property
    def durable(self) -> int:
        """The sequence up to which all is counted in all shards, for good (P13)."""
        return self._stream.durable

    def admit(self, sequence: int, answered: int) -> None:
        """Take notice of a request, in the order of the stream; Failure SEQUENCE_GAP.

        ``sequence`` 0: it holds no batch.
        """
        self._stream.taken(answered)
        if sequence and self._stream.admit(sequence) == GAP:
            expected = self._stream.expected
            raise Failure(
                GAP,
                f"batch {sequence} came before batch {expected}",
                producer_id=self._stream.producer,
                sequence=str(sequence),
                expected_sequence=str(expected),
            )

    async def count(self, sequence: int, batch: RecordBatch) -> Recorded:
        """Count a numbered batch, each record in the shard of its customer; statuses by S7.3.

        Failure if any shard does not answer or refuses the batch: its producer then opens a new
        stream and sends it again, unchanged.
        """
        stream, store = self._stream, self._context.store
        checksum = batch_checksum(batch)
        parts = batch.split_by_shard(store.shard_count)
        stream.begin(sequence, [shard for shard, _, _ in parts])
        async with self._turn:
            await reach(store.know_meters(batch.meters))
        calls = [(shard, stream.call(shard, sequence, checksum, part)) for shard, _, part in parts]
        outcome = np.zeros((2, len(batch)), np.uint8)
        answers = await self._submit(calls, sequence)
        for (_, rows, _), answer in zip(parts, answers, strict=True):
            outcome[:, rows] = answer.outcome
        return Recorded(outcome[0], outcome[1])

    async def bring_up(self, *, everywhere: bool = False) -> None:
        """Raise the marks of the shards that lag; ``everywhere``: look at the others too."""
        stream = self._stream
        shards = range(self._context.store.shard_count) if everywhere else stream.lagging()
        await self._submit([(shard, stream.mark_call(shard)) for shard in shards])

    async def keep_up(self) -> None:
        """Bring all marks up every 5 s, and find what a failover has lost; ends with a Failure."""
        while True:
            await asyncio.sleep(MARK_INTERVAL_S)
            await self.bring_up(everywhere=True)

    async def _submit(
        self, calls: Sequence[tuple[int, ProducerCall]], sequence: int = 0
    ) -> list[ProducerAnswer]:
        stream = self._stream
        answers = await _submit_all(self._context, calls, stream.producer, stream.epoch, sequence)
        for (shard, _), answer in zip(calls, answers, strict=True):
            stream.heard(shard, answer, sequence)
        return answers


async def open_stream(
    context: Context,
    producer: str,
    epoch: int,
    *,
    start_anew: bool,
    known: Sequence[int] = (),
    answered: int = 0,
) -> SequencedStream:
    """Commit the producer's epoch in all shards, then read their marks (P13).

    Failure PRODUCER_FENCED if a later epoch has taken over, SPOOL_OVERTAKEN if one that is not
    among ``known`` made batches above ``answered`` durable, TOO_MANY_PRODUCERS, SEQUENCE_LOST.
    """
    opening = Opening(producer, epoch, start_anew=start_anew, known=known, answered=answered)
    store = context.store
    shards = range(store.shard_count)

    async def tell(calls: Sequence[ProducerCall]) -> list[ProducerAnswer]:
        return await _submit_all(context, list(zip(shards, calls, strict=True)), producer, epoch)

    async def states_of() -> list[ProducerState]:
        question = opening.question()
        return list(await asyncio.gather(*(reach(store.ask(n, question)) for n in shards)))

    def require(error: str, states: Sequence[ProducerState]) -> None:
        if error:
            epochs = [state.epoch for state in states]
            told = min(epochs) if error == OVERTAKEN else max(epochs)
            answer = ProducerAnswer(error, told, 0, np.zeros((2, 0), np.uint8))
            raise _failure(answer, producer, epoch, 0)

    fence = [opening.fence()] * len(shards)
    if opening.looks_first:
        states = await states_of()
        require(opening.refusal(states), states)
        fence = opening.fence_after(states)
    # An epoch numbers no batch before it stands in all shards: the least is one that may have.
    previous = min(answer.previous for answer in await tell(fence))
    states = await states_of()
    require(opening.error(states), states)
    marks = [state.mark for state in states]
    settle = opening.settle(states)
    if settle is not None:
        marks = [answer.mark for answer in await tell([settle] * len(shards))]
    return SequencedStream(context, ProducerStream(producer, epoch, marks), previous)


async def _submit_all(
    context: Context,
    calls: Sequence[tuple[int, ProducerCall]],
    producer: str,
    epoch: int,
    sequence: int = 0,
) -> list[ProducerAnswer]:
    """Return the shards' answers; the Failure of the first that refuses or does not answer."""
    answers: list[ProducerAnswer] = []
    for outcome in await context.store.submit_all(calls):
        if isinstance(outcome, StoreError):
            raise failure_of_store(outcome) from outcome
        if outcome.error:
            raise _failure(outcome, producer, epoch, sequence)
        answers.append(outcome)
    return answers


def _failure(answer: ProducerAnswer, producer: str, epoch: int, sequence: int) -> Failure:
    numbers = {"producer_id": producer, "epoch": str(epoch)}
    if sequence:
        numbers["sequence"] = str(sequence)
    if answer.error == sequenced.FENCED:
        text = f"epoch {answer.epoch} of the producer has taken over from epoch {epoch}"
        return Failure(answer.error, text, newest_epoch=str(answer.epoch), **numbers)
    texts = {
        sequenced.CONFLICT: f"another batch was sent as number {sequence}",
        sequenced.TOO_FAR: f"batch {sequence} is more than {SEQUENCES_MAX} above the mark",
        sequenced.LOST: "the store lost what it had confirmed; open the stream anew",
        sequenced.TOO_MANY: "the store remembers too many producers",
        OVERTAKEN: f"a writer of epoch {answer.epoch} used the producer's name without "
        "this spool: durable batches that it has not seen answered may be others",
    }
    if answer.error == OVERTAKEN:
        numbers["newest_epoch"] = str(answer.epoch)
    return Failure(answer.error, texts[answer.error], **numbers)
