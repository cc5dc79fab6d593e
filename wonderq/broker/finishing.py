"""Finishing and claiming in one request: a consumer gives back its last messages and gets the next ones.

`Finisher.next` appends what it finishes and then claims, so the claim finds what that made available: room in flight,
the next message of a group, released messages. Both share a sync. If no message is there, what was finished becomes
durable before the long poll sleeps. If the claim is refused, what was finished stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from wonderq.broker.changes import Changes
from wonderq.broker.claims import DEFAULT_CLAIM, ClaimOptions
from wonderq.broker.core import NOT_A_RECEIPT, Core
from wonderq.broker.polls import Polls, Sources
from wonderq.broker.reader import Batch
from wonderq.broker.updates import Decision, Prepared, Update, Updates
from wonderq.model.errors import (
    BrokerError,
    InvalidValueError,
    MessageNotFoundError,
    NotPermittedError,
)
from wonderq.model.messages import Change, Message, Target
from wonderq.model.permits import Permits, everything
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS
from wonderq.runtime.fibers import took
from wonderq.state import record
from wonderq.state.record import Record, Runs
from wonderq.state.state import Queue
from wonderq_storage import DiskFullError

#: Prefix of the attempts to finish in a queue's dedup table.
_FINISH = "f"

_FINGERPRINT_CHARACTERS = 16


class Finish(NamedTuple):
    """The end of one claim, as its consumer wants it."""

    receipt: str
    change: Change | None
    """The update; None deletes the message."""


class Next(NamedTuple):
    """Outcome of `Finisher.next`."""

    batches: list[Batch]
    """Messages that were claimed, in batches of one queue each."""
    results: list[BrokerError | None]
    """For each `Finish` None, or its error."""
    refusal: Exception | None
    """Error that refused the claim, although messages were finished."""

    @property
    def messages(self) -> list[Message]:
        """Messages that were claimed."""
        return [message for batch in self.batches for message in batch.messages()]


class _OfQueue:
    """The messages of one queue that a request finishes, each with its index in the request."""

    def __init__(self, number: int, deletes: Sequence[str] = ()) -> None:
        """Begin with the messages to delete of a request that has no others, given by their receipts."""
        self.number = number
        self.deletes = list(deletes)
        self.delete_indexes = list(range(len(deletes)))
        self.updates: list[Update] = []
        self.update_indexes: list[int] = []

    def add(self, index: int, finish: Finish) -> None:
        if finish.change is None:
            self.deletes.append(finish.receipt)
            self.delete_indexes.append(index)
        else:
            self.updates.append((Target(receipt=finish.receipt), finish.change))
            self.update_indexes.append(index)


class Finisher:
    """Ends the claims of one request, and makes its next claim."""

    def __init__(self, core: Core, changes: Changes, updates: Updates, polls: Polls) -> None:
        self._core = core
        self._changes = changes
        self._updates = updates
        self._polls = polls

    def next(
        self,
        sources: Sources,
        finished: Sequence[Finish],
        options: ClaimOptions = DEFAULT_CLAIM,
        *,
        permits: Permits = everything,
    ) -> Next:
        """Finish messages of any queues, and claim the next ones of the sources as `Polls.claim_from` does.

        ``permits`` tells whether the client may finish messages of a queue. With an attempt id, a repetition of the
        same request finishes nothing again and returns the same results.

        Raises:
            InvalidValueError, BatchTooLargeError: a field is out of range. Nothing was finished.
            QueueNotFoundError: a source does not exist. Nothing was finished.
            NotPermittedError: a message is in a queue that the client may not use. Nothing was finished.
            BrokerError: the claim is refused, and there was nothing to finish.
        """
        if not finished:
            return Next(self._polls.deliver(sources, options), [], None)
        self._polls.check(sources, options)
        results = self._finish(sources, finished, options.attempt_id, permits)
        try:
            return Next(self._polls.deliver(sources, options, finished_any=True), results, None)
        except (BrokerError, DiskFullError) as error:
            self._core.confirm()
            return Next([], results, error)

    def _finish(
        self, sources: Sources, finished: Sequence[Finish], attempt_id: str | None, permits: Permits
    ) -> list[BrokerError | None]:
        """Delete and update messages, in one write. Return for each None or its error. Does not wait for the disk."""
        core = self._core
        core.limits.check_entries(len(finished))
        self._updates.check([(Target(receipt=each.receipt), each.change) for each in finished if each.change])
        attempt = None if attempt_id is None else _Attempt(_FINISH + attempt_id, _fingerprint(finished))
        malformed: list[BrokerError | None] = [None] * len(finished)
        parts = self._by_queue(finished, malformed)
        rewrites = any(change.rewrites for part in parts for _, change in part.updates)
        while True:
            prepared: list[Mapping[int, Prepared]] = [{}] * len(parts)
            if rewrites:
                with core.transaction as now_ms:
                    queues = self._queues(parts, permits)
                prepared = [
                    {} if found is None else self._updates.prepare(found, part.updates, now_ms)
                    for part, found in zip(parts, queues, strict=True)
                ]
            with core.transaction as now_ms:
                claimed, *_ = [core.find_queue(name) for name in sources.queues]
                queues = self._queues(parts, permits)
                if attempt is not None and (before := attempt.results(claimed, len(finished), now_ms)) is not None:
                    return before
                results = malformed.copy()
                if self._decide(parts, queues, prepared, results, now_ms, claimed, attempt):
                    return results

    def _by_queue(self, finished: Sequence[Finish], results: list[BrokerError | None]) -> list[_OfQueue]:
        """Return the messages by queue, and put the errors of malformed receipts into the results."""
        ids = self._core.ids
        deletes = [receipt for receipt, change in finished if change is None]
        if len(deletes) == len(finished) and (claim := ids.decode_receipt(deletes[0])) is not None:
            number = claim[0]
            if ids.decode_receipts(number, deletes) is not None:  # most requests, in a tenth of the time
                return [_OfQueue(number, deletes)]
        parts: dict[int, _OfQueue] = {}
        for index, each in enumerate(finished):
            claim = ids.decode_receipt(each.receipt)
            if claim is None:
                results[index] = InvalidValueError("receipt", NOT_A_RECEIPT)
                continue
            part = parts.get(claim[0])
            if part is None:
                part = parts[claim[0]] = _OfQueue(claim[0])
            part.add(index, each)
        took(len(finished))
        return list(parts.values())

    def _queues(self, parts: Sequence[_OfQueue], permits: Permits) -> list[Queue | None]:
        """Return the queue of each part, under the lock; None for one that was deleted.

        Raises:
            NotPermittedError: the client may not use one of them.
        """
        queues = [self._core.state.find(part.number) for part in parts]
        for queue in queues:
            if queue is not None and not permits(queue.name):
                raise NotPermittedError("for each queue whose messages it finishes", "consume")
        return queues

    def _decide(
        self,
        parts: Sequence[_OfQueue],
        queues: Sequence[Queue | None],
        prepared: Sequence[Mapping[int, Prepared]],
        results: list[BrokerError | None],
        now_ms: int,
        claimed: Queue,
        attempt: _Attempt | None,
    ) -> bool:
        """Decide, append and apply, under the lock; return False if a message has changed since it was prepared."""
        decided: list[tuple[Runs, Decision]] = []
        for part, queue, new in zip(parts, queues, prepared, strict=True):
            if queue is None:
                for index in (*part.delete_indexes, *part.update_indexes):
                    results[index] = MessageNotFoundError()
                continue
            self._core.advance(queue, now_ms)
            runs = self._changes.resolve_receipts(queue, part.deletes) if part.deletes else []
            if runs is None:
                targets = [Target(receipt=receipt) for receipt in part.deletes]
                runs, errors = self._changes.resolve_each(queue, targets, only_claimed=False)
                for index, error in zip(part.delete_indexes, errors, strict=True):
                    results[index] = error
            seen = set(record.from_runs(runs)) if part.updates else set()
            decision = self._updates.decide(queue, part.updates, new, now_ms, seen)
            if decision is None:
                return False
            for index, error in zip(part.update_indexes, decision.results, strict=True):
                results[index] = error
            decided.append((runs, decision))
        also: list[Record] = []
        if attempt is not None and self._core.admission.remembers_attempt(now_ms):
            also.append(attempt.record(claimed, results, now_ms))
        self._changes.apply(decided, now_ms, also)
        return True


class _Attempt(NamedTuple):
    """A request that its client may repeat."""

    key: str
    """Key in the dedup table of the first queue that it claims from."""
    fingerprint: str

    def results(self, queue: Queue, count: int, now_ms: int) -> list[BrokerError | None] | None:
        """Return the results of the same request if it was carried out before, under the lock; None otherwise."""
        before = queue.dedup.get(self.key, now_ms)
        if before is None or before[0] != self.fingerprint:
            return None
        results: list[BrokerError | None] = [None] * count
        for index, *error in before[1]:
            results[index] = _error_of(*error)
        return results

    def record(self, queue: Queue, results: Sequence[BrokerError | None], now_ms: int) -> record.Dedup:
        """Return the record that keeps the results."""
        failed = [
            [index, error.code, str(error), getattr(error, "field", None)]
            for index, error in enumerate(results)
            if error is not None
        ]
        row = self.key, [self.fingerprint, failed], now_ms + DEDUPLICATION_WINDOW_MS
        return record.Dedup(record.DEDUP, now_ms, queue.number, [row])


def _error_of(code: str, message: str, field: str | None) -> BrokerError:
    """Return an error like the one of an earlier attempt."""
    error = BrokerError(message) if field is None else InvalidValueError(field, message)
    error.code = code
    return error


def _fingerprint(finished: Sequence[Finish]) -> str:
    """Return a text that differs for requests that finish other messages, or finish them otherwise."""
    text = "".join([f"{receipt} {change!r}\n" for receipt, change in finished])
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:_FINGERPRINT_CHARACTERS]
