"""`wonderq folder verify`: read all of a stopped broker's folder and report all damage. Nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wonderq.folder.checkpoints import check_checkpoints
from wonderq.folder.lock import locked
from wonderq.state import record, record_contents
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage.salvage import Found, Problem, Salvage


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
        findings = Findings(folder, files, sum(each.stat().st_size for each in files if each.is_file()))
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
        read = record.decode_typed(found.data)
        for entry in record_contents.entries_of(read):
            if problem := entry.problem:
                findings.problems.append(Problem(str(found.path), found.offset, problem))
        findings.state.apply(read, found.position, len(found.data))
    except (ValueError, UnreadableRecordError) as error:
        findings.problems.append(Problem(str(found.path), found.offset, str(error)))
        return
    findings.records[record.KIND_NAMES[read.kind]] += 1
