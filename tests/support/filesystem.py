"""A file system on an image file, whose power a test can cut."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

#: `_IOR('X', 125, uint32)`: EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one.
_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125

#: Not even the file system's own journal is written to its end.
_NO_LOG_FLUSH = b"\2\0\0\0"

#: mkfs.xfs makes none below 300 MiB. The image is sparse: what is never written takes no room.
IMAGE_BYTES = 320 << 20

_MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}

FILESYSTEMS = tuple(_MKFS)


def why_not(filesystem: str) -> str | None:
    """Say what this machine lacks for a `Medium`, or None if nothing."""
    if os.geteuid() != 0:
        return "mounting needs root"
    for tool in (_MKFS[filesystem][0], "mount", "umount", "losetup"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    known = Path("/proc/filesystems").read_text().split()
    # One that is not in the list may still be there as a module; only a mount tells.
    return None if filesystem in known or Path("/proc/modules").exists() else f"the kernel has no {filesystem}"


class Medium:
    """Mounted at ``root`` for as long as it is entered. ``options`` are those of mount, as in ``data=writeback``.

    A cut throws away whatever the file system has not given to the block device: file contents, names and journal alike.
    What it has given to the device stays, in order: the device is none that loses or reorders what it took without a flush.
    """

    def __init__(self, folder: Path, filesystem: str, *, options: str = "", image_bytes: int = IMAGE_BYTES) -> None:
        self._image = folder / f"{filesystem}.img"
        self._image_bytes = image_bytes
        self._filesystem = filesystem
        self._options = ",".join(filter(None, ["loop", options]))
        self.root = folder / filesystem
        self.cuts = 0

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(self._image_bytes)
        _run(*_MKFS[self._filesystem], str(self._image))
        self.mount()
        return self

    def mount(self, more_options: str = "") -> None:
        options = ",".join(filter(None, [self._options, more_options]))
        _run("mount", "-t", self._filesystem, "-o", options, str(self._image), str(self.root))

    def unmount(self) -> None:
        _run("umount", str(self.root))

    def cut(self) -> None:
        """Cut the power. Until `revive`, every call on the file system fails."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(fd)
        self.cuts += 1

    def revive(self) -> None:
        """Mount what is on the medium. Nobody may have a file on it open any more."""
        self.unmount()
        self.mount()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily, so that it is gone even if something still has a file open.
        subprocess.run(["umount", "--lazy", str(self.root)], check=False, capture_output=True)
        self._image.unlink(missing_ok=True)


def sync_all(folder: Path) -> None:
    """Sync the whole file system of a folder, as far as it has room."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(fd) and ctypes.get_errno() not in (errno.ENOSPC, errno.EIO):
            raise OSError(ctypes.get_errno(), f"cannot sync the file system of {folder}")
    finally:
        os.close(fd)


def _run(*command: str) -> None:
    """Run a command; what is in the way of a mount or unmount for a moment (a look by another program) is waited for."""
    for attempt in range(20):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
        if "busy" not in done.stderr and "overlapping" not in done.stderr:
            break
        time.sleep(0.01 * attempt)
    raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
