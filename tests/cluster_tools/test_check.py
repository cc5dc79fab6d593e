"""`wonderq cluster check`: reads the copies of each log, and finds what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.support.cluster_on_nats import ClusterOnNats
from tests.support.commands import run
from tests.support.nats_servers import NatsCluster, needs_nats
from wonderq.cluster.announcements import OfShard
from wonderq.cluster_tools import check as module
from wonderq.cluster_tools.check import ShardCheck, check
from wonderq.cluster_tools.logs import ClusterLogs
from wonderq_storage import jetstream_frame, jetstream_reader
from wonderq_storage.jetstream_replicas import Replica, StreamReplicas, servers_that_answer
from wonderq_storage.nats import Connection, JetStream, StoredMessage
from wonderq_storage.nats.address import parse_addresses

pytestmark = needs_nats


@pytest.fixture(scope="module")
def answering(nats: NatsCluster) -> set[str]:
    """The servers that answer."""
    with closing(Connection(nats.url)) as connection:
        return servers_that_answer(JetStream(connection))


@pytest.fixture
def heard_before(answering: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the second in which a check listens for further servers."""
    monkeypatch.setattr(module, "servers_that_answer", lambda _: answering)


def checked(cluster: ClusterOnNats, nats: NatsCluster) -> list[ShardCheck]:
    logs = ClusterLogs(cluster.jetstream, cluster.values, cluster.charter)
    return list(check(logs, parse_addresses(nats.url)))


def test_each_shard_is_read(cluster: ClusterOnNats, nats: NatsCluster) -> None:
    cluster.brokers[1].produce("default", ["x", "y"])
    found = checked(cluster, nats)
    assert [each.problems for each in found] == [[], []]
    assert [each.messages for each in found] == [0, 2]
    assert [each.last for each in found] == [log.acknowledged_sequence for log in cluster.logs]
    assert {each.epoch for each in found} == {1}
    assert [len(each.read) for each in found] == [1, 1]


@pytest.mark.usefixtures("heard_before")
def test_the_command_prints_a_row_a_shard(cluster: ClusterOnNats, nats: NatsCluster) -> None:
    done = run("cluster", "check", "--nats-url", nats.url)
    assert done.code == 0, done.error
    assert [line.split()[:2] for line in done.lines[1:]] == [["0", "ok"], ["1", "ok"]]
    done = run("cluster", "check", "--nats-url", nats.url, "--json")
    assert [json.loads(line)["ok"] for line in done.lines] == [True, True]


@pytest.mark.usefixtures("heard_before")
def test_a_message_of_somebody_else_in_a_log_is_found(cluster: ClusterOnNats, nats: NatsCluster) -> None:
    stream = cluster.charter.stream(1)
    cluster.jetstream.publish(stream, f"{stream}.log", b"strange", {}, timeout_s=30)
    done = run("cluster", "check", "--nats-url", nats.url)
    assert done.code == 1
    assert "shard 1: stream" in done.error
    assert "1 shard of 2 with problems" in done.error
    assert [line.split()[:2] for line in done.lines[1:]] == [["0", "ok"], ["1", "damaged"]]


@pytest.mark.usefixtures("heard_before")
def test_a_log_that_is_gone_is_found(cluster: ClusterOnNats, nats: NatsCluster) -> None:
    cluster.jetstream.call(f"STREAM.DELETE.{cluster.charter.stream(0)}", timeout_s=30)
    found = checked(cluster, nats)
    assert "not found" in found[0].problems[0]
    assert found[1].problems == []


@pytest.mark.usefixtures("heard_before")
def test_acknowledged_messages_that_are_gone_are_found(
    cluster: ClusterOnNats, nats: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wonderq_storage.jetstream_reader.PATIENCE_S", 0.1)
    log = cluster.logs[0]
    beyond = OfShard("owner", log.epoch, log.log_id.hex(), log.acknowledged_sequence + 1)
    with cluster.announcing({0: beyond}):
        found = checked(cluster, nats)
    assert "acknowledged" in found[0].problems[0]
    assert found[1].problems == []


Next = Callable[[Any, Any, int], StoredMessage]


def changed(read: Next, *which: Any) -> StoredMessage:
    found = read(*which)
    return found._replace(payload=found.payload[:-1] + bytes([found.payload[-1] ^ 1]))


def missing(read: Next, stream: Any, received: Any, sequence: int) -> StoredMessage:
    read(stream, received, sequence)
    return read(stream, received, sequence)


def older(read: Next, stream: Any, received: Any, sequence: int) -> StoredMessage:
    """Return another message that verifies."""
    return read(stream, received, sequence)._replace(
        payload=jetstream_frame.pack_epoch(b"x" * 16, 1, jetstream_frame.Writer("a", "b"))
    )


@pytest.mark.usefixtures("heard_before")
@pytest.mark.parametrize("tamper", [changed, missing, older])
def test_a_copy_that_is_damaged_is_found_although_the_leader_is_whole(
    cluster: ClusterOnNats, nats: NatsCluster, monkeypatch: pytest.MonkeyPatch, tamper: Callable[..., StoredMessage]
) -> None:
    cluster.brokers[0].produce("default", ["x"])
    last, stream = cluster.logs[0].acknowledged_sequence, cluster.charter.stream(0)
    read = jetstream_reader._CopyOf._next

    def tampered(copy: Any, received: Any, sequence: int) -> StoredMessage:
        if copy.name == stream and sequence == last:
            return tamper(read, copy, received, sequence)
        return read(copy, received, sequence)

    monkeypatch.setattr(jetstream_reader._CopyOf, "_next", tampered)
    monkeypatch.setattr(module, "_COPY_S", 1.0)
    found = checked(cluster, nats)
    assert len(found[0].problems) == 1
    assert "the copy of the server" in found[0].problems[0]
    assert found[0].read == []
    assert found[1].problems == []


def test_copies_that_are_missing_are_told() -> None:
    found = ShardCheck(0)
    others = (Replica("b", is_current=True, is_offline=True), Replica("c", is_current=False, is_offline=False))
    replicas = StreamReplicas("s", 3, "a", others)
    module._note_replicas(found, replicas, replicas.gone(set()))
    assert (found.problems, found.replicas) == (["the server b is not there"], 3)
    assert replicas.gone({"a", "b"}) == {"b", "c"}, "the leader has not noticed yet that c is gone"
    found = ShardCheck(0)
    module._note_replicas(found, StreamReplicas("s", 3, "a", others[:0]), ())
    assert (found.problems, found.replicas) == (["2 of 3 replicas have no server"], 3)


@pytest.mark.usefixtures("heard_before")
def test_a_copy_that_gets_what_it_lacked_is_whole(
    cluster: ClusterOnNats, nats: NatsCluster, answering: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the owner appends, the leader of the stream nearly always knows of a copy that is behind."""
    (server,) = answering
    behind = StreamReplicas("s", 1, None, (Replica(server, is_current=False, is_offline=False),))
    monkeypatch.setattr(module, "replicas_of", lambda *_: behind)
    for each in checked(cluster, nats):
        assert (each.problems, each.read, each.current) == ([], [server], 1)
