"""Checkpoints that stand before the log's beginning go; those that do not, and other files, stay."""

from __future__ import annotations

from pathlib import Path

from wonderq_storage import FileCheckpoints, Mark


def test_those_before_a_place_are_removed(tmp_path: Path) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    places = [1 << 32 | 64, 2 << 32 | 64, 2 << 32 | 104]
    for place in places[1:]:
        checkpoints.write(Mark(place, b""), [])
    first = tmp_path / "0000000001-0000000064.ckpt"
    first.write_bytes(b"an old one")
    stranger = tmp_path / "1-64.ckpt"
    stranger.write_bytes(b"not ours")
    checkpoints.remove_before(places[1])
    assert [path.name for path in checkpoints.paths()] == ["0000000002-0000000104.ckpt", "0000000002-0000000064.ckpt"]
    checkpoints.remove_before(places[2])
    assert [path.name for path in checkpoints.paths()] == ["0000000002-0000000104.ckpt"]
    checkpoints.remove_before(3 << 32)
    assert list(tmp_path.iterdir()) == [stranger]
