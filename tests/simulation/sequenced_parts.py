"""What the world of sequenced producers is made of: batches, streams, writers, sides."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from truth import START_US

from rating_core.catalog import Aggregation, BillingPeriod, Meter
from rating_core.metering.batch import RecordBatch
from rating_core.metering.calls import CreateSubscription
from rating_core.metering.log.entry import decode_body
from rating_core.metering.sequencing.producer_stream import Opening, ProducerStream

SHARDS = (0, 1)
WINDOW = 4
"""Batches above the oldest unconfirmed one; small, so that histories reach it (P12)."""
BATCHES = 6
PRODUCER = "p"
METERS = {"x": Meter("x", Aggregation.SUM)}
_PERIOD_START = START_US - START_US % (86_400_000_000)
decode_once = lru_cache(maxsize=512)(decode_body)
ACCEPTED, DUPLICATE, REJECTED = "ACCEPTED", "DUPLICATE", "REJECTED"


@lru_cache(maxsize=1024)
def batch_of(customer: str, record: int) -> RecordBatch:
    """Return one record without an id; its quantity tells which it is."""
    zero = np.zeros(1, np.int32)
    return RecordBatch(
        customers=[customer],
        customer=zero,
        meters=["x"],
        scales=[0],
        meter=zero,
        dimension_sets=[()],
        dimension_set=zero,
        event_ids=b"",
        event_id_ends=np.zeros(1, np.int64),
        quantity=np.array([record], np.int64),
        event_time=np.array([START_US], np.int64),
        malformed=np.zeros(1, np.bool_),
    )


def subscription(customer: str) -> CreateSubscription:
    """Return the call that subscribes a customer, the same whoever sends it."""
    return CreateSubscription(
        request_id=f"subscribe-{customer}",
        customer=customer,
        subscription_id="s",
        plan_id="p",
        plan_version=1,
        billing_period=BillingPeriod.DAY,
        start_time=_PERIOD_START,
    )


class Side:
    """One server's session on one shard."""

    def __init__(self, shard):
        self.shard = shard
        self.session = None
        self.connection = None
        self.tickets = {}
        self.timers = {}


@dataclass
class Stream:
    """One stream between a writer and a server, both ends."""

    writer: int
    server: int
    epoch: int
    opening: Opening
    real: ProducerStream | None = None
    marks: list | None = None
    queue: list = field(default_factory=list)
    waiting: dict = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    open: bool = True


@dataclass
class Writer:
    """One incarnation of the producer."""

    epoch: int
    stream: Stream | None = None
    alive: bool = True
