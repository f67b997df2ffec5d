"""How a history is drawn: what is fixed for it, and its actions with all their arguments."""

from __future__ import annotations

from bisect import bisect

from actions import CONTROLS
from steps import SKEWS, TICKS

_ALWAYS = (("send", 10), ("net", 22), ("exec", 22), ("recv", 22), ("flush", 14), ("sync", 8))
_ALWAYS += (("timer", 6), ("reconnect", 10), ("boot", 6), ("replicate", 8))
_SOMETIMES = (
    ("lose", 4),
    ("drop dead", 1),
    ("tick", 4),
    ("redis crash", 2),
    ("failover", 2),
    ("end split", 1),
    ("break", 5),
    ("crash", 3),
    ("skew", 2),
    ("ask", 5),
    ("control", 4),
    ("look", 3),
    ("full", 2),
    ("run", 14),
    ("burst", 6),
    ("stall", 2),
    ("archive", 12),
    ("rot", 2),
)


_ROTTEN = {
    "archive": 40,
    "run": 30,
    "burst": 8,
    "timer": 14,
    "break": 4,
    "crash": 12,
    "rot": 12,
    "spoil": 8,
    "failover": 3,
    "reconnect": 20,
    "replicate": 2,
}
_FORKED = {
    "archive": 40,
    "run": 35,
    "burst": 8,
    "timer": 14,
    "break": 4,
    "crash": 3,
    "failover": 6,
    "reconnect": 14,
    "replicate": 2,
    "fork": 4,
}
"""A share of the histories is about archives: damaged pieces, and failovers during a round."""


def draw_config(rng, focus=None):
    """Draw what is fixed for one history; ``focus`` (name → weight) replaces what is drawn."""
    if focus is None and rng.random() < 0.4:
        focus = rng.choice((_ROTTEN, _FORKED))
    on = [name for name, _ in _SOMETIMES if rng.random() < 0.55]
    return {
        "level": rng.choice(("durable", "durable", "replicated")),
        "same": rng.random() < 0.6,
        "page": rng.choice((1, 2, 3, 64)),
        "eager": rng.random() < 0.6,
        "recover": rng.random() < 0.25,
        "on": on if focus is None else list(focus),
        "weights": focus or {},
    }


_MOVING = (("leave", 8),)
_CHANGING = (("contract", 12), ("recount", 30))
_FOCUSED = (("fork", 4), ("spoil", 8))
"""Actions of histories that are about them."""


def draw_weights(config, moving=False, changing=False):
    """Return names and cumulative weights of the actions that are on."""
    chosen = [
        *_ALWAYS,
        *(_MOVING if moving else ()),
        *(_CHANGING if changing else ()),
        *((name, w) for name, w in (*_SOMETIMES, *_FOCUSED) if name in config["on"]),
    ]
    total, cumulative = 0, []
    for name, weight in chosen:
        total += config["weights"].get(name, weight)
        cumulative.append(total)
    return [name for name, _ in chosen], cumulative


def draw_action(rng, names, cumulative):
    """Draw one action with all its arguments."""
    name = names[bisect(cumulative, rng.random() * cumulative[-1])]

    def below(limit):
        return int(rng.random() * limit)

    if name == "send":
        return (name, below(2), below(4), below(2), below(2))
    if name in ("net", "lose", "exec", "sync", "replicate", "drop dead", "redis crash"):
        return (name, below(60))
    if name == "tick":
        return (name, below(len(TICKS)))
    if name == "failover":
        return (name, below(60), below(2))
    if name == "fork":
        return (name, below(2), below(12), below(60))
    if name == "run":
        return (name, below(2), 1 + below(8))
    if name == "skew":
        return (name, below(2), below(len(SKEWS)))
    if name == "ask":
        return (name, "ab"[below(2)], below(2))
    if name == "control":
        return (name, *CONTROLS[below(len(CONTROLS))], below(2))
    if name in ("burst", "stall"):
        return (name, below(2), below(12))
    if name == "archive":
        return (name, below(2), below(3), below(9))
    if name == "timer":
        return (name, below(2), below(4))
    if name == "full":
        return (name, below(2))
    if name == "contract":
        return (name, below(60), below(2))
    if name == "recount":
        return (name, below(60), below(3) == 0, below(2))
    if name in ("end split", "look", "rot", "spoil"):
        return (name,)
    return (name, below(2))
