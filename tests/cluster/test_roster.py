"""The conclusions of a node from the nodes that the others hear."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from wonderq.cluster.announcements import Announcement, OfShard
from wonderq.cluster.roster import Roster
from wonderq.ownership.neighbours import SUSPECT_S

NOW_S = 1000.0


def say(roster: Roster, node: str, heard: Mapping[str, int], *, owner: str = "", now_s: float = NOW_S) -> None:
    """Let a node announce which others it hears, and which of them owns shard 0."""
    shards = {0: OfShard("other", 3, "aa", 7)}
    owners = {0: owner} if owner else {}
    said = Announcement(node, f"token of {node}", "able", "1", "", 0, None, [], shards, heard, owners)
    roster.hear(said, now_s, 0)


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ({}, (1, 1)),
        ({"b": {"a": 0}}, (2, 2)),
        ({"b": {}}, (1, 2)),
        ({"b": {"a": 0, "c": 0}, "c": {"b": 0}}, (2, 3)),
        ({"b": {"a": 0}, "c": {"a": 0}, "a": {}}, (3, 3)),
    ],
)
def test_a_node_counts_those_that_hear_it(heard: dict[str, dict[str, int]], expected: tuple[int, int]) -> None:
    roster = Roster(1)
    for node, others in heard.items():
        say(roster, node, others)
    assert roster.hearing("a", NOW_S) == expected


@pytest.mark.parametrize(
    ("heard", "is_kept"),
    [
        ({}, False),
        ({"b": {}}, False),
        ({"b": {"o": 0}}, True),
        ({"b": {"o": 0}, "c": {}}, True),
        ({"b": {"o": 0}, "c": {}, "d": {}}, False),
        ({"b": {"o": 0}, "c": {"o": 0}, "d": {}}, True),
        ({"b": {"o": 0}, "o": {"b": 0}}, False),
    ],
)
def test_an_owner_is_kept_that_half_of_the_nodes_hear(heard: dict[str, dict[str, int]], is_kept: bool) -> None:
    """The node itself does not hear the owner; if it does, what the owner says of itself counts."""
    roster = Roster(1)
    for node, others in heard.items():
        say(roster, node, others, owner="o" if "o" in others else "")
    assert roster.is_kept(0, "a", NOW_S) is is_kept


def test_a_process_is_heard_for_a_second() -> None:
    roster = Roster(1)
    say(roster, "b", {})
    [token] = roster._peers
    assert roster.hears(token, NOW_S + SUSPECT_S - 0.01)
    assert not roster.hears(token, NOW_S + SUSPECT_S)
    assert not roster.hears("another process of b", NOW_S)


def test_a_node_knows_better_than_others_whether_it_owns_a_shard() -> None:
    roster = Roster(1)
    say(roster, "b", {"a": 0}, owner="a")
    assert not roster.is_kept(0, "a", NOW_S)


def test_what_others_have_heard_ages() -> None:
    """An owner that died is suspected at the same time by all, whether they heard it or others did."""
    roster = Roster(1)
    say(roster, "b", {"o": 800}, owner="o")
    assert roster.is_kept(0, "a", NOW_S + 0.1)
    assert not roster.is_kept(0, "a", NOW_S + 0.3), "1.1 s ago"


def test_nodes_agree_if_each_hears_all_others() -> None:
    roster = Roster(1)
    assert roster.agrees("a", NOW_S)
    say(roster, "b", {"a": 0, "c": 0})
    assert not roster.agrees("a", NOW_S), "it does not hear c"
    say(roster, "c", {"a": 0, "b": 0})
    assert roster.agrees("a", NOW_S)
    say(roster, "c", {"b": 0})
    assert not roster.agrees("a", NOW_S), "c does not hear it"


def test_a_node_tells_whom_it_hears() -> None:
    roster = Roster(1)
    say(roster, "b", {})
    say(roster, "c", {}, now_s=NOW_S - 2)
    assert roster.heard(NOW_S + 0.25) == {"b": 250}
