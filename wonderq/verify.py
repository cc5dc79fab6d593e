"""`wonderq verify`: read a stopped broker's folder as a start would, and say what is in it. Nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from storage import CorruptLogError, FileLog, record, segment
from storage.record import CLAIMED, DELAYED, WAITING
from storage.recovery import wall_clock_ms
from wonderq.state import State, UnreadableRecordError
from wonderq.terminal import human_bytes, table

KINDS = ("identity", "queue", "produce", "claim", "delete", "update", "purge", "drop")


class NoLogError(Exception):
    """There is no log in the folder."""


@dataclass
class Findings:
    """What was read: all of the log, or all that comes before the damage."""

    folder: Path
    files: list[Path]
    bytes: int
    records: Counter[str] = field(default_factory=Counter)
    state: State = field(default_factory=State)
    torn_bytes: int = 0
    damage: str | None = None
    """File, offset and reason of the first thing that does not verify."""


def verify(folder: Path, progress: Callable[[], None] = lambda: None) -> Findings:
    """Read the log in ``folder``; ``progress`` is called for each record.

    Raises:
        NoLogError: there is none.
        FolderLockedError: a broker is running on it.
        UnsupportedFormatError: a newer WonderQ wrote it.
        OSError: it cannot be read.
    """
    # Looked at first, since a log that is opened for writing would create the folder.
    files = sorted(each for each in folder.iterdir() if segment.file_number(each.name) is not None)
    if not files:
        raise NoLogError(f"{folder} holds no log: give the folder that 'wonderq serve --data' was given.")
    findings = Findings(folder, files, sum(each.stat().st_size for each in files))
    try:
        log = FileLog(folder)
        try:
            _read(log, findings, progress)
            findings.torn_bytes = log.torn_bytes
        finally:
            log.close()
    except (CorruptLogError, UnreadableRecordError) as error:
        findings.damage = str(error)
    return findings


def _read(log: FileLog, findings: Findings, progress: Callable[[], None]) -> None:
    for position, data in log.replay():
        try:
            fields = record.decode(data)
            findings.state.apply(fields, position, len(data))
        except (ValueError, UnreadableRecordError) as error:
            file = findings.folder / segment.file_name(position >> 32)
            raise CorruptLogError(str(file), position & 0xFFFF_FFFF, str(error)) from error
        findings.records[KINDS[fields[0]]] += 1
        progress()
    findings.state.check_complete()


def report(findings: Findings) -> Iterator[str]:
    """Put the findings into lines, but for the damage."""
    count = len(findings.files)
    names = findings.files[0].name + (f" to {findings.files[-1].name}" if count > 1 else "")
    yield f"folder    {findings.folder}"
    yield f"segments  {count} ({names}), {human_bytes(findings.bytes)} with the space reserved"
    kinds = ", ".join(f"{kind} {findings.records[kind]:,}" for kind in KINDS if findings.records[kind])
    yield f"records   {findings.records.total():,}{f' ({kinds})' if kinds else ''}"
    if findings.torn_bytes:
        yield (
            f"torn tail {findings.torn_bytes:,} bytes that were never acknowledged, as a crash leaves them; "
            "the next start sets them aside"
        )
    rows: list[tuple[str, ...]] = [("QUEUE", "UNPROCESSED", "PROCESSING", "DELAYED", "SIZE")]
    for name, queue in sorted(findings.state.queues.items()):
        messages = queue.messages
        messages.advance(max(findings.state.last_ms, wall_clock_ms()))
        counts = (f"{messages.counts[status]:,}" for status in (WAITING, CLAIMED, DELAYED))
        rows.append((name, *counts, human_bytes(messages.bytes)))
    if len(rows) > 1:
        yield ""
        yield from table(rows)
        yield ""
