"""Whatever a document holds, reading it ends in a plan or in named faults, nothing else."""

from __future__ import annotations

from copy import deepcopy
from random import Random
from typing import Any

import pytest

from rating_core.case import case_from_document
from rating_core.errors import PlanInvalid, UsageInvalid
from rating_core.plan.document import plan_from_document, plan_to_document, warnings_of
from rating_core.usage import counters_from_usage, usage_to_document

JUNK: tuple[Any, ...] = (
    None,
    True,
    7,
    "",
    "x" * 300,
    "-1",
    "1e5",
    "9" * 30,
    "0.0000000000001",
    "\n",
    [],
    {},
    [[]],
    [{}],
    {"": ""},
    {"id": {}},
    {1: 2},
    ["a", "a"],
)


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) below ``node``."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    found = [(node, key) for key in keys]
    for key in keys:
        if isinstance(node[key], (dict, list)):
            found += _places(node[key])
    return found


def _spoil(random: Random, document: dict[str, Any]) -> None:
    """Replace, drop, repeat or add something anywhere in ``document``."""
    container, key = random.choice(_places(document))
    how = random.randrange(4)
    if how == 0 and isinstance(container, dict):
        container[random.choice(["id", "tiers", "where", "amount", "odd"])] = deepcopy(
            random.choice(JUNK)
        )
    elif how == 1:
        del container[key]
    elif how == 2 and isinstance(container, list):
        container.append(deepcopy(container[key]))
    else:
        container[key] = deepcopy(random.choice(JUNK))


@pytest.mark.parametrize("seed", range(8))
def test_spoilt_documents_give_named_faults(seed: int, maker) -> None:
    """3,200 documents with one to three mistakes each: a plan, or faults with paths and reasons."""
    random = Random(seed)
    refused = 0
    for _ in range(400):
        make = maker(random.randrange(10**9))
        plan = make.plan()
        case = {
            "id": "case",
            "plan": plan_to_document(plan),
            "usage": usage_to_document(make.usage(plan)),
            "expect": {"total": "1", "lines": {plan.charges[0].id: "1"}},
        }
        for _ in range(random.randint(1, 3)):
            _spoil(random, case)
        try:
            read = case_from_document(case, {"USD": 2}.get)
        except (PlanInvalid, UsageInvalid) as refusal:
            refused += 1
            for fault in refusal.faults:
                assert fault.reason.isupper()
                assert fault.message.isprintable()
                assert len(str(fault)) < 600
        else:
            warnings_of(read.plan)
            assert plan_from_document(plan_to_document(read.plan), {"USD": 2}.get) == read.plan
            assert isinstance(counters_from_usage(read.plan, {}), list)
    assert refused > 200
