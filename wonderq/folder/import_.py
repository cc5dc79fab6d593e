"""`wonderq folder import`: produce the messages that `wonderq folder export` wrote, in a folder or in a running broker.

The input has one JSON object per line: each queue with its settings, followed by its messages, oldest first, then each
topic with its settings, followed by its subscriptions, and at the end the schedules. An import creates new messages
from their bodies, delays, attributes, groups, priorities and trace contexts. Receive counts, claims and the other
fields of a line are for human readers and are ignored. Dedup keys are not imported because they expire, and a dead
letter loses its source queue. Buried messages become available again. A schedule continues with its next due time from
now.

An import that can be repeated uses the former ids of messages as idempotency keys. When all is imported, it marks each
queue with a tag that has the time at which the queue was created in its former broker, and no later import of the same
queue changes a queue with this mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, cast
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct, UnsetType

from wonderq.broker.broker import Broker
from wonderq.client.errors import NotFound, Refused, Unreachable
from wonderq.client.requests import queue_path
from wonderq.client.sync import Client
from wonderq.client.topics import SubscriptionFields, TopicSettings, configure, subscribe
from wonderq.folder.lock import FolderError, locked, resolve, segment_numbers
from wonderq.folder.replay import explain_unreadable
from wonderq.model.bounds import CLOCK_JUMP_S, ESCAPED_BYTES, MAX_MESSAGE_BYTES
from wonderq.model.errors import BrokerError
from wonderq.model.limits import Limits
from wonderq.model.push_hosts import PushHosts
from wonderq.model.settings import MAX_TAGS
from wonderq.rest.field_types import Group, Priority, Traceparent, Tracestate
from wonderq.rest.schemas import Attributes, NewMessage, PutQueue, PutSchedule, given
from wonderq.rest.topic_schemas import PutSubscription, PutTopic
from wonderq.rest.values import new_message, schedule_fields_of, settings_of, subscription_fields_of, topic_settings_of
from wonderq.runtime.clock import CautiousClock
from wonderq.runtime.time_evidence import TimeEvidence
from wonderq_storage import FileCheckpoints, FileLog
from wonderq_storage.recovery import wall_clock_ms

#: Most bytes of lines in a batch, if it has several. Any broker accepts a batch of this size.
_BATCH_BYTES = 1 << 20

#: Longest time for which a queue can remember keys. While an import that can be repeated goes on, they are.
_LONGEST_WINDOW_S = 7 * 86_400

#: Beginning of the name of the tag that marks a queue whose import has ended.
_MARK = "wonderq:imported:"

#: Longest line: the largest message, of which each byte is escaped as ``\\u0000``, and its other fields.
LONGEST_LINE_BYTES = ESCAPED_BYTES * MAX_MESSAGE_BYTES + (1 << 20)

_Object = dict[str, Any]


class ImportLineError(FolderError):
    """A line cannot be imported. The message names the line and the lines imported before it."""


class DoubtfulClockError(FolderError):
    """The system's clock is far ahead of the log, and nothing confirms it. Nothing was imported."""


class _QueueLine(PutQueue, tag_field="type", tag="queue", kw_only=True, forbid_unknown_fields=False):
    queue: str
    sqs: dict[str, str] | UnsetType = UNSET
    created_at: str = ""


class _MessageLine(msgspec.Struct, tag_field="type", tag="message"):
    queue: str
    message: str
    id: str = ""
    status: Literal["unprocessed", "processing", "delayed", "buried"] = "unprocessed"
    delayed_until: str | None = None
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET

    def fields(self) -> _Object:
        """Return the optional fields that are set, as a produce request takes them."""
        names = ("attributes", "group", "priority", "traceparent", "tracestate")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not UNSET}


class _TopicLine(PutTopic, tag_field="type", tag="topic", kw_only=True, forbid_unknown_fields=False):
    topic: str
    sns: dict[str, str] | UnsetType = UNSET


class _SubscriptionLine(
    PutSubscription, tag_field="type", tag="subscription", kw_only=True, forbid_unknown_fields=False
):
    topic: str
    subscription: str
    sns: dict[str, str] | UnsetType = UNSET


class _ScheduleLine(PutSchedule, tag_field="type", tag="schedule", kw_only=True, forbid_unknown_fields=False):
    name: str


