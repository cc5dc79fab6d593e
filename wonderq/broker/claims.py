"""Claims: which messages of a queue a consumer gets, and which are dead letters. `wonderq.broker.polls` waits."""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from operator import attrgetter
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from wonderq.broker.core import CLAIM_LEAVES, Core
from wonderq.broker.rate_limits import ClaimBudget
from wonderq.broker.transfers import PORTION_MESSAGES, Transfers
from wonderq.model.limits import UNLIMITED
from wonderq.model.messages import new_tuple
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS
from wonderq.model.status import CLAIMED
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq.state import record
from wonderq.state.page import NO_TOKEN, MessageColumns, MessageView
from wonderq.state.record import Record, Runs
from wonderq.state.state import Queue, change_record
from wonderq_storage import Position

#: Random bytes to draw at a time: a system call for each token would cost more than the rest of a claim.
_TOKENS_BYTES = 4096

#: Most claims of a queue that have the name of their consumer at a time. Further ones have none.
MAX_NAMED_CLAIMS = 10_000

#: Prefix of the ids of claim attempts in a queue's dedup table.
_ATTEMPT = "a"

#: Queues to look at under the lock for dead letters; each takes a fraction of a microsecond.
_LOOKED_AT = 1000

#: Most messages to set aside under the lock, or to put back; each takes a few microseconds.
_SPENT_PORTION = 400

_length = attrgetter("length")


class Claim(NamedTuple):
    """Messages that were claimed."""

    queue: Queue
    position: Position
    """Position of the claim's record."""
    messages: MessageColumns
    token: int
    """Token of the receipts."""
    consumers: Mapping[int, str]
    """Name of the consumer by the token, if the claim has one."""


class NoClaim(NamedTuple):
    """Reason why nothing was claimed."""

    in_flight_limit: int = 0
    """Limit on messages in flight, if that is the reason; otherwise 0."""
    wait_s: float = inf
    """Seconds until a rate limit allows more."""
    dead: Sequence[MessageView] = ()
    """Messages that were claimed too often and are set aside, to be dead-lettered."""
    unfinished: bool = False
    """Whether the next attempt may find a message that this one did not come to."""


class Room(Protocol):
    """Room in memory for the response to a claim. It is asked under the broker's lock."""

    @property
    def left_bytes(self) -> int:
        """Size of the messages that may be claimed. A single message may have more."""

    def take(self, size: int) -> None:
        """Take the room of messages that are claimed now."""

    def fit(self, size: int) -> None:
        """Take the room of messages that can be claimed only together; raise an error if there is not enough."""


class ClaimOptions(NamedTuple):
    """Size and duration of a claim."""

    limit: int = 10
    """Most messages."""
    visibility_timeout_ms: int | None = None
    """Duration of the claim; None for the setting of the queue."""
    wait_s: float = 0
    """Longest wait for the first message."""
    client_gone: Callable[[], bool] = lambda: False
    """Called before each attempt to claim. Nothing is claimed once it returns True."""
    attempt_id: str | None = None
    """A repeated one gets the same messages and receipts within five minutes, unless one of the messages has changed
    since."""
    room: Room | None = None
    """Fewer messages are claimed if it has too little left."""
    consumer: str = ""
    """Name of the consumer, which its messages show."""


DEFAULT_CLAIM = ClaimOptions()


