"""The commands that shrink a folder and copy it: compact, backup, restore."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from wonderq.cli.arguments import OK, Subparsers, add_command, time_from
from wonderq.folder.lock import FolderError
from wonderq.terminal import Progress, human_bytes

# What a command needs is loaded when it runs: the others should not take longer for it.


def add_to(subparsers: Subparsers) -> None:
    for add in (_add_compact, _add_backup, _add_restore):
        add(subparsers)


def _add_compact(subparsers: Subparsers) -> None:
    command = add_command(
        subparsers,
        "compact",
        _compact,
        "shrink the folder of a stopped broker",
        "Copy what is live in DIR to the end of its log, and remove everything before. It may be interrupted at any moment: "
        "nothing is lost, and the next time goes on with the rest. What is live in one segment, and a new segment, have to be "
        "free on the disk. A folder that would hardly become smaller is left as it is.",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="the folder that holds the log")
    command.add_argument("--dry-run", action="store_true", help="only say about what that would save; change nothing")
    command.add_argument("--json", action="store_true", help="print a JSON object")


def _compact(options: argparse.Namespace) -> int:
    from wonderq.folder import compact  # noqa: PLC0415

    if options.dry_run:
        done = compact.estimate(options.folder)
    else:
        with Progress("segments compacted") as progress:
            done = compact.compact(options.folder, progress.add)
    before, after = done.before, done.after
    if options.json:
        print(json.dumps({"dry_run": options.dry_run, **asdict(done)}), flush=True)
        return OK
    about = "about " if options.dry_run else ""
    print(f"messages  {done.messages:,}")
    if done.worth_it if options.dry_run else done.segments:
        saved = 1 - after.disk_bytes / before.disk_bytes
        print(f"segments  {done.segments:,} {'to be ' if options.dry_run else ''}compacted")
        print(f"log       {human_bytes(before.log_bytes)}, {about}{human_bytes(after.log_bytes)} after")
        print(
            f"on disk   {human_bytes(before.disk_bytes)}, {about}{human_bytes(after.disk_bytes)} after ({saved:.1%} less)"
        )
    else:
        print(f"log       {human_bytes(before.log_bytes)}")
        print(f"on disk   {human_bytes(before.disk_bytes)}")
        print("nothing to compact: that would save less than 1% of what the folder takes on the disk")
    print("nothing was changed" if options.dry_run else "ok", flush=True)
    return OK


def _add_backup(subparsers: Subparsers) -> None:
    command = add_command(
        subparsers,
        "backup",
        _backup,
        "copy the folder of a running or stopped broker",
        "Bring DEST up to what SOURCE holds. Everything that was acknowledged before is in it; segments that are in DEST "
        "already are not copied again. The copy is read to its end at last, and checked. DEST keeps old segments that SOURCE "
        "has dropped, so that 'wonderq restore --until' reaches back to them. A DEST that has something that SOURCE does not "
        "have is refused.",
    )
    command.add_argument("source", metavar="SOURCE", type=Path, help="the folder that holds the log")
    command.add_argument(
        "destination", metavar="DEST", type=Path, help="the folder for the copy; made if it is not there"
    )
    command.add_argument(
        "--prune",
        action="store_true",
        help="remove from DEST what the newest state does not need, or everything old if SOURCE has dropped what would follow",
    )


def _backup(options: argparse.Namespace) -> int:
    from wonderq.folder.backup import backup  # noqa: PLC0415
    from wonderq.model.times import iso_time  # noqa: PLC0415
    from wonderq.state.state import UnreadableRecordError  # noqa: PLC0415
    from wonderq_storage import CorruptLogError  # noqa: PLC0415

    try:
        with Progress("bytes copied") as progress:
            done = backup(options.source, options.destination, prune=options.prune, progress=progress.add)
    except CorruptLogError as error:
        error.add_note(f"This is no good backup: run 'wonderq verify' on {Path(error.file).parent}")
        raise
    except UnreadableRecordError as error:
        raise FolderError(f"{options.destination} is no good backup: {error}") from error
    print(f"copied    {_segments(len(done.copied))}, {human_bytes(done.copied_bytes)}")
    print(f"reused    {_segments(len(done.reused))}")
    if done.removed:
        print(f"removed   {_segments(len(done.removed))} ({done.removed[0]} to {done.removed[-1]})")
    print(f"messages  {done.messages:,}")
    print(f"newest    {iso_time(done.newest_ms)}, log ends at {_place(done.end)}")
    print("ok", flush=True)
    return OK


def _add_restore(subparsers: Subparsers) -> None:
    command = add_command(
        subparsers,
        "restore",
        _restore,
        "make a folder out of a backup",
        "Copy the log in BACKUP into the new folder NEW, all of it or up to a point in time, and check it. BACKUP is only "
        "read.",
    )
    command.add_argument("backup", metavar="BACKUP", type=Path, help="the folder that 'wonderq backup' wrote")
    command.add_argument("new", metavar="NEW", type=Path, help="the folder to be made")
    command.add_argument(
        "--until",
        metavar="TIME",
        type=_time_ms,
        help="leave out what came after that time (ISO 8601: 2026-03-29T14:05:06.789+02:00; UTC if no zone is given)",
    )


def _restore(options: argparse.Namespace) -> int:
    from wonderq.folder.restore import restore  # noqa: PLC0415
    from wonderq.model.times import iso_time  # noqa: PLC0415
    from wonderq.state.state import UnreadableRecordError  # noqa: PLC0415

    try:
        with Progress("bytes copied") as progress:
            done = restore(options.backup, options.new, until_ms=options.until, progress=progress.add)
    except UnreadableRecordError as error:
        raise FolderError(f"{options.backup}: {error}") from error
    print(f"records   {done.records:,}")
    print(f"messages  {done.messages:,}")
    print(f"newest    {iso_time(done.newest_ms)}, log ends at {_place(done.end)}")
    print(f"ok        start a broker on it: wonderq serve --data {options.new}", flush=True)
    return OK


def _time_ms(text: str) -> int:
    since_1970 = time_from(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_1970.days * 86_400 + since_1970.seconds) * 1000 + since_1970.microseconds // 1000


def _segments(count: int) -> str:
    return "1 segment" if count == 1 else f"{count:,} segments"


def _place(position: int) -> str:
    from wonderq_storage.segment import file_name, unpack_position  # noqa: PLC0415

    number, offset = unpack_position(position)
    return f"{file_name(number)}, byte {offset:,}"
