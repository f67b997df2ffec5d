"""The options of the usage store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rating_core.metering.contracts.contract_usage import PlanOf, no_plan
from rating_core.metering.log.protocol import AckLevel
from rating_server.ports import Window
from rating_server.store.id_spill import IdSpill


@dataclass(frozen=True, slots=True)
class UsageStoreOptions:
    """What decides, and how Redis is reached.

    ``url`` (`address.py`) is empty for the embedded store. ``shards`` counts only when a store is
    first used. ``window``: acceptance window W, ``max_series``: both as stored where None.
    ``max_ids``: ids remembered in all shards together. ``deadline`` seconds of every store call,
    ``start_timeout`` seconds until the store must have loaded and all logs must have been read.
    ``replicas`` that must confirm at REPLICATED.
    ``trust``: take a store that hides its CONFIG for durable. ``disk_reserve`` bytes for the
    embedded store (P15). ``archive``: path or URI of the archive, empty for none;
    ``archive_after_us``: age in µs at which entries go there, None for never (P10).
    ``spill``: keeps the memory of ids below a limit; of this store alone.
    ``session_idle`` seconds after which the session of another server's shard is closed.
    ``grace_us``: how long after its end a period may be finalised, as stored where None (S7.5).
    ``plan_of``: plans at hand, for decisions about statements.
    ``disk``: gives the free bytes of the store's disk where that is known (P15).
    """

    url: str = ""
    level: AckLevel = AckLevel.DURABLE
    shards: int = 16
    window: Window | None = None
    max_series: int | None = None
    max_ids: int = 100_000_000
    deadline: float = 5.0
    start_timeout: float = 600.0
    replicas: int = 1
    trust: bool = False
    disk_reserve: int = 256 * 1024 * 1024
    archive: str = ""
    archive_after_us: int | None = None
    spill: IdSpill | None = None
    session_idle: float = 30.0
    disk: Callable[[], int] | None = None
    grace_us: int | None = None
    plan_of: PlanOf = no_plan
