"""The decisions of the nodes of a cluster, in simulated time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.simulated_cluster import SimulatedCluster
from wonderq.cluster.announcements import Announcement
from wonderq.cluster.placement import Placement, wish
from wonderq.cluster.roster import Roster
from wonderq.cluster.steward import (
    KEEP_OFF_S,
    MAX_CLOCK_AHEAD_MS,
    OFFER_S,
    RANK_S,
    STEADY_S,
    UNHEARD_S,
    Own,
    Steward,
)

SHARDS = 6

#: Time in which a cluster comes to rest: shards move one after the other, when the same nodes were there for some time.
REST_S = STEADY_S + KEEP_OFF_S + SHARDS * 3


def cluster_at_rest(names: str = "abc", seed: int = 1) -> SimulatedCluster:
    cluster = SimulatedCluster(names, SHARDS, seed)
    cluster.run(REST_S)
    assert cluster.owners() == cluster.wanted()
    return cluster


def test_nodes_that_start_together_take_each_shard_once() -> None:
    cluster = cluster_at_rest()
    assert cluster.takeovers == SHARDS


def test_a_node_alone_takes_everything_after_a_second() -> None:
    cluster = SimulatedCluster("a", SHARDS, 1)
    cluster.run(0.9)
    assert cluster.owners() == [[]] * SHARDS
    cluster.run(1.0)
    assert cluster.owners() == [["a"]] * SHARDS


def test_the_shards_of_a_dead_node_are_taken_over_within_two_seconds() -> None:
    cluster = cluster_at_rest()
    lost = cluster.nodes["a"].owned
    cluster.nodes["a"].kill()
    cluster.run(2.0)
    assert all(cluster.owners())
    assert lost
    assert all(cluster.owners()[shard] in (["b"], ["c"]) for shard in lost)


def test_a_node_that_returns_gets_its_shards_back_one_after_the_other() -> None:
    cluster = cluster_at_rest()
    node = cluster.nodes["a"]
    before = node.owned
    node.kill()
    cluster.run(3)
    node.start()
    cluster.run(STEADY_S - 3)
    assert node.owned == [], "only when it was there for some time"
    takeovers = cluster.takeovers
    for _ in range(200):
        cluster.run(0.1)
        for each in cluster.nodes.values():
            assert sum(shard.phase == "closing" for shard in each.shards) <= 1
    assert node.owned == before
    assert cluster.takeovers == takeovers + len(before)


def test_a_frozen_node_loses_its_shards_and_keeps_off() -> None:
    cluster = cluster_at_rest()
    node = cluster.nodes["a"]
    lost = node.owned
    node.is_frozen = True
    cluster.run(3)
    takeovers = cluster.takeovers
    node.is_frozen = False
    cluster.run(1)
    assert node.owned == []
    assert all(cluster.owners())
    assert cluster.takeovers == takeovers, "it has taken nothing back"
    cluster.run(REST_S)
    assert node.owned == lost


@pytest.mark.parametrize("pause_s", [0.6, 1.5])
def test_a_node_that_is_paused_again_and_again_takes_over_nevertheless(pause_s: float) -> None:
    """A busy machine may let it work for moments only, less often than it should review."""
    roster = Roster(1)
    steward = Steward("a", 1, roster, 1000.0)
    taken = [steward.review([Own()], 100.0, 1000.0 + pause_s * number).take for number in range(1, 8)]
    assert [0] in taken


def test_another_process_of_the_same_name_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes have to share the shards out in the same way, and the others hear one name."""
    roster = Roster(1)
    for node in "ab":
        said = Announcement(node, f"token of {node}", "able", "1", "", 0, None, [], {}, {"a": 0, "b": 0}, {})
        roster.hear(said, 1000.0, 0)
    seen: list[Sequence[str]] = []

    def note(shards: int, nodes: Sequence[str], placement: Placement) -> list[str | None]:
        seen.append(nodes)
        return wish(shards, nodes, placement)

    monkeypatch.setattr("wonderq.cluster.steward.wish", note)
    Steward("a", 1, roster, 1000.0).review([Own()], 100.0, 1000.0)
    assert seen == [["a", "b"]]


