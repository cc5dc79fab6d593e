"""Damage to whole files of a folder: each kind as a description and the folder after it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.crash_disk import Files
from tests.support.small_folder import SmallFolder


def dropped(folder: SmallFolder) -> Iterator[tuple[str, Files]]:
    for name in folder.files:
        yield f"without {name}", {each: data for each, data in folder.files.items() if each != name}
    yield "without any checkpoint", {name: folder.files[name] for name in folder.segments}
    yield "with the checkpoints alone", {name: folder.files[name] for name in folder.checkpoints}


def doubled(folder: SmallFolder) -> Iterator[tuple[str, Files]]:
    """Under names before, between and behind the others."""
    segments = [
        f"{number:010d}.wal" for number in (0, 1, len(folder.segments) + 2, len(folder.segments) + 3, 9_999_999_999)
    ]
    checkpoints = ["0000000000-0000000000.ckpt", "0000000003-0000000064.ckpt", "9999999999-0000000064.ckpt"]
    for names, copies in ((folder.segments, segments), (folder.checkpoints, checkpoints)):
        for name in names:
            for copy in copies:
                if copy not in folder.files:
                    yield f"{name} also as {copy}", {**folder.files, copy: folder.files[name]}
                    renamed = {each: data for each, data in folder.files.items() if each != name}
                    yield f"{name} only as {copy}", {**renamed, copy: folder.files[name]}


def swapped(folder: SmallFolder) -> Iterator[tuple[str, Files]]:
    for one in folder.files:
        for other in folder.files:
            if one != other:
                yield f"{other} in the place of {one}", {**folder.files, one: folder.files[other]}
                if one < other:
                    both = {one: folder.files[other], other: folder.files[one]}
                    yield f"{one} and {other} swapped", {**folder.files, **both}


def rolled_back(folder: SmallFolder) -> Iterator[tuple[str, Files]]:
    """Roll files back to their state in an older backup."""
    log = {name: data for name, data in folder.older.items() if name.endswith(".wal")}
    checkpoints = {name: folder.files[name] for name in folder.checkpoints}
    yield "an older log with the newest checkpoints", {**log, **checkpoints}
    for name, data in log.items():
        yield f"an older {name}", {**folder.files, name: data}


def cut_short(folder: SmallFolder, name: str, length: int) -> Files:
    return {**folder.files, name: folder.files[name][:length]}


def grown(folder: SmallFolder) -> Iterator[tuple[str, Files]]:
    for name, data in folder.files.items():
        yield f"{name} with 100 more zeros", {**folder.files, name: data + bytes(100)}
        yield f"{name} with 1 more bytes", {**folder.files, name: data + b"\1"}
        yield f"{name} twice over", {**folder.files, name: data + data}
