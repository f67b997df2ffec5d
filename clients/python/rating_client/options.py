"""Options of clients and writers. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import grpc

_IDEMPOTENT = {
    "UsageService": ("RecordUsage", "GetUsage", "ListUsage", "GetTopology"),
    "CatalogService": (
        "CreateMeter",
        "GetMeter",
        "ListMeters",
        "CreatePlan",
        "GetPlan",
        "ListPlans",
        "CheckPlan",
    ),
    "CustomerService": (
        "CreateSubscription",
        "ChangePlan",
        "CancelSubscription",
        "GetSubscription",
        "ListSubscriptions",
    ),
    "RatingService": ("RateUsage", "PreviewStatement"),
}
"""The unary methods. Creating is idempotent because the client always sends a request_id."""

_BATCH_RECORDS_MAX = 100_000
_BATCH_BYTES_MAX = (8 << 20) - (64 << 10)
"""The API's limit, less room for the last record and what the sizes leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client reaches its server."""

    timeout_seconds: float = 10.0
    """Deadline of a unary call, all its tries together; every method takes its own ``timeout``."""
    max_message_bytes: int = 16 << 20
    """Greatest message that is sent or taken."""
    credentials: grpc.ChannelCredentials | None = None
    """Channel credentials (TLS). Default: plaintext."""
    unary_attempts: int = 5
    """Most tries of a unary call that finds the server UNAVAILABLE, 1 to 5; 1: no retry."""
    follow_topology: bool = True
    """Send records to the server of their shard where there are several; False: all to the target,
    which is right too, but costs the servers more."""
    keepalive_seconds: float = 20.0
    """A connection with open calls on which nothing came for so long is asked whether it lives."""
    keepalive_timeout_seconds: float = 10.0
    """Without an answer for so long it is given up: calls are UNAVAILABLE, writers reconnect."""
    channel_arguments: tuple[tuple[str, str | int], ...] = ()
    """Further gRPC channel arguments; they win over the client's own."""

    def __post_init__(self) -> None:
        """Raise ValueError for an option out of its range."""
        if not 1 <= self.unary_attempts <= 5:
            raise ValueError("unary_attempts: expected 1 to 5")
        if self.timeout_seconds <= 0:
            raise ValueError("timeout_seconds: expected more than 0")
        if self.keepalive_seconds < 10:
            raise ValueError("keepalive_seconds: expected 10 or more, as servers allow")
        if self.keepalive_timeout_seconds <= 0:
            raise ValueError("keepalive_timeout_seconds: expected more than 0")

    def channel_options(self, *, streams: bool = False) -> list[tuple[str, str | int]]:
        """Return the gRPC channel arguments: of the unary methods, or of the writers' streams.

        Writers resend by themselves, and gRPC's own retries are off for them: with these, a stream
        that met a dying server was seen to hang without end, deaf to its cancellation.
        """
        config: dict[str, object] = {}
        if self.unary_attempts > 1 and not streams:
            config["methodConfig"] = [
                {
                    "name": [
                        {"service": f"ratewright.v1.{service}", "method": method}
                        for service, methods in _IDEMPOTENT.items()
                        for method in methods
                    ],
                    "retryPolicy": {
                        "maxAttempts": self.unary_attempts,
                        "initialBackoff": "0.1s",
                        "maxBackoff": "2s",
                        "backoffMultiplier": 2,
                        # CANCELLED: the call met a server that was stopping.
                        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                    },
                }
            ]
        return [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.service_config", json.dumps(config)),
            ("grpc.enable_retries", 0 if streams else 1),
            # gRPC's own waits between connection attempts reach 2 minutes by default; a writer
            # that lost its server should be back within a second or two.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", round(self.keepalive_seconds * 1_000)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive_timeout_seconds * 1_000)),
            # Any number of pings between two messages: an idle stream is watched too.
            ("grpc.http2.max_pings_without_data", 0),
            *self.channel_arguments,
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """How a usage writer batches, waits and retries."""

    batch_records: int = 8_192
    """A batch is sent when it holds so many records, 1 to 100,000 …"""
    batch_bytes: int = 1 << 20
    """… or about so many bytes, 1 KiB to 8 MiB less 64 KiB …"""
    batch_delay_seconds: float = 0.05
    """… or when its oldest record is so old and fewer than ``batches_in_flight`` are under way."""
    batches_in_flight: int = 4
    """Batches that are sent before the first of them is answered, 1 to 64."""
    max_unanswered_records: int = 65_536
    """Records that are buffered or under way before ``write`` waits; ≥ ``batch_records``. With a
    spool: before they wait in its files."""
    max_unanswered_bytes: int = 256 << 20
    """Bytes of batches that are held in memory before the same; ≥ ``batch_bytes``."""
    answer_timeout_seconds: float = 60.0
    """A stream whose oldest batch waits longer for its answer is given up, its batches resent."""
    backoff_initial_seconds: float = 0.05
    """First wait before a new try; it doubles with each failure in a row, less up to a half."""
    backoff_max_seconds: float = 2.0
    """Longest such wait; a server may ask for a longer one by RetryInfo."""
    give_up_after_seconds: float | None = None
    """A batch that failed so long ago for the first time and is still not answered is reported
    with RETRY for the records of which nothing is known. Default: never."""
    spool_max_bytes: int = 1 << 30
    """Bytes of a spool's files, 1 MiB or more; one batch more may be written."""
    spool_fsync: Literal["each", "flush", "interval", "none"] = "each"
    """When a spool's file is synced to the disk: before every write returns, at every flush, at
    intervals, or never. All survive a crash of the process; the first, one of the machine."""
    spool_fsync_interval_seconds: float = 1.0
    """Seconds between syncs at intervals."""
    spool_full: Literal["wait", "raise"] = "wait"
    """What writing does while the spool is full: wait (``timeout``), or raise SpoolFull at once."""

    def __post_init__(self) -> None:
        """Raise ValueError naming the option that is out of its range."""
        ranges: dict[str, tuple[float, float, float]] = {
            "batch_records": (self.batch_records, 1, _BATCH_RECORDS_MAX),
            "batch_bytes": (self.batch_bytes, 1 << 10, _BATCH_BYTES_MAX),
            "batch_delay_seconds": (self.batch_delay_seconds, 0, 3_600),
            "batches_in_flight": (self.batches_in_flight, 1, 64),
            "max_unanswered_records": (self.max_unanswered_records, self.batch_records, 1 << 40),
            "max_unanswered_bytes": (self.max_unanswered_bytes, self.batch_bytes, 1 << 50),
            "spool_max_bytes": (self.spool_max_bytes, 1 << 20, 1 << 50),
            "spool_fsync_interval_seconds": (self.spool_fsync_interval_seconds, 0.001, 3_600),
            "answer_timeout_seconds": (self.answer_timeout_seconds, 0.001, 86_400),
            "backoff_initial_seconds": (self.backoff_initial_seconds, 0.001, 3_600),
            "backoff_max_seconds": (
                self.backoff_max_seconds,
                self.backoff_initial_seconds,
                86_400,
            ),
        }
        if self.give_up_after_seconds is not None:
            ranges["give_up_after_seconds"] = (self.give_up_after_seconds, 0, float("inf"))
        for name, (value, least, most) in ranges.items():
            if not least <= value <= most:
                raise ValueError(f"{name}: expected {least} to {most}, got {value}")
        choices = {
            "spool_fsync": (self.spool_fsync, ("each", "flush", "interval", "none")),
            "spool_full": (self.spool_full, ("wait", "raise")),
        }
        for name, (word, words) in choices.items():
            if word not in words:
                raise ValueError(f"{name}: expected {', '.join(words)}, got {word!r}")
