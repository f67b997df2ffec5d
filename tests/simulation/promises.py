"""What a server promises with an answer, and what Redis must hold, checked against the truth."""

from __future__ import annotations

from truth import CLOCK_TOLERANCE_US, WINDOW_US, Violation

from rating_core.metering.log.protocol import EMPTY_TOKEN


class Promises:
    """The invariants that a `World` checks while it runs."""

    def _check_status(self, call, record, status, current, holds):
        head, before = self.head_truth(), self.truth[call.stable]
        here = head.ids.get(record[0])
        earlier = before.ids.get(record[0])
        if status in ("ACCEPTED", "DUPLICATE"):
            if holds and (not here or here[0] != record):
                raise Violation(f"LOST: {status} sent, but {record[0]} is not in the log")
            return
        if status == "CONFLICT":
            if current and (not here or here[0] == record):
                raise Violation(f"STATUS: CONFLICT for {record[0]} without a conflict")
            if current and earlier and earlier[0] == record:
                raise Violation(f"STATUS: CONFLICT for the counted payload of {record[0]}")
            return
        covered = before.covers(record) and head.covers(record)
        if status == "NO_SUBSCRIPTION" and covered and holds:
            raise Violation("STATUS: NO_SUBSCRIPTION after a subscription")
        if status == "PERIOD_CLOSED" and record[1] not in head.closed and current:
            raise Violation("STATUS: PERIOD_CLOSED, but it is not closed")
        young = record[3] > self.time - WINDOW_US + CLOCK_TOLERANCE_US
        if status == "TOO_OLD" and young and head.now <= self.time + CLOCK_TOLERANCE_US:
            raise Violation("STATUS: TOO_OLD for a young record")
        if earlier and holds and status != "TOO_OLD":
            raise Violation(f"STATUS: {status} for {record[0]}, counted before the call began")

    def _check_control(self, call, outcome, value, holds):
        self.coverage[f"control {outcome}"] += 1
        if outcome != "OK":
            return
        op, _, request_id = call.control
        if request_id:
            requests = self.head_truth().requests
            if holds and requests.get(request_id, -1) != value:
                raise Violation(f"REQUEST: {request_id} answered {value}, the log says otherwise")
        elif op == "grant" and holds:
            self.grants_answered += 1
            if self.grants_answered > self.head_truth().grants:
                raise Violation("GRANT: more grants answered than the log holds")

    def _check_read(self, call, total, current, server):
        if not current or server.connection.node.isolated:
            return
        customer, token = call.control[1], self.head().token
        allowed = set()
        while True:
            allowed.add(self.truth[token].totals.get(customer, 0))
            if token in (call.stable, EMPTY_TOKEN):
                break
            token = self.parents[token]
        self.coverage["reads checked"] += 1
        if total not in allowed:
            raise Violation(f"READ: {customer} has {total}, the log says {sorted(allowed)}")

    def _check_loss(self, server, effect):
        """P5: what is reported as lost is not in the log, and what is named as kept is.

        The log may have grown since it was read: its writer may send a lost entry once more (P3).
        """
        self.coverage["losses noticed"] += 1
        state = server.connection.node.history[-1]
        read = len(server.session.read_anew) and max(server.session.read_anew)
        if read >= effect.version and state.holds(effect.version, effect.token):
            raise Violation(f"LOSS: {effect.version} is reported as lost, and in the log")
        known = server.session.known
        if effect.kept >= state.first and not state.holds(effect.kept, known[effect.kept]):
            raise Violation(f"LOSS: {effect.kept} is reported as kept, and not in the log")
        if self.replicated and effect.answered > effect.kept:
            raise Violation(f"LOSS: {effect.answered} was answered at REPLICATED, and is gone")
        server.session.known = dict(server.session.read_anew)

    def check_losses_noticed(self):
        """P5: what a server knew as committed is in the log, or was reported as lost."""
        state = self.head()
        for server in self.servers:
            for version, token in server.session.known.items():
                if version < state.first:
                    continue  # trimmed: the state stands on a snapshot, which may hide the loss
                if server.session.ready and not state.holds(version, token):
                    raise Violation(f"LOSS: server {server.index} did not notice that of {version}")

    # --- proofs over all of Redis --------------------------------------------------------------

    def check_hashes(self):
        """P9: every hash is the fold at its version, and F passes no hash that lacks entries."""
        state = self.head()
        log = state.log
        self.coverage["hash checks"] += bool(state.hashes)

        def token_at(version):
            return log[version - 1][0] if version else EMPTY_TOKEN

        at_mark = self.truth[token_at(state.mark)].fields if state.mark <= len(log) else None
        if at_mark is None:
            raise Violation("FOLD: the mark is beyond the log")
        for key, (version, fields) in state.hashes.items():
            if version > len(log):
                raise Violation(f"FOLD: {key} stands beyond the log")
            then = self.truth[token_at(version)].fields
            expected = {field: value for (owner, field), value in then.items() if owner == key}
            if {field: value for field, value in fields.items() if value} != expected:
                raise Violation(f"FOLD: {key} at {version} is {fields}, the log says {expected}")
        for (owner, field), value in at_mark.items():
            version, fields = state.hashes.get(owner, (0, {}))
            if version < state.mark and fields.get(field) != value:
                raise Violation(f"FOLD: F is {state.mark}, but {owner} lacks entries up to it")
        for key, (version, fields) in state.hashes.items():
            for field, value in fields.items() if version < state.mark else ():
                if value != at_mark.get((key, field), 0):
                    raise Violation(f"FOLD: F is {state.mark}, but {key} lacks entries up to it")
