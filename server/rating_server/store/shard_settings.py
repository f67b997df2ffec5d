"""The settings that decide, which every shard's log holds as entries of its own (P11)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from rating_core.metering.calls import Configure, ControlAnswer, GetSettings
from rating_core.metering.calls import Settings as ShardSettings
from rating_server.ports import StoreRefused, Window
from rating_server.store.driver import SessionDriver

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings of a shard before a start, and its window and floor (µs) after it (P11)."""

    before: ShardSettings
    window_us: int | None
    floor: int | None


async def configure_shard(
    driver: SessionDriver,
    window: Window | None,
    max_series: int | None,
    grace_us: int | None = None,
) -> Configured:
    """Put the settings that are given in force; return those before and now (P11).

    StoreRefused if the shard refuses them; StoreError if it does not answer.
    """
    before = await driver.ask(GetSettings())
    if not isinstance(before, ShardSettings):
        raise TypeError("a usage shard answers GetSettings with its settings")
    call = Configure(
        window_us=before.window_us if window is None else window.micros,
        max_series=before.max_series if max_series is None else max_series,
        max_values=before.max_values,
        grace_us=before.grace_us if grace_us is None else grace_us,
    )
    answer = await driver.call(call)
    if not isinstance(answer, ControlAnswer) or not answer.ok:
        raise StoreRefused("SETTINGS_REFUSED", f"a shard refused the settings: {answer}")
    return Configured(before, answer.value["window_us"], answer.value["floor"])


def tell_window(shards: list[Configured]) -> None:
    """Say what the window of the store is now, where that is not what one would expect."""
    first = shards[0]
    if first.before.configured and first.before.window_us != first.window_us:
        _log.warning(
            "the acceptance window of this store was %s and is now %s, for all its servers",
            Window(first.before.window_us),
            Window(first.window_us),
        )
    floors = [shard.floor for shard in shards if shard.floor is not None]
    if floors:
        until = datetime.fromtimestamp(max(floors) // 1_000_000, UTC)
        _log.warning(
            "records of up to %s stay refused as TOO_OLD: their ids may be forgotten",
            until.isoformat(),
        )
