"""`wonderq folder inspect`: the contents of a stopped broker's folder. Nothing is changed.

Memory use depends on the number of messages, not on the size of the log.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wonderq.folder.checkpoints import load
from wonderq.folder.history import Event, History
from wonderq.folder.lock import FolderError, locked
from wonderq.model.ids import Ids
from wonderq.model.status import STATUS_BY_NAME
from wonderq.model.times import iso_time
from wonderq.state import record, record_contents
from wonderq.state.record import Record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import DamagedCheckpointError, FileCheckpoints, segment
from wonderq_storage.recovery import TORN_FOLDER, wall_clock_ms
from wonderq_storage.salvage import Found, Problem, Salvage, SegmentSummary

_CHUNK_MESSAGES = 4096

_Object = dict[str, Any]
_Progress = Callable[[], None]


@contextmanager
def _salvage(folder: Path) -> Iterator[Salvage]:
    with locked(folder):
        salvage = Salvage(folder)
        try:
            yield salvage
        finally:
            salvage.close()


# The whole folder


@dataclass
class Overview:
    """Contents of a folder."""

    folder: Path
    segments: list[SegmentSummary] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)
    state: State = field(default_factory=State)
    live_bytes: Counter[int] = field(default_factory=Counter)
    """By segment: bytes of live messages whose newest contents are in it."""
    checkpoints: list[_Object] = field(default_factory=list)
    torn_files: list[_Object] = field(default_factory=list)
    torn: Problem | None = None
    problems: list[Problem] = field(default_factory=list)


def survey(folder: Path, progress: _Progress = lambda: None) -> Overview:
    """Read a folder.

    Raises: as `wonderq.folder.verify.verify`.
    """
    found = Overview(folder)
    with _salvage(folder) as salvage:
        for each in salvage.records():
            try:
                read = record.decode_typed(each.data)
                found.state.apply(read, each.position, len(each.data))
                found.records[record.KIND_NAMES[read.kind]] += 1
            except (ValueError, UnreadableRecordError) as error:
                found.problems.append(Problem(str(each.path), each.offset, str(error)))
            progress()
        found.segments, found.torn = salvage.segments, salvage.torn
        found.problems = salvage.problems + found.problems
        found.checkpoints = list(_checkpoints(folder))
        found.torn_files = [
            {"file": f"{TORN_FOLDER}/{each.name}", "bytes": each.stat().st_size}
            for each in sorted(folder.joinpath(TORN_FOLDER).glob("*"))
        ]
    now_ms = max(found.state.last_ms, wall_clock_ms())
    shared: set[int] = set()
    for queue in found.state.queues.values():
        queue.messages.advance(now_ms)
        for views in queue.messages.walk(_CHUNK_MESSAGES):
            for view in views:
                end = view.position + view.length
                if end in shared or found.state.shared.is_shared(end):
                    if end in shared:  # counted with another queue that has the message
                        continue
                    shared.add(end)
                found.live_bytes[segment.unpack_position(view.position)[0]] += view.length
    return found


def _checkpoints(folder: Path) -> Iterator[_Object]:
    checkpoints = FileCheckpoints(folder)
    for path in checkpoints.paths():
        number, _, offset = path.stem.partition("-")
        about = {"file": path.name, "segment": int(number), "offset": int(offset), "bytes": path.stat().st_size}
        try:
            load(checkpoints, path)
        except (DamagedCheckpointError, ValueError, LookupError, TypeError) as error:
            yield about | {"verifies": False, "problem": str(error)}
        else:
            yield about | {"verifies": True}


def overview_object(found: Overview) -> _Object:
    """Return an overview as a JSON object."""
    return {
        "folder": path_text(found.folder),
        "segments": [
            {
                "number": each.number,
                "state": each.state,
                "bytes": each.bytes,
                "used_bytes": each.used_bytes,
                "live_bytes": found.live_bytes[each.number],
                "dead_bytes": each.used_bytes - found.live_bytes[each.number],
                "groups": each.groups,
                "records": each.records,
            }
            for each in found.segments
        ],
        "records": {kind: found.records[kind] for kind in record.KIND_NAMES},
        "queues": [
            {
                "queue": queue.name,
                "number": queue.number,
                "counts": {name: queue.messages.counts[status] for name, status in STATUS_BY_NAME.items()},
                "bytes": queue.messages.bytes,
                "visibility_timeout": queue.settings.visibility_timeout_ms / 1000,
                "delay": queue.settings.delay_ms / 1000,
                "created_at": iso_time(queue.created_ms),
            }
            for _, queue in sorted(found.state.queues.items())
        ],
        "topics": [
            {
                "topic": topic.name,
                "number": topic.number,
                "published": topic.next_sequence,
                "subscriptions": len(topic.subscriptions),
                "created_at": iso_time(topic.created_ms),
            }
            for _, topic in sorted(found.state.topics.items())
        ],
        "checkpoints": found.checkpoints,
        "torn_files": found.torn_files,
        "torn_tail": problem_object(found.torn) if found.torn else None,
        "problems": [problem_object(each) for each in found.problems],
    }


def path_text(path: str | Path) -> str:
    """Return a path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def problem_object(problem: Problem) -> _Object:
    """Return damage as a JSON object."""
    return {
        "file": path_text(problem.file),
        "offset": problem.offset,
        "reason": problem.reason,
        "unreadable": [{"offset": span.offset, "bytes": span.length} for span in problem.lost],
    }