def test_a_node_that_starts_listens_before_it_takes_anything() -> None:
    cluster = cluster_at_rest()
    cluster.longest_read_s = 0.0
    node = cluster.nodes["a"]
    node.kill()
    cluster.run(3)
    takeovers = cluster.takeovers
    node.start()
    cluster.deaf = {("b", "a"), ("c", "a")}
    cluster.run(0.5)
    cluster.deaf.clear()
    cluster.run(2.5)
    assert cluster.takeovers == takeovers, "the others were there, although it had not heard them yet"


def test_a_node_that_lost_a_shard_leaves_it_to_the_others() -> None:
    """It may be the one that should have the shard, and may have lost it because it is slow."""
    cluster = cluster_at_rest()
    node = cluster.nodes["a"]
    shard = node.owned[0]
    node.shards[shard].forget()
    node.steward.lose(shard, cluster.now_s)
    cluster.run(3)
    assert cluster.owners()[shard] in (["b"], ["c"])


def test_a_shard_is_handed_over_only_when_the_next_owner_has_read_it() -> None:
    cluster = cluster_at_rest("ab")
    node, other = cluster.nodes["a"], cluster.nodes["b"]
    shard = node.owned[0]
    cluster.longest_read_s = 30.0
    for each in cluster.nodes.values():
        each.steward.placement = Placement().transfer(shard, "b")
    began_s = cluster.now_s
    while other.shards[shard].phase != "warm" and cluster.now_s - began_s < 40:
        assert shard in node.owned
        cluster.run(0.1)
    cluster.run(2)
    assert cluster.owners()[shard] == ["b"]


def test_the_next_owner_waits_while_the_shard_is_closed() -> None:
    cluster = cluster_at_rest("ab")
    cluster.longest_close_s = 20.0
    other = cluster.nodes["b"]
    shard = cluster.nodes["a"].owned[0]
    for each in cluster.nodes.values():
        each.steward.placement = Placement().transfer(shard, "b")
    while other.shards[shard].phase != "warm":
        cluster.run(0.1)
    while cluster.nodes["a"].shards[shard].phase != "none":
        assert other.shards[shard].phase == "warm"
        cluster.run(0.1)
    cluster.run(0.5)
    assert cluster.owners()[shard] == ["b"]


def test_an_owner_that_is_heard_keeps_its_shard() -> None:
    """A node that lost a message or two of the owner does not take its shard."""
    cluster = SimulatedCluster("abc", SHARDS, 3, loss=0.3)
    cluster.run(REST_S)
    takeovers = cluster.takeovers
    cluster.run(60)
    assert cluster.takeovers - takeovers <= 2


def test_a_node_that_stops_hands_everything_over_at_once() -> None:
    cluster = cluster_at_rest()
    node = cluster.nodes["b"]
    node.steward.is_draining = True
    cluster.run(8)
    assert node.owned == []
    assert all(cluster.owners())


def test_a_transferred_shard_moves_at_once_and_stays() -> None:
    cluster = cluster_at_rest()
    shard = cluster.nodes["a"].owned[0]
    for node in cluster.nodes.values():
        node.steward.placement = Placement().transfer(shard, "c")
    cluster.run(3)
    assert cluster.owners()[shard] == ["c"]
    cluster.run(REST_S)
    assert cluster.owners()[shard] == ["c"]
    assert cluster.owners() == cluster.wanted()


def test_a_node_takes_what_was_offered_before_it_knows_why() -> None:
    """Each node reads the placement once a second, and a hand-over takes less."""
    cluster = cluster_at_rest()
    shard = cluster.nodes["a"].owned[0]
    placement = Placement().transfer(shard, "b")
    cluster.nodes["a"].steward.placement = placement
    cluster.run(1.8)
    assert cluster.owners()[shard] == ["b"]
    takeovers = cluster.takeovers
    cluster.run(3)
    assert cluster.takeovers == takeovers, "it does not give the shard back"
    for node in cluster.nodes.values():
        node.steward.placement = placement
    cluster.run(REST_S)
    assert cluster.takeovers == takeovers


