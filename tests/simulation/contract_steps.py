"""A change dated back with a fault at each of its steps, and a failover behind its reader's back.

    python tests/simulation/contract_steps.py [--broken "recount token"]

It prints one JSON object: histories, violations, what was covered.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import product

from simulate import CONTRACTS_BROKEN, Campaign

CONFIG = {
    "level": "durable",
    "same": False,
    "page": 64,
    "eager": True,
    "recover": True,
    "on": [],
    "weights": {},
}


def work(index, rounds=4):
    """Return the steps in which a server takes what was sent to it, and commits."""
    settle = ("run", index, rounds), ("timer", index, 0), ("run", index, rounds)
    return [("reconnect", index), *[("net", 0)] * 4, ("flush", index), *settle]


def script(change, index):
    """Return the steps of records, a change that needs them counted anew, and more records."""
    return [
        ("boot", 0),
        *work(0),
        ("send", 0, 0, 2, 0),
        *work(0),
        ("control", "subscribe", "b", "subscribe-b", 0),
        *work(0),
        ("contract", change, 0),
        *work(0),
        ("recount", 0, False, index),
        ("send", 1, 0, 2, 0),
        *work(0),
        *work(index),
        ("send", 0, 1, 2, 1),
        *work(1),
    ]


def lost(change):
    """Return a script in which a failover takes the records that were read for the change."""
    read = script(change, 0)
    place = read.index(("recount", 0, False, 0)) + 1
    again = [("reconnect", 0), ("run", 0, 8), ("timer", 0, 0), ("run", 0, 8)]
    # The other client's records come first, and stand where the lost ones stood.
    other = [("send", 1, 0, 2, 0), ("net", 1), ("flush", 0), ("run", 0, 8), ("run", 0, 8)]
    return [*read[:place], ("failover", 0, 0), *again, *again, *other, *work(0), *work(0)]


FAULTS = (
    (("crash", 0), ("boot", 0)),
    (("break", 0), ("reconnect", 0)),
    (("redis crash", 0), ("reconnect", 0), ("reconnect", 1)),
    (("failover", 0, 0), ("reconnect", 0), ("reconnect", 1)),
    (("send", 1, 2, 1, 1), ("net", 1), ("flush", 1), ("run", 1, 6)),
    (("contract", 3, 1), ("net", 1), ("flush", 1), ("run", 1, 6)),
)


def histories():
    """Yield every history: a fault at each step, of changes of three kinds."""
    for change, index in product((0, 6, 9), (0, 1)):
        steps = script(change, index)
        yield steps
        yield lost(change)
        for number, fault in enumerate(FAULTS):
            for place in range(2 + (number + change) % 8, len(steps), 8):
                yield [*steps[:place], *fault, *steps[place:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broken", choices=sorted(CONTRACTS_BROKEN))
    campaign = Campaign("contracts", parser.parse_args().broken)
    violations, count = {}, 0
    for steps in histories():
        count += 1
        found, _ = campaign.replay(CONFIG, steps)
        if found and not found.startswith(campaign.ignored or ("-",)):
            violations[str(steps)] = found
            if campaign.broken:
                break
    coverage = dict(sorted(campaign.coverage.items()))
    result = {"histories": count, "violations": violations, "coverage": coverage}
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