# One message

LOG_BEGINS = "log begins"
"""The event reported instead of a message's history when all its records were dropped."""


class UnknownMessageError(FolderError):
    """No message of this log can have the id."""


def history(folder: Path, name: str, progress: _Progress = lambda: None) -> tuple[list[Event], list[Problem]]:
    """Return the events of the message with an id or receipt, and the damage in the log.

    If no record of the message is left, the only event is the beginning of the log.

    Raises, besides the errors of `survey`:
        UnknownMessageError: the id does not belong to this log.
    """
    ids = _find_ids(folder)
    place = ids and (ids.decode_id(name) or (ids.decode_receipt(name) or (None,))[:2])
    if not place or len(place) != 2:
        raise UnknownMessageError(f"{name} is not the id or receipt of a message in this log")
    assert ids is not None
    queue, sequence = place
    one = History(ids, queue, sequence)
    events: list[Event] = []
    begin: Event | None = None
    with _salvage(folder) as salvage:
        for each, read in _decoded(salvage):
            begin = begin or Event(read.at_ms, LOG_BEGINS, {}, each.path.name, each.offset)
            events += one.add(each, read)
            progress()
        events += one.until(wall_clock_ms())
        if not events and begin:
            events.append(begin)
        return events, salvage.problems


def _find_ids(folder: Path) -> Ids | None:
    with _salvage(folder) as salvage:
        for _, read in _decoded(salvage):
            if isinstance(read, record.Identity):
                return Ids(read.key)
    return None


def _decoded(salvage: Salvage) -> Iterator[tuple[Found, Record]]:
    for found in salvage.records():
        try:
            read = record.decode_typed(found.data)
            for _ in record_contents.entries_of(read):
                pass
        except ValueError as error:
            salvage.problems.append(Problem(str(found.path), found.offset, str(error)))
            continue
        yield found, read


def event_object(event: Event) -> _Object:
    """Return an event as a JSON object."""
    detail = {
        (name.removesuffix("_ms") if name.endswith("_ms") else name): iso_time(value) if name.endswith("_ms") else value
        for name, value in event.detail.items()
    }
    return {"time": iso_time(event.at_ms), "event": event.what, "file": event.file, "offset": event.offset, **detail}


# All records


def record_objects(
    folder: Path, problems: list[Problem], *, bodies: bool, progress: _Progress = lambda: None
) -> Iterator[_Object]:
    """Yield each record as a JSON object, and add the damage in the log to ``problems``."""
    with _salvage(folder) as salvage:
        try:
            for found, read in _decoded(salvage):
                yield {
                    "kind": record.KIND_NAMES[read.kind],
                    "time": iso_time(read.at_ms),
                    "file": found.path.name,
                    "offset": found.offset,
                    "position": found.position,
                    **_record_object(read),
                    **(_bodies(found, read, salvage.problems) if bodies else {}),
                }
                progress()
        finally:
            problems += salvage.problems


