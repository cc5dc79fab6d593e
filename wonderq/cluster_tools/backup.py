"""`wonderq cluster backup`: dated copies of a cluster in one folder, each complete by itself.

::

    TARGET/2026-11-30T09-12-04Z/backup.json    the charter, and where the copy of each shard ends
                                keys.json      the API keys
                                shard-0/ ...   the log of each shard; all tools for folders read it

A copy has another name until it was verified, so an interrupted one cannot pass for one. It continues the copy before:
files that do not change any more are the same files (hard links), and only newer records are read from the cluster.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wonderq.cluster.charter import Charter, decode
from wonderq.cluster.keys import KEYS
from wonderq.cluster_tools.folders import UNFINISHED_SUFFIX, Progress, ShardFolder, copy_shard, folder_of
from wonderq.cluster_tools.logs import ClusterLogs, ClusterToolError
from wonderq.folder.lock import segment_numbers
from wonderq_storage import LogMovedError, StaleMarkError, segment
from wonderq_storage.disk import Disk

MANIFEST_FILE = "backup.json"
KEYS_FILE = "keys.json"

_VERSION = 1

#: A copy begins anew when it is this many times larger than the log: logs drop what they no longer need, copies do not.
_MOST_TIMES_LARGER = 2
_SMALL_BYTES = 16 << 20

#: Segments at the end of a copy that the next one changes: the one in use, and an empty one after it.
_CHANGING_SEGMENTS = 2


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself."""

    charter: Charter
    made_at: str
    places: list[bytes]
    """Place in the log of each shard after its copy."""
    records: list[int]
    """Number of records in the copy of each shard."""
    number: int = 0
    """Place among the backups of its folder. Times do not tell which one is the newest: clocks are set back."""

    def encode(self) -> bytes:
        return json.dumps(
            {
                "version": _VERSION,
                "made_at": self.made_at,
                "number": self.number,
                "charter": json.loads(self.charter.encode()),
                "shards": [
                    {"records": records, "place": base64.b64encode(place).decode()}
                    for records, place in zip(self.records, self.places, strict=True)
                ],
            },
            indent=1,
        ).encode()


@dataclass(frozen=True)
class Backup:
    """Result of a backup."""

    folder: Path
    continues: Path | None
    """The backup that it continues."""
    shards: list[ShardFolder]
    has_keys: bool
    removed: list[Path]
    """Older backups that were removed."""


def read_manifest(folder: Path) -> Manifest:
    """Return what the backup in a folder says of itself.

    Raises:
        ClusterToolError: there is none, or this version cannot read it.
    """
    file = folder / MANIFEST_FILE
    try:
        fields: dict[str, Any] = json.loads(file.read_bytes())
        if fields["version"] != _VERSION:
            raise ValueError(f"version {fields['version']}")
        charter = decode(json.dumps(fields["charter"]).encode(), str(file))
        places = [base64.b64decode(each["place"], validate=True) for each in fields["shards"]]
        records = [int(each["records"]) for each in fields["shards"]]
        if len(places) != charter.shards:
            raise ValueError("it does not have all shards")
        return Manifest(charter, str(fields["made_at"]), places, records, int(fields.get("number", 0)))
    except FileNotFoundError as error:
        raise ClusterToolError(f"{folder} has no backup that 'wonderq cluster backup' has finished") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ClusterToolError(f"{file} cannot be read: {error}. Use the version of WonderQ that wrote it") from error


def backups_in(target: Path) -> list[Path]:
    """Return the finished backups in a folder, oldest first."""
    if not target.is_dir():
        return []
    found = (
        each
        for each in target.iterdir()
        if not each.name.endswith(UNFINISHED_SUFFIX) and (each / MANIFEST_FILE).exists()
    )
    return sorted(found, key=lambda each: (_number_of(each), each.name))


def _number_of(folder: Path) -> int:
    """Return the number of a backup, whatever version wrote it; 0 if it has none, or its manifest is damaged."""
    try:
        return int(json.loads((folder / MANIFEST_FILE).read_bytes()).get("number", 0))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return 0


