"""A node of a cluster, with other nodes and logs that the test plays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import falcon
import pytest
from falcon.testing import TestClient

from tests.support.alerting import documented_cluster_metrics
from tests.support.played_node import COUNT, PlayedNode
from tests.support.scripted_peers import LOG_ID
from tests.support.waiting import eventually
from wonderq.app import App, prepare
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import CLUSTER_RULES, Role
from wonderq.cluster import steward
from wonderq.cluster.announcements import OfShard
from wonderq.cluster.placement import PLACEMENT, Placement
from wonderq.cluster.resources import add_node_routes
from wonderq.model.limits import Limits
from wonderq_storage import CorruptLogError, StorageError, UnsupportedFormatError


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedNode]:
    monkeypatch.setattr(steward, "SUSPECT_S", 0.01)  # it hears nobody, so it need not listen for long
    play = PlayedNode()
    yield play
    play.node.stop()


@pytest.fixture(autouse=True)
def heard_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a node that spoke once among those that are heard, however long the next line of a test has to wait."""
    monkeypatch.setattr("wonderq.cluster.roster.SUSPECT_S", 3600.0)


def start(play: PlayedNode) -> None:
    play.node.start()
    eventually(lambda: play.phases == ["owned"] * COUNT, "all shards to be owned")
    eventually(lambda: [play.node.owner(shard) for shard in range(COUNT)] == ["a"] * COUNT)


def test_a_node_alone_owns_everything(play: PlayedNode) -> None:
    changes: list[int] = []
    end = play.node.changed(changes.append)
    assert play.node.local(0) is None
    start(play)
    assert all(play.node.local(shard) is not None for shard in range(COUNT))
    eventually(lambda: set(changes) == set(range(COUNT)))
    end()
    assert {each.status for each in play.node.statuses()} == {"owned"}
    eventually(
        lambda: play.peers.announced and {of.role for of in play.peers.announced[-1].shards.values()} == {"owner"}
    )


def test_a_shard_that_another_node_owns_is_not_taken(play: PlayedNode) -> None:
    play.peers.say("b", (1, "owner", 4), state="unable")
    play.node.start()
    play.node._hear(b"nonsense")
    eventually(lambda: play.phases == ["owned", "none", "owned", "owned"])
    assert play.node.owner(1) == "b"


def test_a_former_owner_is_not_taken_for_the_owner(play: PlayedNode) -> None:
    for peer, epoch in (("b", 4), ("c", 5), ("d", 4)):
        play.peers.say(peer, (1, "owner", epoch), state="unable")
    play.node.start()
    eventually(lambda: play.node.owner(1) == "c")


def test_a_stop_announces_what_was_released(play: PlayedNode) -> None:
    start(play)
    play.node.stop()
    assert {of.role for of in play.peers.announced[-1].shards.values()} == {"released"}


def test_a_drain_without_others_ends_at_once(play: PlayedNode) -> None:
    start(play)
    play.node.drain()
    assert play.node.state == "draining"
    assert play.phases == ["owned"] * COUNT, "it serves until the process ends"


def test_a_damaged_shard_is_refused_and_told(play: PlayedNode) -> None:
    play.errors[2] = [CorruptLogError("stream x", 5, "bad")]
    play.node.start()
    eventually(lambda: play.phases == ["owned", "owned", "damaged", "owned"])
    error = play.node.obstacle(2)
    assert error is not None
    assert error.code == "log_damaged"
    assert "stream x" in str(error)
    status = play.node.statuses()[2]
    assert (status.status, status.owner) == ("damaged", None)
    eventually(lambda: play.peers.announced and play.peers.announced[-1].shards[2].role == "damaged")