def _record_object(read: Record) -> _Object:
    """Return the fields of a record but its kind and time, for people: times in ISO 8601, runs as pairs."""
    match read:
        case record.Identity():
            return {"key": read.key.hex(), "next_queue": read.next_queue}
        case record.DefineQueue():
            return {
                "queue": read.queue,
                "name": read.name,
                "settings": read.settings,
                "created_at": iso_time(read.created_ms),
                "next_sequence": read.next_sequence,
            }
        case record.Produce() | record.Send():
            produced: _Object = {
                "queue": read.queue,
                "first": read.first,
                "count": len(read.lengths),
                "delayed_until": [iso_time(each) if each > read.at_ms else None for each in read.due_ms],
                "lengths": read.lengths,
            }
            if isinstance(read, record.Send):
                produced["lanes"] = [{"priority": priority, "group": group} for priority, group in read.lanes]
            return produced
        case record.Claim() | record.NamedClaim():
            return {
                "queue": read.queue,
                "runs": _pairs(read.runs),
                "until": iso_time(read.at_ms + read.timeout_ms),
                "timeout_ms": read.timeout_ms,
                "token": read.token,
                **({"consumer": read.consumer} if isinstance(read, record.NamedClaim) else {}),
            }
        case record.Delete():
            return {"queue": read.queue, "runs": _pairs(read.runs)}
        case record.Update():
            return {
                "queue": read.queue,
                "changes": [_with_status(_zipped(record.Reset._fields, each)) for each in read.changes],
                "rewritten": _pairs(read.runs),
                "produced_at": [iso_time(each) for each in read.produced_ms],
                "lengths": read.lengths,
                "claims": [_with_status(_zipped(record.MessageState._fields, each)) for each in read.claims],
            }
        case record.Purge():
            return {"queue": read.queue, "end": read.end}
        case record.Drop():
            return {"queue": read.queue}
        case record.Dedup():
            rows = [{"key": key, "value": value, "until": iso_time(until_ms)} for key, value, until_ms in read.rows]
            return {"queue": read.queue, "dedup": rows}
        case record.Metadata():
            return {"namespace": read.namespace, "name": read.name, "value": read.value}
        case record.DefineTopic():
            return {
                "topic": read.topic,
                "name": read.name,
                "settings": read.settings,
                "created_at": iso_time(read.created_ms),
                "next_sequence": read.next_sequence,
            }
        case record.Subscribe():
            return {"topic": read.topic, "name": read.name, "value": read.value}
        case record.Publish() | record.Restate():
            return _shared_object(read)


def _shared_object(read: record.Publish | record.Restate) -> _Object:
    """Return the fields of a record whose messages are in several queues."""
    queues = [
        {
            "queue": queue,
            "enveloped": bool(flags & record.WITH_HEAD),
            "indexes": _pairs(record.to_runs(indexes)),
            "runs": _pairs(record.to_runs(sequences)),
        }
        for queue, flags, indexes, sequences in record_contents.sharers_of(read)
    ]
    about: _Object = {"topic": read.topic, "queues": queues, "lengths": read.lengths}
    if isinstance(read, record.Publish):
        rows = [{"key": key, "value": value, "until": iso_time(until_ms)} for key, value, until_ms in read.rows]
        about |= {"next_sequence": read.next_sequence, "dedup": rows}
    return about


def _zipped(names: Sequence[str], values: Sequence[Any]) -> _Object:
    shown = {"receives": "receive_count"}
    return {shown.get(name, name): value for name, value in zip(names, values, strict=False)}


def _with_status(about: _Object) -> _Object:
    names = {status: name for name, status in STATUS_BY_NAME.items()}
    return about | {"status": names.get(about["status"], about["status"])}


def _pairs(runs: Sequence[int]) -> list[Sequence[int]]:
    return [runs[at : at + 2] for at in range(0, len(runs), 2)]


def _bodies(found: Found, read: Record, problems: list[Problem]) -> _Object:
    """Return the bodies in a record. A body that does not match its checksum is null, and a problem."""
    if isinstance(read, record.Publish | record.Restate):
        entries = record_contents.distinct_entries_of(read)
    elif isinstance(read, record.Produce | record.Send | record.Update):
        entries = record_contents.entries_of(read)
    else:
        return {}
    bodies: list[str | None] = []
    headers: dict[int, _Object] = {}
    for entry in entries:
        problem = entry.problem
        if problem:
            problems.append(Problem(str(found.path), found.offset, problem))
        body, more = (None, {}) if problem else record.decode_entry(entry.data)
        if more:
            headers[len(bodies)] = more
        bodies.append(body)
    return {"messages": bodies, **({"headers": headers} if headers else {})}
