"""`wonderq cluster restore`: a new cluster with the contents of a backup, or none."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.cluster_on_nats import ClusterOnNats, remove_everything
from tests.support.commands import run
from tests.support.nats_servers import NatsCluster, needs_nats
from wonderq.broker.broker import Broker
from wonderq.cluster.charter import CHARTER, decode
from wonderq.cluster_tools.backup import backup
from wonderq.cluster_tools.logs import ClusterLogs, ClusterToolError
from wonderq.cluster_tools.restore import NewCluster, Restored, find_backup, restore
from wonderq.model.messages import Message, NewMessage, Target
from wonderq_storage import CorruptLogError, DiskFullError, FileLog, LogFailedError
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.jetstream_replicas import names_of_streams

pytestmark = needs_nats

WANTED = NewCluster(None, 1, 64 << 20)


@pytest.fixture
def saved(cluster: ClusterOnNats, tmp_path: Path) -> Path:
    """A backup with some of everything. The cluster is gone."""
    return save(cluster, tmp_path)[0]


def save(cluster: ClusterOnNats, tmp_path: Path) -> tuple[Path, list[Message]]:
    """Make a backup; return it, and the messages that are claimed in it."""
    first, second = cluster.brokers
    first.put_queue("mail", delay_ms=0, max_receives=3)
    first.produce("mail", [f"mail {number}" for number in range(20)])
    second.send("orders", [NewMessage("order", key="once")])
    claimed = list(first.claim("mail", limit=2, visibility_timeout_ms=3_600_000))
    cluster.values.put("keys", b'{"keys": []}', revision=0)
    done = backup(ClusterLogs(cluster.jetstream, cluster.values, cluster.charter), tmp_path / "backups")
    cluster.close_brokers()
    remove_everything(cluster.jetstream)
    return done.folder, claimed


def restored(cluster: ClusterOnNats, folder: Path, wanted: NewCluster = WANTED) -> Restored:
    return restore(cluster.jetstream, cluster.values, folder, wanted)


def test_contents_claims_ids_and_receipts_are_those_of_the_backup(cluster: ClusterOnNats, tmp_path: Path) -> None:
    saved, claimed = save(cluster, tmp_path)
    done = restored(cluster, saved)
    assert done.former_id == cluster.charter.cluster_id != done.charter.cluster_id
    assert done.charter.shards == 2
    found = cluster.values.get(CHARTER)
    assert found is not None
    assert decode(found.data, "NATS") == done.charter
    keys = cluster.values.get("keys")
    assert keys is not None
    assert keys.data == b'{"keys": []}'
    cluster.open_brokers(done.charter)
    first, second = cluster.brokers
    assert first.get("mail", claimed[0].id).status == "processing"
    first.delete("mail", Target(receipt=claimed[0].receipt))
    assert [each.body for each in first.claim("mail", limit=3)] == ["mail 2", "mail 3", "mail 4"]
    (sent,) = second.send("orders", [NewMessage("again", key="once")])
    assert second.get("orders", sent.id).body == "order", "keys are remembered"


def test_nothing_is_left_of_a_restore_that_fails(
    cluster: ClusterOnNats, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = JetStreamLog.start

    def fail(log: JetStreamLog) -> None:
        start(log)
        if log._stream.name.endswith("_1"):
            raise LogFailedError("by the test")

    with monkeypatch.context() as patch:
        patch.setattr(JetStreamLog, "start", fail)
        with pytest.raises(LogFailedError):
            restored(cluster, saved)
    assert names_of_streams(cluster.jetstream) == []
    restored(cluster, saved)


def test_a_cluster_that_is_there_is_not_changed(cluster: ClusterOnNats, saved: Path) -> None:
    done = restored(cluster, saved)
    with pytest.raises(ClusterToolError, match="wonderq cluster import"):
        restored(cluster, saved)
    found = cluster.values.get(CHARTER)
    assert found is not None
    assert decode(found.data, "NATS") == done.charter


def test_logs_without_a_charter_are_not_taken_for_nothing(cluster: ClusterOnNats, saved: Path) -> None:
    """Servers that have lost the charter may have the only copy of messages."""
    cluster.jetstream.create_stream({"name": "WQ_0_0", "subjects": ["x"]}, timeout_s=30)
    with pytest.raises(ClusterToolError, match="WQ_0_0"):
        restored(cluster, saved)
    assert names_of_streams(cluster.jetstream) == ["WQ_0_0"]


def test_another_number_of_shards_is_refused(cluster: ClusterOnNats, saved: Path) -> None:
    with pytest.raises(ClusterToolError, match="has 2 shards, and --shards is 4"):
        restored(cluster, saved, NewCluster(4, 1, 64 << 20))


def test_a_backup_that_is_not_complete_is_refused(cluster: ClusterOnNats, saved: Path) -> None:
    shutil.rmtree(saved / "shard-1")
    with pytest.raises(ClusterToolError, match="not complete"):
        restored(cluster, saved)
    assert names_of_streams(cluster.jetstream) == []


def test_a_backup_on_which_a_broker_has_run_is_refused(cluster: ClusterOnNats, saved: Path) -> None:
    log = FileLog(saved / "shard-0")
    with closing(log), closing(Broker(log, clock=cluster.clock)) as broker:
        broker.produce("mail", ["strange"])
    with pytest.raises(ClusterToolError, match="a broker has run on it"):
        restored(cluster, saved)
    assert names_of_streams(cluster.jetstream) == []


def test_a_damaged_backup_is_refused(cluster: ClusterOnNats, saved: Path) -> None:
    (file,) = (saved / "shard-0").glob("*1.wal")
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptLogError):
        restored(cluster, saved)
    assert names_of_streams(cluster.jetstream) == []


def test_a_log_that_is_too_small_is_refused(cluster: ClusterOnNats, saved: Path) -> None:
    with pytest.raises(DiskFullError) as raised:
        restored(cluster, saved, NewCluster(None, 1, 1500))
    assert "--log-bytes 1500" in raised.value.__notes__[0]
    assert names_of_streams(cluster.jetstream) == []


def test_the_newest_backup_of_a_folder_is_found(cluster: ClusterOnNats, saved: Path, tmp_path: Path) -> None:
    assert find_backup(saved) == find_backup(saved.parent) == saved
    with pytest.raises(ClusterToolError, match="no backup"):
        find_backup(tmp_path / "nothing")


def test_the_command_restores_on_servers_of_others(
    cluster: ClusterOnNats, saved: Path, nats: NatsCluster, tmp_path: Path
) -> None:
    options = ["--name", "a", "--nats-url", nats.url, "--data", str(tmp_path / "a"), "--log-bytes", str(64 << 20)]
    done = run("cluster", "restore", str(saved.parent), *options, "--shards", "3")
    assert done.code == 1
    assert "--shards is 3" in done.error
    done = run("cluster", "restore", str(saved.parent), *options)
    assert done.code == 0, done.error
    assert "start the node" in done.lines[-1]
    done = run("cluster", "restore", str(saved.parent), *options)
    assert done.code == 1
    assert "have a cluster already" in done.error
