"""Queries: messages, listings, counts and statistics. They change nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from operator import attrgetter
from typing import NamedTuple

from wonderq.broker.core import PORTION, Core
from wonderq.broker.reader import Reader
from wonderq.model.errors import InvalidValueError, MessageNotFoundError, TooManyListingsError
from wonderq.model.messages import Message, QueueInfo, Target
from wonderq.model.permits import Permits, everything
from wonderq.model.settings import QueueSettings
from wonderq.model.status import STATUS_BY_NAME
from wonderq.model.times import ANY_TIME, Period
from wonderq.runtime.fibers import in_turns, sorted_in_turns, took, yield_to_others
from wonderq.state.page import MessageView
from wonderq.state.state import Queue

#: Most messages, and most bytes, that a listing reads at a time. A larger message is read alone.
_LIST_CHUNK = 100
_LIST_BYTES = 1 << 20

#: Most messages, and most pages of messages, that a listing of a period passes at a time: about 3 ms together.
_PASSED_CHUNK = 500
_PASSED_PAGES = 10

#: Queues to inspect before other requests have their turn.
_CHUNK_QUEUES = 100

#: Names of queues to match before other requests have their turn. A key may have many patterns.
_CHUNK_NAMES = 200


class Queries:
    """Reads messages and queues, and changes nothing."""

    def __init__(self, core: Core, reader: Reader) -> None:
        self._core = core
        self._reader = reader
        self._listings: set[object] = set()

    def get(self, queue: str, message_id: str) -> Message:
        """Return one message.

        Raises:
            QueueNotFoundError: the queue does not exist.
            MessageNotFoundError: the queue has no message with this id.
        """
        with self._core.transaction as now_ms:
            found = self._core.find_queue(queue)
            self._core.advance(found, now_ms)
            view = self._core.resolve(found, Target(id=message_id)).at(now_ms)
            consumers = found.messages.consumers_of((view.token,))
        self._core.confirm()
        for message in self._reader.messages(found, [view], consumers):
            return message
        raise MessageNotFoundError  # deleted meanwhile, and dropped from the log

    def messages(
        self,
        queue: str,
        *,
        status: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        matches: Callable[[Message], bool] | None = None,
        newest_first: bool = False,
        produced: Period = ANY_TIME,
    ) -> Generator[Message]:
        """Return an iterator over a queue's messages, oldest or newest first, that needs bounded memory.

        ``status`` is a key of `STATUS_BY_NAME`. ``after`` is the id of a message, which may be deleted, to start after
        in this order. ``matches`` selects messages; all are read for it. Messages that were not ``produced`` in the
        period are not read. Each message is seen at most once. Messages that are added, changed or deleted meanwhile
        may be seen or not.

        At most `Limits.listings` listings may be open. Close the iterator if you stop early.

        Raises:
            QueueNotFoundError: the queue does not exist.
            InvalidValueError: ``after`` is not the id of a message of this queue.
            TooManyListingsError: too many listings are open; raised when the first message is requested.
        """
        choice = _Choice(None if status is None else STATUS_BY_NAME[status], produced, newest_first)
        with self._core.transaction:
            found = self._core.find_queue(queue)
            sequence = found.messages.next_sequence if newest_first else -1
            if after is not None:
                place = self._core.ids.decode_id(after)
                if place is None or place[0] != found.number:
                    raise InvalidValueError("after", "after must be the id of a message of this queue.")
                sequence = place[1]
        return self._walk(found, sequence, choice, sys.maxsize if limit is None else limit, matches)

    def messages_of_all(
        self,
        *,
        status: str | None = None,
        after: str | None = None,
        produced: Period = ANY_TIME,
        permits: Permits = everything,
    ) -> Generator[Message]:
        """Return an iterator over the messages of all queues that the client may use, one queue after the other.

        The queues come in the order of their creation, and the messages of each oldest first; otherwise as `messages`.

        Raises:
            InvalidValueError: ``after`` is not the id of a message of this broker.
            TooManyListingsError: too many listings are open; raised when the first message is requested.
        """
        first, sequence = -1, -1
        if after is not None:
            place = self._core.ids.decode_id(after)
            if place is None:
                raise InvalidValueError("after", "after must be the id of a message.")
            first, sequence = place
        choice = _Choice(None if status is None else STATUS_BY_NAME[status], produced, newest_first=False)
        return self._walk_all(first, sequence, choice, permits)

    def _walk_all(self, first: int, sequence: int, choice: _Choice, permits: Permits) -> Generator[Message]:
        queues = self._core.own_queues()
        self._core.confirm()
        with self._listing():
            for queue in in_turns(sorted_in_turns(queues, attrgetter("number")), _CHUNK_NAMES):
                with self._core.lock:
                    is_empty = queue.number < first or not len(queue.messages)
                if not is_empty and permits(queue.name):
                    start = sequence if queue.number == first else -1
                    yield from self._walk_queue(queue, start, choice, sys.maxsize, None)

    def _walk(
        self,
        queue: Queue,
        sequence: int,
        choice: _Choice,
        limit: int,
        matches: Callable[[Message], bool] | None,
    ) -> Generator[Message]:
        with self._listing():
            yield from self._walk_queue(queue, sequence, choice, limit, matches)

    @contextmanager
    def _listing(self) -> Iterator[None]:
        """Take one of the places for listings.

        Raises:
            TooManyListingsError: none is free.
        """
        this = object()
        with self._core.transaction:
            if len(self._listings) >= self._core.limits.listings:
                raise TooManyListingsError(self._core.limits.listings)
            self._listings.add(this)
        try:
            yield
        finally:
            self._listings.discard(this)  # without the lock: an abandoned listing may end on any thread

    def _walk_queue(
        self,
        queue: Queue,
        sequence: int,
        choice: _Choice,
        limit: int,
        matches: Callable[[Message], bool] | None,
    ) -> Generator[Message]:
        while limit > 0:
            asked = _LIST_CHUNK if matches is not None else min(limit, _LIST_CHUNK)
            messages = self._some(queue, sequence, choice, asked)
            if not messages:
                return
            sequence = messages[-1].sequence
            for message in messages:
                took(_steps_of(message))
                if matches is None or matches(message):
                    yield message
                    limit -= 1
                    if not limit:
                        return

    def _some(self, queue: Queue, sequence: int, choice: _Choice, limit: int) -> list[Message]:
        """Return up to ``limit`` messages after a sequence number, fewer if they are large, none at the end."""
        asked = limit if choice.produced == ANY_TIME else _PASSED_CHUNK
        while True:
            with self._core.transaction as now_ms:
                self._core.advance(queue, now_ms)
                sequence = choice.begin_of(queue, sequence)
                passed = choice.next_of(queue, sequence, asked)
                views = [view for view in passed if choice.produced.has(view.produced_ms)][:limit]
                within = sum(1 for total in accumulate(view.length for view in views) if total <= _LIST_BYTES)
                views = views[: within or 1]
                consumers = queue.messages.consumers_of([view.token for view in views])
            self._core.confirm()
            if not passed:
                return []
            yield_to_others()
            messages = self._reader.messages(queue, views, consumers) if views else []
            if messages:
                return messages
            # All of them were deleted meanwhile, or were produced at other times.
            sequence = (views or passed)[-1].sequence

    def count(self, queue: str, status: str) -> int:
        """Return the number of messages with a status, which is a key of `STATUS_BY_NAME`.

        Raises:
            QueueNotFoundError: the queue does not exist.
        """
        with self._core.transaction as now_ms:
            found = self._core.find_queue(queue)
            self._core.advance(found, now_ms)
            count = found.messages.counts[STATUS_BY_NAME[status]]
        self._core.confirm()
        return count

    def usage(self) -> dict[str, int]:
        """Return how much there is of what the broker limits as a whole, by the names of `Limits`."""
        with self._core.lock:
            state = self._core.state
            return {
                "queues": len(state.queues),
                "total_messages": state.messages,
                "total_bytes": state.bytes,
                "total_keys": state.dedup_entries,
                "waiting_consumers": len(self._core.consumers),
                "listings": len(self._listings),
            }

    def settings_of(self, name: str) -> QueueSettings | None:
        """Return a queue's settings, which may not be durable yet; None if the queue does not exist.

        Use this before an operation on the queue that waits for durability itself.

        Raises:
            DifferentShardsError: another broker has the queue, if it exists.
        """
        found = self._core.state.queues.get(name)
        if found is None or name in self._core.outboxes:
            self._core.check_shard(name)
            return None
        return found.settings

    def sqs_attributes(self, name: str) -> Mapping[str, str] | None:
        """Return the attributes of a queue that exist in the SQS API only; None if the queue does not exist.

        For a queue of another shard this waits for the answer of that, so make no such call under the lock.

        Raises:
            DifferentShardsError: the queue is in another shard, and nothing crosses.
            ShardUnavailableError: the queue is in another shard, which does not answer.
        """
        others = self._core.others
        if others is not None and not self._core.has_name(name):
            return others.attributes_of(name)
        found = self.settings_of(name)
        return None if found is None else found.sqs

    def queue(self, name: str) -> QueueInfo:
        """Return the settings and statistics of a queue.

        Raises:
            QueueNotFoundError: the queue does not exist.
        """
        with self._core.transaction as now_ms:
            info = self.info(self._core.find_queue(name), now_ms)
        self._core.confirm()
        return info

    def queue_names(
        self,
        *,
        prefix: str = "",
        contains: str = "",
        after: str = "",
        limit: int | None = None,
        matches: Callable[[str], bool] | None = None,
    ) -> list[str]:
        """Return the names of queues that begin with ``prefix``, have ``contains``, follow ``after`` and match.

        ``matches`` is called until ``limit`` names are found. Other requests have their turn meanwhile, and queues that
        they create or delete may be among the names or not.
        """
        names = self._core.names(self._core.transaction, after=after, prefix=prefix)
        chosen = find_names(names, limit, lambda name: contains in name and (matches is None or matches(name)))
        self._core.confirm()
        return chosen

    def sources_of(
        self,
        name: str,
        *,
        after: str = "",
        limit: int | None = None,
        matches: Callable[[str], bool] | None = None,
        everywhere: bool = True,
    ) -> list[str]:
        """Return the names of queues whose dead-letter queue is the one with this name; otherwise as `queue_names`.

        ``everywhere`` is whether the queues of other shards of a cluster are among them.

        Raises:
            ShardUnavailableError: another shard does not answer.
        """
        queues = self._core.state.queues

        def is_source(each: str) -> bool:
            found = queues.get(each)
            is_one = found is not None and found.settings.dead_letter_queue == name
            return is_one and (matches is None or matches(each))

        sources = self.queue_names(after=after, limit=limit, matches=is_source)
        self._core.confirm()  # again: settings may have changed meanwhile
        others = self._core.others
        if others is None or not everywhere:
            return sources
        elsewhere = (each for each in others.sources_of(name, after) if matches is None or matches(each))
        return sorted([*sources, *islice(elsewhere, limit)])[:limit]

    def queues(self, names: Sequence[str] | None = None) -> Generator[QueueInfo]:
        """Yield all queues, or those with the given names that exist, in order.

        Other requests have their turn after some queues each, so the figures are not of one moment.
        """
        chosen = self.queue_names() if names is None else names
        for at in range(0, len(chosen), _CHUNK_QUEUES):
            with self._core.transaction as now_ms:
                queues, outboxes = self._core.state.queues, self._core.outboxes
                some = chosen[at : at + _CHUNK_QUEUES]
                infos = self._infos([queues[name] for name in some if name in queues and name not in outboxes], now_ms)
            self._core.confirm()
            yield from infos
            yield_to_others()

    def queue_stats(self) -> Iterator[QueueInfo]:
        """Yield all queues for monitoring, without waiting for the log, and also of a damaged broker.

        The lock is held for a few queues at a time, so the figures are not of one moment.
        """
        queues = self._core.own_queues()
        for at in range(0, len(queues), _CHUNK_QUEUES):
            with self._core.lock:
                there = [
                    each for each in queues[at : at + _CHUNK_QUEUES] if self._core.state.queues.get(each.name) is each
                ]
                infos = self._infos(there, self._core.clock.now_ms())
            yield from infos
            yield_to_others()

    def info(self, queue: Queue, now_ms: int) -> QueueInfo:
        """Return the settings and statistics of a queue, under the lock."""
        [info] = self._infos([queue], now_ms)
        return info

    def _infos(self, queues: Sequence[Queue], now_ms: int) -> list[QueueInfo]:
        """Return the settings and statistics of queues, under the lock. All deadlines together are one portion."""
        left = PORTION
        infos = []
        for queue in queues:
            left = self._core.advance(queue, now_ms, left)
            infos.append(self._info(queue, now_ms))
        return infos

    def _info(self, queue: Queue, now_ms: int) -> QueueInfo:
        messages = queue.messages
        newest = messages.next_sequence - 1
        counts = {name: messages.counts[status] for name, status in STATUS_BY_NAME.items()}
        return QueueInfo(
            queue.name,
            queue.settings,
            queue.created_ms,
            counts,
            messages.bytes,
            messages.oldest_ms(),
            messages.oldest_waiting_ms(),
            self._core.ids.message_id(queue.number, newest) if newest >= 0 else None,
            now_ms,
        )


class _Choice(NamedTuple):
    """Messages of a queue, and their order."""

    status: int | None
    produced: Period
    newest_first: bool

    def begin_of(self, queue: Queue, sequence: int) -> int:
        """Return where to go on after a sequence number, past many messages that were produced at other times."""
        if self.produced == ANY_TIME:
            return sequence
        return queue.messages.pass_pages(sequence, self.produced, _PASSED_PAGES, newest_first=self.newest_first)

    def next_of(self, queue: Queue, sequence: int, limit: int) -> list[MessageView]:
        """Return up to ``limit`` messages of this status that follow a sequence number in this order."""
        if self.status is not None and not queue.messages.counts[self.status]:
            return []  # a search through millions of others would hold up everybody
        find = queue.messages.before if self.newest_first else queue.messages.after
        return find(sequence, limit, self.status)


def find_names(names: Iterable[str], limit: int | None, matches: Callable[[str], bool]) -> list[str]:
    """Return the first names that match, at most ``limit``. Other requests have their turn meanwhile."""
    found: list[str] = []
    for name in in_turns(names, _CHUNK_NAMES):
        if matches(name):
            found.append(name)
            if len(found) == limit:
                break
    return found


def _steps_of(message: Message) -> int:
    """Return the steps of `took` for decoding a message, testing it and encoding its object."""
    attributes = 0 if message.envelope is None else len(message.envelope.attributes or ())
    return 15 + 3 * attributes + len(message.body) // 300
