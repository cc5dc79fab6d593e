"""A sync that failed is never tried again: the kernel may have thrown the pages away, and would say that all is well."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.support.disks import FaultyDisk
from tests.support.folders import open_log
from wonderq_storage import LogFailedError, SyncPolicy


@pytest.mark.parametrize("policy", ["always", "os"])
def test_after_a_failed_sync_none_is_asked_for(tmp_path: Path, policy: str) -> None:
    disk = FaultyDisk()
    log, _ = open_log(tmp_path, disk=disk, sync=SyncPolicy(policy))
    log.wait(log.append(b"acknowledged"))
    log.sync()
    syncs, writes = disk.count("sync"), disk.count("write")
    disk.fail("sync", errno.EIO)
    log.append(b"lost")
    with pytest.raises(LogFailedError):
        log.sync()
    disk.mend()  # from now on it answers that all is well
    with pytest.raises(LogFailedError):
        log.append(b"refused")
    with pytest.raises(LogFailedError):
        log.sync()
    log.close()
    assert disk.count("sync") == syncs + 1
    assert disk.count("write") == writes + 1
