"""`wonderq cluster export-folder`: the log of each shard as a folder, which all tools for folders read.

The nodes go on working. Each folder has everything that its shard had acknowledged before the call, and the shards are
read one after the other, so they are not of one moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wonderq.cluster_tools.logs import ClusterLogs, ClusterToolError
from wonderq.folder.lock import check_can_be_replaced, resolve
from wonderq.folder.verify import verify
from wonderq_storage import FileLog, LogMovedError
from wonderq_storage.disk import Disk
from wonderq_storage.jetstream_reader import LogReader

Progress = Callable[[int], object]
"""Callback that receives the number of records copied since its last call."""

#: Suffix of a folder that is not complete.
UNFINISHED_SUFFIX = ".unfinished"

#: Most readings of a log whose owner drops its beginning meanwhile.
_MOST_READINGS = 10

#: Bytes written between syncs.
_SYNC_BYTES = 4 << 20

_SMALLEST_SEGMENT_BYTES, _LARGEST_SEGMENT_BYTES = 64 << 10, 64 << 20


@dataclass(frozen=True)
class ShardFolder:
    """The copy of one shard."""

    shard: int
    folder: Path
    copied: int
    """Number of records that were read from NATS."""
    records: int
    """Number of records in the folder."""
    messages: int
    newest_ms: int
    """Time of the newest record, in ms since 1970; 0 without records."""
    sequence: int
    """Number of the newest group in the shard's log that the folder has."""
    place: bytes
    """Place in the log after it, for the next copy."""


def export_folders(logs: ClusterLogs, target: Path, progress: Progress = lambda _: None) -> list[ShardFolder]:
    """Write the log of each shard into ``target``/shard-N. The target must be empty or missing.

    Raises:
        ClusterToolError: the target is not empty, or a copy does not verify.
        StorageError: a log cannot be read, or a folder cannot be written.
    """
    target = resolve(target)
    check_new(target)
    logs.hear()
    unfinished = unfinished_of(target)
    disk = Disk()
    disk.make_folder(unfinished)
    try:
        found = [
            copy_shard(logs, shard, folder_of(unfinished, shard), progress) for shard in range(logs.charter.shards)
        ]
        if target.is_dir():
            target.rmdir()
        disk.rename(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    disk.sync_folder(target.parent)
    return found


def check_new(target: Path) -> None:
    """Check that a folder can be made.

    Raises:
        ClusterToolError: it exists, and is not an empty folder; or what an interrupted command left is there.
    """
    for each in (target, unfinished_of(target)):
        if each.exists() and not each.is_dir():
            raise ClusterToolError(f"{each} is not a folder")
        if each.exists() and any(each.iterdir()):
            raise ClusterToolError(f"{each} exists and is not empty. Choose a new folder, or remove it")
    check_can_be_replaced(resolve(target))


def unfinished_of(target: Path) -> Path:
    """Return the path of a folder while it is not complete."""
    resolved = resolve(target)
    return resolved.with_name(resolved.name + UNFINISHED_SUFFIX)


def folder_of(target: Path, shard: int) -> Path:
    """Return the folder of a shard."""
    return target / f"shard-{shard}"


def copy_shard(
    logs: ClusterLogs, shard: int, folder: Path, progress: Progress, *, after: bytes | None = None
) -> ShardFolder:
    """Write the log of a shard into a folder, and verify it.

    With ``after``, the folder has the log up to that place already, and gets the rest.

    Raises:
        StaleMarkError: the log does not continue from that place. The folder is as it was.
        ClusterToolError: the copy does not verify.
        LogMovedError: the owner drops the beginning of the log faster than it can be read.
    """
    reader = logs.reader(shard)
    known = logs.known(shard, reader.log_id())
    for attempt in range(_MOST_READINGS):
        reader.begin(known=known, after=after)
        try:
            copied = _write(reader, folder, progress)
            break
        except LogMovedError:
            if after is not None or attempt == _MOST_READINGS - 1:
                raise
            shutil.rmtree(folder)
    return _verified(shard, folder, reader, copied)


def _write(reader: LogReader, folder: Path, progress: Progress) -> int:
    size = _SMALLEST_SEGMENT_BYTES
    while size < min(2 * reader.stream_bytes, _LARGEST_SEGMENT_BYTES):
        size *= 2
    log = FileLog(folder, segment_bytes=size)  # no larger than the log: a segment takes its whole size on the disk
    try:
        for _ in log.replay():
            pass
        log.start()
        return append_all(log, reader.groups(), progress)
    finally:
        log.close()


def append_all(log: FileLog, groups: Iterable[list[bytes]], progress: Progress) -> int:
    """Append groups of records durably; return the number of records."""
    count = unsynced = 0
    for group in groups:
        positions = log.append_together(group)
        unsynced += sum(map(len, group))
        if unsynced > _SYNC_BYTES:
            log.wait(positions[-1])
            unsynced = 0
        count += len(group)
        progress(len(group))
    log.sync()
    return count


def _verified(shard: int, folder: Path, reader: LogReader, copied: int) -> ShardFolder:
    findings = verify(folder)
    if findings.problems:
        raise ClusterToolError(
            f"the copy of shard {shard} does not verify: {findings.damage}. 'wonderq cluster check' tells whether the "
            "cluster itself is damaged"
        )
    state = findings.state
    return ShardFolder(
        shard,
        folder,
        copied,
        sum(findings.records.values()),
        sum(len(queue.messages) for queue in state.queues.values()),
        state.last_ms,
        reader.sequence,
        reader.place(),
    )
