"""Memory of client, server and store while many records are counted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from benchmarks.ingest_load import Traffic, columns_of, create_plan, send, subscribe
from benchmarks.local_server import LocalServer, memory_bytes, running_server
from benchmarks.measure import Row
from rating_client import Client

RECORDS = 50_000_000
SAMPLES = 10
_CHUNK = 1_000_000
_CUSTOMERS = 1_000
_KINDS = {"ids": 8 << 10, "seq": 64 << 10}
"""Records of a batch with event ids, and of a numbered batch."""


def memory_rows(folder: Path, quick: bool) -> Iterator[Row]:
    """Yield memory as records are counted: with event ids, then as one sequenced producer.

    Each kind has a server of its own. What is sent is made in chunks of a million records.
    """
    for kind, batch in _KINDS.items():
        own = folder / f"memory-{kind}"
        own.mkdir()
        with running_server(own) as server:
            with grpc.insecure_channel(server.address) as channel:
                create_plan(channel)
                subscribe(channel, 0, _CUSTOMERS)
            yield from _samples(server, kind, batch, RECORDS // (25 if quick else 1))


def _samples(server: LocalServer, kind: str, batch: int, records: int) -> Iterator[Row]:
    client = Client(server.address)
    share = records // SAMPLES
    sent = 0
    for sample in range(SAMPLES):
        busy = 0.0
        while sent < share * (sample + 1):
            traffic = Traffic(_CUSTOMERS, batch, min(_CHUNK, share), numbered=kind == "seq")
            parts = columns_of(traffic, sent // traffic.records + 1)
            began = time.perf_counter()
            found = send(client, traffic, parts)
            busy += time.perf_counter() - began
            if found["accepted"] != traffic.records:
                raise SystemExit(f"memory/{kind}: not all records were accepted: {found}")
            sent += traffic.records
        yield {
            "subject": "ingest",
            "case": f"memory/{kind}",
            "engine": "ratewright",
            "records": sent,
            "records_per_s": round(share / busy),
            "ack": "durable",
            "server_bytes": memory_bytes(server.pid),
            "client_bytes": memory_bytes(os.getpid()),
            "store_bytes": memory_bytes(server.store_pid),
        }
    client.close()
