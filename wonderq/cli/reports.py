"""Results of the folder tools as lines for people, and as objects for programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wonderq.folder.history import Event
from wonderq.folder.inspect import LOG_BEGINS, Overview, event_object, path_text, problem_object
from wonderq.folder.repair import Repair, unreadable_bytes
from wonderq.folder.verify import Findings
from wonderq.model.status import BURIED, CLAIMED, DELAYED, STATUS_BY_NAME, WAITING
from wonderq.state.record import KIND_NAMES
from wonderq.terminal import counted, human_bytes, table
from wonderq_storage.recovery import wall_clock_ms


def overview_lines(found: Overview) -> Iterator[str]:
    """Yield the tables of an overview."""
    rows: list[tuple[str, ...]] = [("SEGMENT", "STATE", "SIZE", "GROUPS", "RECORDS", "LIVE", "DEAD")]
    for each in found.segments:
        live = found.live_bytes[each.number]
        sizes = (human_bytes(live), human_bytes(each.used_bytes - live))
        rows.append(
            (str(each.number), each.state, human_bytes(each.bytes), f"{each.groups:,}", f"{each.records:,}", *sizes)
        )
    yield from table(rows)
    yield ""
    rows = [("RECORD", "COUNT"), *((kind, f"{found.records[kind]:,}") for kind in KIND_NAMES if found.records[kind])]
    yield from table(rows)
    yield ""
    rows = [("QUEUE", "UNPROCESSED", "PROCESSING", "DELAYED", "BURIED", "SIZE")]
    for name, queue in sorted(found.state.queues.items()):
        counts = (f"{queue.messages.counts[status]:,}" for status in (WAITING, CLAIMED, DELAYED, BURIED))
        rows.append((name, *counts, human_bytes(queue.messages.bytes)))
    yield from table(rows)
    if found.checkpoints:
        yield ""
        rows = [("CHECKPOINT", "SIZE", "VERIFIES")]
        rows += [
            (each["file"], human_bytes(each["bytes"]), str(each["verifies"]).lower()) for each in found.checkpoints
        ]
        yield from table(rows)
    if found.torn_files or found.torn:
        yield ""
        rows = [("TORN TAIL", "SIZE")]
        rows += [(each["file"], human_bytes(each["bytes"])) for each in found.torn_files]
        if found.torn:
            size = sum(span.length for span in found.torn.lost)
            rows.append((f"{Path(found.torn.file).name}, byte {found.torn.offset}", human_bytes(size)))
        yield from table(rows)


def event_lines(events: list[Event]) -> Iterator[str]:
    """Yield a line for each event of a message."""
    for event in map(event_object, events):
        if event["event"] == LOG_BEGINS:
            segment = int(event["file"].partition(".")[0])
            yield f"no record of this message is left: the log begins at segment {segment}, {event['time']}"
            continue
        where = f"{event['file']}, byte {event['offset']}" if event["file"] else "by its deadline"
        detail = "  ".join(f"{name} {value}" for name, value in list(event.items())[4:])
        yield f"{event['time']}  {event['event']:<9}  {where}{f'  {detail}' if detail else ''}"


def verify_lines(findings: Findings) -> Iterator[str]:
    """Yield a summary of the findings, without the problems."""
    count = len(findings.files)
    names = findings.files[0].name + (f" to {findings.files[-1].name}" if count > 1 else "")
    yield f"folder    {findings.folder}"
    yield f"segments  {count} ({names}), {human_bytes(findings.bytes)} with the space reserved"
    kinds = ", ".join(f"{kind} {findings.records[kind]:,}" for kind in KIND_NAMES if findings.records[kind])
    yield f"records   {findings.records.total():,}{f' ({kinds})' if kinds else ''}"
    if findings.torn:
        size = sum(span.length for span in findings.torn.lost)
        yield (
            f"torn tail {size:,} bytes that were never acknowledged, left by a crash; the next start sets them aside"
        )
    rows: list[tuple[str, ...]] = [("QUEUE", "UNPROCESSED", "PROCESSING", "DELAYED", "BURIED", "SIZE")]
    for name, queue in sorted(findings.state.queues.items()):
        messages = queue.messages
        messages.advance(max(findings.state.last_ms, wall_clock_ms()))
        counts = (f"{messages.counts[status]:,}" for status in (WAITING, CLAIMED, DELAYED, BURIED))
        rows.append((name, *counts, human_bytes(messages.bytes)))
    if len(rows) > 1:
        yield ""
        yield from table(rows)
        yield ""
    yield from (f"warning: {warning}" for warning in findings.warnings)


def verify_object(findings: Findings) -> dict[str, Any]:
    """Return the findings as a JSON object."""
    queues = []
    for name, queue in sorted(findings.state.queues.items()):
        messages = queue.messages
        messages.advance(max(findings.state.last_ms, wall_clock_ms()))
        counts = {status: messages.counts[number] for status, number in STATUS_BY_NAME.items()}
        queues.append({"queue": name, "counts": counts, "bytes": messages.bytes})
    return {
        "folder": path_text(findings.folder),
        "ok": not findings.problems,
        "segments": len(findings.files),
        "bytes": findings.bytes,
        "records": {kind: findings.records[kind] for kind in KIND_NAMES},
        "queues": queues,
        "torn_tail": problem_object(findings.torn) if findings.torn else None,
        "warnings": findings.warnings,
        "problems": [problem_object(each) for each in findings.problems],
    }


def repair_lines(done: Repair) -> Iterator[str]:
    """Yield the losses of a repair, their consequences, and a summary."""
    for problem in done.problems:
        yield f"damaged   {problem.file}, byte {problem.offset}: {problem.reason}"
        for span in problem.lost:
            yield f"  left    {problem.file}, byte {span.offset}, {span.length} bytes"
    for problem in (*done.left_out, *done.rotten):
        yield f"left out  {problem}"
    if done.torn:
        size = sum(span.length for span in done.torn.lost)
        place = f"{done.torn.file}, byte {done.torn.offset}"
        yield f"torn tail {place}, {size} bytes that were never acknowledged: not copied"
    for number, runs in sorted(done.losses.lost.items()):
        for first, end in runs:
            yield f"lost      queue {done.queue_name(number)}: {_message_range(done, number, first, end)}"
    if done.unknown_below:
        for number, first in sorted(done.losses.unknown_below.items()):
            yield f"lost      queue {done.queue_name(number)}: all remaining messages before number {first}"
    if done.new_identity:
        yield "identity  the record with the key of ids and receipts is lost: all ids and receipts are new"
    for number, name in done.renamed.items():
        yield f"renamed   queue number {number} has lost its name and settings, and is now called {name}"
    for number, name in done.renamed_topics.items():
        yield f"renamed   topic number {number} has lost its name and settings, and is now called {name}"
    if done.lost_bytes or done.missing_bytes or done.left_out:
        yield "note      claims, deletions and updates in the lost parts are undone: messages may be delivered again"
    yield f"records   {done.records:,} copied, {len(done.left_out):,} left out"
    damage = done.problems + done.rotten
    places = counted(len(damage), "place")
    yield f"damage    {places}, {unreadable_bytes(damage):,} bytes that do not verify"
    messages = sum(len(queue.messages) for queue in done.state.queues.values())
    queues = counted(len(done.state.queues), "queue")
    yield f"messages  {messages:,} in {queues}, {done.losses.count():,} known to be lost"


def repair_object(done: Repair) -> dict[str, Any]:
    """Return a repair as a JSON object."""
    return {
        "source": path_text(done.source),
        "folder": path_text(done.target),
        "records": done.records,
        "messages": sum(len(queue.messages) for queue in done.state.queues.values()),
        "queues": len(done.state.queues),
        "lost_messages": done.losses.count(),
        "unreadable_bytes": unreadable_bytes(done.problems + done.rotten),
        "new_identity": done.new_identity,
        "renamed_queues": list(done.renamed.values()),
        "renamed_topics": list(done.renamed_topics.values()),
        "torn_tail": problem_object(done.torn) if done.torn else None,
        "problems": [problem_object(each) for each in done.problems],
        "left_out": [problem_object(each) for each in (*done.left_out, *done.rotten)],
    }


def _message_range(done: Repair, queue: int, first: int, end: int) -> str:
    if end - first == 1:
        return f"message {done.message(queue, first)}"
    return f"{end - first:,} messages, {done.message(queue, first)} to {done.message(queue, end - 1)}"
