"""Changes to existing messages: delete, update, bury, kick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import ge

from wonderq.broker.core import CLAIM_LEAVES, DELETE_LEAVES, Core
from wonderq.broker.transfers import Transfers
from wonderq.broker.updates import Decision, Prepared, Update, Updates
from wonderq.model.errors import BrokerError, InvalidValueError, MessageNotFoundError, NotClaimedError
from wonderq.model.messages import Change, Target
from wonderq.model.status import BURIED, CLAIMED, WAITING
from wonderq.state import record
from wonderq.state.record import Record, Runs
from wonderq.state.state import Queue, change_record


class Changes:
    """Deletes and updates messages."""

    def __init__(self, core: Core, updates: Updates, transfers: Transfers) -> None:
        self._core = core
        self._updates = updates
        self._transfers = transfers

    def delete(self, queue: str, target: Target) -> None:
        """Delete one message.

        A receipt also works after the claim's deadline, as long as nobody has claimed the message since: the work was
        done, and no other consumer has started it.

        Raises:
            QueueNotFoundError: the queue does not exist.
            MessageNotFoundError: the queue has no such message.
            StaleReceiptError: the message was claimed again or released.
            InvalidValueError: the target is malformed.
        """
        for error in self.delete_batch(queue, [target]):
            if error is not None:
                raise error

    def delete_batch(
        self, queue: str, targets: Sequence[Target], *, only_claimed: bool = False
    ) -> list[BrokerError | None]:
        """Delete messages, in one record. Return for each target None, or the error that `delete` would raise.

        With ``only_claimed``, `NotClaimedError` stands for a message whose claim has ended.

        Raises:
            BatchTooLargeError, InvalidValueError: the batch is too large, or empty.
            QueueNotFoundError: the queue does not exist.
        """
        self._core.admission.check_batch(len(targets))
        with self._core.transaction as now_ms:
            found = self._core.find_queue(queue)
            if only_claimed:
                self._core.advance(found, now_ms)
            receipts = [receipt for message_id, receipt in targets if receipt is not None and message_id is None]
            by_receipt = len(receipts) == len(targets) and not only_claimed
            runs = self.resolve_receipts(found, receipts) if by_receipt else None
            results: list[BrokerError | None] = [None] * len(targets)
            if runs is None:
                runs, results = self.resolve_each(found, targets, only_claimed=only_claimed)
            if runs:
                produced_ms = found.messages.produced_ms(runs)
                self._core.append_and_apply(
                    record.Delete(record.DELETE, now_ms, found.number, runs), leave=DELETE_LEAVES
                )
                self._core.counters.of(queue).deleted(now_ms, produced_ms)
                self._core.consumers.notify(found)  # more messages may be in flight now
        if runs:
            self._core.wait_until_durable()
        else:
            self._core.confirm()
        return results

    def resolve_receipts(self, queue: Queue, receipts: Sequence[str]) -> Runs | None:
        """Return the messages of receipts that are all valid and ascend, as those of one claim do; None otherwise.

        This is the short path of `resolve_each`, in a fifth of the time.
        """
        claims = self._core.ids.decode_receipts(queue.number, receipts)
        if claims is None:
            return None
        sequences, tokens = claims
        if not isinstance(sequences, range) and any(map(ge, sequences, sequences[1:])):
            return None
        runs = record.to_runs(sequences)
        return runs if queue.messages.are_claimed(runs, tokens) else None

    def resolve_each(
        self, queue: Queue, targets: Sequence[Target], *, only_claimed: bool
    ) -> tuple[Runs, list[BrokerError | None]]:
        """Return the messages that may be deleted, and for each target None or its error."""
        results: list[BrokerError | None] = []
        sequences: set[int] = set()
        for target in targets:
            try:
                view = self._core.resolve(queue, target)
                if view.sequence in sequences:
                    raise MessageNotFoundError
                if only_claimed and view.status != CLAIMED:
                    raise NotClaimedError
                sequences.add(view.sequence)
                results.append(None)
            except BrokerError as error:
                results.append(error)
        return record.to_runs(sorted(sequences)), results

    def update(self, queue: str, target: Target, change: Change) -> None:
        """Change one message; see `Change`.

        Raises:
            QueueNotFoundError: the queue does not exist.
            MessageNotFoundError, StaleReceiptError, NotClaimedError, VersionConflictError: see each.
            InvalidValueError, MessageTooLargeError, QueueFullError, BrokerFullError: the change is not allowed.
        """
        for error in self.update_batch(queue, [(target, change)]):
            if error is not None:
                raise error

    def update_batch(self, queue: str, updates: Sequence[Update]) -> list[BrokerError | None]:
        """Change messages, in one write. Return for each update None, or the error that `update` would raise."""
        core = self._core
        core.admission.check_batch(len(updates))
        self._updates.check(updates)
        rewrites = any(change.rewrites for _, change in updates)
        decision, appended = None, False
        while decision is None:
            prepared: Mapping[int, Prepared] = {}
            if rewrites:
                with core.transaction as now_ms:
                    found = core.find_queue(queue)
                prepared = self._updates.prepare(found, updates, now_ms)
            with core.transaction as now_ms:
                found = core.find_queue(queue)
                core.advance(found, now_ms)
                decision = self._updates.decide(found, updates, prepared, now_ms, set())
                if decision is not None:
                    appended = self.apply([([], decision)], now_ms)
        if appended:
            core.wait_until_durable()
        else:
            core.confirm()
        return decision.results

    def apply(self, decided: Sequence[tuple[Runs, Decision]], now_ms: int, also: Sequence[Record] = ()) -> bool:
        """Append and apply deletions and updates of several queues, and ``also``, in one write, under the lock.

        Returns whether there was anything to append.

        Raises:
            TooManyQueuesError: a dead-letter queue cannot be created. Nothing was changed.
        """
        core = self._core
        records = self._transfers.arrivals([(each.queue, each.transfers) for _, each in decided], now_ms)
        produced_ms: list[Sequence[int]] = []
        leave = DELETE_LEAVES
        for runs, decision in decided:
            produced_ms.append(decision.queue.messages.produced_ms(runs) if runs else ())
            gone = (
                record.to_runs(sorted([*record.from_runs(runs), *decision.deleted()])) if decision.transfers else runs
            )
            if gone:
                records.append(record.Delete(record.DELETE, now_ms, decision.queue.number, gone))
            changed = decision.records(now_ms)
            records += changed
            if changed or decision.transfers:
                leave = min(leave, decision.leave)
        records += also
        if not records:
            return False
        core.append_and_apply(*records, leave=leave)
        for (runs, decision), produced in zip(decided, produced_ms, strict=True):
            if runs:
                core.counters.of(decision.queue.name).deleted(now_ms, produced)
            decision.applied(core, self._transfers, now_ms)
        return True

    def kick(self, queue: str, limit: int) -> int:
        """Make buried messages available again, the oldest first and at most ``limit``; return how many.

        Their receive counts start at 0, so they get as many tries as new messages.

        Raises:
            QueueNotFoundError: the queue does not exist.
            InvalidValueError: ``limit`` is out of range.
        """
        if not 1 <= limit <= self._core.limits.batch_messages:
            raise InvalidValueError("max", f"max must be from 1 to {self._core.limits.batch_messages}.")
        with self._core.transaction as now_ms:
            found = self._core.find_queue(queue)
            views = found.messages.after(-1, limit, BURIED) if found.messages.counts[BURIED] else []
            if views:
                changes = [record.Reset(view.sequence, WAITING, 0, 0, 0) for view in views]
                self._core.append_and_apply(change_record(found, changes, now_ms), leave=CLAIM_LEAVES)
                self._core.counters.of(queue).count(record.UPDATE, len(views))
                self._core.consumers.notify(found)
        self._core.confirm()
        return len(views)