def test_a_node_that_is_too_old_for_a_shard_says_so_and_leaves_it_to_others(
    play: PlayedNode, client: TestClient
) -> None:
    play.errors[2] = [UnsupportedFormatError("message 7 has version 9. Install a newer WonderQ.")]
    play.node.start()
    eventually(lambda: play.phases == ["owned", "owned", "outdated", "owned"])
    assert play.node.obstacle(2) is None, "requests wait for an owner"
    status = play.node.statuses()[2]
    assert (status.status, status.owner) == ("unavailable", None)
    assert "Install a newer WonderQ" in str(status.problem)
    assert 'wonderq_shard_damaged{node="a",shard="2"} 0.0' in play.metrics()
    told = ["This node is too old for shard 2, so it cannot take over. Install a newer WonderQ."]
    assert client.simulate_get("/readyz").json["warnings"] == told
    eventually(lambda: play.peers.announced and play.peers.announced[-1].shards[2].role == "other")

    def is_owned() -> bool:
        play.peers.say("b", (2, "owner", 7))
        return play.node.owner(2) == "b"

    eventually(is_owned)
    ready, shards = client.simulate_get("/readyz"), client.simulate_get("/cluster").json["shards"]
    assert (ready.status_code, ready.json["warnings"]) == (200, told)
    assert (shards[2]["status"], shards[2]["problem"]) == ("owned", status.problem)


def test_a_node_tells_what_it_knows_of_a_damaged_shard(play: PlayedNode) -> None:
    """A node that restarts has no other source, and would take the shard without its lost messages."""
    play.peers.say("b", (2, "other", 7), state="unable", sequence=1000)
    play.errors[2] = [CorruptLogError("stream x", 1000, "the stream ends with message 900")]
    play.node.start()
    told = OfShard("damaged", 7, LOG_ID.hex(), 1000)
    eventually(lambda: play.peers.announced and play.peers.announced[-1].shards[2] == told, f"{told} to be told")


def test_a_node_tells_the_newest_message_of_a_shard_that_it_has_released(play: PlayedNode) -> None:
    start(play)
    own_epoch = play.node.shards[1].own.epoch
    play.peers.say("b", (1, "owner", 9), sequence=1000)
    play.node.shards[1].leave()
    told = OfShard("released", own_epoch, LOG_ID.hex(), 1000)
    eventually(lambda: play.peers.announced[-1].shards[1] == told, f"{told} to be told")


def test_damage_that_another_node_has_found_is_told(play: PlayedNode) -> None:
    play.node.start()
    play.peers.say("b", (0, "damaged", 0), state="unable")
    play.node.shards[0].leave()

    def is_told() -> bool:
        play.peers.say("b", (0, "damaged", 0), state="unable")
        return play.node.local(0) is not None or "the node b" in str(play.node.obstacle(0))

    eventually(is_told)


