"""A file that lost its end while the log is open: the missing bytes are noticed, and no record comes back shorter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.folders import open_log, segment_files
from wonderq_storage import CorruptLogError


def test_what_is_not_there_any_more_is_not_given_out(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    positions = [log.append(b"x" * 100), log.append(b"y" * 100)]
    log.wait(positions[1])
    [path] = segment_files(tmp_path)
    os.truncate(path, (positions[1] & 0xFFFF_FFFF) + 99)
    assert log.read([(positions[0], 100)]) == [b"x" * 100]
    for spans in ([(positions[1], 100)], [(positions[0], 100), (positions[1], 100)]):
        with pytest.raises(CorruptLogError) as caught:
            log.read(spans)
        assert caught.value.file == str(path)
        assert "bytes should be here" in caught.value.reason
    log.close()
