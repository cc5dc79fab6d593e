"""`repair`, `verify` and `inspect` read a folder of which the disk has lost sectors; `backup` and `restore` refuse it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.copies import bodies_in, opened
from wonderq.cli.main import main
from wonderq_storage.segment import file_name

BODIES = [f"{number} " + "x" * 20_000 for number in range(12)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two segments. The disk cannot read a sector of the first one."""
    folder = tmp_path / "d"
    with opened(folder, segment_bytes=1 << 17) as broker:
        for body in BODIES:
            broker.produce("default", [body])
    path, pread = folder / file_name(1), os.pread

    def read(fd: int, length: int, offset: int) -> bytes:
        if offset <= 50_000 < offset + length and os.path.samestat(os.fstat(fd), path.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", read)
    return folder


def test_a_repair_saves_all_but_the_message_in_a_bad_sector(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["folder", "repair", str(folder), str(tmp_path / "new")]) == 0
    assert "the disk cannot read 4096 bytes of this file" in capsys.readouterr().out
    assert bodies_in(tmp_path / "new") == BODIES[:2] + BODIES[3:]


@pytest.mark.parametrize("verb", [["verify"], ["inspect"], ["inspect", "--records"]])
def test_a_bad_sector_is_reported_and_the_rest_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    assert main(["folder", verb[0], str(folder), *verb[1:]]) == 1
    expected = (
        "the disk cannot read 4096 bytes of this file" if verb == ["verify"] else "2 places of the log do not verify"
    )
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_copies_refuse_a_bad_sector(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main(["folder", verb, str(folder), str(tmp_path / "copy")]) == 1
    assert "Input/output error" in capsys.readouterr().err


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nothing")])
def test_what_is_no_segment_stops_no_tool(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    monkeypatch.undo()
    make(folder / file_name(9))
    assert main(["folder", "verify", str(folder)]) == 1
    assert main(["folder", "inspect", str(folder)]) == 1
    assert main(["folder", "repair", str(folder), str(tmp_path / "new")]) == 0
    assert bodies_in(tmp_path / "new") == BODIES
