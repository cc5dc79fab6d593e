"""`wonderq export` and `wonderq import`: the messages of a folder as lines of JSON, and back.

One line for each queue, with its settings, and behind it one for each of its messages, oldest first. What a line says of
a message besides its body and its delay is for whoever reads it: an import makes new messages, with new ids, and nobody
holds a claim on them. Keys of messages are not taken over, since they are only remembered for a time; nor is where dead
letters came from, and what was buried can be consumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import msgspec
from msgspec import UNSET, UnsetType

from storage import Checkpoints, CorruptLogError, FileLog, record, segment
from storage.disk import Disk, DiskFile
from storage.record import CLAIMED, DELAYED
from storage.recovery import wall_clock_ms
from wonderq.broker import Broker
from wonderq.client import Client, RefusedError, UnreachableError
from wonderq.contents import envelope_of
from wonderq.errors import BrokerError
from wonderq.folder import FolderError, NoLogError, held
from wonderq.ids import Ids
from wonderq.model import STATUS_NAMES, Limits, Message
from wonderq.page import MessageView
from wonderq.rebuild import rebuild
from wonderq.rest_values import new_message, settings_object, settings_of
from wonderq.schemas import (
    Attributes,
    Group,
    NewMessage,
    Priority,
    PutQueue,
    Traceparent,
    Tracestate,
    given,
)
from wonderq.state import Queue, State, UnreadableRecordError
from wonderq.wire import iso_time, message_object

_CHUNK_MESSAGES = 1000
_BATCH_BYTES = 4 << 20

_Object = dict[str, Any]


class UnusableLogError(FolderError):
    """The log's records contradict each other, or are not all there."""


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Say what to do about a log that cannot be read."""
    advice = f"Nothing was changed. 'wonderq repair {folder} NEW' salvages what verifies into a new folder"
    try:
        yield
    except CorruptLogError as error:
        error.add_note(f"({advice})")
        raise
    except UnreadableRecordError as error:
        raise UnusableLogError(f"{error}. {advice}") from error


# Export


def export(folder: Path) -> Iterator[_Object]:
    """Yield the lines of all queues. Nothing is changed.

    Raises:
        NoLogError, FolderLockedError, UnsupportedFormatError: the folder cannot be read.
        CorruptLogError, UnusableLogError: it is damaged, and has to be repaired first.
    """
    if not _holds_log(folder):
        raise NoLogError(f"{folder} holds no log: give the folder that 'wonderq serve --data' was given.")
    with readable(folder):
        log = FileLog(folder)
    try:
        with readable(folder):
            state, _ = rebuild(log, Checkpoints(folder))
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
    finally:
        log.close()


def _messages(state: State, queue: Queue, bodies: _Bodies, now_ms: int) -> Iterator[_Object]:
    ids = Ids(state.key or b"")
    queue.messages.advance(now_ms)
    sequence = -1
    while views := queue.messages.after(sequence, _CHUNK_MESSAGES):
        for view in views:
            body, headers = bodies.read(view)
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
            )
            yield {"type": "message", **msgspec.to_builtins(message_object(message))}
        sequence = views[-1].sequence


class _Bodies:
    """Reads messages' bodies from a folder's segments."""

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
        """Return a message's body, and what it carries."""
        number, offset = view.position >> 32, view.position & 0xFFFF_FFFF
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = self._disk.open(self._folder / segment.file_name(number))
        try:
            return record.decode_entry(file.read(view.length, offset))
        except ValueError as error:
            raise CorruptLogError(str(file.path), offset, str(error)) from error


# Import


class ImportLineError(FolderError):
    """A line that cannot be imported; the message says which, and what was done before."""


class _QueueLine(PutQueue, tag_field="type", tag="queue", kw_only=True, forbid_unknown_fields=False):
    queue: str
    sqs: dict[str, str] | UnsetType = UNSET


class _MessageLine(msgspec.Struct, tag_field="type", tag="message"):
    queue: str
    message: str
    status: Literal["unprocessed", "processing", "delayed", "buried"] = "unprocessed"
    delayed_until: str | None = None
    attributes: Attributes | UnsetType = UNSET
    group: Group | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET
    tracestate: Tracestate | UnsetType = UNSET

    def fields(self) -> _Object:
        """Return what it has besides its text, as a new message is given it."""
        names = ("attributes", "group", "priority", "traceparent", "tracestate")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not UNSET}


#: Settings that would keep a queue's own messages out: they are set when these are in.
_LATER_SETTINGS = ("draining", "content_deduplication", "max_messages", "max_bytes", "max_message_bytes")


class Target(Protocol):
    """Where an import goes."""

    def put_queue(self, queue: str, line: _QueueLine) -> None:
        """Create a queue, or give it these settings."""

    def produce(self, queue: str, messages: Sequence[_Object]) -> None:
        """Add messages, all or none; each with ``message``, ``delay`` and what else a new message may have."""


class _FolderTarget:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.imported = False
        """Whether anything was."""

    def put_queue(self, queue: str, line: _QueueLine) -> None:
        sqs = {} if isinstance(line.sqs, UnsetType) else {"sqs": line.sqs}
        self._broker.put_queue(queue, **settings_of(line), **sqs)
        self.imported = True

    def produce(self, queue: str, messages: Sequence[_Object]) -> None:
        read = [msgspec.convert(each, NewMessage) for each in messages]
        self._broker.send(queue, [new_message(each.message, each, {}) for each in read])
        self.imported = True