def test_a_node_that_still_has_an_older_pin_does_not_give_the_shard_back() -> None:
    """Two transfers in a row: the second owner has read only the first one."""
    cluster = cluster_at_rest()
    shard = cluster.nodes["a"].owned[0]
    cluster.nodes["a"].steward.placement = Placement().transfer(shard, "b")
    for name in "bc":
        cluster.nodes[name].steward.placement = Placement().transfer(shard, "a")
    for _ in range(50):
        cluster.run(0.1)
        if cluster.owners()[shard] == ["b"]:
            break
    for _ in range(15):
        cluster.run(0.1)
        assert cluster.owners()[shard] == ["b"]
        assert cluster.nodes["b"].steward.offered is None


def test_the_shard_of_a_pin_goes_elsewhere_when_its_node_dies() -> None:
    cluster = cluster_at_rest()
    for node in cluster.nodes.values():
        node.steward.placement = Placement().transfer(0, "c")
    cluster.run(3)
    cluster.nodes["c"].kill()
    cluster.run(3)
    assert cluster.owners()[0] in (["a"], ["b"])


def test_a_drained_node_gives_everything_away_and_gets_nothing_after_a_restart() -> None:
    cluster = cluster_at_rest()
    placement = Placement().drain("a")
    for node in cluster.nodes.values():
        node.steward.placement = placement
    cluster.run(8)
    node = cluster.nodes["a"]
    assert node.owned == []
    node.kill()
    node.start()
    node.steward.placement = placement
    cluster.run(REST_S)
    assert node.owned == []
    assert all(cluster.owners())


@pytest.mark.parametrize("ahead_ms", [MAX_CLOCK_AHEAD_MS + 250, -MAX_CLOCK_AHEAD_MS - 250, 86_400_000])
def test_a_node_with_a_wrong_clock_owns_nothing(ahead_ms: int) -> None:
    cluster = cluster_at_rest()
    node = cluster.nodes["a"]
    node.ahead_ms = ahead_ms
    cluster.run(10)
    assert node.owned == []
    assert all(cluster.owners())
    assert node.steward.state(cluster.now_s) == "unable"
    node.ahead_ms = 0
    cluster.run(REST_S)
    assert node.owned


def test_of_two_different_clocks_nobody_knows_which_one_is_wrong() -> None:
    """A node then takes nothing over, and keeps what it has: a whole cluster would stand still otherwise."""
    cluster = cluster_at_rest("ab")
    cluster.nodes["a"].ahead_ms = 1000
    before = cluster.owners()
    cluster.run(5)
    assert cluster.owners() == before


def test_a_shard_whose_next_owner_cannot_take_it_goes_to_another_one() -> None:
    cluster = cluster_at_rest()
    shard = cluster.nodes["a"].owned[0]
    cluster.nodes["a"].kill()
    (wanted,) = cluster.wanted()[shard]
    assert wanted is not None
    cluster.nodes[wanted].shards[shard].not_before_s = cluster.now_s + 1000
    (other,) = {"b", "c"} - {wanted}
    cluster.run(2)
    assert cluster.owners()[shard] == []
    cluster.run(RANK_S + 0.5)
    assert cluster.owners()[shard] == [other]


def test_an_offer_that_nobody_takes_does_not_stop_the_others() -> None:
    cluster = cluster_at_rest("ab")
    node = cluster.nodes["a"]
    first, second = node.owned[:2]
    cluster.nodes["b"].shards[first].not_before_s = cluster.now_s + 1000
    for each in cluster.nodes.values():
        each.steward.placement = Placement().transfer(first, "b").transfer(second, "b")
    cluster.run(OFFER_S + 5)
    assert cluster.owners()[first] == ["a"], "it is served all the time"
    assert cluster.owners()[second] == ["b"]


def test_a_node_that_is_cut_off_takes_nothing() -> None:
    cluster = cluster_at_rest()
    node = cluster.nodes["a"]
    before = set(node.owned)
    node.cut(True)
    cluster.run(5)
    assert set(node.owned) <= before
    takeovers = cluster.takeovers
    node.cut(False)
    cluster.run(0.9)
    assert cluster.takeovers == takeovers, "it listens first"
    cluster.run(REST_S)
    assert cluster.owners() == cluster.wanted()


