"""A durable append-only log in a folder.

**Promise.** A record whose `wait` returned is read back by every later `replay`, in order, whatever happens to the
process, and under the default sync policy whatever happens to the machine. A record whose `wait` did not return is
read back whole or not at all, and only if every record before it is. Damage to what was durable is reported with file
and offset, never passed over.

**What is assumed of the disk.** `fdatasync` returns only when the file's data and size are on the medium; `fsync` of a
directory does the same for names in it; `rename` is atomic; a write to one place of a file does not harm bytes that
were synced in another ("powersafe overwrite", as SQLite calls it). Unsynced writes may reach the medium in any order,
in part, or not at all. The folder is on a local file system (flock).

**The folder.** ::

    0000000001.wal        a segment: see docs/FORMAT.md; numbers have no gaps
    0000000002.wal.tmp    a segment being reserved; removed at start
    0000000001-0000123456.ckpt    a checkpoint: a cache of what the log adds up to at that place
    torn/                 torn tails that a start cut off, for whoever wants to look; nothing reads them

**Modules**, each one idea: `frame` the bytes, `record` what they say, `segment` one file, `recovery` the decision table,
`file_log` appending and group commit, `sync_policy` what that promises, `checkpoint` the caches, `salvage` reading past
damage, `log` the protocol that the broker sees, `observer` who is told of its work, `disk` the seam to the system.
"""

from wonderq_storage.checkpoint import Checkpoints, DamagedCheckpointError
from wonderq_storage.errors import (
    CorruptLogError,
    DiskFullError,
    FolderLockedError,
    LogClosedError,
    LogFailedError,
    RecordTooLargeError,
    StorageError,
    TrimmedError,
    UnsupportedFormatError,
)
from wonderq_storage.file_log import DEFAULT_SEGMENT_BYTES, FileLog
from wonderq_storage.log import Log, Mark, Position, StaleMarkError
from wonderq_storage.observer import Observer
from wonderq_storage.sync_policy import SyncPolicy

__all__ = [
    "DEFAULT_SEGMENT_BYTES",
    "Checkpoints",
    "CorruptLogError",
    "DamagedCheckpointError",
    "DiskFullError",
    "FileLog",
    "FolderLockedError",
    "Log",
    "LogClosedError",
    "LogFailedError",
    "Mark",
    "Observer",
    "Position",
    "RecordTooLargeError",
    "StaleMarkError",
    "StorageError",
    "SyncPolicy",
    "TrimmedError",
    "UnsupportedFormatError",
]