class _ClientTarget:
    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        self._key = key
        self._clients: dict[str, Client] = {}

    def _client(self, queue: str) -> Client:
        if queue not in self._clients:
            self._clients[queue] = Client(self._url, queue=queue, key=self._key)
        return self._clients[queue]

    def put_queue(self, queue: str, line: _QueueLine) -> None:
        settings = given(line)
        for name in ("queue", "sqs"):
            settings.pop(name, None)
        self._client(queue).put_queue(**settings)

    def produce(self, queue: str, messages: Sequence[_Object]) -> None:
        self._client(queue).produce_batch(messages)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@contextmanager
def into_folder(folder: Path) -> Iterator[Target]:
    """Import into the folder of a stopped broker, which is made if it is not there.

    Raises:
        FolderError: it is not a folder.
        FolderLockedError, CorruptLogError, UnsupportedFormatError, UnusableLogError: it cannot be used.
    """
    there = folder.exists()
    if there and not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    new = not there or not _holds_log(folder)
    target = None
    with readable(folder):
        log = FileLog(folder)
    try:
        with readable(folder):
            broker = Broker(log, checkpoints=Checkpoints(folder), limits=Limits.widest())
        target = _FolderTarget(broker)
        yield target
    except BaseException:
        log.close()
        if new and target is not None and not target.imported:
            _remove_new_log(folder, with_folder=not there)
        raise
    finally:
        log.close()


def _holds_log(folder: Path) -> bool:
    return any(segment.file_number(each.name) is not None for each in folder.iterdir())


def _remove_new_log(folder: Path, *, with_folder: bool) -> None:
    """Take away the log that was made for an import of which nothing came."""
    with held(folder) as files:
        for path in files:
            path.unlink()
        if with_folder:
            folder.rmdir()


@contextmanager
def into_broker(url: str, key: str | None = None) -> Iterator[Target]:
    """Import into a running broker.

    Raises:
        ValueError: the URL, or the key, is not one.
    """
    Client(url, key=key).close()
    target = _ClientTarget(url, key)
    try:
        yield target
    finally:
        target.close()


def import_lines(
    lines: Iterable[bytes], target: Target, progress: Callable[[int], None] = lambda _: None
) -> tuple[int, int]:
    """Import lines as `export` writes them; returns how many queues and messages there were.

    Raises:
        ImportLineError: a line cannot be read, or is refused. Those before it were imported.
        UnreachableError: the broker did not answer.
    """
    decoder = msgspec.json.Decoder(_QueueLine | _MessageLine)
    limits = Limits()
    queues = messages = 0
    done = 0  # lines imported so far
    later: dict[str, _QueueLine] = {}
    batch: list[tuple[_Object, int]] = []
    batch_queue, size = "", 0

    def flush(last: int) -> None:
        nonlocal messages, done, size
        if batch:
            now_ms = wall_clock_ms()
            new = [{**each, "delay": max(due_ms - now_ms, 0) / 1000} for each, due_ms in batch]
            _do(done, last, lambda: target.produce(batch_queue, new))
            messages += len(batch)
            progress(len(batch))
            batch.clear()
            size = 0
        done = last

    number = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = decoder.decode(line)
            due_ms = _parse_time(item.delayed_until) if isinstance(item, _MessageLine) and item.delayed_until else 0
        except (msgspec.DecodeError, ValueError) as error:
            flush(number - 1)
            raise ImportLineError(f"line {number} cannot be imported: {error}. {_imported(done)}") from error
        if isinstance(item, _QueueLine):
            flush(number - 1)
            free = msgspec.structs.replace(item, **dict.fromkeys(_LATER_SETTINGS, UNSET))
            _do(done, number, lambda free=free: target.put_queue(free.queue, free))  # type: ignore[misc]
            later[item.queue] = item
            queues += 1
            done = number
            continue
        length = len(item.message)
        if batch and (item.queue != batch_queue or len(batch) == limits.batch_messages or size + length > _BATCH_BYTES):
            flush(number - 1)
        batch_queue = item.queue
        batch.append(({"message": item.message, **item.fields()}, due_ms))
        size += length
    flush(number)
    for item in later.values():
        target.put_queue(item.queue, item)
    return queues, messages


def _do(done: int, last: int, work: Callable[[], None]) -> None:
    try:
        work()
    except (BrokerError, RefusedError) as error:
        unknown = isinstance(error, RefusedError) and error.outcome_unknown
        left = _unknown_from(done, last) if unknown else _imported(done)
        lines = f"line {last}" if last == done + 1 else f"lines {done + 1} to {last}"
        raise ImportLineError(f"{lines} cannot be imported: {error} {left}") from error
    except UnreachableError as error:
        refused = isinstance(error.__cause__, ConnectionRefusedError)  # so nothing was sent
        error.add_note(_imported(done) if refused else _unknown_from(done, last))
        raise


def _imported(done: int) -> str:
    return f"Lines 1 to {done} were imported, and nothing after" if done else "Nothing was imported"


def _unknown_from(done: int, last: int) -> str:
    lines = f"line {last} was" if last == done + 1 else f"lines {done + 1} to {last} were"
    return (
        f"Lines 1 to {done} were imported, and it is unknown whether {lines}"
        if done
        else f"It is unknown whether {lines}"
    )


def _parse_time(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return round(moment.timestamp() * 1000)
