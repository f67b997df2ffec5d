"""The roll of the customers that a server has seen, by the rules of its store."""

from __future__ import annotations

from rating_core.metering.batch import shard_of
from rating_core.metering.deciding.keyed_hash import KEY_BYTES, HashKey
from rating_core.metering.deciding.roll import Roll
from rating_server.usecases.context import valid_customer


def new_roll(shard_count: int, hash_key: bytes = bytes(KEY_BYTES)) -> Roll:
    """Return an empty roll; without a key one that serves until the store has told its own."""
    return Roll(HashKey(hash_key), shard_count, shard_of, valid_customer)
