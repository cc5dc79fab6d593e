"""`wonderq cluster replace`: nothing is removed unless all the rest is whole. tests/cluster does it with real nodes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_S
from wonderq.cluster_tools import replace as module
from wonderq.cluster_tools.logs import ClusterToolError
from wonderq.cluster_tools.replace import Replacement
from wonderq_storage.jetstream_replicas import Replica, StreamReplicas


class PlayedCluster:
    """Servers a, b and c, of which c is gone, and d, which is new. Tests change what it says."""

    def __init__(self) -> None:
        self.jetstream: Any = None
        self.nodes = {"a": None, "b": None, "d": None}
        self.answering = {"a", "b", "d"}
        self.members = {"a": True, "b": True, "c": False, "d": True}
        self.streams = {
            "S": StreamReplicas("S", 3, "a", (replica("b"), gone("c"))),
            "T": StreamReplicas("T", 3, "b", (replica("a"), gone("c"))),
        }
        self.removed: list[str] = []

    def hear(self) -> None:
        pass

    def remove(self, _system: object, name: str) -> None:
        self.removed.append(name)
        del self.members[name]
        for stream, each in self.streams.items():
            kept = tuple(other for other in each.others if other.server != name)
            self.streams[stream] = each._replace(others=(*kept, replica("d")))


def replica(server: str) -> Replica:
    return Replica(server, is_current=True, is_offline=False)


def gone(server: str) -> Replica:
    return Replica(server, is_current=False, is_offline=True)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedCluster:
    played = PlayedCluster()
    monkeypatch.setattr(module, "servers_that_answer", lambda _: played.answering)
    monkeypatch.setattr(module, "Connection", lambda *_args, **_options: io.BytesIO())  # anything that can be closed
    monkeypatch.setattr(module, "JetStream", lambda connection: connection)
    monkeypatch.setattr(module, "members", lambda _: played.members)
    monkeypatch.setattr(module, "names_of_streams", lambda _: list(played.streams))
    monkeypatch.setattr(module, "replicas_of", lambda _, name: played.streams[name])
    monkeypatch.setattr(module, "remove_server", played.remove)
    monkeypatch.setattr(module, "_BEHIND_S", 0.0)
    monkeypatch.setattr(module, "_POLL_S", 0.001)
    return played


def replacement(played: PlayedCluster, old: str = "c", new: str = "d") -> Replacement:
    return Replacement(played, [], old, new)  # type: ignore[arg-type]


def test_a_server_that_is_gone_is_removed(played: PlayedCluster) -> None:
    it = replacement(played)
    told: list[tuple[int, int]] = []
    assert it.check()
    done = it.carry_out(wait_s=0, is_to_be_removed=True, tell=lambda *counts: told.append(counts))
    assert played.removed == ["c"]
    assert done == module.Replaced(2, removed=True)
    assert told == [(2, 2)]


def refused(played: PlayedCluster, old: str = "c", new: str = "d") -> str:
    with pytest.raises(ClusterToolError) as raised:
        replacement(played, old, new).check()
    assert played.removed == []
    return str(raised.value)


def test_a_node_that_is_heard_is_not_replaced(played: PlayedCluster) -> None:
    played.nodes["c"] = None
    assert "c is there" in refused(played)


def test_a_server_that_answers_is_not_replaced(played: PlayedCluster) -> None:
    """Its node has ended, and its NATS server has not: it still votes."""
    played.answering.add("c")
    assert "c is there" in refused(played)


def test_the_new_server_must_be_there(played: PlayedCluster) -> None:
    played.answering.remove("d")
    assert "Start the node first: wonderq cluster start --name d" in refused(played)


def test_the_new_server_must_have_joined(played: PlayedCluster) -> None:
    del played.members["d"]
    assert "has not joined" in refused(played)


def test_nothing_is_removed_while_another_server_is_missing(played: PlayedCluster) -> None:
    played.members["b"] = False
    assert "NATS servers b are not there either" in refused(played)


def test_nothing_is_removed_while_another_server_does_not_answer(played: PlayedCluster) -> None:
    """It has just died, and JetStream has not noticed that yet."""
    played.answering.remove("b")
    assert "NATS servers b are not there either" in refused(played)


@pytest.mark.parametrize(
    "bad",
    [
        StreamReplicas("T", 3, "a", (Replica("b", is_current=False, is_offline=False), gone("c"))),
        StreamReplicas("T", 3, "a", (gone("b"), gone("c"))),
        StreamReplicas("T", 3, None, (replica("a"), replica("b"), gone("c"))),
    ],
)
def test_nothing_is_removed_while_another_copy_is_not_whole(played: PlayedCluster, bad: StreamReplicas) -> None:
    """Acknowledged messages may be on the removed server and one other alone."""
    played.streams["T"] = bad
    assert "stream T is not whole" in refused(played)


def test_a_copy_that_is_behind_for_a_moment_delays_the_removal(
    played: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While producers send, one of many copies is behind at nearly any time."""
    monkeypatch.setattr(module, "_BEHIND_S", PATIENCE_S)
    behind = StreamReplicas("S", 3, "a", (Replica("b", is_current=False, is_offline=False), gone("c")))
    asked: list[str] = []

    def replicas_of(_: object, name: str) -> StreamReplicas:
        asked.append(name)
        return behind if asked.count(name) == 1 else played.streams[name]

    monkeypatch.setattr(module, "replicas_of", replicas_of)
    assert replacement(played).check()
    assert asked == ["S", "S", "T", "T"]


def test_a_machine_that_comes_back_with_its_name_needs_none(played: PlayedCluster) -> None:
    assert "start its node with an empty folder" in refused(played, "c", "c")


def test_a_server_that_nobody_knows_is_refused(played: PlayedCluster) -> None:
    del played.members["c"]
    played.streams = {"S": StreamReplicas("S", 3, "a", (replica("b"), replica("d")))}
    assert "no NATS server x" in refused(played, "x")


def test_the_same_command_waits_again(played: PlayedCluster) -> None:
    """The server was removed by a command that was interrupted."""
    del played.members["c"]
    copying = Replica("d", is_current=False, is_offline=False)
    played.streams = {"S": StreamReplicas("S", 3, "a", (replica("b"), copying))}
    it = replacement(played)
    assert not it.check()
    with pytest.raises(ClusterToolError, match="0 of 1 streams"):
        it.carry_out(wait_s=0, is_to_be_removed=False, tell=lambda *_: None)
    played.streams = {"S": StreamReplicas("S", 3, "a", (replica("b"), replica("d")))}
    assert not it.carry_out(wait_s=0, is_to_be_removed=False, tell=lambda *_: None).removed
    assert played.removed == []
