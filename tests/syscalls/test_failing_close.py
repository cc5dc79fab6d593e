"""On Linux a close that fails has closed the file all the same: its number may be another file's by then."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from wonderq_storage.disk import Disk


def test_a_close_that_failed_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Disk().create(tmp_path / "file")
    really_close = os.close

    def fail(fd: int) -> None:
        really_close(fd)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        with pytest.raises(OSError, match="Input/output error"):
            file.close()
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        file.close()
        os.fstat(other)  # raises if it was closed
    finally:
        with contextlib.suppress(OSError):
            really_close(other)
