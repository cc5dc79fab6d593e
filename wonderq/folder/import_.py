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
from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from wonderq.broker.broker import Broker
from wonderq.client import Client, RefusedError, UnreachableError
from wonderq.folder.lock import FolderError, held
from wonderq.folder.replay import readable
from wonderq.model.errors import BrokerError
from wonderq.model.limits import Limits
from wonderq.rest.schemas import Attributes, Group, NewMessage, Priority, PutQueue, Traceparent, Tracestate, given
from wonderq.rest.values import new_message, settings_of
from wonderq_storage import Checkpoints, FileLog, segment
from wonderq_storage.recovery import wall_clock_ms

_BATCH_BYTES = 4 << 20

_Object = dict[str, Any]


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
    new = not there or not holds_log(folder)
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


def holds_log(folder: Path) -> bool:
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