def backup(logs: ClusterLogs, target: Path, *, keep: int | None = None, progress: Progress = lambda _: None) -> Backup:
    """Make a backup in a new folder below ``target``. With ``keep``, remove all but the newest ones after it.

    Raises:
        ClusterToolError: the target has the backups of another cluster, or a copy does not verify.
        FolderLockedError: another backup runs.
        StorageError: a log cannot be read, or a folder cannot be written.
    """
    if target.exists() and not target.is_dir():
        raise ClusterToolError(f"{target} is not a folder")
    disk = Disk()
    disk.make_folder(target)
    lock = disk.lock(target)
    try:
        previous = _previous(logs, target)
        number = 1 if previous is None else _number_of(previous) + 1
        made_at = _now().strftime("%Y-%m-%dT%H-%M-%SZ")
        folder = _free_name(target, made_at)
        unfinished = folder.with_name(folder.name + UNFINISHED_SUFFIX)
        for left in target.glob(f"[0-9]*{UNFINISHED_SUFFIX}"):
            shutil.rmtree(left)
        logs.hear()
        disk.make_folder(unfinished)
        shards = [_copy(logs, shard, unfinished, previous, progress) for shard in range(logs.charter.shards)]
        has_keys = _write_keys(logs, unfinished)
        places, records = [each.place for each in shards], [each.records for each in shards]
        manifest = Manifest(logs.charter, made_at, places, records, number)
        _write_file(unfinished / MANIFEST_FILE, manifest.encode(), 0o644)
        disk.sync_folder(unfinished)
        disk.rename(unfinished, folder)
        disk.sync_folder(target)
        removed = backups_in(target)[:-keep] if keep else []
        for each in removed:
            shutil.rmtree(each.rename(each.with_name(each.name + UNFINISHED_SUFFIX)))
    finally:
        disk.unlock(lock)
    return Backup(folder, previous, shards, has_keys, removed)


def _now() -> datetime:
    return datetime.now(UTC)


def _previous(logs: ClusterLogs, target: Path) -> Path | None:
    """Return the newest backup, which must be of this cluster."""
    found = backups_in(target)
    if not found:
        return None
    of = read_manifest(found[-1]).charter.cluster_id
    if of != logs.charter.cluster_id:
        raise ClusterToolError(
            f"{target} has backups of the cluster {of}, and this is the cluster {logs.charter.cluster_id}. Choose "
            "another folder"
        )
    return found[-1]


def _free_name(target: Path, name: str) -> Path:
    folder, number = target / name, 1
    while folder.exists():
        number += 1
        folder = target / f"{name}-{number}"
    return folder


def _copy(logs: ClusterLogs, shard: int, unfinished: Path, previous: Path | None, progress: Progress) -> ShardFolder:
    folder = folder_of(unfinished, shard)
    if previous is not None:
        before = folder_of(previous, shard)
        if _is_worth_continuing(logs, shard, before):
            manifest = read_manifest(previous)
            _link(before, folder)
            try:
                found = copy_shard(logs, shard, folder, progress, after=manifest.places[shard])
                if found.records == manifest.records[shard] + found.copied:
                    return found  # otherwise somebody has run a broker on the copy before
            except (StaleMarkError, LogMovedError):
                pass
            shutil.rmtree(folder)
    return copy_shard(logs, shard, folder, progress)


def _is_worth_continuing(logs: ClusterLogs, shard: int, before: Path) -> bool:
    size = sum(each.stat().st_size for each in before.glob(f"*{segment.SUFFIX}"))
    reader = logs.reader(shard)
    reader.begin()
    return size <= max(_SMALL_BYTES, _MOST_TIMES_LARGER * reader.stream_bytes)


def _link(before: Path, folder: Path) -> None:
    """Let the new folder have the log of another one. The segments that will change are copied."""
    folder.mkdir()
    names = [segment.file_name(number) for number in segment_numbers(before)]
    for index, name in enumerate(names):
        if index < len(names) - _CHANGING_SEGMENTS:
            try:
                os.link(before / name, folder / name)
                continue
            except OSError:  # a file system without links
                pass
        shutil.copyfile(before / name, folder / name)


def _write_keys(logs: ClusterLogs, folder: Path) -> bool:
    found = logs.values.get(KEYS)
    if found is not None:
        _write_file(folder / KEYS_FILE, found.data, 0o600)
    return found is not None


def _write_file(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
