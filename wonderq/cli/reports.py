"""Findings of the folder tools as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wonderq.folder.history import Event
from wonderq.folder.inspect import LOG_BEGINS, Overview, event_object
from wonderq.folder.verify import Findings
from wonderq.model.status import BURIED, CLAIMED, DELAYED, WAITING
from wonderq.state.record import KIND_NAMES
from wonderq.terminal import human_bytes, table
from wonderq_storage.recovery import wall_clock_ms


def overview_lines(found: Overview) -> Iterator[str]:
    """Put it into tables."""
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
    for event in map(event_object, events):
        if event["event"] == LOG_BEGINS:
            segment = int(event["file"].partition(".")[0])
            yield f"no record of this message is left; the log begins at segment {segment}, {event['time']}"
            continue
        where = f"{event['file']}, byte {event['offset']}" if event["file"] else "by its deadline"
        detail = "  ".join(f"{name} {value}" for name, value in list(event.items())[4:])
        yield f"{event['time']}  {event['event']:<9}  {where}{f'  {detail}' if detail else ''}"


def report(findings: Findings) -> Iterator[str]:
    """Put the findings into lines, but for the problems."""
    count = len(findings.files)
    names = findings.files[0].name + (f" to {findings.files[-1].name}" if count > 1 else "")
    yield f"folder    {findings.folder}"
    yield f"segments  {count} ({names}), {human_bytes(findings.bytes)} with the space reserved"
    kinds = ", ".join(f"{kind} {findings.records[kind]:,}" for kind in KIND_NAMES if findings.records[kind])
    yield f"records   {findings.records.total():,}{f' ({kinds})' if kinds else ''}"
    if findings.torn:
        size = sum(span.length for span in findings.torn.lost)
        yield (
            f"torn tail {size:,} bytes that were never acknowledged, as a crash leaves them; "
            "the next start sets them aside"
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
