"""Reading messages from the log, outside the broker's lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from wonderq.broker.core import Core
from wonderq.model.envelope import Envelope, envelope_of
from wonderq.model.messages import Message, new_tuple
from wonderq.model.status import CLAIMED, DELAYED, STATUS_NAMES
from wonderq.runtime.fibers import Hub
from wonderq.runtime.offload import BlockingPool
from wonderq.state import record
from wonderq.state.page import NO_TOKEN, MessageView
from wonderq.state.state import Queue
from wonderq_storage import CorruptLogError, Position, TrimmedError

#: Threads that read entries from the disk when the page cache does not have them.
_READERS = 4

#: The statuses that end by themselves.
_WITH_DEADLINE = (CLAIMED, DELAYED)


Headers = dict[str, Any]
"""Contents of a message besides its body; see `wonderq.model.messages`."""


class LoadedMessage(NamedTuple):
    """Contents of a message that was read to be moved or rewritten."""

    view: MessageView
    """The message's state when it was read."""
    body: str
    headers: Headers


class Reader:
    """Reads the entries of durable messages, and verifies them.

    Every method raises `CorruptLogError` if an entry does not verify; the broker does no more work then.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pool = BlockingPool(_READERS)

    def messages(
        self, queue: Queue, views: Sequence[MessageView], consumers: Mapping[int, str], token: int = NO_TOKEN
    ) -> list[Message]:
        """Return messages as clients see them, without those that were deleted and dropped from the log meanwhile.

        ``consumers`` are the names of those that held them when the views were made, by token: claims may have ended.
        ``token`` is that of the claim which delivers them; the messages then have receipts.
        """
        views, entries = self._entries(queue, views)
        if not views:
            return []
        bodies, headers = self._decode(views, entries)
        sequences, statuses, _, _, produced_ms, receives, _, dues_ms, _, first_claimed_ms, _, updates = zip(
            *views, strict=True
        )
        ids = self._core.ids
        receipts: Iterable[str | None] = repeat(None)
        if token:
            message_ids, receipts = ids.ids_and_receipts(queue.number, sequences, token)
        else:
            message_ids = ids.message_ids(queue.number, sequences)
        ends_ms = [
            due_ms if status in _WITH_DEADLINE else None for status, due_ms in zip(statuses, dues_ms, strict=True)
        ]
        envelopes: Iterable[Envelope | None] = repeat(None)
        if headers or any(updates):
            envelopes = [envelope_of(headers.get(index, {}), count) for index, count in enumerate(updates)]
        names = [STATUS_NAMES[status] for status in statuses]
        columns = (
            message_ids,
            bodies,
            names,
            receipts,
            receives,
            produced_ms,
            ends_ms,
            repeat(queue.name),
            sequences,
            first_claimed_ms,
            envelopes,
            self._names(views, consumers, token),
        )
        fields = zip(*columns, strict=False)
        return list(map(new_tuple, repeat(Message), fields))

    @staticmethod
    def _names(views: Sequence[MessageView], consumers: Mapping[int, str], token: int) -> Iterable[str]:
        """Return the name of the consumer that holds each message."""
        if token or not consumers:
            return repeat(consumers.get(token, ""))
        return [consumers.get(view.token, "") if view.status == CLAIMED else "" for view in views]

    def load(self, queue: Queue, views: Sequence[MessageView]) -> list[LoadedMessage]:
        """Return the contents of messages, once they are durable, without those that were deleted meanwhile."""
        self._core.wait_until_durable()  # only durable entries can be read
        views, entries = self._entries(queue, views)
        if not views:
            return []
        bodies, headers = self._decode(views, entries)
        return [LoadedMessage(view, bodies[at], headers.get(at, {})) for at, view in enumerate(views)]

    def _decode(self, views: Sequence[MessageView], entries: Sequence[bytes]) -> tuple[list[str], dict[int, Headers]]:
        """Return the bodies of entries, and by index the headers of those that have any."""
        try:
            return record.decode_entries(entries)
        except ValueError as error:
            raise self._core.mark_damaged(*self._core.log.locate(views[0].position), str(error)) from error

    def _entries(self, queue: Queue, views: Sequence[MessageView]) -> tuple[Sequence[MessageView], list[bytes]]:
        """Return the entries of durable messages.

        A message that compaction has moved meanwhile is found again, and one that was deleted is left out; the returned
        views are those of the entries.
        """
        core = self._core
        while True:
            try:
                return views, self._read([(view.position, view.length) for view in views])
            except TrimmedError:
                with core.lock:
                    now = [queue.messages.find(view.sequence) for view in views]
                core.confirm()  # another writer may have dropped them
                before = views
                views = [
                    view._replace(position=found.position, length=found.length)
                    for view, found in zip(before, now, strict=True)
                    if found is not None
                ]
                if views == before:
                    place = core.log.locate(before[0].position)
                    raise core.mark_damaged(*place, "messages were dropped that had not been copied") from None
            except CorruptLogError as error:
                raise core.mark_damaged(error.file, error.offset, error.reason) from error

    def _read(self, spans: Sequence[tuple[Position, int]]) -> list[bytes]:
        try:
            return self._core.log.read(spans, block=Hub.current() is None)
        except BlockingIOError:
            return self._pool.run(lambda: self._core.log.read(spans))

    def close(self) -> None:
        """End the threads."""
        self._pool.close()