def _fields_of(line: Struct, *left_out: str) -> _Object:
    return {name: value for name, value in given(line).items() if name not in left_out}


#: Settings that could reject the queue's own messages. They are applied after all messages are imported.
_FINAL_SETTINGS = ("draining", "content_deduplication", "max_messages", "max_bytes", "max_message_bytes")


class Target(Protocol):
    """Destination of an import."""

    def put_queue(self, queue: str, line: _QueueLine) -> None:
        """Create a queue, or change the settings of an existing one."""

    def put_topic(self, line: _TopicLine) -> None:
        """Create a topic, or change the settings of an existing one."""

    def subscribe(self, line: _SubscriptionLine) -> None:
        """Create a subscription, or change an existing one."""

    def put_schedule(self, line: _ScheduleLine) -> None:
        """Create a schedule, or change an existing one."""

    def tags_of(self, queue: str) -> Mapping[str, str]:
        """Return the tags of a queue; none if it does not exist."""

    def produce(self, queue: str, messages: Sequence[_Object]) -> None:
        """Produce a batch, all or none. Each message has ``message``, ``delay`` and optional fields."""


class _FolderTarget:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.imported = False
        """Whether a queue or a message was imported."""

    def put_queue(self, queue: str, line: _QueueLine) -> None:
        sqs = {} if isinstance(line.sqs, UnsetType) else {"sqs": line.sqs}
        self._broker.put_queue(queue, **settings_of(line), **sqs)
        self.imported = True

    def put_topic(self, line: _TopicLine) -> None:
        settings = topic_settings_of(line)
        del settings["topic"]
        self._broker.topics.put(line.topic, **settings)
        self.imported = True

    def subscribe(self, line: _SubscriptionLine) -> None:
        fields = subscription_fields_of(line)
        del fields["topic"], fields["subscription"]
        self._broker.topics.subscribe(line.topic, line.subscription, **fields)
        self.imported = True

    def put_schedule(self, line: _ScheduleLine) -> None:
        fields = schedule_fields_of(line)
        del fields["name"]
        self._broker.schedules.put(line.name, **fields)
        self.imported = True

    def tags_of(self, queue: str) -> Mapping[str, str]:
        settings = self._broker.settings_of(queue)
        return {} if settings is None else settings.tags

    def produce(self, queue: str, messages: Sequence[_Object]) -> None:
        read = [msgspec.convert(each, NewMessage) for each in messages]
        self._broker.send(queue, [new_message(each.message, each, {}) for each in read])
        self.imported = True


class _ClientTarget:
    def __init__(self, client: Client) -> None:
        self._client = client

    def put_queue(self, queue: str, line: _QueueLine) -> None:
        settings = given(line)
        for name in ("queue", "sqs", "created_at"):
            settings.pop(name, None)
        self._client.call("PUT", queue_path(queue), _Object, settings)

    def put_topic(self, line: _TopicLine) -> None:
        self._client.do(configure(line.topic, cast("TopicSettings", _fields_of(line, "topic", "sns"))))

    def subscribe(self, line: _SubscriptionLine) -> None:
        fields = cast("SubscriptionFields", _fields_of(line, "topic", "subscription", "sns"))
        self._client.do(subscribe(line.topic, line.subscription, None, fields))

    def put_schedule(self, line: _ScheduleLine) -> None:
        self._client.call("PUT", f"/schedules/{quote(line.name, safe='')}", _Object, _fields_of(line, "name"))

    def tags_of(self, queue: str) -> Mapping[str, str]:
        try:
            found = self._client.call("GET", queue_path(queue), _Object)
        except NotFound:
            return {}
        return cast("dict[str, str]", found["settings"]["tags"])

    def produce(self, queue: str, messages: Sequence[_Object]) -> None:
        fields = {"messages": messages}
        has_keys = all("idempotency_key" in each for each in messages)
        self._client.call("POST", queue_path(queue, "/messages/produce"), _Object, fields, repeatable=has_keys)


