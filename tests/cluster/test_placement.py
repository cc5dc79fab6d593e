"""The shard of a queue, and the node that should own a shard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonderq.cluster.placement import Placement, decode, ranking, wish
from wonderq.cluster.shard_map import shard_of

NAMES = st.text("abcxyz-_09", min_size=1, max_size=20)
NODES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=6, unique=True)


@pytest.mark.parametrize(
    ("queue", "shard"),
    [("orders", 14), ("orders--dead", 14), ("orders.fifo", 14), ("orders--x--y.fifo", 14), ("default", 15)],
)
def test_the_shard_of_a_queue_never_changes(queue: str, shard: int) -> None:
    """A cluster that was upgraded would otherwise look for its messages in the wrong place."""
    assert shard_of(queue, 16) == shard


@given(NAMES.filter(lambda name: "--" not in name and not name.endswith("-")), NAMES, st.integers(1, 256))
def test_queues_with_the_same_beginning_are_together(name: str, rest: str, shards: int) -> None:
    together = {shard_of(each, shards) for each in (name, f"{name}.fifo", f"{name}--{rest}", f"{name}--{rest}.fifo")}
    assert len(together) == 1
    assert 0 <= together.pop() < shards


def test_shards_are_spread_evenly_over_queues() -> None:
    counts = [0] * 16
    for number in range(1600):
        counts[shard_of(f"queue-{number}", 16)] += 1
    assert min(counts) > 50


@given(st.integers(1, 64), NODES)
def test_each_node_gets_an_equal_part(shards: int, nodes: list[str]) -> None:
    wanted = wish(shards, nodes, Placement())
    counts = [wanted.count(node) for node in nodes]
    assert sum(counts) == shards
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 64), NODES)
def test_all_nodes_compute_the_same(shards: int, nodes: list[str]) -> None:
    assert wish(shards, nodes, Placement()) == wish(shards, sorted(nodes, reverse=True), Placement())


@given(st.integers(0, 63), NODES)
def test_a_pinned_shard_is_for_its_node(shard: int, nodes: list[str]) -> None:
    for node in nodes:
        wanted = wish(64, nodes, Placement().transfer(shard, node))
        assert wanted[shard] == node
        assert None not in wanted


@given(st.integers(0, 15), st.sampled_from("abc"))
def test_a_pin_moves_no_other_shard(shard: int, node: str) -> None:
    before, after = wish(16, "abc", Placement()), wish(16, "abc", Placement().transfer(shard, node))
    assert [each for number, each in enumerate(after) if number != shard] == [
        each for number, each in enumerate(before) if number != shard
    ]


def test_a_pin_does_not_count_without_its_node() -> None:
    assert wish(4, ["a"], Placement({1: "gone"})) == ["a"] * 4


def test_a_drained_node_gets_nothing_while_there_are_others() -> None:
    placement = Placement({3: "b"}).drain("b")
    assert "b" not in wish(16, ["a", "b", "c"], placement)
    assert wish(2, ["b"], placement) == ["b", "b"]
    assert "b" in wish(16, ["a", "b", "c"], placement.undrain("b"))


def test_nobody_gets_a_shard_if_there_is_nobody() -> None:
    assert wish(2, [], Placement()) == [None, None]


def test_when_a_node_is_added_most_shards_stay() -> None:
    before, after = wish(64, ["a", "b", "c"], Placement()), wish(64, ["a", "b", "c", "d"], Placement())
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert moved < 32


def test_the_ranking_of_a_shard_is_one_of_its_own() -> None:
    assert len({tuple(ranking(shard, "abc")) for shard in range(64)}) == 6


@given(st.dictionaries(st.integers(0, 255), NAMES), st.frozensets(NAMES))
def test_a_placement_is_stored_and_read(pins: dict[int, str], drained: frozenset[str]) -> None:
    assert decode(Placement(pins, drained).encode()) == Placement(pins, drained)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"pins": 1, "drained": []}', b'{"pins": {"x": "a"}, "drained": []}']
)
def test_bytes_that_are_no_placement_count_as_an_empty_one(data: bytes) -> None:
    assert decode(data) == Placement()
