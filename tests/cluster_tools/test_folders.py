"""`wonderq cluster export-folder`: folders of the logs, while their owners work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.cluster_on_nats import ClusterOnNats
from tests.support.commands import run
from tests.support.nats_servers import NatsCluster, needs_nats
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.cluster.announcements import OfShard
from wonderq.cluster_tools.folders import copy_shard, export_folders
from wonderq.cluster_tools.logs import ClusterLogs, ClusterToolError
from wonderq.folder.verify import verify
from wonderq.model.messages import Target
from wonderq_storage import CorruptLogError, FileLog, jetstream_stream
from wonderq_storage.jetstream_reader import LogReader

pytestmark = needs_nats


def logs_of(cluster: ClusterOnNats) -> ClusterLogs:
    return ClusterLogs(cluster.jetstream, cluster.values, cluster.charter)


def fill(cluster: ClusterOnNats, count: int = 5) -> None:
    for number, broker in enumerate(cluster.brokers):
        broker.produce("default", [f"{number}-{each}" for each in range(count)])


def test_each_shard_becomes_a_folder_while_its_owner_works(cluster: ClusterOnNats, tmp_path: Path) -> None:
    fill(cluster)
    (claimed,) = cluster.brokers[1].claim("default", limit=1, visibility_timeout_ms=3_600_000)
    found = export_folders(logs_of(cluster), tmp_path / "new")
    assert [(each.shard, each.messages) for each in found] == [(0, 5), (1, 5)]
    cluster.brokers[1].produce("default", ["later"])
    cluster.brokers[1].delete("default", Target(receipt=claimed.receipt))
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["shard-0", "shard-1"]
    assert [each.name for each in tmp_path.iterdir()] == ["new"]
    log = FileLog(tmp_path / "new" / "shard-1")
    with closing(log), closing(Broker(log, clock=cluster.clock)) as broker:
        assert [each.body for each in broker.claim("default", limit=10)] == ["1-1", "1-2", "1-3", "1-4"]
        broker.delete("default", Target(receipt=claimed.receipt))  # a receipt of the cluster


def test_the_tools_for_folders_take_what_was_exported(
    cluster: ClusterOnNats, nats: NatsCluster, tmp_path: Path
) -> None:
    fill(cluster)
    done = run("cluster", "export-folder", str(tmp_path / "new"), "--nats-url", nats.url, "--json")
    assert done.code == 0, done.error
    lines = [json.loads(line) for line in done.lines]
    assert [(each["shard"], each["messages"]) for each in lines] == [(0, 5), (1, 5)]
    for each in lines:
        assert run("folder", "verify", each["folder"]).code == 0
        exported = [json.loads(line) for line in run("folder", "export", each["folder"]).lines]
        bodies = [line["message"] for line in exported if line["type"] == "message"]
        assert bodies == [f"{each['shard']}-{number}" for number in range(5)]


def test_a_folder_that_is_not_empty_is_refused(cluster: ClusterOnNats, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ClusterToolError, match="not empty"):
        export_folders(logs_of(cluster), tmp_path)
    with pytest.raises(ClusterToolError, match="not a folder"):
        export_folders(logs_of(cluster), tmp_path / "file")


def test_nothing_is_left_of_an_export_that_fails(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: LogReader) -> None:
        raise CorruptLogError("stream", 0, "damaged by the test")

    monkeypatch.setattr(LogReader, "groups", fail)
    with pytest.raises(CorruptLogError):
        export_folders(logs_of(cluster), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_beginning_of_the_log_is_dropped_while_it_is_read(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner compacts its log meanwhile, so what was read does not lead to the rest: it is read again."""
    broker, log = cluster.brokers[0], cluster.logs[0]
    for number in range(40):
        broker.produce("default", [f"{number} " + "x" * 1000])
    groups = LogReader.groups
    dropped: list[bool] = []

    def drop_the_beginning(reader: LogReader) -> Iterator[list[bytes]]:
        found = groups(reader)
        yield next(found)
        while not dropped or (len(dropped) < 5 and dropped[-1]):
            dropped.append(compact_oldest(broker, log))
        yield from found

    monkeypatch.setattr(jetstream_stream, "_BATCH_MESSAGES", 1)  # so that the rest is asked for afterwards
    monkeypatch.setattr(LogReader, "groups", drop_the_beginning)
    found = copy_shard(logs_of(cluster), 0, tmp_path / "new", lambda _: None)
    assert dropped[0]
    assert found.messages == 40
    assert verify(tmp_path / "new").problems == []


def test_a_log_that_ends_before_an_acknowledged_message_is_refused(cluster: ClusterOnNats, tmp_path: Path) -> None:
    """A copy without messages that clients know to be stored would pass for a complete one."""
    fill(cluster)
    log = cluster.logs[0]
    beyond = OfShard("owner", log.epoch, log.log_id.hex(), log.acknowledged_sequence + 1)
    logs = ClusterLogs(cluster.jetstream, cluster.values, cluster.charter)
    with cluster.announcing({0: beyond}):
        logs.hear()
    reader = LogReader(cluster.jetstream, cluster.charter.stream(0), patience_s=0.1)
    with pytest.raises(CorruptLogError, match="acknowledged"):
        reader.begin(known=logs.known(0, log.log_id.hex()))


def test_another_log_than_the_nodes_know_is_refused(cluster: ClusterOnNats, tmp_path: Path) -> None:
    with cluster.announcing({0: OfShard("other", 1, "ab" * 16, 7)}), pytest.raises(ClusterToolError, match="gone"):
        export_folders(logs_of(cluster), tmp_path / "new")


@pytest.mark.parametrize("command", [("export-folder", "new"), ("backup", "new"), ("check",), ("replace", "a", "b")])
def test_a_folder_without_a_node_is_refused_with_what_to_do(command: tuple[str, ...], tmp_path: Path) -> None:
    verb, *rest = command
    done = run(
        "cluster", verb, *(str(tmp_path / each) if each == "new" else each for each in rest), "--data", str(tmp_path)
    )
    assert done.code == 1
    assert "--data" in done.error


def test_servers_without_a_cluster_are_refused(nats: NatsCluster, tmp_path: Path) -> None:
    done = run("cluster", "check", "--nats-url", nats.url)
    assert done.code == 1
    assert "wonderq cluster start" in done.error
