"""Moves of single messages: back to where they came from, or to another queue, at once. Redrives move whole queues."""

from __future__ import annotations

from collections.abc import Sequence

from wonderq.broker.core import PRODUCE_LEAVES, Core
from wonderq.broker.reader import Reader
from wonderq.broker.redrive import MOVABLE, check_destination
from wonderq.broker.transfers import Transfer, Transfers, source_of, without_source
from wonderq.model.errors import BrokerError, InvalidValueError, NotMovableError
from wonderq.model.messages import Target
from wonderq.model.permits import Permits, everything
from wonderq.state.page import MessageView
from wonderq.state.state import Queue

#: Size of a portion, which moves in one write.
_PORTION_MESSAGES = 100
_PORTION_BYTES = 256 << 10

Outcome = BrokerError | None
"""Why a message stays, or None if it moved."""


class Moves:
    """Moves messages that a client names."""

    def __init__(self, core: Core, reader: Reader, transfers: Transfers) -> None:
        self._core = core
        self._reader = reader
        self._transfers = transfers

    def move(
        self, source: str, ids: Sequence[str], destination: str | None = None, *, permits: Permits = everything
    ) -> list[Outcome]:
        """Move waiting and buried messages of a queue, and return the outcome of each.

        They go to the destination; without one, each goes to the queue that it came from, so the client must be
        permitted all queues. A moved message counts as never claimed. Messages of different portions move one after
        the other, so a crash may leave some of them.

        Raises:
            NotPermittedError: the client may not use the destination.
            QueueNotFoundError: the source or the destination does not exist.
            ShardUnavailableError: a queue to move to is in another shard, which does not answer. Messages of earlier
                portions have moved.
            InvalidValueError: the destination is the source.
        """
        if destination == source:
            raise InvalidValueError("destination", "The destination must be another queue than the source.")
        with self._core.transaction:
            check_destination(permits, destination)
            queue = self._core.find_queue(source)
            if destination is not None and self._core.has_name(destination):
                self._core.find_queue(destination)
        if destination is not None:
            self._core.check_exists(destination)
        outcomes: list[Outcome] = []
        while len(outcomes) < len(ids):
            outcomes += self._move_portion(queue, ids[len(outcomes) :], destination)
        return outcomes

    def _move_portion(self, queue: Queue, ids: Sequence[str], destination: str | None) -> list[Outcome]:
        """Return the outcomes of the first messages; none if the first of them has to be read again."""
        found = self._find_portion(queue, ids)
        views = [each for each in found if isinstance(each, MessageView)]
        loaded = {each.view.sequence: each for each in self._reader.load(queue, views)} if views else {}
        wanted = {destination} if destination else {source_of(each) or "" for each in loaded.values()}
        elsewhere = self._core.existing_elsewhere(wanted - {""})
        outcomes: list[Outcome] = []
        transfers: list[Transfer] = []
        with self._core.durable_transaction() as (state, _, now_ms):
            for each in found:
                if isinstance(each, BrokerError):
                    outcomes.append(each)
                    continue
                message = loaded.pop(each.sequence, None)  # a message that is named twice moves once
                if message is not None and not self._transfers.is_unchanged(queue, message):
                    now = queue.messages.find(each.sequence)
                    if now is not None and now.status in MOVABLE:
                        break  # it has other contents, or compaction moved it in the log: read it again
                    message = None
                target = None if message is None else destination or source_of(message)
                is_there = target in (state.queues if target and self._core.has_name(target) else elsewhere)
                if message is None or target is None or not is_there or target == queue.name:
                    outcomes.append(NotMovableError())
                    continue
                transfers.append(Transfer.of(message, target, without_source(message)))
                outcomes.append(None)
            if transfers:
                self._transfers.move(queue, now_ms, transfers, leave=PRODUCE_LEAVES)
        return outcomes

    def _find_portion(self, queue: Queue, ids: Sequence[str]) -> list[MessageView | BrokerError]:
        """Return the first messages, or why one cannot be moved, as far as they fit in a portion; at least one."""
        found: list[MessageView | BrokerError] = []
        size = 0
        with self._core.transaction as now_ms:
            self._core.advance(queue, now_ms)
            for each in ids[:_PORTION_MESSAGES]:
                try:
                    view = self._core.resolve(queue, Target(id=each))
                except BrokerError as error:
                    found.append(error)
                    continue
                size += view.length
                if size > _PORTION_BYTES and found:
                    break
                found.append(view if view.status in MOVABLE else NotMovableError())
        return found
