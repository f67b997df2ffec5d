"""Every setting of the server: its environment variable, default, unit, check, and one line of doc.

`ratewright serve --help` prints this list. A flag wins over the environment variable
``RATEWRIGHT_<NAME>``; both win over the default.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from rating_server.ports import Window

_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d)")
_UNIT_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


class AckLevelName(StrEnum):
    """What must be certain before a status is sent (DESIGN §6)."""

    APPLIED = "applied"
    DURABLE = "durable"
    REPLICATED = "replicated"


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    CONSOLE = "console"


def parse_window(text: str) -> Window:
    """Return the window that a text such as `7d`, `36h`, `90m` or `unlimited` names."""
    if text == "unlimited":
        return Window(None)
    match = _DURATION.fullmatch(text)
    if not match or not int(match[1]):
        raise ValueError("expected a duration such as 7d, 36h, 90m, or `unlimited`")
    return Window(int(match[1]) * _UNIT_US[match[2]])


def _checked_window(value: object) -> object:
    if isinstance(value, str):
        parse_window(value)
    return value


def _checked_age(value: object) -> object:
    if isinstance(value, str) and parse_window(value).micros is None:
        raise ValueError("expected a duration such as 30d, 36h or 90m")
    return value


def parse_grace(text: str) -> int:
    """Return the microseconds of a duration such as `72h`, or of `0`."""
    micros = 0 if text == "0" else parse_window(text).micros
    if micros is None:
        raise ValueError("expected a duration such as 72h, 90m, or 0")
    return micros


def _checked_grace(value: object) -> object:
    if isinstance(value, str):
        parse_grace(value)
    return value


def quiet_grpc() -> None:
    """Keep gRPC's C core from writing lines of its own to stderr; call before it is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