def test_nothing_is_stored_without_a_connection(play: PlayedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    start(play)
    assert play.node.has_quorum
    assert play.node.has_quorum_for(0)
    monkeypatch.setattr("wonderq.cluster.node.NO_QUORUM_S", 0.0)
    play.peers.connected_s = 0.0
    assert not play.node.has_quorum
    assert not play.node.has_quorum_for(0)


def test_what_waits_for_long_is_refused(play: PlayedNode) -> None:
    start(play)
    owned = play.node.shards[0].owned
    assert owned is not None
    owned.log.waiting_s = 2.5  # type: ignore[misc]
    assert not play.node.has_quorum_for(0)
    assert play.node.has_quorum_for(1)
    assert not play.node.has_quorum


def store_something(play: PlayedNode, shard: int) -> None:
    owned = play.node.shards[shard].owned
    assert owned is not None
    owned.log.sent_at_the_end += 1  # type: ignore[attr-defined]


def test_what_own_shards_store_shows_a_quorum(play: PlayedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream of the shared values may elect its leader for longer than a node believes in a quorum."""
    monkeypatch.setattr("wonderq.cluster.node._QUORUM_S", 0.5)
    start(play)
    play.values.error = StorageError("no leader")
    eventually(lambda: not play.node.has_quorum)

    def shows_a_quorum() -> bool:
        store_something(play, 1)
        return play.node.has_quorum

    eventually(shows_a_quorum)
    eventually(lambda: not play.node.has_quorum)


def test_a_shard_that_waits_takes_no_node_out_that_stores_for_others(play: PlayedNode) -> None:
    start(play)
    owned = play.node.shards[0].owned
    assert owned is not None
    owned.log.waiting_s = 2.5  # type: ignore[misc]
    assert not play.node.has_quorum

    def shows_a_quorum() -> bool:
        store_something(play, 1)
        return play.node.has_quorum

    eventually(shows_a_quorum)
    assert not play.node.has_quorum_for(0)


def test_a_placement_is_stored_for_all_nodes(play: PlayedNode) -> None:
    play.node.place(lambda present: present.transfer(1, "b"))
    play.node.place(lambda present: present.drain("c"))
    assert play.node.placement == Placement({1: "b"}, frozenset("c"))
    another = PlayedNode()
    another.values = another.node._values = play.values
    start(another)
    eventually(lambda: another.node.placement == play.node.placement)
    another.node.stop()


def test_two_changes_of_the_placement_at_a_time_do_not_undo_each_other(play: PlayedNode) -> None:
    def be_faster() -> None:
        play.values.before_put = lambda: None
        play.values.put(PLACEMENT, Placement().drain("c").encode(), revision=0)

    play.values.before_put = be_faster
    with pytest.raises(StorageError):
        play.node.place(lambda present: present.transfer(1, "b"))
    play.node.place(lambda present: present.transfer(1, "b"))
    assert play.node.placement == Placement({1: "b"}, frozenset("c"))


def test_a_wrong_clock_is_told(play: PlayedNode) -> None:
    play.node.start()
    for _ in range(2):
        play.peers.say("b", ahead_ms=5000)
        play.peers.say("c", ahead_ms=5000)
    assert play.node.state == "unable"
    (warning,) = play.node.warnings
    assert "5.0 s behind" in warning
    assert [(each.name, round(each.clock_ahead_ms / 1000)) for each in play.node.nodes()] == [
        ("a", 0),
        ("b", 5),
        ("c", 5),
    ]


def test_the_clock_of_another_node_is_known_as_it_is(play: PlayedNode) -> None:
    play.node.start()

    def is_known() -> bool:
        play.peers.say("b", ahead_ms=5000)
        other_ms = play.node.time_ms("b")
        return 4000 < other_ms - play.node.time_ms("unknown") <= 5000

    eventually(is_known, "the clock of b to be known")


def test_two_nodes_with_one_name_are_told(play: PlayedNode) -> None:
    play.node.start()
    assert play.node.warnings == []
    play.peers.say("a")
    (warning,) = play.node.warnings
    assert "also called a" in warning


def test_a_request_is_for_the_process_that_owns_the_shard(play: PlayedNode) -> None:
    play.peers.say("b", (1, "owner", 4), state="unable")
    play.node.start()
    eventually(lambda: play.phases == ["owned", "none", "owned", "owned"])
    assert play.node.process(1) == ("b", "token of b")
    assert play.node.process(0) == ("a", play.node.token)
    eventually(lambda: play.peers.announced)
    assert play.peers.announced[-1].token == play.node.token


def test_the_documentation_has_each_metric_and_no_other(play: PlayedNode) -> None:
    start(play)
    play.peers.say("b")
    eventually(lambda: len(play.node.seen) > 0)
    play.peers.say("b")
    text = play.metrics()
    documented = documented_cluster_metrics()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    of_node = {name: kind for name, kind in kinds.items() if name.startswith(("wonderq_shard_", "wonderq_cluster_"))}
    of_node |= {name: kinds[name] for name in ("wonderq_nats_up", "wonderq_clock_ahead_of_others_seconds")}
    assert of_node == {name: kind for name, (kind, _) in documented.items()}
    for name, (_, labels) in documented.items():
        samples = re.findall(rf"^{name}{{(.*)}} \S+$", text, re.MULTILINE)
        assert samples, name
        assert {tuple(re.findall(r"(\w+)=", sample)) for sample in samples} == {tuple(labels)}, name


def test_the_metrics_of_all_brokers_are_one_each(play: PlayedNode) -> None:
    start(play)
    text = play.metrics()
    assert len(re.findall(r'^wonderq_ready{node="a",shard="\d"} 1.0$', text, re.MULTILINE)) == COUNT
    assert text.count("# TYPE wonderq_ready gauge") == 1
    assert text.count("wonderq_build_info{") == 1, (
        "it belongs to the process, and sums must not count it more than once"
    )


def test_the_size_and_the_copies_of_each_log_are_told(play: PlayedNode) -> None:
    play.peers.say("b", (1, "owner", 4), figures=(1000, 20, 3, 2))
    play.peers.say("c", (2, "owner", 4), state="unable")
    play.node.start()

    def hear_the_owners() -> bool:
        play.peers.say("b", (1, "owner", 4), state="unable", figures=(1000, 20, 3, 2))
        play.peers.say("c", (2, "owner", 4), state="unable")
        return play.phases == ["owned", "none", "none", "owned"] and 0 in play.node.seen

    eventually(hear_the_owners)
    hear_the_owners()
    found = [each[-4:] for each in play.node.statuses()]
    owned = play.node.shards[0].owned
    assert owned is not None
    assert found[0] == (owned.log.used_bytes(), 0, 3, 2)
    assert found[1] == (1000, 20, 3, 2)
    assert found[2] == (0, 0, None, None), "its owner has not looked at the copies yet"
    eventually(
        lambda: play.peers.announced and play.peers.announced[-1].shards[0][-4:] == (owned.log.used_bytes(), 0, 3, 2)
    )


def test_nobody_knows_the_figures_of_a_shard_without_an_owner(play: PlayedNode) -> None:
    assert [each[-4:] for each in play.node.statuses()] == [(None,) * 4] * COUNT


def test_a_node_that_falls_silent_is_told(play: PlayedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wonderq.cluster.roster.SUSPECT_S", 0.01)
    play.node.start()
    play.peers.say("b")
    play.peers.say("a")  # another process of this name, which has ended
    eventually(lambda: [each.name for each in play.node.nodes()] == ["a"], "the others to fall silent")
    [silent] = play.node.silent_nodes()
    assert (silent.name, silent.url, silent.version) == ("b", "http://b:1", "1")
    assert silent.silent_s >= 0
    monkeypatch.setattr("wonderq.cluster.roster.SUSPECT_S", 3600)
    assert play.node.silent_nodes() == []


# Requests


@pytest.mark.parametrize(
    ("role", "queues", "may_look", "may_move"),
    [("look", "mail-*", True, False), ("admin", "mail-*", True, False), ("admin", "*", True, True)],
)
def test_what_a_key_may_do_with_the_cluster(
    tmp_path: Path, play: PlayedNode, role: Role, queues: str, may_look: bool, may_move: bool
) -> None:
    _, key = keys.create(tmp_path / "keys.json", name="k", roles=[role], queues=[queues])
    access = Access(Keys(tmp_path / "keys.json"), rules=CLUSTER_RULES)
    add_node_routes(falcon.App(router=access.router), play.node, Limits())

    def may(method: str, path: str, key: str | None) -> bool:
        return access.authorize(method, path, key and f"Bearer {key}") is None

    assert may("GET", "/cluster", key) == may_look
    for path in ("/cluster/transfer", "/cluster/drain", "/cluster/balance"):
        assert may("POST", path, key) == may_move
        assert not may("POST", path, None)
    assert not may("GET", "/cluster", None)


@pytest.fixture
def client(play: PlayedNode) -> TestClient:
    app: App = falcon.App()
    prepare(app)
    add_node_routes(app, play.node, Limits())
    return TestClient(app)


def test_a_change_of_the_placement_is_refused_as_unknown_once_it_may_have_been_stored(
    play: PlayedNode, client: TestClient
) -> None:
    def fail() -> None:
        raise StorageError("no answer in time")

    def balance() -> tuple[int, str, str]:
        error = client.simulate_post("/cluster/balance").json
        return error["statusCode"], error["error"]["code"], error["error"]["message"]

    play.node.place(lambda present: present.drain("c"))
    play.values.before_put = fail
    status, code, message = balance()
    assert (status, code) == (503, "outcome_unknown")
    assert "may or may not" in message
    assert "no answer in time" in message
    play.values.error = StorageError("no answer to the first question")
    status, code, message = balance()
    assert (status, code) == (503, "no_quorum")
    assert "Nothing was changed" in message


def test_a_node_is_ready_when_each_shard_has_an_owner(play: PlayedNode, client: TestClient) -> None:
    assert client.simulate_get("/healthz").json == {"status": "ok"}
    found = client.simulate_get("/readyz")
    assert (found.status_code, found.json["error"]["code"]) == (503, "not_ready")
    assert found.json["shards"] == {str(shard): "no node owns it" for shard in range(COUNT)}
    assert found.headers["Retry-After"]
    assert client.simulate_get("/readyz?strict=false").json["status"] == "degraded"
    assert client.simulate_get("/readyz?strict=perhaps").status_code == 400
    start(play)
    found = client.simulate_get("/readyz")
    assert (found.status_code, found.json["status"], found.json["shards"]) == (200, "ready", {})


def test_a_node_without_a_connection_is_not_ready(play: PlayedNode, client: TestClient) -> None:
    start(play)
    play.peers.connected_s = 0.0
    found = client.simulate_get("/readyz?strict=false")
    assert (found.status_code, found.json["quorum"]) == (503, False)
    assert "NATS" in found.json["error"]["message"]


def test_the_state_of_the_cluster(play: PlayedNode, client: TestClient) -> None:
    start(play)
    found = client.simulate_get("/cluster").json
    assert [each["owner"] for each in found["shards"]] == ["a"] * COUNT
    assert [each["url"] for each in found["nodes"]] == ["http://a:1"]
    assert found["silent"] == []
    assert {each["waiting_ms"] for each in found["shards"]} == {0}


def test_a_request_of_a_shard_waits_for_its_next_owner(play: PlayedNode) -> None:
    assert [play.node.obstacle(shard) for shard in range(COUNT)] == [None] * COUNT
    assert play.node.statuses()[2].status == "unavailable"
    start(play)
    assert [play.node.obstacle(shard) for shard in range(COUNT)] == [None] * COUNT


def test_a_request_of_a_shard_that_can_store_nothing_is_refused(play: PlayedNode) -> None:
    start(play)
    owned = play.node.shards[2].owned
    assert owned is not None
    owned.log.waiting_s = 2.5  # type: ignore[misc]
    error = play.node.obstacle(2)
    assert error is not None
    assert (error.status, error.code, error.headers["Retry-After"]) == (503, "no_quorum", "1")
    assert play.node.obstacle(1) is None


def test_a_node_that_is_cut_off_refuses_requests_of_all_shards(
    play: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.peers.connected_s = 0.0
    assert play.node.obstacle(2) is None, "it may be connected again soon"
    monkeypatch.setattr("wonderq.cluster.node.NO_QUORUM_S", 0.0)
    assert [error.code for shard in range(COUNT) if (error := play.node.obstacle(shard))] == ["no_quorum"] * COUNT


def test_a_shared_value_without_a_leader_stops_no_request_of_an_owner_that_is_heard(
    play: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS elects the leader of each stream on its own."""
    monkeypatch.setattr("wonderq.cluster.node._QUORUM_S", 0.0)
    play.peers.say("b", (1, "owner", 4), state="unable")
    play.node.start()
    eventually(lambda: play.node.owner(1) == "b")
    assert play.node.obstacle(1) is None
