"""`wonderq inspect`: the contents of a stopped broker's folder. Nothing is changed.

Memory use depends on the number of messages, not on the size of the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wonderq.folder.checkpoints import load
from wonderq.folder.history import Event, History
from wonderq.folder.lock import FolderError, locked
from wonderq.folder.verify import KINDS, entries_of, entry_problem
from wonderq.model.ids import Ids
from wonderq.model.status import STATUS_BY_NAME
from wonderq.model.times import iso_time
from wonderq.state import record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import Checkpoints, DamagedCheckpointError, segment
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
                fields = record.decode(each.data)
                found.state.apply(fields, each.position, len(each.data))
                found.records[KINDS[fields[0]]] += 1
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
    for queue in found.state.queues.values():
        queue.messages.advance(now_ms)
        for views in queue.messages.walk(_CHUNK_MESSAGES):
            for view in views:
                found.live_bytes[segment.unpack_position(view.position)[0]] += view.length
    return found


def _checkpoints(folder: Path) -> Iterator[_Object]:
    checkpoints = Checkpoints(folder)
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
        "folder": str(found.folder),
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
        "records": {kind: found.records[kind] for kind in KINDS},
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
        "checkpoints": found.checkpoints,
        "torn_files": found.torn_files,
        "torn_tail": _problem_object(found.torn) if found.torn else None,
        "problems": [_problem_object(each) for each in found.problems],
    }


def _problem_object(problem: Problem) -> _Object:
    return {
        "file": problem.file,
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
        for each, fields in _decoded(salvage):
            begin = begin or Event(fields[1], LOG_BEGINS, {}, each.path.name, each.offset)
            events += one.add(each, fields)
            progress()
        events += one.until(wall_clock_ms())
        if not events and begin:
            events.append(begin)
        return events, salvage.problems


def _find_ids(folder: Path) -> Ids | None:
    with _salvage(folder) as salvage:
        for _, fields in _decoded(salvage):
            if fields[0] == record.IDENTITY:
                return Ids(fields[2])
    return None


def _decoded(salvage: Salvage) -> Iterator[tuple[Found, list[Any]]]:
    for found in salvage.records():
        try:
            fields = record.decode(found.data)
            for _ in entries_of(fields):
                pass
        except ValueError as error:
            salvage.problems.append(Problem(str(found.path), found.offset, str(error)))
            continue
        yield found, fields


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
            for found, fields in _decoded(salvage):
                yield {
                    "kind": KINDS[fields[0]] if fields[0] in range(len(KINDS)) else fields[0],
                    "time": iso_time(fields[1]),
                    "file": found.path.name,
                    "offset": found.offset,
                    "position": found.position,
                    **_named(fields),
                    **(_bodies(found, fields, salvage.problems) if bodies else {}),
                }
                progress()
        finally:
            problems += salvage.problems


def _named(fields: list[Any]) -> _Object:
    match fields:
        case [record.IDENTITY, _, key, next_queue]:
            return {"key": key.hex(), "next_queue": next_queue}
        case [record.QUEUE, _, queue, name, settings, created_ms, next_sequence]:
            created = iso_time(created_ms)
            return {
                "queue": queue,
                "name": name,
                "settings": settings,
                "created_at": created,
                "next_sequence": next_sequence,
            }
        case [record.PRODUCE, at_ms, queue, first, due_ms, lengths, _]:
            due = [iso_time(each) if each > at_ms else None for each in due_ms]
            return {"queue": queue, "first": first, "count": len(lengths), "delayed_until": due, "lengths": lengths}
        case [record.SEND, at_ms, queue, first, due_ms, lengths, lanes, entries]:
            produced = _named([record.PRODUCE, at_ms, queue, first, due_ms, lengths, entries])
            return {**produced, "lanes": [{"priority": priority, "group": group} for priority, group in lanes]}
        case [record.DEDUP, _, queue, memories]:
            dedup_entries = [{"key": key, "value": value, "until": iso_time(until)} for key, value, until in memories]
            return {"queue": queue, "remembered": dedup_entries}
        case [record.METADATA, _, space, name, value]:
            return {"space": space, "name": name, "value": value}
        case [record.CLAIM, at_ms, queue, runs, timeout_ms, token]:
            return {
                "queue": queue,
                "runs": _pairs(runs),
                "until": iso_time(at_ms + timeout_ms),
                "timeout_ms": timeout_ms,
                "token": token,
            }
        case [record.DELETE, _, queue, runs]:
            return {"queue": queue, "runs": _pairs(runs)}
        case [record.UPDATE, _, queue, changes, runs, produced_ms, lengths, claims, _]:
            names = ("sequence", "status", "due_ms", "timeout_ms", "receive_count")
            all_names = (*names, "token", "first_claimed_ms", "version", "priority", "group")
            return {
                "queue": queue,
                "changes": [_with_status(dict(zip(names, each, strict=False))) for each in changes],
                "restated": _pairs(runs),
                "produced_at": [iso_time(each) for each in produced_ms],
                "lengths": lengths,
                "claims": [_with_status(dict(zip(all_names, each, strict=False))) for each in claims],
            }
        case [record.PURGE, _, queue, end]:
            return {"queue": queue, "end": end}
        case [record.DROP, _, queue]:
            return {"queue": queue}
    return {"fields": repr(fields[2:])}


def _with_status(about: _Object) -> _Object:
    names = {status: name for name, status in STATUS_BY_NAME.items()}
    return about | {"status": names.get(about["status"], about["status"])}


def _pairs(runs: list[int]) -> list[list[int]]:
    return [runs[at : at + 2] for at in range(0, len(runs), 2)]


def _bodies(found: Found, fields: list[Any], problems: list[Problem]) -> _Object:
    """Return the bodies in a record. A body that does not match its checksum is null, and a problem."""
    if fields[0] not in (record.PRODUCE, record.SEND, record.UPDATE):
        return {}
    bodies: list[str | None] = []
    headers: dict[int, _Object] = {}
    for queue, sequence, entry in entries_of(fields):
        problem = entry_problem(queue, sequence, entry)
        if problem:
            problems.append(Problem(str(found.path), found.offset, problem))
        body, more = (None, {}) if problem else record.decode_entry(entry)
        if more:
            headers[len(bodies)] = more
        bodies.append(body)
    return {"messages": bodies, **({"carried": headers} if headers else {})}
