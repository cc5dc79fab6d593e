"""Verbs of the noun `folder` that shrink and copy: compact, backup, restore."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wonderq.cli.arguments import Verbs, add_json_option, add_verb, time_from
from wonderq.cli.exit_codes import OK
from wonderq.cli.output import print_lines, write_json
from wonderq.terminal import Progress, counted, human_bytes

if TYPE_CHECKING:
    from wonderq.folder.compact import Outcome

# Commands import what they need when they run, so that the other commands start faster.


def add_to(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    for add in (_add_compact, _add_backup, _add_restore):
        add(verbs)


def _add_compact(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "compact",
        _compact,
        "shrink the folder of a stopped broker",
        "Copy the live messages in DIR to the end of its log and remove the older segments. You can interrupt the "
        "command at any moment: nothing is lost, and the next run continues. The disk needs free space for one new "
        "segment and the live messages of one old segment. A folder that would shrink by less than 1% is left "
        "unchanged.",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="folder of the log")
    command.add_argument("--dry-run", action="store_true", help="only estimate the result; change nothing")
    add_json_option(command)


def _compact(options: argparse.Namespace) -> int:
    from dataclasses import asdict  # noqa: PLC0415

    from wonderq.folder import compact  # noqa: PLC0415

    if options.dry_run:
        done = compact.estimate(options.folder)
    else:
        with Progress("segments compacted") as progress:
            done = compact.compact(options.folder, progress.add)
    if options.json:
        write_json([{"dry_run": options.dry_run, **asdict(done)}])
    else:
        print_lines(_compact_lines(done, dry_run=options.dry_run))
    return OK


def _compact_lines(done: Outcome, *, dry_run: bool) -> Iterator[str]:
    before, after = done.before, done.after
    about = "about " if dry_run else ""
    yield f"messages  {done.messages:,}"
    if done.worth_it if dry_run else done.segments:
        saved = 1 - after.disk_bytes / before.disk_bytes
        yield f"segments  {done.segments:,} {'to be ' if dry_run else ''}compacted"
        yield f"log       {human_bytes(before.log_bytes)}, {about}{human_bytes(after.log_bytes)} after"
        sizes = f"{human_bytes(before.disk_bytes)}, {about}{human_bytes(after.disk_bytes)} after"
        yield f"on disk   {sizes} ({saved:.1%} less)"
    else:
        yield f"log       {human_bytes(before.log_bytes)}"
        yield f"on disk   {human_bytes(before.disk_bytes)}"
        yield "nothing to compact: it would free less than 1% of the folder's disk space"
    yield "nothing was changed" if dry_run else "ok"


def _add_backup(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "backup",
        _backup,
        "copy the folder of a running or stopped broker",
        "Update DEST to the state of SOURCE. DEST then contains everything acknowledged before the command started. "
        "Segments that DEST already contains are not copied again. The copy is verified at the end. DEST keeps old "
        "segments that SOURCE has dropped, so that 'wonderq folder restore --until' can return to them. The command "
        "refuses a DEST that contains records which SOURCE does not have.",
    )
    command.add_argument("source", metavar="SOURCE", type=Path, help="folder of the log")
    command.add_argument("destination", metavar="DEST", type=Path, help="folder for the copy; created if missing")
    command.add_argument(
        "--prune",
        action="store_true",
        help="remove old segments from DEST that the newest state does not need; required if SOURCE has dropped the "
        "segments that would continue DEST",
    )
    add_json_option(command)


def _backup(options: argparse.Namespace) -> int:
    from wonderq.folder.backup import backup  # noqa: PLC0415
    from wonderq.folder.lock import FolderError  # noqa: PLC0415
    from wonderq.model.times import iso_time  # noqa: PLC0415
    from wonderq.state.state import UnreadableRecordError  # noqa: PLC0415
    from wonderq_storage import CorruptLogError  # noqa: PLC0415

    try:
        with Progress("bytes copied") as progress:
            done = backup(options.source, options.destination, prune=options.prune, progress=progress.add)
    except CorruptLogError as error:
        error.add_note(f"The backup is unusable: run 'wonderq folder verify' on {Path(error.file).parent}")
        raise
    except UnreadableRecordError as error:
        raise FolderError(f"the backup in {options.destination} is unusable: {error}") from error
    if options.json:
        shown = {"copied": done.copied, "copied_bytes": done.copied_bytes, "reused": done.reused}
        write_json([shown | {"removed": done.removed, **_end_object(done.messages, done.newest_ms, done.end)}])
        return OK
    lines = [f"copied    {counted(len(done.copied), 'segment')}, {human_bytes(done.copied_bytes)}"]
    lines += [f"reused    {counted(len(done.reused), 'segment')}"]
    if done.removed:
        lines += [f"removed   {counted(len(done.removed), 'segment')} ({done.removed[0]} to {done.removed[-1]})"]
    lines += [f"messages  {done.messages:,}"]
    print_lines([*lines, f"newest    {iso_time(done.newest_ms)}, log ends at {_place(done.end)}", "ok"])
    return OK


def _add_restore(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "restore",
        _restore,
        "create a folder from a backup",
        "Copy the log in BACKUP into the new folder NEW, completely or up to a point in time, and verify it. BACKUP is "
        "only read.",
    )
    command.add_argument("backup", metavar="BACKUP", type=Path, help="folder that 'wonderq folder backup' wrote")
    command.add_argument("new", metavar="NEW", type=Path, help="folder to create")
    command.add_argument(
        "--until",
        metavar="TIME",
        type=_time_ms,
        help="leave out all later changes (ISO 8601: 2026-03-29T14:05:06.789+02:00; UTC without a zone)",
    )
    add_json_option(command)


def _restore(options: argparse.Namespace) -> int:
    from wonderq.folder.lock import FolderError  # noqa: PLC0415
    from wonderq.folder.restore import restore  # noqa: PLC0415
    from wonderq.model.times import iso_time  # noqa: PLC0415
    from wonderq.state.state import UnreadableRecordError  # noqa: PLC0415

    try:
        with Progress("bytes copied") as progress:
            done = restore(options.backup, options.new, until_ms=options.until, progress=progress.add)
    except UnreadableRecordError as error:
        raise FolderError(f"{options.backup}: {error}") from error
    if options.json:
        from wonderq.folder.inspect import path_text  # noqa: PLC0415

        shown = {"folder": path_text(options.new), "records": done.records}
        write_json([shown | _end_object(done.messages, done.newest_ms, done.end)])
        return OK
    lines = [f"records   {done.records:,}", f"messages  {done.messages:,}"]
    lines += [f"newest    {iso_time(done.newest_ms)}, log ends at {_place(done.end)}"]
    print_lines([*lines, f"ok        start a broker on it: wonderq serve --data {options.new}"])
    return OK


def _time_ms(text: str) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415

    since_1970 = time_from(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_1970.days * 86_400 + since_1970.seconds) * 1000 + since_1970.microseconds // 1000


def _end_object(messages: int, newest_ms: int, end: int) -> dict[str, Any]:
    from wonderq.model.times import iso_time  # noqa: PLC0415
    from wonderq_storage.segment import file_name, unpack_position  # noqa: PLC0415

    number, offset = unpack_position(end)
    place = {"file": file_name(number), "offset": offset}
    return {"messages": messages, "newest_at": iso_time(newest_ms), "end": place}


def _place(position: int) -> str:
    from wonderq_storage.segment import file_name, unpack_position  # noqa: PLC0415

    number, offset = unpack_position(position)
    return f"{file_name(number)}, byte {offset:,}"
