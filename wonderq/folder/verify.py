"""`wonderq verify`: read all of a stopped broker's folder and report all damage. Nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wonderq.folder.checkpoints import check_checkpoints
from wonderq.folder.lock import locked
from wonderq.state import record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage.salvage import Found, Problem, Salvage

KINDS = (
    *("identity", "queue", "produce", "claim", "delete", "update", "purge", "drop"),
    *("send", "remember", "note"),
)


@dataclass
class Findings:
    """The valid contents of a folder, and its damage."""

    folder: Path
    files: list[Path]
    bytes: int
    records: Counter[str] = field(default_factory=Counter)
    state: State = field(default_factory=State)
    torn: Problem | None = None
    problems: list[Problem] = field(default_factory=list)
    """All damage, in the order of the log."""
    warnings: list[str] = field(default_factory=list)
    """Findings that only slow down a start."""

    @property
    def damage(self) -> str | None:
        """Description of the first problem, or None."""
        return str(self.problems[0]) if self.problems else None


def verify(folder: Path, progress: Callable[[], None] = lambda: None) -> Findings:
    """Read everything in ``folder``. ``progress`` is called for each record.

    Raises:
        NoLogError: the folder contains no log.
        FolderLockedError: a broker is running on it.
        UnsupportedFormatError: a newer WonderQ wrote it.
        OSError: the folder cannot be read.
    """
    with locked(folder) as files:
        findings = Findings(folder, files, sum(each.stat().st_size for each in files))
        salvage = Salvage(folder)
        findings.problems = salvage.problems  # problems of records are inserted in order
        try:
            for found in salvage.records():
                _take(found, findings)
                progress()
        finally:
            salvage.close()
        findings.torn = salvage.torn
        if not findings.problems:
            try:
                findings.state.check_complete()
            except UnreadableRecordError as error:
                findings.problems.append(Problem(str(files[0]), 0, str(error)))
        check_checkpoints(folder, None if findings.problems else findings.state, findings.problems, findings.warnings)
    return findings


def _take(found: Found, findings: Findings) -> None:
    """Check the checksums of a record's messages, and apply the record."""
    try:
        fields = record.decode(found.data)
        for entry in entries_of(fields):
            if problem := entry_problem(*entry):
                findings.problems.append(Problem(str(found.path), found.offset, problem))
        findings.state.apply(fields, found.position, len(found.data))
    except (ValueError, UnreadableRecordError) as error:
        findings.problems.append(Problem(str(found.path), found.offset, str(error)))
        return
    findings.records[KINDS[fields[0]]] += 1


def entry_problem(queue: int, sequence: int, entry: bytes) -> str | None:
    """Describe why a message does not match its own checksum, or return None."""
    try:
        record.decode_entry(entry)
    except ValueError as error:
        return f"message {sequence} of queue {queue}: {error}"
    return None


def entries_of(fields: list[Any]) -> Iterator[tuple[int, int, bytes]]:
    """Yield the messages in a record as (queue, sequence, entry).

    Raises:
        ValueError: the record does not have the fields of its kind.
    """
    try:
        contents = record.contents(fields)
        if contents is None:
            return
        queue, runs, lengths, entries = contents
        named = list(zip(record.from_runs(runs), lengths, strict=True))
        if sum(length for _, length in named) != len(entries):
            raise ValueError("the lengths of its messages do not add up to their contents")
        at = 0
        for sequence, length in named:
            yield queue, sequence, entries[at : at + length]
            at += length
    except (TypeError, LookupError) as error:
        raise ValueError(f"the record does not have the fields of its kind ({error!r})") from error