def silence(cluster: SimulatedCluster, sender: str, *receivers: str) -> None:
    """Let the announcements of a node reach some others no more."""
    cluster.deaf |= {(sender, receiver) for receiver in receivers}


def owned_by(cluster: SimulatedCluster, name: str) -> list[int]:
    return [shard for shard, owners in enumerate(cluster.owners()) if name in owners]


def cannot_take(cluster: SimulatedCluster, *names: str) -> None:
    """Let some nodes fail to read any log, as if their way to NATS was too slow."""
    for name in names:
        for each in cluster.nodes[name].shards:
            each.not_before_s = cluster.now_s + 1000


def test_an_owner_that_nobody_hears_owns_nothing_until_it_is_heard_again() -> None:
    cluster = cluster_at_rest()
    silence(cluster, "a", "b", "c")
    cluster.run(UNHEARD_S + RANK_S + 2)
    assert owned_by(cluster, "a") == []
    assert all(cluster.owners())
    assert cluster.nodes["a"].steward.state(cluster.now_s) == "unable"
    cluster.run(REST_S)
    takeovers = cluster.takeovers
    cluster.run(60)
    assert cluster.takeovers == takeovers, "it takes nothing back"
    cluster.deaf.clear()
    cluster.run(REST_S)
    assert cluster.owners() == cluster.wanted()
    assert owned_by(cluster, "a")


def test_an_owner_that_a_minority_hears_steps_down_although_nobody_takes_its_shards() -> None:
    """The nodes that hear it leave it alone, and the others cannot take over; their clients would wait for ever."""
    cluster = SimulatedCluster("abcde", 12, 1)
    cluster.run(STEADY_S + KEEP_OFF_S + 12 * 3)
    lost = owned_by(cluster, "a")
    others = wish(12, "bcde", Placement())
    assert {others[shard] for shard in lost} - {"e"}, "some should go to a node that cannot take them"
    cannot_take(cluster, "b", "c", "d")
    silence(cluster, "a", "b", "c", "d")
    cluster.run(UNHEARD_S - 0.5)
    assert owned_by(cluster, "a") == lost, "it may be a short trouble"
    cluster.run(2.5 + 4 * RANK_S)
    assert all(cluster.owners()[shard] == ["e"] for shard in lost)


def test_an_owner_that_half_of_the_nodes_hear_keeps_its_shards() -> None:
    """Otherwise it and the node that does not hear it would take them from each other all the time."""
    cluster = cluster_at_rest()
    before = cluster.owners()
    takeovers = cluster.takeovers
    silence(cluster, "a", "b")
    silence(cluster, "b", "a")
    cluster.run(60)
    assert cluster.owners() == before
    assert cluster.takeovers == takeovers


def test_a_node_that_starts_leaves_an_owner_alone_that_it_has_never_heard() -> None:
    cluster = cluster_at_rest()
    cluster.nodes["b"].kill()
    cluster.run(5)
    before = owned_by(cluster, "a")
    silence(cluster, "a", "b")
    silence(cluster, "b", "a")
    cluster.nodes["b"].start()
    cluster.run(60)
    assert owned_by(cluster, "a") == before


def test_the_death_of_an_owner_that_some_nodes_did_not_hear_is_noticed_in_time() -> None:
    cluster = cluster_at_rest()
    lost = owned_by(cluster, "a")
    silence(cluster, "a", "b")
    cluster.run(5)
    cluster.nodes["a"].kill()
    cluster.run(2.5)
    assert all(cluster.owners()[shard] in (["b"], ["c"]) for shard in lost)


def test_of_two_nodes_none_steps_down() -> None:
    """One of two is half of them: the one that does not hear the other takes its shards, and keeps them."""
    cluster = cluster_at_rest("ab")
    silence(cluster, "a", "b")
    for _ in range(200):
        cluster.run(0.1)
        assert not any(each.steward.is_unheard(cluster.now_s) for each in cluster.nodes.values())
    assert cluster.owners() == [["b"]] * SHARDS
    takeovers = cluster.takeovers
    cluster.run(60)
    assert cluster.takeovers == takeovers


