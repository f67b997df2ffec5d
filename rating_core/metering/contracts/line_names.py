"""One name space for the lines of a subscription: charges, commitments, grants, promotions (S2.2).

Names of grants and promotions stand on its account, those of charges and commitments in the plans
of its phases, those booked for later included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rating_core.contract.usage import PlanRef
from rating_core.metering.calls import Subscription
from rating_core.metering.contracts.account import CREATE_GRANT, CREATE_PROMOTION
from rating_core.metering.contracts.contract_usage import PlanNotLoaded, PlanOf
from rating_core.metering.contracts.directory import Directory, DirectoryView
from rating_core.metering.contracts.ledger import Ledger, key_of
from rating_core.metering.contracts.subscription import MIGRATE_PLAN, migrated
from rating_core.metering.log.entry import ControlEntry

_GIVING = (CREATE_GRANT, CREATE_PROMOTION)
_CHARGE, _COMMITMENT, _GIVEN = "charge", "commitment", "given"


@dataclass(frozen=True, slots=True)
class Clash:
    """A name that two kinds of lines would share, and the plan that brings it."""

    name: str
    plan_id: str


@dataclass(frozen=True, slots=True)
class LineNames:
    """The names in use, with the entries in flight on top, oldest first (P1)."""

    directory: Directory
    ledger: Ledger
    staged: Sequence[ControlEntry]
    plan_of: PlanOf

    def clash(self, subscription: Subscription) -> Clash | None:
        """Return the first name that two kinds of lines of a subscription share, if any (S2.2).

        A charge may follow a charge of its name, a commitment one of its (S5.3). PlanNotLoaded if
        a plan of its phases is not at hand.
        """
        kinds = dict.fromkeys(self._given(subscription), _GIVEN)
        for ref in dict.fromkeys(phase.plan_ref for phase in subscription.phases):
            plan = self.plan_of(ref)
            if plan is None:
                raise PlanNotLoaded(ref)
            for kind, lines in ((_CHARGE, plan.charges), (_COMMITMENT, plan.commitments)):
                for line in lines:
                    if kinds.setdefault(line.id, kind) != kind:
                        return Clash(line.id, ref.plan_id)
        return None

    def staying(self, facts: Mapping[str, Any]) -> list[list[str]]:
        """Return customer and id of each subscription that a move cannot take along (S8.6).

        ``facts``: of a MigratePlan's entry. Those with a grant, a promotion or an earlier plan that
        has the name of one of the version's lines. PlanNotLoaded as `clash`.
        """
        found = []
        apart: set[tuple[PlanRef, ...]] = set()
        given = set(self.ledger.accounts)
        given |= {key_of(entry) for entry in self.staged if entry.kind in _GIVING}
        for subscription in self._subscriptions():
            # There may be many: those of the same plans and without an account are alike.
            refs = tuple(phase.plan_ref for phase in subscription.phases)
            key = subscription.customer, subscription.subscription_id
            if refs in apart and key not in given:
                continue
            if all(ref.plan_id != facts["plan_id"] for ref in refs):
                apart.add(refs)
                continue
            made = migrated(subscription, facts)
            if made is subscription:
                continue
            if self.clash(made) is not None:
                found.append([*key])
            elif key not in given:
                apart.add(refs)
        return found

    def _subscriptions(self) -> Iterator[Subscription]:
        """Yield the subscriptions of all customers, those that staged entries change as changed."""
        view = DirectoryView(self.directory, self.staged)
        changed = {entry.facts["customer"] for entry in self.staged if "customer" in entry.facts}
        if any(entry.kind == MIGRATE_PLAN for entry in self.staged):
            changed |= set(self.directory.customers)
        yield from (one for one in self.directory.subscriptions if one.customer not in changed)
        for customer in sorted(changed):
            yield from view.contract(customer)

    def _given(self, subscription: Subscription) -> Iterator[str]:
        """Yield the names of a subscription's grants and promotions, void ones too."""
        key = subscription.customer, subscription.subscription_id
        account = self.ledger.accounts.get(key)
        if account is not None:
            yield from account.names()
        for entry in self.staged:
            if entry.kind in _GIVING and key_of(entry) == key:
                made = entry.facts["grant" if entry.kind == CREATE_GRANT else "promotion"]
                yield made["id"]
