"""A durable append-only log in a folder.

**Promise.** A record whose `wait` returned is read back by every later `replay`, in order. This holds after any crash
of the process and, under the default sync policy, of the machine. A record whose `wait` did not return is read back
whole or not at all, and only if every record before it is. Damage to durable bytes is reported with file and offset; it
is never skipped silently.

**Assumptions about the disk.** `fdatasync` returns only when the file's data and size are on the medium. `fsync` of a
directory does the same for its entries. `rename` is atomic. A write to one part of a file does not harm bytes synced in
another part ("powersafe overwrite" in SQLite's terms). Unsynced writes may reach the medium in any order, in part, or
not at all. The folder is on a local file system, because it is locked with flock.

**Files.** ::

    0000000001.wal                a segment (docs/FORMAT.md); numbers have no gaps
    0000000002.wal.tmp            a segment whose space is being reserved; removed at the next start
    0000000001-0000123456.ckpt    a checkpoint: a cache of the state at that position of the log
    torn/                         torn tails that a start cut off, kept for inspection; the log never reads them

**Modules.** `log` defines the protocols. `file_log` implements the log with `group_writer` and `segment_files`,
`checkpoint` implements the caches. `frame` encodes bytes, `segment` reads and creates one file, `recovery` decides what
a start does with a folder, `salvage` reads past damage. `sync_policy` defines when a record counts as written,
`observer` the callbacks for metrics, `disk` the calls to the operating system, `errors` the exceptions.

**Without a folder.** `jetstream_log` implements the same protocol in a stream of NATS JetStream, with assumptions of
its own. `jetstream_checkpoints` keeps the checkpoints there. Over `jetstream_peers` the processes that share the log
hear of each other. `nats` is its client.
"""

from wonderq_storage.checkpoint import FileCheckpoints
from wonderq_storage.errors import (
    CorruptLogError,
    DamagedCheckpointError,
    DiskFullError,
    FolderLockedError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    LogMovedError,
    RecordTooLargeError,
    StorageError,
    TrimmedError,
    UnsuitableStreamError,
    UnsupportedFormatError,
)
from wonderq_storage.file_log import DEFAULT_SEGMENT_BYTES, FileLog
from wonderq_storage.log import (
    Checkpoints,
    Log,
    LogFiles,
    Mark,
    Position,
    Reached,
    SharedLog,
    StaleMarkError,
    Turn,
)
from wonderq_storage.observer import Observer
from wonderq_storage.sync_policy import SyncPolicy

__all__ = [
    "DEFAULT_SEGMENT_BYTES",
    "Checkpoints",
    "CorruptLogError",
    "DamagedCheckpointError",
    "DiskFullError",
    "FileCheckpoints",
    "FileLog",
    "FolderLockedError",
    "Log",
    "LogClosedError",
    "LogFailedError",
    "LogFiles",
    "LogLostError",
    "LogMovedError",
    "Mark",
    "Observer",
    "Position",
    "Reached",
    "RecordTooLargeError",
    "SharedLog",
    "StaleMarkError",
    "StorageError",
    "SyncPolicy",
    "TrimmedError",
    "Turn",
    "UnsuitableStreamError",
    "UnsupportedFormatError",
]
