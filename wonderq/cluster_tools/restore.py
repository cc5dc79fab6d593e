"""`wonderq cluster restore`: a new cluster with the contents of a backup.

The charter is stored last, and without a charter there is no cluster. So an interrupted restore leaves none, and no
node takes a shard before all of them are complete. The new cluster has another id, and so its logs have other names: a
node of the old cluster that still runs somewhere can neither write into them nor be heard.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from wonderq.cluster.charter import CHARTER, Charter, Values
from wonderq.cluster.keys import KEYS
from wonderq.cluster_tools.backup import KEYS_FILE, MANIFEST_FILE, Manifest, backups_in, read_manifest
from wonderq.cluster_tools.folders import Progress, folder_of
from wonderq.cluster_tools.logs import ClusterToolError
from wonderq.folder.lock import segment_numbers
from wonderq_storage import CorruptLogError, DiskFullError, FileLog
from wonderq_storage.jetstream_log import MOST_RECORD_BYTES, JetStreamLog
from wonderq_storage.jetstream_reader import LogReader
from wonderq_storage.jetstream_replicas import names_of_streams
from wonderq_storage.nats import JetStream, NatsError

#: Beginning of the names of all streams with shards.
_STREAMS = "WQ_"

_WRITER = "wonderq cluster restore"

#: Bytes appended between two waits for JetStream.
_WAIT_BYTES = 4 << 20

_CALL_S = 5.0


@dataclass(frozen=True)
class NewCluster:
    """What the new cluster shall be like."""

    shards: int | None
    """Number of shards that the settings demand; None if they leave it open."""
    replicas: int
    log_bytes: int
    """Size of each shard's log."""


@dataclass(frozen=True)
class Restored:
    """Result of a restore."""

    charter: Charter
    """Charter of the new cluster."""
    backup: Path
    former_id: str
    """Id of the cluster that was backed up."""
    records: int
    has_keys: bool


def find_backup(path: Path) -> Path:
    """Return a backup: the folder itself, or the newest one in it.

    Raises:
        ClusterToolError: there is none.
    """
    if (path / MANIFEST_FILE).exists():
        return path
    found = backups_in(path)
    if not found:
        raise ClusterToolError(f"{path} has no backup that 'wonderq cluster backup' has finished")
    return found[-1]


def check_can_restore(jetstream: JetStream, values: Values, manifest: Manifest, wanted: NewCluster) -> None:
    """Check that there is no cluster yet, and that the new one can have the shards of the backup.

    Raises:
        ClusterToolError: it cannot.
        StorageError: NATS does not answer.
    """
    if wanted.shards not in (None, manifest.charter.shards):
        raise ClusterToolError(
            f"the backup has {manifest.charter.shards} shards, and --shards is {wanted.shards}. Leave --shards out. A "
            "cluster with another number gets the messages from 'wonderq cluster import'"
        )
    if values.exists and values.get(CHARTER) is not None:
        raise ClusterToolError(
            "these NATS servers have a cluster already, and a restore makes a new one. Stop all nodes and empty their "
            "folders to replace it, or add the messages to it with 'wonderq cluster import'"
        )
    left = [each for each in names_of_streams(jetstream) if each.startswith(_STREAMS)]
    if left:
        raise ClusterToolError(
            f"these NATS servers have logs without a cluster, such as {left[0]}: a restore was interrupted, or the "
            "servers have lost the charter. If nobody needs them, stop all nodes, empty their folders and begin again"
        )


def restore(
    jetstream: JetStream, values: Values, backup: Path, wanted: NewCluster, progress: Progress = lambda _: None
) -> Restored:
    """Make a cluster with the contents of a backup. If that fails, what was made of it is removed.

    Raises:
        ClusterToolError: there is a cluster already, the backup has another number of shards, or it is not complete.
        StorageError: the backup does not verify, NATS does not answer, or there is no room.
    """
    manifest = read_manifest(backup)
    check_can_restore(jetstream, values, manifest, wanted)
    charter = Charter(secrets.token_hex(8), manifest.charter.shards, wanted.replicas)
    keys = _keys(backup)
    records = 0
    try:
        for shard in range(charter.shards):
            count = _restore_shard(jetstream, charter, shard, folder_of(backup, shard), wanted, progress)
            if count != manifest.records[shard]:
                raise ClusterToolError(
                    f"{folder_of(backup, shard)} has {count:,} records, and the backup had "
                    f"{manifest.records[shard]:,}: a broker has run on it, or files are missing. Use another backup"
                )
            records += count
        if not values.exists:
            values.make(charter.replicas)
        if keys is not None:
            found = values.get(KEYS)
            values.put(KEYS, keys, revision=0 if found is None else found.revision)
        values.put(CHARTER, charter.encode(), revision=0)
    except BaseException:
        _remove(jetstream, charter)
        raise
    return Restored(charter, backup, manifest.charter.cluster_id, records, keys is not None)


def _keys(backup: Path) -> bytes | None:
    try:
        return (backup / KEYS_FILE).read_bytes()
    except FileNotFoundError:
        return None


def _restore_shard(
    jetstream: JetStream, charter: Charter, shard: int, folder: Path, wanted: NewCluster, progress: Progress
) -> int:
    """Write the log of one shard, read it again, and return the number of its records."""
    if not segment_numbers(folder):
        raise ClusterToolError(f"{folder} has no log: the backup is not complete. Use another one")
    log = JetStreamLog(
        jetstream,
        charter.stream(shard),
        node=_WRITER,
        replicas=charter.replicas,
        max_bytes=wanted.log_bytes,
        max_record_bytes=MOST_RECORD_BYTES,
        cache_bytes=0,
    )
    try:
        for _ in log.replay():
            raise ClusterToolError(f"the stream {charter.stream(shard)} has records already")
        log.start()
        written, count = _append(log, folder, progress)
    except DiskFullError as error:
        error.add_note(f"Shard {shard} of the backup needs more than --log-bytes {wanted.log_bytes}")
        raise
    finally:
        log.close()
    if _digest_of(jetstream, charter.stream(shard)) != written:
        raise CorruptLogError(f"stream {charter.stream(shard)}", 0, "it does not have what was written")
    return count


def _append(log: JetStreamLog, folder: Path, progress: Progress) -> tuple[bytes, int]:
    """Append all records of a folder; return their digest and their number."""
    digest, count, waiting = blake2b(), 0, 0
    for record in _records(folder):
        position = log.append(record)
        _add(digest, record)
        count += 1
        waiting += len(record)
        if waiting > _WAIT_BYTES:
            log.wait(position)
            waiting = 0
        progress(1)
    log.sync()
    return digest.digest(), count


def _records(folder: Path) -> Iterator[bytes]:
    log = FileLog(folder)
    try:
        for _, record in log.replay():
            yield bytes(record)
    finally:
        log.close()


def _digest_of(jetstream: JetStream, stream: str) -> bytes:
    reader = LogReader(jetstream, stream)
    reader.begin()
    digest = blake2b()
    for group in reader.groups():
        for record in group:
            _add(digest, record)
    return digest.digest()


def _add(digest: blake2b, record: bytes) -> None:
    digest.update(len(record).to_bytes(4, "little") + record)


def _remove(jetstream: JetStream, charter: Charter) -> None:
    for shard in range(charter.shards):
        with contextlib.suppress(NatsError):
            jetstream.call(f"STREAM.DELETE.{charter.stream(shard)}", timeout_s=_CALL_S)
