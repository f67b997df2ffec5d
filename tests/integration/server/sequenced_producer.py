"""A producer that can be killed: its batches are a function of their numbers, so it keeps nothing.

    python sequenced_producer.py PORT_FILE EPOCH LAST

Sends the batches up to LAST from wherever the handshake tells, over as many streams as it takes,
and writes the number of each answered batch as a line.
"""

from __future__ import annotations

import queue
import random
import sys
import time
from pathlib import Path

import grpc

from ratewright.v1 import usage_service_pb2 as usage
from ratewright.v1 import usage_service_pb2_grpc

CUSTOMERS = [f"killed-{number}" for number in range(20)]
STRANGER = "nobody-we-know"
RECORDS = 60
AHEAD = 12
JANUARY_US = 1_767_225_600_000_000


def rows(sequence: int) -> list[tuple[str, int]]:
    """Return (customer, quantity) of each record of a batch; a few have no subscription."""
    rng = random.Random(sequence)
    # Some batches touch few shards: then marks must travel without them.
    owners = rng.sample(CUSTOMERS, rng.choice((1, 2, 20)))
    records = [(rng.choice(owners), rng.randrange(1, 10**6)) for _ in range(RECORDS)]
    if sequence % 5 == 0:
        records[3] = (STRANGER, 7)
    return records


def batch(sequence: int) -> usage.UsageBatch:
    """Return the batch of a number: always the same."""
    records = rows(sequence)
    names = sorted({customer for customer, _ in records})
    return usage.UsageBatch(
        customers=names,
        customer_index=[names.index(customer) for customer, _ in records],
        meters=[usage.BatchMeter(meter="killed-tokens")],
        quantities=[quantity for _, quantity in records],
        event_times_micros=[JANUARY_US + row for row in range(RECORDS)],
    )


def stream(target: str, epoch: int, last: int) -> bool:
    """Send over one stream; return whether all is durable."""
    requests: queue.Queue[usage.IngestUsageRequest] = queue.Queue()
    with grpc.insecure_channel(target) as channel:
        stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        call = stub.IngestUsage(iter(requests.get, None), timeout=60)
        producer = usage.Producer(producer_id="killed", epoch=epoch)
        requests.put(usage.IngestUsageRequest(producer=producer))
        answered = sent = next(call).durable_sequence
        while answered < last:
            while sent < min(last, answered + AHEAD):
                sent += 1
                requests.put(
                    usage.IngestUsageRequest(
                        batch=batch(sent), sequence=sent, answered_sequence=answered
                    )
                )
            answer = next(call)
            answered = answer.sequence
            refused = answer.rejected_count
            if not answer.duplicate_count and refused != (answered % 5 == 0):
                raise SystemExit(f"batch {answered}: {refused} records refused")
            sys.stdout.write(f"{answered}\n")
            sys.stdout.flush()
        requests.put(usage.IngestUsageRequest(answered_sequence=answered))
        return next(call).durable_sequence == last


def main() -> None:
    """Go on until all is durable; the server may be gone for a while, and come back elsewhere."""
    port_file, epoch, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    while True:
        try:
            if stream(f"127.0.0.1:{port_file.read_text().strip()}", epoch, last):
                return
        except grpc.RpcError as error:
            if error.code() not in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.UNKNOWN,
            ):
                raise
        except FileNotFoundError:
            pass
        time.sleep(0.05)


if __name__ == "__main__":
    main()
