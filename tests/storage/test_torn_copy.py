"""A torn tail is safe in its copy before it is overwritten."""

from __future__ import annotations

from pathlib import Path

from tests.support.disks import RecordingDisk
from tests.support.folders import open_log, segment_files, write_log


def test_the_copy_is_durable_before_the_tail_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    write_log(folder, [b"one"])
    [path] = segment_files(folder)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"\1\0")
    disk = RecordingDisk()
    log, held = open_log(folder, disk=disk)
    log.close()
    assert held == [b"one"]
    [copy] = (folder / "torn").iterdir()
    assert disk.operations[:6] == [
        ("sync_folder", folder.name),  # which has the name of the folder for torn tails
        ("create", copy.name),
        ("write", copy.name),
        ("sync", copy.name),
        ("sync_folder", "torn"),
        ("write", path.name),
    ]