def test_a_node_that_is_left_alone_keeps_everything() -> None:
    cluster = cluster_at_rest()
    cluster.nodes["b"].kill()
    cluster.nodes["c"].kill()
    cluster.run(REST_S)
    assert cluster.owners() == [["a"]] * SHARDS
    takeovers = cluster.takeovers
    cluster.run(30)
    assert cluster.takeovers == takeovers


@pytest.mark.parametrize("seed", range(5))
def test_nobody_steps_down_while_nodes_start_end_and_lose_messages(seed: int) -> None:
    cluster = SimulatedCluster("abc", SHARDS, seed, loss=0.2)

    def run(seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            cluster.run(0.1)
            assert not any(each.works and each.steward.is_unheard(cluster.now_s) for each in cluster.nodes.values())

    run(REST_S)
    for name in "ab":
        cluster.nodes[name].kill()
        run(3)
        cluster.nodes[name].start()
        run(6)
    cluster.nodes["a"].is_frozen = True
    run(6)
    cluster.nodes["a"].is_frozen = False
    run(6)
    cluster.nodes["b"].cut(True)
    run(6)
    cluster.nodes["b"].cut(False)
    run(6)


def test_an_owner_stays_if_nobody_else_can_own_its_shards() -> None:
    cluster = cluster_at_rest()
    placement = Placement().drain("b").drain("c")
    for node in cluster.nodes.values():
        node.steward.placement = placement
    cluster.run(REST_S)
    assert cluster.owners() == [["a"]] * SHARDS
    silence(cluster, "a", "b", "c")
    cluster.run(30)
    assert cluster.owners() == [["a"]] * SHARDS


def test_nothing_moves_for_balance_while_some_nodes_do_not_hear_each_other() -> None:
    """Each would wish another thing, and they would give shards to each other all the time."""
    cluster = cluster_at_rest()
    silence(cluster, "a", "b")
    silence(cluster, "b", "a")
    takeovers = cluster.takeovers
    cluster.nodes["c"].kill()
    cluster.run(4)
    cluster.nodes["c"].start()
    cluster.run(60)
    owned = cluster.takeovers - takeovers
    cluster.run(60)
    assert cluster.takeovers - takeovers == owned


FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["kill", "freeze", "cut", "restart", "clock", "drain", "silence"]),
        st.sampled_from("abc"),
        st.floats(0, 6).map(lambda seconds: round(seconds, 1)),
    ),
    max_size=12,
)


def carry_out(cluster: SimulatedCluster, what: str, name: str) -> None:
    node = cluster.nodes[name]
    if what == "kill":
        node.kill()
    elif what == "restart" and not node.is_alive:
        node.start()
    elif what == "freeze":
        node.is_frozen = not node.is_frozen
    elif what == "cut":
        node.cut(not node.is_cut)
    elif what == "clock":
        node.ahead_ms = 0 if node.ahead_ms else 5000
    elif what == "silence":
        silence(cluster, name, *("abc".replace(name, "")))
    elif what == "drain":
        node.steward.is_draining = True


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(FAULTS, st.integers(0, 1000), st.sampled_from([0.0, 0.1]))
def test_after_any_faults_each_shard_has_one_owner_and_stays(
    faults: list[tuple[str, str, float]], seed: int, loss: float
) -> None:
    cluster = SimulatedCluster("abc", SHARDS, seed, loss=loss)
    cluster.run(2)
    for what, name, wait_s in faults:
        carry_out(cluster, what, name)
        cluster.run(wait_s)
    for node in cluster.nodes.values():
        node.is_frozen, node.ahead_ms = False, 0
        if node.is_cut:
            node.cut(False)
        if not node.is_alive or node.steward.is_draining:
            node.start()
    cluster.loss = 0.0
    cluster.deaf.clear()
    cluster.run(KEEP_OFF_S)
    assert [len(each) for each in cluster.owners()] == [1] * SHARDS
    cluster.run(REST_S)
    assert cluster.owners() == cluster.wanted()
    takeovers = cluster.takeovers
    cluster.run(30)
    assert cluster.takeovers == takeovers, "nothing moves without a reason"
