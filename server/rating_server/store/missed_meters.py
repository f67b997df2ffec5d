"""Names that the newest catalogue did not hold a moment ago, so that asking again can wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from rating_core.plan.fields import is_id

KEPT_S = 1.0
"""How long a meter that another server creates may stay unknown here, once it was asked for."""
_NAMES_MAX = 10_000


class MissedMeters:
    """The names that were missed last; ``clock`` returns seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def worth_asking(self, names: Collection[str]) -> bool:
        """Whether one of the names could be that of a meter which was created meanwhile."""
        now = self._clock()
        return any(self._until.get(name, 0.0) <= now and is_id(name) for name in names)

    def enter(self, names: Collection[str]) -> None:
        """Remember that the catalogue does not hold these."""
        if len(self._until) + len(names) > _NAMES_MAX:
            self._until.clear()
        until = self._clock() + KEPT_S
        # Only ids are asked for; no other text, of any length, is kept.
        self._until.update((name, until) for name in names if is_id(name))
