"""Compacts copies of a stopped folder, and is killed in each at another operation on the disk:

    python -m tests.crash.die_compacting FOLDER COPIES

The copy ``COPIES/7`` is left as a SIGKILL just before the seventh operation leaves it; before a write, half of it is
written. The last copy is the one that was compacted to the end. It forks, so it is a process of its own.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from pathlib import Path

import wonderq.folder.compact
import wonderq_storage.checkpoint
import wonderq_storage.file_log
from tests.support.disks import RecordingDisk, TornWriteError

#: Smaller than the command takes, so that the copies need several segments.
SEGMENT_BYTES = 8192


class DeadlyDisk(RecordingDisk):
    """Kills the process at one operation."""

    countdown = 0

    def begin(self, name: str, path: Path) -> None:
        DeadlyDisk.countdown -= 1
        if DeadlyDisk.countdown == 0:
            if name == "write":
                raise TornWriteError  # half of it is written then, and whatever the log does next is the end
            os.kill(os.getpid(), signal.SIGKILL)
        elif DeadlyDisk.countdown < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def compact_until(folder: Path, operation: int) -> bool:
    """Compact in a process of its own; returns whether it was killed."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return True
        assert status == 0, f"it ended with status {status} before operation {operation}"
        return False
    try:
        logging.disable()
        # A kill loses nothing that was written, so no sync has to be waited for.
        os.fsync = os.fdatasync = lambda _: None  # type: ignore[assignment]
        DeadlyDisk.countdown = operation
        for module in (wonderq_storage.file_log, wonderq_storage.checkpoint):
            module.Disk = DeadlyDisk  # type: ignore[attr-defined]
        wonderq.folder.compact._SMALLEST_NEW_SEGMENT_BYTES = SEGMENT_BYTES
        wonderq.folder.compact.compact(folder)
        os._exit(0)
    except BaseException:
        if DeadlyDisk.countdown <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        raise


def main() -> None:
    source, copies = map(Path, sys.argv[1:])
    operation = 1
    while compact_until(Path(shutil.copytree(source, copies / str(operation))), operation):
        operation += 1


if __name__ == "__main__":
    main()