class Settings(BaseSettings):
    """Settings of one server process."""

    model_config = SettingsConfigDict(env_prefix="RATEWRIGHT_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless you say so.")
    port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    port_file: Path | None = Field(
        None, description="File that gets the port number once the server answers."
    )
    advertise: str | None = Field(
        None,
        max_length=255,
        pattern=r"^[^\s/]+:[0-9]+$",
        description="host:port at which clients and other servers' clients reach this server; "
        "not given: the address it listens on, with the machine's name for 0.0.0.0 and [::].",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Server processes on this machine, at the ports from --port on; a supervisor "
        "starts them, restarts the dead, and owns the embedded store.",
    )
    stop_with_parent: bool = Field(
        False, description="Stop when the process that started this one has ended."
    )
    parent_pid: int | None = Field(
        None,
        ge=1,
        description="Which process that is, for one that may end before this one looks; not given: "
        "the parent that this one finds.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="redis://, rediss:// or unix:// URL of the store; "
        "redis+cluster://host:port,host:port for a cluster (any node of it will do), "
        "redis+sentinel://host:port,host:port/service for what Sentinels watch. Without it the "
        "server starts an embedded Valkey in the data directory.",
    )
    data_dir: Path = Field(
        Path("ratewright-data"), description="Directory of the embedded store, held by one server."
    )
    store_disk: Path | None = Field(
        None,
        description="Directory on the disk of a store on this machine: commits stop while less "
        "than 256 MiB are free there. Known by itself for the embedded store.",
    )
    session_idle: int = Field(
        30_000,
        ge=100,
        le=86_400_000,
        description="How long this server keeps the state of a shard that another one owns after "
        "its last use, milliseconds.",
    )
    shards: int = Field(
        16, ge=1, le=1024, description="Number of shards; fixed when a store is first used."
    )
    acceptance_window: Annotated[str | None, BeforeValidator(_checked_window)] = Field(
        None,
        description="How old an event time may be: 7d, 36h, 90m, or `unlimited`. Stored, and so "
        "that of all servers on the store; not given: as stored, 7d in a new store.",
    )
    grace: Annotated[str | None, BeforeValidator(_checked_grace)] = Field(
        None,
        description="How long after its end a billing period may be finalised at the earliest: "
        "72h, 90m, 0. Stored like the window; not given: as stored, 72h in a new store.",
    )
    max_series: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Most series (dimension combinations) of a customer in a period. Stored like "
        "the window; not given: as stored, 10000 in a new store.",
    )
    max_ids: int = Field(
        100_000_000,
        ge=1_000,
        description="Most event ids remembered in all shards, about 22 bytes each in memory and 19 "
        "in files; beyond it new ids are refused.",
    )
    id_memory: int = Field(
        4 * 1024**3,
        ge=1024 * 1024,
        description="Memory of the id index, bytes; what exceeds it goes to files in --spill-dir.",
    )
    spill_dir: Path | None = Field(
        None, description="Directory for files of ids; not given: ids-spill in the data directory."
    )
    archive: str | None = Field(
        None,
        description="Path or URI (file://, s3://…) of the archive of old log entries, the same for "
        "all servers of a store; needs the extra [parquet].",
    )
    archive_after: Annotated[str | None, BeforeValidator(_checked_age)] = Field(
        None,
        description="Age at which log entries move from the store to the archive: 30d, 36h, 90m; "
        "not given: never. Without --archive: `archive` in the data directory.",
    )
    ack_level: AckLevelName = Field(
        AckLevelName.DURABLE,
        description="What is certain before a status is sent: applied, durable, replicated.",
    )
    replicas: int = Field(
        1, ge=1, le=16, description="Replicas that must confirm at ack level replicated."
    )
    trust_store_durability: bool = Field(
        False, description="Take a store that hides its CONFIG for durable."
    )
    store_timeout: int = Field(
        5_000, ge=100, le=600_000, description="Deadline of every store call, milliseconds."
    )
    max_message_bytes: int = Field(
        8 * 1024 * 1024, ge=65_536, le=256 * 1024 * 1024, description="Largest request, bytes."
    )
    max_batch_records: int = Field(
        100_000, ge=1, le=1_000_000, description="Most records, or rows to price, in a batch."
    )
    max_stream_batches: int = Field(
        16, ge=1, le=1024, description="Batches of one stream that may wait for their answers."
    )
    max_bytes_in_flight: int = Field(
        256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of all batches and answers that may wait; beyond it calls get "
        "RESOURCE_EXHAUSTED. A stream that holds a sixteenth of it is read no further.",
    )
    drain_timeout: int = Field(
        30_000, ge=0, le=3_600_000, description="Longest graceful stop, milliseconds."
    )
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = Field(
        "info", description="Least severe log lines written: debug, info, warning, error."
    )
    log_format: LogFormat = Field(LogFormat.JSON, description="Log lines as json or console.")

    @property
    def window(self) -> Window | None:
        """The acceptance window, None if it is not given."""
        return None if self.acceptance_window is None else parse_window(self.acceptance_window)

    @property
    def grace_us(self) -> int | None:
        """How long after its end a period may be finalised, µs; None if it is not given."""
        return None if self.grace is None else parse_grace(self.grace)

    @property
    def spill_place(self) -> Path:
        """Where files of ids go; made when the first one is written."""
        return self.data_dir / "ids-spill" if self.spill_dir is None else self.spill_dir

    @property
    def archive_place(self) -> str:
        """Where the archive is; empty for none. An embedded store's own is found by itself."""
        if self.archive is not None or self.redis_url is not None:
            return self.archive or ""
        own = self.data_dir / "archive"
        return str(own) if self.archive_after is not None or own.is_dir() else ""

    @property
    def archive_after_us(self) -> int | None:
        """The age in µs at which entries are archived, None for never."""
        return None if self.archive_after is None else parse_window(self.archive_after).micros


def neutral_environment() -> dict[str, str]:
    """Return this process's environment without the settings, for a server of one's own."""
    prefix = str(Settings.model_config["env_prefix"])
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}


_STORED = ("acceptance_window", "grace", "max_series")
"""Settings that the store keeps: one worker of several puts them in force."""
_SUPERVISORS = (
    *("workers", "port", "port_file", "data_dir", "redis_url", "stop_with_parent", "parent_pid"),
)


def worker_environment(
    settings: Settings, *, port: int, port_file: Path, store_url: str | None, configures: bool
) -> dict[str, str]:
    """Return the environment of a worker with these settings, but for what is its own.

    ``store_url`` is that of the supervisor's embedded store, None if a URL is set. In the
    environment, not on the command line: a URL may hold a password that others must not see.
    """
    given = settings.model_dump(exclude_none=True, exclude_defaults=True, exclude=set(_SUPERVISORS))
    if not configures:
        given = {name: value for name, value in given.items() if name not in _STORED}
    given |= {"port": port, "port_file": port_file}
    # Told, not asked for: a worker whose supervisor is killed while it starts must not live on,
    # and hold its port for ever.
    given |= {"stop_with_parent": True, "parent_pid": os.getpid()}
    if store_url is not None:
        given |= {"redis_url": store_url, "store_disk": settings.data_dir.resolve()}
        if settings.archive_place:
            given["archive"] = settings.archive_place
    elif settings.redis_url is not None:
        given["redis_url"] = settings.redis_url.get_secret_value()
    prefix = str(Settings.model_config["env_prefix"])
    return neutral_environment() | {
        (prefix + name).upper(): str(value) for name, value in given.items()
    }
