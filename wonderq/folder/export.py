"""`wonderq folder export`: queues, messages, topics and schedules of a stopped broker's folder, as lines of JSON.

`wonderq.folder.import_` documents the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from wonderq.broker.schedules import NAMESPACE as SCHEDULES
from wonderq.broker.schedules import Schedule
from wonderq.folder.lock import NoLogError, segment_numbers
from wonderq.folder.replay import explain_unreadable
from wonderq.model.envelope import envelope_of
from wonderq.model.ids import Ids
from wonderq.model.messages import Message
from wonderq.model.status import CLAIMED, DELAYED, STATUS_NAMES
from wonderq.model.times import iso_time
from wonderq.model.topics import as_delivered, write_envelope
from wonderq.rest.objects import (
    message_object,
    schedule_object,
    settings_object,
    subscription_fields,
    topic_settings_object,
)
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue, State
from wonderq.state.topics import Topic
from wonderq_storage import CorruptLogError, FileCheckpoints, FileLog, segment
from wonderq_storage.disk import Disk, DiskFile
from wonderq_storage.recovery import wall_clock_ms

_Object = dict[str, Any]

_CHUNK_MESSAGES = 1000


def export(folder: Path) -> Iterator[_Object]:
    """Yield each queue, followed by its messages, oldest first, then the topics and the schedules.

    The folder is only read.

    Raises:
        NoLogError, FolderLockedError, UnsupportedFormatError: the folder cannot be read.
        CorruptLogError, UnusableLogError: the log is damaged and must be repaired first.
    """
    if not segment_numbers(folder):
        raise NoLogError(folder)
    with explain_unreadable(folder):
        log = FileLog(folder)
    try:
        with explain_unreadable(folder):
            state, _ = replay_log(log, FileCheckpoints(folder))
        now_ms = max(state.last_ms, wall_clock_ms())
        with _Bodies(folder) as bodies:
            for _, queue in sorted(state.queues.items()):
                yield {
                    "type": "queue",
                    "queue": queue.name,
                    **settings_object(queue.settings),
                    "sqs": queue.settings.sqs,
                    "created_at": iso_time(queue.created_ms),
                }
                yield from _messages(state, queue, bodies, now_ms)
        for _, topic in sorted(state.topics.items()):
            yield from _topic(state, topic)
        for name, entry in sorted(state.metadata.get(SCHEDULES, {}).items()):
            yield {"type": "schedule", **schedule_object(Schedule.from_record(name, entry.value))}
    finally:
        log.close()


def _topic(state: State, topic: Topic) -> Iterator[_Object]:
    """Yield a topic, followed by its subscriptions, without those that their endpoints have not confirmed.

    The secrets of endpoints are among them, as nobody could verify requests with another one.
    """
    yield {
        "type": "topic",
        "topic": topic.name,
        **topic_settings_object(topic.settings),
        "sns": topic.settings.sns,
        "created_at": iso_time(topic.created_ms),
    }
    for _, each in sorted(topic.subscriptions.items()):
        queue = state.find(each.queue)
        if queue is not None and not each.is_pending:
            secret = {} if each.push is None else {"secret": each.push.secret}
            found = subscription_fields(each, topic.name, queue.name) | secret
            yield {"type": "subscription", **found, "sns": each.sns}


def _messages(state: State, queue: Queue, bodies: _Bodies, now_ms: int) -> Iterator[_Object]:
    ids = Ids(state.key or b"")
    queue.messages.advance(now_ms)
    for views in queue.messages.walk(_CHUNK_MESSAGES):
        for view in views:
            body, headers = as_delivered(*bodies.read(view), queue.name, write_envelope)
            message = Message(
                ids.message_id(queue.number, view.sequence),
                body,
                STATUS_NAMES[view.status],
                None,
                view.receives,
                view.produced_ms,
                view.due_ms if view.status in (CLAIMED, DELAYED) else None,
                queue.name,
                view.sequence,
                view.first_claimed_ms,
                envelope_of(headers, view.updates),
                queue.messages.consumer_of(view),
            )
            yield {"type": "message", **msgspec.to_builtins(message_object(message))}


class _Bodies:
    """Reads message bodies from the segment files, each of which it opens once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = Disk()
        self._files: dict[int, DiskFile] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def read(self, view: MessageView) -> tuple[str, dict[str, Any]]:
        """Return the body and the headers of a message."""
        number, offset = segment.unpack_position(view.position)
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = self._disk.open(self._folder / segment.file_name(number))
        try:
            return record.decode_entry(file.read(view.length, offset))
        except ValueError as error:
            raise CorruptLogError(str(file.path), offset, str(error)) from error