class _ConfirmedClock(CautiousClock):
    """The system's clock, which must not be in doubt.

    A held clock, with which `wonderq serve` can work, would give imported messages times of the past, and would end
    their delays too early.
    """

    def raise_floor(self, floor_ms: int) -> None:
        super().raise_floor(floor_ms)
        if self.is_held:
            ahead = timedelta(seconds=-self.ahead_ms() // 1000)
            raise DoubtfulClockError(
                f"the system's clock is {ahead} ahead of the log, and nothing confirms it. Nothing was imported. If "
                "the system's clock is right, pass --accept-clock; otherwise correct it"
            )


@contextmanager
def into_folder(folder: Path, *, accept_clock: bool = False) -> Iterator[Target]:
    """Import into the folder of a stopped broker. A missing folder is created.

    If nothing was imported, a log and a folder created for the import are removed again. ``accept_clock`` states that
    the system's clock is right.

    Raises:
        DoubtfulClockError: nothing confirms the system's clock.
        FolderError: the path is not a folder.
        FolderLockedError, CorruptLogError, UnsupportedFormatError, UnusableLogError: the log cannot be opened.
    """
    folder = resolve(folder)  # a link may lead to a folder that is still to be made
    existed = folder.exists()
    if existed and not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    new = not existed or not segment_numbers(folder)
    target = None
    clock = _ConfirmedClock(TimeEvidence(folder), max_jump_ms=CLOCK_JUMP_S * 1000, accept=accept_clock)
    with explain_unreadable(folder):
        log = FileLog(folder)
    try:
        with explain_unreadable(folder):
            broker = Broker(log, checkpoints=FileCheckpoints(folder), clock=clock, limits=Limits.widest())
        broker.pushes.hosts = PushHosts.anywhere()  # `wonderq serve` decides where to deliver
        target = _FolderTarget(broker)
        yield target
    except BaseException:
        log.close()
        if new and target is not None and not target.imported:
            _remove_new_log(folder, with_folder=not existed)
        raise
    finally:
        log.close()


def _remove_new_log(folder: Path, *, with_folder: bool) -> None:
    """Remove the log that was created for a failed import."""
    with locked(folder) as files:
        for path in files:
            path.unlink()
        if with_folder:
            folder.rmdir()


@contextmanager
def into_broker(url: str, key: str | None = None) -> Iterator[Target]:
    """Import into a running broker.

    Raises:
        ValueError: the URL or the key is malformed.
    """
    with Client(url, key=key, retries=0) as client:
        yield into_client(client)


def into_client(client: Client) -> Target:
    """Import into the broker of a client."""
    return _ClientTarget(client)


class Importer:
    """Imports lines in order. Consecutive messages for one queue are produced in batches."""

    def __init__(
        self, target: Target, progress: Callable[[int], None] = lambda _: None, *, is_repeatable: bool = False
    ) -> None:
        """``progress`` is called with the number of messages of each imported batch.

        With ``is_repeatable``, the same import can be repeated: messages whose lines have an id are not produced
        again. Their queues remember keys for seven days meanwhile, and a mark when the import has ended.
        """
        self.queues = 0
        """Number of queues imported so far."""
        self.topics = 0
        """Number of topics imported so far."""
        self.messages = 0
        """Number of messages imported so far."""
        self.schedules = 0
        """Number of schedules imported so far."""
        self.passed_over: set[str] = set()
        """Queues in which an earlier import of the same lines has ended."""
        self._target = target
        self._progress = progress
        self._is_repeatable = is_repeatable
        self._batch_messages = Limits().batch_messages
        self._imported_lines = 0
        self._settings: dict[str, _QueueLine] = {}
        self._batch: list[tuple[_Object, int]] = []  # each with the time in ms at which its delay ends
        self._batch_queue = ""
        self._batch_bytes = 0

    def run(self, lines: Iterable[bytes]) -> None:
        """Import all lines; empty ones are skipped.

        Raises:
            ImportLineError: a line cannot be decoded, or the broker refuses it. The lines before it are imported.
            Unreachable: the broker did not answer. A note names the lines whose outcome is unknown.
        """
        decoder = msgspec.json.Decoder(_QueueLine | _MessageLine | _TopicLine | _SubscriptionLine | _ScheduleLine)
        number = 0
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                if len(line) > LONGEST_LINE_BYTES:
                    raise ValueError(f"it has more than {LONGEST_LINE_BYTES} bytes, which no exported line has")
                item = decoder.decode(line)
                due_ms = _parse_time(item.delayed_until) if isinstance(item, _MessageLine) and item.delayed_until else 0
            except (msgspec.DecodeError, ValueError) as error:
                self._flush(number - 1)
                imported = _describe_imported(self._imported_lines)
                raise ImportLineError(f"line {number} cannot be imported: {error}. {imported}") from error
            if isinstance(item, _QueueLine):
                self._flush(number - 1)
                self._call(number, partial(self._put_queue, item))
            elif not isinstance(item, _MessageLine):
                self._flush(number - 1)
                self._put_other(number, item)
            elif item.queue not in self.passed_over:
                self._add_message(number, item, due_ms, len(line))
        self._flush(number)
        for queue, item in self._settings.items():
            self._target.put_queue(queue, item)

    def _put_queue(self, item: _QueueLine) -> None:
        mark = f"{_MARK}{item.created_at}" if self._is_repeatable and item.created_at else None
        if mark is not None:
            tags = self._target.tags_of(item.queue)
            if mark in tags:
                self.passed_over.add(item.queue)
                return
            marks = {name: value for name, value in tags.items() if name.startswith(_MARK)}
            item.tags = ({} if isinstance(item.tags, UnsetType) else item.tags) | marks
        first = msgspec.structs.replace(item, **dict.fromkeys(_FINAL_SETTINGS, UNSET))
        if self._is_repeatable and item.deduplication_window is not UNSET:
            first = msgspec.structs.replace(first, deduplication_window=_LONGEST_WINDOW_S)
        self._target.put_queue(first.queue, first)
        if mark is not None and not isinstance(item.tags, UnsetType) and len(item.tags) < MAX_TAGS:
            item.tags = {**item.tags, mark: ""}
        self._settings[item.queue] = item
        self.queues += 1

    def _put_other(self, number: int, item: _TopicLine | _SubscriptionLine | _ScheduleLine) -> None:
        if self.passed_over and not self.queues:
            return  # all of it was imported earlier, and may have been changed since
        if isinstance(item, _ScheduleLine):
            self._call(number, lambda: self._target.put_schedule(item))
            self.schedules += 1
        elif isinstance(item, _TopicLine):
            self._call(number, lambda: self._target.put_topic(item))
            self.topics += 1
        else:
            self._call(number, lambda: self._target.subscribe(item))

    def _add_message(self, number: int, item: _MessageLine, due_ms: int, size: int) -> None:
        full = len(self._batch) == self._batch_messages or self._batch_bytes + size > _BATCH_BYTES
        if self._batch and (item.queue != self._batch_queue or full):
            self._flush(number - 1)
        self._batch_queue = item.queue
        key = {"idempotency_key": f"import-{item.id}"} if self._is_repeatable and item.id else {}
        self._batch.append(({"message": item.message, **item.fields(), **key}, due_ms))
        self._batch_bytes += size

    def _flush(self, last: int) -> None:
        """Produce the batch, which ends at line ``last``."""
        if self._batch:
            now_ms = wall_clock_ms()
            messages = [{**fields, "delay": max(due_ms - now_ms, 0) / 1000} for fields, due_ms in self._batch]
            self._call(last, lambda: self._target.produce(self._batch_queue, messages))
            self.messages += len(messages)
            self._progress(len(messages))
            self._batch.clear()
            self._batch_bytes = 0
        self._imported_lines = last

    def _call(self, last: int, work: Callable[[], None]) -> None:
        """Import the lines up to ``last`` with ``work``, and add to its errors which lines are imported."""
        done = self._imported_lines
        try:
            work()
        except (BrokerError, Refused) as error:
            unknown = isinstance(error, Refused) and error.outcome_unknown
            outcome = _describe_unknown(done, last) if unknown else _describe_imported(done)
            lines = f"line {last}" if last == done + 1 else f"lines {done + 1} to {last}"
            raise ImportLineError(f"{lines} cannot be imported: {error} {outcome}") from error
        except Unreachable as error:
            error.add_note(_describe_unknown(done, last) if error.outcome_unknown else _describe_imported(done))
            raise
        self._imported_lines = last


def _describe_imported(done: int) -> str:
    return f"Lines 1 to {done} were imported, and nothing after" if done else "Nothing was imported"


def _describe_unknown(done: int, last: int) -> str:
    lines = f"line {last} was" if last == done + 1 else f"lines {done + 1} to {last} were"
    unknown = f"It is unknown whether {lines} imported"
    return f"Lines 1 to {done} were imported. {unknown}" if done else unknown


def _parse_time(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return round(moment.timestamp() * 1000)
