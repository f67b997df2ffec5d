"""Run seeded histories of the commit protocol, or replay and shrink one.

    python tests/simulation/simulate.py --count 1000            # seeds 0 … 999
    python tests/simulation/simulate.py --replay 123            # one seed: shortest history, trace
    python tests/simulation/simulate.py --broken P3 --count 500 # a copy with a rule switched off

A campaign prints one JSON object: histories, actions, seconds, violations, what was covered.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import contracts_broken
from actions import act
from broken import BROKEN, SimulatedSession, Variant
from contracts import ContractSubject
from drawing import draw_action, draw_config, draw_weights
from healing import finish
from subjects import SUBJECTS as PLAIN_SUBJECTS
from truth import START_US, Violation
from world import World

from rating_core.metering.contracts.recount_reading import RecountReading
from rating_core.metering.log.archiver import ArchiveRound
from rating_core.metering.shard import UsageShard

CONTRACTS_BROKEN = (*contracts_broken.MACHINES, *contracts_broken.READINGS)
SUBJECTS = {**PLAIN_SUBJECTS, "contracts": ContractSubject}
LONGEST = 80
SHRINK_SECONDS = 20


class Campaign:
    """Histories of one subject, with one session class, over one Redis."""

    def __init__(self, subject, broken=None):
        self.subject = SUBJECTS[subject](START_US)
        self.subject_name = subject
        # Calls overtake each other in plain campaigns; broken copies keep the histories that have
        # been seen to catch them, some of which do so only once in thousands.
        self.subject.two_lanes = not broken
        self.broken = broken
        variant = BROKEN.get(broken)
        if broken in CONTRACTS_BROKEN:
            variant = Variant(focus=contracts_broken.FOCUS)
            self.subject.machine_class = contracts_broken.MACHINES.get(broken, UsageShard)
            self.subject.reading_class = contracts_broken.READINGS.get(broken, RecountReading)
        self.session = variant.session if variant else SimulatedSession
        self.redis = variant.redis if variant else frozenset()
        self.focus = variant.focus if variant else None
        self.round = variant.round if variant else ArchiveRound
        # A broken copy must be caught by a promise it breaks, not by calls that it forgets.
        self.ignored = ("STUCK",) if broken else ()
        self.coverage = Counter()

    def world(self, config):
        return World(config, self.subject, self.session, self.redis, self.coverage, self.round)

    def history(self, seed):
        """Run one random history; return its config, its actions and what broke, or None."""
        rng = random.Random(seed)
        config = draw_config(rng, self.focus)
        names, cumulative = draw_weights(config, self.subject.moving, self.subject.changing)
        world = self.world(config)
        actions = []
        length = rng.randrange(20, LONGEST)
        try:
            for _ in range(5 * length):
                action = draw_action(rng, names, cumulative)
                actions.append(action)
                if not act(world, action):
                    actions.pop()
                if len(actions) >= length:
                    break
            finish(world, random.Random(7))
        except Violation as violation:
            if str(violation).startswith(self.ignored):
                return config, actions, None
            return config, actions, str(violation)
        return config, actions, None

    def replay(self, config, actions, trace=False):
        """Run these actions; return what broke, or None, and the trace."""
        world = self.world(config)
        if trace:
            world.trace = []
        try:
            for action in actions:
                act(world, action)
            finish(world, random.Random(7))
        except Violation as violation:
            return str(violation), world.trace
        return None, world.trace

    def shrink(self, config, actions, violation):
        """Leave out actions while the same kind of violation remains."""
        kind = violation.split(":")[0]
        deadline = time.monotonic() + SHRINK_SECONDS
        size = max(1, len(actions) // 2)
        while time.monotonic() < deadline:
            position, smaller = 0, False
            while position < len(actions):
                shorter = actions[:position] + actions[position + size :]
                found, _ = self.replay(config, shorter)
                if found and found.split(":")[0] == kind:
                    actions, smaller = shorter, True
                else:
                    position += size
            if size > 1:
                size //= 2
            elif not smaller:
                break
        return actions

    def explain(self, seed):
        """Return a text: the shortest history of a failing seed, its trace, how to replay it."""
        config, actions, violation = self.history(seed)
        if violation is None:
            return f"seed {seed}: no violation in {len(actions)} actions"
        shortest = self.shrink(config, actions, violation)
        found, trace = self.replay(config, shortest, trace=True)
        lines = [
            f"seed {seed}: {violation}",
            f"shortest history ({len(shortest)} actions): {found}",
        ]
        lines += [f"config {config}", *trace[-150:], f"actions {shortest}"]
        again = f"python tests/simulation/simulate.py --subject {self.subject_name} --replay {seed}"
        lines.append("replay: " + again + (f" --broken {self.broken}" if self.broken else ""))
        return "\n".join(lines)


def run(campaign, first, count, stop_after):
    """Run seeds first … first + count − 1 until ``stop_after`` violations."""
    began = time.monotonic()
    actions = histories = 0
    violations = {}
    for seed in range(first, first + count):
        _, history, violation = campaign.history(seed)
        histories += 1
        actions += len(history)
        if violation:
            violations[seed] = violation
            if len(violations) >= stop_after:
                break
    return {
        "subject": campaign.subject_name,
        "histories": histories,
        "actions": actions,
        "seconds": round(time.monotonic() - began, 1),
        "violations": violations,
        "coverage": dict(sorted(campaign.coverage.items())),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subject", choices=sorted(SUBJECTS), default="tiny")
    parser.add_argument("--broken", choices=sorted([*BROKEN, *CONTRACTS_BROKEN]))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--stop-after", type=int, default=1)
    parser.add_argument("--replay", type=int, metavar="SEED")
    options = parser.parse_args()
    campaign = Campaign(options.subject, options.broken)
    if options.replay is not None:
        sys.stdout.write(campaign.explain(options.replay) + "\n")
        return 0
    result = run(campaign, options.first, options.count, options.stop_after)
    for seed in result["violations"]:
        result.setdefault("explained", campaign.explain(seed))
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 1 if result["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