class Claims:
    """Decides claims, one queue at a time."""

    def __init__(self, core: Core, transfers: Transfers) -> None:
        self._core = core
        self._transfers = transfers
        self._tokens: Iterator[int] = iter(())
        # By queue: the buckets of a deleted queue are dropped with it.
        self._rates: WeakKeyDictionary[Queue, TokenBuckets] = WeakKeyDictionary()
        self._new_buckets: Callable[[], TokenBuckets] = TokenBuckets
        # What `remove_dead_letters` has seen of each queue: as long as it is the same, there is nothing new to find.
        self._seen: WeakKeyDictionary[Queue, tuple[int, ...]] = WeakKeyDictionary()

    def try_claim(self, queue: Queue, now_ms: int, options: ClaimOptions, taken_bytes: int = 0) -> Claim | NoClaim:
        """Claim messages that are available now, under the lock, or return the reason why there are none.

        ``taken_bytes`` is the size of messages from other queues in the same response.
        """
        limit, visibility_timeout_ms, _, _, attempt_id, room, consumer = options
        messages, settings = queue.messages, queue.settings
        in_flight_limit, rates = self._core.limits.in_flight_per_queue, None
        left = self._core.advance(queue, now_ms)
        if queue.restricts_claims:
            if settings.retention_ms and self._core.delete_expired(queue, now_ms):
                return NoClaim(unfinished=True)
            if settings.paused:
                return NoClaim()
            in_flight_limit = min(in_flight_limit, settings.max_in_flight or UNLIMITED)
            if settings.has_rates:
                rates = self._budget(queue)
        if attempt_id is not None:
            again = self.claim_again(queue, now_ms, options)
            if again is not None:
                return again
        timeout_ms = settings.visibility_timeout_ms if visibility_timeout_ms is None else visibility_timeout_ms
        more = in_flight_limit - messages.counts[CLAIMED]
        if messages.is_to_put_back(settings.max_receives):
            messages.put_back(_SPENT_PORTION, settings.max_receives)
            return NoClaim(unfinished=True)
        runs = self._pick(queue, min(limit, more), rates, room)
        if settings.max_receives and runs and messages.any_received(runs, settings.max_receives):
            return NoClaim(dead=self._set_aside(queue, min(limit, more), rates))
        if taken_bytes and runs:
            most_bytes = min(self._core.limits.batch_bytes, inf if room is None else room.left_bytes) - taken_bytes
            if sum(messages.columns(runs).length) > most_bytes:
                return NoClaim()
        if not runs:
            if left <= 0 or not messages.is_searched:
                return NoClaim(unfinished=True)
            full = more <= 0 < messages.available
            return NoClaim(in_flight_limit if full else 0, inf if rates is None else rates.wait_s)
        token = self._new_token()
        fields = now_ms, queue.number, runs, timeout_ms, token
        records: list[Record] = [record.Claim(record.CLAIM, *fields)]
        if consumer and len(messages.claim_names.by_token) < MAX_NAMED_CLAIMS:
            records = [record.NamedClaim(record.NAMED_CLAIM, *fields, consumer)]
        if attempt_id is not None and self._core.admission.remembers_attempt(now_ms):
            records.append(self._attempt(queue, now_ms, attempt_id, token, runs, now_ms + timeout_ms))
        position = self._core.append_and_apply(*records, leave=CLAIM_LEAVES)
        claimed = messages.columns(runs)
        self._count(queue, now_ms, claimed.produced_ms)
        if room is not None:
            size = sum(claimed.length)
            if taken_bytes:
                room.fit(taken_bytes + size)
            else:
                room.take(size)
        if rates is not None:
            rates.count(map(messages.group_of, claimed.lane))
        self._core.consumers.notify(queue)
        return new_tuple(Claim, (queue, position, claimed, token, messages.consumers_of((token,))))

    def _set_aside(self, queue: Queue, limit: int, rates: ClaimBudget | None) -> list[MessageView]:
        """Set aside a portion of the messages that were claimed too often and come before the next ``limit`` others."""
        most, receives = _SPENT_PORTION, queue.settings.max_receives
        if rates is None:
            return queue.messages.set_aside_next(limit, lambda _: UNLIMITED, receives, most)
        return queue.messages.set_aside_next(min(limit, rates.messages()), rates.messages_of, receives, most)

    def remove_dead_letters(self) -> bool:
        """Move or bury dead letters ahead of need, one portion of each queue; return whether more may be left.

        A dead letter behind a message that can still be claimed stays until its turn comes.
        """
        core, more = self._core, False
        for queue in self._that_may_have_dead_letters():
            with core.transaction as now_ms:
                if core.state.find(queue.number) is not queue:
                    continue
                views, is_searched = self._dead_letters(queue, now_ms)
                more = more or bool(views) or not is_searched
            if views:
                self._transfers.dead_letter(queue, views)
        return more

    def _that_may_have_dead_letters(self) -> Iterator[Queue]:
        """Yield the queues to look through. The lock is needed for a look at the messages of any queue."""
        core = self._core
        with core.lock:
            existing = list(core.state.queues.values())
        for at in range(0, len(existing), _LOOKED_AT):
            with core.lock:
                found = [queue for queue in existing[at : at + _LOOKED_AT] if _may_have_dead_letters(queue)]
            yield from found

    def _dead_letters(self, queue: Queue, now_ms: int) -> tuple[list[MessageView], bool]:
        """Return a portion of the dead letters of a queue, and whether the search for them ended, under the lock."""
        messages, settings = queue.messages, queue.settings
        receives = settings.max_receives
        if messages.is_to_put_back(receives):
            messages.put_back(_SPENT_PORTION, receives)
            self._core.consumers.notify(queue)
            if messages.is_to_put_back(receives):  # all, before a new limit counts: they may be tried more by it
                return [], False
        if not settings.max_receives or settings.paused:
            return [], True
        self._core.advance(queue, now_ms)
        if self._seen.get(queue) != _figures_of(queue):
            self._set_aside(queue, 1, None)
            if not messages.is_searched:
                return messages.set_aside_first(PORTION_MESSAGES), False
            self._seen[queue] = _figures_of(queue)
        return messages.set_aside_first(PORTION_MESSAGES), True

    def _budget(self, queue: Queue) -> ClaimBudget:
        """Return what the rates of a queue allow now."""
        buckets = self._rates.get(queue)
        if buckets is None:
            buckets = self._rates[queue] = self._new_buckets()
        return ClaimBudget(buckets, queue)

    def _pick(self, queue: Queue, limit: int, rates: ClaimBudget | None, room: Room | None) -> Runs:
        """Return the messages to claim next, within the limits of a batch, the rates and the room."""
        most_bytes = self._core.limits.batch_bytes
        if room is not None:
            most_bytes = min(most_bytes, room.left_bytes)
        receives = queue.settings.max_receives or UNLIMITED
        if rates is None:
            return queue.messages.pick(limit, most_bytes, receives=receives)
        return queue.messages.pick(min(limit, rates.messages()), most_bytes, rates.messages_of, receives)

    def _count(self, queue: Queue, now_ms: int, produced_ms: Sequence[int]) -> None:
        if queue.messages.lanes.by_number:
            produced_ms = sorted(produced_ms)  # lanes do not deliver the oldest message first
        self._core.counters.of(queue.name).claimed(now_ms, produced_ms)

    def claim_again(self, queue: Queue, now_ms: int, options: ClaimOptions) -> Claim | None:
        """Renew and return the claim of an earlier attempt, or return None if there is none or a message changed."""
        attempt_id, room = options.attempt_id, options.room
        assert attempt_id is not None
        timeout_ms = options.visibility_timeout_ms
        if timeout_ms is None:
            timeout_ms = queue.settings.visibility_timeout_ms
        before = queue.dedup.get(_ATTEMPT + attempt_id, now_ms)
        if before is None:
            return None
        token, runs, due_ms = before
        if due_ms <= now_ms:
            return None
        views = [view for sequence in record.from_runs(runs) if (view := queue.messages.find(sequence)) is not None]
        expected = (CLAIMED, token, due_ms)
        if len(views) < sum(runs[1::2]) or any((each.status, each.token, each.due_ms) != expected for each in views):
            return None
        if room is not None:
            room.fit(sum(map(_length, views)))
        changes = [record.Change(view.sequence, CLAIMED, now_ms + timeout_ms, timeout_ms) for view in views]
        position = self._core.append_and_apply(
            change_record(queue, changes, now_ms),
            self._attempt(queue, now_ms, attempt_id, token, runs, now_ms + timeout_ms),
            leave=CLAIM_LEAVES,
        )
        self._core.consumers.notify(queue)  # the claim may end sooner than before
        columns = queue.messages.columns(runs)
        return Claim(queue, position, columns, token, queue.messages.consumers_of((token,)))

    def _attempt(self, queue: Queue, now_ms: int, attempt_id: str, token: int, runs: Runs, due_ms: int) -> record.Dedup:
        """Return the record of an attempt's claim, for `_claim_again`."""
        row = _ATTEMPT + attempt_id, [token, runs, due_ms], now_ms + DEDUPLICATION_WINDOW_MS
        return record.Dedup(record.DEDUP, now_ms, queue.number, [row])

    def _new_token(self) -> int:
        """Return 32 random bits, not all of them zero."""
        for token in self._tokens:
            if token != NO_TOKEN:
                return token
        self._tokens = iter(array("I", secrets.token_bytes(_TOKENS_BYTES)))
        return self._new_token()


def _may_have_dead_letters(queue: Queue) -> bool:
    return bool((queue.settings.max_receives or queue.messages.spent) and len(queue.messages))


def _figures_of(queue: Queue) -> tuple[int, ...]:
    """Return what changes whenever a search for dead letters may find more than before."""
    return queue.settings.max_receives, queue.messages.next_sequence, queue.messages.changes
