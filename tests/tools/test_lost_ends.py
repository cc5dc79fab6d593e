"""Numbers that messages had which are nowhere in a damaged folder: a repair does not give them to new ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.folders import groups_in
from tests.tools.folders import broker_on
from wonderq.cli.reports import repair_lines
from wonderq.folder.repair import repair
from wonderq.folder.verify import verify
from wonderq_storage.segment import file_name

MESSAGES = 14


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder of two segments, full of messages, and their ids."""
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, _):
        ids = [broker.produce("default", [f"{n} " + "x" * 400])[0] for n in range(MESSAGES)]
    assert len(groups_in(folder / file_name(2))) > 5
    return folder, ids


def keep(path: Path, groups: int) -> bytes:
    return path.read_bytes()[: groups_in(path)[groups][0].offset]


def cut_between_groups(folder: Path) -> None:
    path = folder / file_name(2)
    path.write_bytes(keep(path, 2))


def cut_in_a_group(folder: Path) -> None:
    path = folder / file_name(2)
    path.write_bytes(keep(path, 2) + path.read_bytes()[len(keep(path, 2)) :][:60])


def emptied(folder: Path) -> None:
    (folder / file_name(2)).write_bytes(b"")


def removed(folder: Path) -> None:
    (folder / file_name(2)).unlink()


def overwritten_by_the_one_before(folder: Path) -> None:
    (folder / file_name(1)).rename(folder / file_name(2))


Damage = Callable[[Path], None]


@pytest.mark.parametrize(
    "damage", [cut_between_groups, cut_in_a_group, emptied, removed, overwritten_by_the_one_before]
)
def test_the_id_of_a_message_that_is_nowhere_is_not_given_again(
    written: tuple[Path, list[str]], tmp_path: Path, damage: Damage
) -> None:
    folder, ids = written
    damage(folder)
    assert verify(folder).problems
    done = repair(folder, tmp_path / "new")
    assert not done.new_identity
    with broker_on(tmp_path / "new") as (broker, _):
        kept = sum(len(queue.messages) for queue in done.state.queues.values())
        assert 0 < kept < MESSAGES
        new = [broker.produce("default", ["new"])[0] for _ in range(MESSAGES)]
    assert set(new).isdisjoint(ids)
    assert any(line.startswith("note      claims, deletions and updates") for line in repair_lines(done))


def test_of_an_emptied_file_no_bytes_are_listed(written: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = written
    emptied(folder)
    lines = list(repair_lines(repair(folder, tmp_path / "new")))
    assert not [line for line in lines if line.startswith("  left ")]
