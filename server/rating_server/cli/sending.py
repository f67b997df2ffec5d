"""Streaming chunks of records to a server, and what became of them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

from rating_client.client import Client
from rating_client.delivery import BatchResult
from rating_client.errors import RatewrightError
from rating_client.options import WriterOptions
from rating_client.values import RecordStatus
from rating_server.cli.chunks import CHUNK_RECORDS, Chunk
from rating_server.cli.progress import Advance

GIVE_UP_AFTER_S = 120
"""A server that stays away so long ends the run; nothing is lost, the file can be sent again."""
SHOWN_MAX = 10
"""Refused records that a summary describes; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not counted: its row, customer, event id and outcome.

    Rows are counted from 1; 0 is a record that an earlier run left in the spool.
    """

    row: int
    customer: str
    event_id: str
    outcome: str


@dataclass(slots=True)
class Summary:
    """What became of all records that were sent (S7.3)."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)
    refused_records: list[int] = field(default_factory=list)
    """Numbers of the records that are not counted, from 0 in order of sending."""
    batches: int = 0
    seconds: int | float = 0
    error: RatewrightError | None = None

    @property
    def records(self) -> int:
        """Number of records with a status."""
        return self.statuses.total()

    @property
    def records_per_second(self) -> int:
        """Records a second from the first to the last, acknowledged."""
        return round(self.records / self.seconds) if self.seconds else 0

    @property
    def all_counted(self) -> bool:
        """Whether every record is counted, by this or an earlier try."""
        return not self.refused_records


class SendingInterrupted(KeyboardInterrupt):
    """Ctrl-C while sending; ``summary`` holds what was answered until then.

    What was under way has the status RETRY there: it may be counted or not.
    """

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        super().__init__()


class _Collector:
    """Adds up batch results; called by the writer's thread alone."""

    def __init__(self, rows: array[int], advance: Advance) -> None:
        self.summary = Summary()
        self._rows = rows
        self._advance = advance

    def take(self, result: BatchResult) -> None:
        """Take the result of one batch."""
        summary = self.summary
        summary.batches += 1
        for status in RecordStatus:
            count = result.count(status)
            if count:
                summary.statuses[status.name] += count
        if result.error is not None:
            summary.error = result.error
        if result.counted != len(result):
            customers = result.customers()
            for number, event_id, found in result.uncounted():
                words = found.status.name
                if found.status is RecordStatus.REJECTED:
                    summary.reasons[found.reason.name] += 1
                    words += f" {found.reason.name}"
                summary.refused_records.append(number)
                if len(summary.refused) < SHOWN_MAX:
                    customer = customers[number - result.first_record]
                    row = self._rows[number] if number >= 0 else 0
                    summary.refused.append(Refused(row, customer, event_id, words))
        self._advance(len(result))


def send(
    client: Client, chunks: Iterable[Chunk], advance: Advance, spool: str | None = None
) -> Summary:
    """Stream all chunks and return the summary when every record has a status.

    ``advance`` is called with the number of records of each answered batch. A server that is not
    there at the start is an error at once; one that goes away later is waited for. Raises
    SendingInterrupted on Ctrl-C, after a short wait for what is under way. With the directory
    ``spool`` what an earlier run left there is sent first, and what this one leaves stays there.
    """
    next(client.list_meters(page_size=1), None)
    rows = array("q")
    collector = _Collector(rows, advance)
    options = WriterOptions(batch_records=CHUNK_RECORDS, give_up_after_seconds=GIVE_UP_AFTER_S)
    started = monotonic()
    try:
        with client.ingest(on_batch=collector.take, options=options, spool_dir=spool) as writer:
            for chunk in chunks:
                rows.extend(chunk.rows)
                writer.write_columns(chunk.columns)
    except KeyboardInterrupt:
        raise SendingInterrupted(collector.summary) from None
    collector.summary.seconds = monotonic() - started
    return collector.summary
