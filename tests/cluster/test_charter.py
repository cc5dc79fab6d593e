"""Some values are fixed when a cluster is made, and nodes with others are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.memory_values import MemoryValues
from wonderq.cluster.charter import CHARTER_FILE, Charter, CharterError, Wanted, Wishes, decode, join

DEFAULTS = Wishes(16, 3)
NOTHING_WANTED = Wanted(None, None)


class Others:
    """Waits for nobody, and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, is_made: Callable[[], bool]) -> None:
        assert not is_made()
        self.calls += 1


@pytest.fixture
def values() -> MemoryValues:
    return MemoryValues()


def test_the_first_node_makes_the_cluster_and_the_others_join(values: MemoryValues, tmp_path: Path) -> None:
    others = Others()
    made = join(values, tmp_path / "a", NOTHING_WANTED, DEFAULTS, others)
    assert (made.shards, made.replicas, others.calls) == (16, 3, 1)
    assert values.replicas == 3
    assert join(values, tmp_path / "b", Wanted(16, 3), Wishes(4, 1), others) == made
    assert others.calls == 1, "a cluster that exists waits for nobody"


def test_the_settings_of_the_first_node_count(values: MemoryValues, tmp_path: Path) -> None:
    made = join(values, tmp_path, Wanted(4, 1), DEFAULTS, Others())
    assert (made.shards, made.replicas) == (4, 1)


def test_a_node_that_is_not_the_fastest_takes_the_charter_of_the_other(values: MemoryValues, tmp_path: Path) -> None:
    other = Charter("0" * 16, 8, 1)

    def be_faster() -> None:
        values.before_put = lambda: None
        values.put("charter", other.encode(), revision=0)

    values.before_put = be_faster
    assert join(values, tmp_path, NOTHING_WANTED, DEFAULTS, Others()) == other


@pytest.mark.parametrize(
    ("wanted", "words"), [(Wanted(8, None), "4 shards.*--shards is 8"), (Wanted(4, 3), "1 replicas.*--replicas is 3")]
)
def test_other_settings_than_those_of_the_cluster_are_refused_with_both_values(
    values: MemoryValues, tmp_path: Path, wanted: Wanted, words: str
) -> None:
    join(values, tmp_path / "a", Wanted(4, 1), DEFAULTS, Others())
    with pytest.raises(CharterError, match=words):
        join(values, tmp_path / "b", wanted, DEFAULTS, Others())
    assert not (tmp_path / "b" / CHARTER_FILE).exists()


def test_a_node_of_another_cluster_is_refused_with_both_ids(values: MemoryValues, tmp_path: Path) -> None:
    first = join(values, tmp_path, NOTHING_WANTED, DEFAULTS, Others())
    second = join(another := MemoryValues(), tmp_path / "b", NOTHING_WANTED, DEFAULTS, Others())
    with pytest.raises(CharterError, match=f"{first.cluster_id}.*{second.cluster_id}"):
        join(another, tmp_path, NOTHING_WANTED, DEFAULTS, Others())


def test_a_node_with_a_cluster_does_not_make_a_new_one(values: MemoryValues, tmp_path: Path) -> None:
    """Servers whose data were lost would otherwise be taken for a new cluster, and the loss would be silent."""
    made = join(values, tmp_path, NOTHING_WANTED, DEFAULTS, Others())
    empty, others = MemoryValues(), Others()
    with pytest.raises(CharterError, match=made.cluster_id):
        join(empty, tmp_path, NOTHING_WANTED, DEFAULTS, others)
    assert not empty.exists
    assert others.calls == 0


def test_a_node_keeps_its_charter(values: MemoryValues, tmp_path: Path) -> None:
    made = join(values, tmp_path, NOTHING_WANTED, DEFAULTS, Others())
    assert decode((tmp_path / CHARTER_FILE).read_bytes(), "file") == made
    assert join(values, tmp_path, NOTHING_WANTED, DEFAULTS, Others()) == made


def test_others_cannot_read_the_folder_of_a_node(values: MemoryValues, tmp_path: Path) -> None:
    join(values, tmp_path / "data", NOTHING_WANTED, DEFAULTS, Others())
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"version": 2, "cluster_id": "0000000000000000", "shards": 4, "replicas": 1}',
        b'{"version": 1, "cluster_id": "0000", "shards": 4, "replicas": 1}',
        b'{"version": 1, "cluster_id": "0000000000000000", "shards": 0, "replicas": 1}',
        b'{"version": 1, "cluster_id": "0000000000000000", "shards": "4", "replicas": 1}',
        b'{"version": 1, "cluster_id": "0000000000000000", "shards": 4, "replicas": 1, "more": 1}',
    ],
)
def test_a_charter_that_this_version_cannot_read_is_refused(data: bytes) -> None:
    with pytest.raises(CharterError, match="no charter"):
        decode(data, "the file")
