"""`wonderq cluster backup`: dated copies, each of which is complete, and reads only what is new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.cluster_on_nats import ClusterOnNats
from tests.support.commands import run
from tests.support.nats_servers import NatsCluster, needs_nats
from wonderq.broker.compaction import compact_oldest
from wonderq.cluster.charter import CharterError
from wonderq.cluster_tools import backup as module
from wonderq.cluster_tools.backup import Backup, backup, backups_in, read_manifest
from wonderq.cluster_tools.folders import folder_of
from wonderq.cluster_tools.logs import ClusterLogs, ClusterToolError
from wonderq.cluster_tools.restore import find_backup
from wonderq.folder.verify import verify
from wonderq_storage import CorruptLogError
from wonderq_storage.jetstream_reader import LogReader

pytestmark = needs_nats


def back_up(cluster: ClusterOnNats, target: Path, keep: int | None = None) -> Backup:
    return backup(ClusterLogs(cluster.jetstream, cluster.values, cluster.charter), target, keep=keep)


def test_a_backup_has_the_logs_the_keys_and_the_charter(cluster: ClusterOnNats, tmp_path: Path) -> None:
    cluster.brokers[0].produce("default", ["x", "y"])
    cluster.values.put("keys", b"the keys", revision=0)
    done = back_up(cluster, tmp_path / "backups")
    assert backups_in(tmp_path / "backups") == [done.folder]
    assert [each.messages for each in done.shards] == [2, 0]
    assert read_manifest(done.folder).charter == cluster.charter
    assert (done.folder / "keys.json").read_bytes() == b"the keys"
    assert (done.folder / "keys.json").stat().st_mode & 0o777 == 0o600


def test_the_next_backup_reads_only_what_is_new(cluster: ClusterOnNats, tmp_path: Path) -> None:
    cluster.brokers[0].produce("default", ["x", "y"])
    first = back_up(cluster, tmp_path)
    cluster.brokers[0].produce("default", ["z"])
    second = back_up(cluster, tmp_path)
    assert second.continues == first.folder
    assert [each.copied for each in second.shards] == [1, 0]
    assert [each.messages for each in second.shards] == [3, 0]
    assert [messages_in(first.folder, shard) for shard in (0, 1)] == [2, 0], "it stays as it was"
    assert messages_in(second.folder, 0) == 3


def messages_in(folder: Path, shard: int) -> int:
    findings = verify(folder_of(folder, shard))
    assert findings.problems == []
    return sum(len(queue.messages) for queue in findings.state.queues.values())


def test_what_does_not_change_any_more_is_stored_once(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wonderq.cluster_tools.folders._LARGEST_SEGMENT_BYTES", 64 << 10)
    for number in range(6):
        cluster.brokers[0].produce("default", [f"{number} " + "x" * 50_000])
    first, second = back_up(cluster, tmp_path), back_up(cluster, tmp_path)
    one, other = (
        {each.name: each.stat().st_ino for each in folder_of(done.folder, 0).iterdir()} for done in (first, second)
    )
    shared = sorted(name for name in one if one[name] == other[name])
    assert shared == sorted(one)[:-2]
    assert len(shared) >= 3


def test_a_log_that_has_dropped_what_follows_is_copied_anew(cluster: ClusterOnNats, tmp_path: Path) -> None:
    broker, log = cluster.brokers[0], cluster.logs[0]
    broker.produce("default", ["first"])
    back_up(cluster, tmp_path)
    for number in range(30):
        broker.produce("default", [f"{number} " + "x" * 1000])
    while compact_oldest(broker, log):
        if log._parts[0].sequence > 20:
            break
    done = back_up(cluster, tmp_path)
    assert done.shards[0].messages == 31
    assert done.shards[0].copied == done.shards[0].records
    assert done.shards[1].copied == 0


def test_a_backup_on_which_a_broker_has_run_is_not_continued(cluster: ClusterOnNats, tmp_path: Path) -> None:
    cluster.brokers[0].produce("default", ["x"])
    first = back_up(cluster, tmp_path)
    lines = json.dumps({"type": "message", "queue": "default", "message": "strange"}).encode()
    imported = run("folder", "import", "--accept-clock", str(folder_of(first.folder, 0)), stdin=lines)
    assert imported.code == 0, imported.error
    second = back_up(cluster, tmp_path)
    assert second.shards[0].messages == 1
    assert second.shards[0].copied == second.shards[0].records


def test_only_the_newest_are_kept(cluster: ClusterOnNats, tmp_path: Path) -> None:
    done = [back_up(cluster, tmp_path) for _ in range(3)]
    last = back_up(cluster, tmp_path, keep=2)
    assert last.removed == [each.folder for each in done[:2]]
    assert backups_in(tmp_path) == [done[2].folder, last.folder]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_newest_is_told_also_after_the_clock_was_set_back(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [back_up(cluster, tmp_path)]
    for year in (2020, 2010):
        monkeypatch.setattr(module, "_now", lambda year=year: datetime(year, 1, 1, tzinfo=UTC))
        done.append(back_up(cluster, tmp_path))
        assert done[-1].continues == done[-2].folder
    assert [each.folder.name[:4] for each in done[1:]] == ["2020", "2010"]
    assert backups_in(tmp_path) == [each.folder for each in done]
    assert find_backup(tmp_path) == done[-1].folder
    last = back_up(cluster, tmp_path, keep=2)
    assert backups_in(tmp_path) == [done[-1].folder, last.folder]


def test_backups_of_one_second_keep_their_order(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    done = [back_up(cluster, tmp_path) for _ in range(11)]
    assert done[-1].folder.name.endswith("-11")
    assert backups_in(tmp_path) == [each.folder for each in done]


def test_backups_of_before_come_first_in_the_order_of_their_names(cluster: ClusterOnNats, tmp_path: Path) -> None:
    """Backups had no number."""
    done = [back_up(cluster, tmp_path).folder for _ in range(3)]
    for each in done[:2]:
        fields = json.loads((each / "backup.json").read_bytes())
        del fields["number"]
        (each / "backup.json").write_text(json.dumps(fields))
    assert backups_in(tmp_path) == done
    for text in ("damaged", '{"version": 1, "charter": 1}'):
        (done[1] / "backup.json").write_text(text)
        assert backups_in(tmp_path) == done


def test_a_backup_that_fails_leaves_the_one_before(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = back_up(cluster, tmp_path)
    cluster.brokers[0].produce("default", ["x"])

    def fail(_self: LogReader) -> None:
        raise CorruptLogError("stream", 0, "damaged by the test")

    with monkeypatch.context() as patch:
        patch.setattr(LogReader, "groups", fail)
        with pytest.raises(CorruptLogError):
            back_up(cluster, tmp_path, keep=1)
    assert backups_in(tmp_path) == [first.folder]
    second = back_up(cluster, tmp_path)
    assert second.shards[0].messages == 1
    assert sorted(tmp_path.iterdir()) == [first.folder, second.folder], "what was left of the failed one is gone"


def test_a_copy_that_does_not_verify_is_no_backup(
    cluster: ClusterOnNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = LogReader.groups

    def spoil(reader: LogReader) -> Iterator[list[bytes]]:
        for group in groups(reader):
            yield [record[:-1] + bytes([record[-1] ^ 1]) for record in group]

    monkeypatch.setattr(LogReader, "groups", spoil)
    cluster.brokers[0].produce("default", ["x"])
    with pytest.raises(ClusterToolError, match="does not verify"):
        back_up(cluster, tmp_path)
    assert backups_in(tmp_path) == []


def test_backups_of_two_clusters_are_not_mixed(cluster: ClusterOnNats, tmp_path: Path) -> None:
    back_up(cluster, tmp_path)
    with (
        ClusterOnNats(cluster.url, cluster_id="f" * 16) as other,
        pytest.raises(ClusterToolError, match=r"0123456789abcdef.*ffffffffffffffff"),
    ):
        back_up(other, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "charter": 1}'])
def test_a_manifest_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / module.MANIFEST_FILE).write_text(text)
    with pytest.raises((ClusterToolError, CharterError), match=r"cannot be read|no charter"):
        read_manifest(tmp_path)


def test_the_command_prints_a_row_a_shard(cluster: ClusterOnNats, nats: NatsCluster, tmp_path: Path) -> None:
    cluster.brokers[1].produce("default", ["x"])
    done = run("cluster", "backup", str(tmp_path / "b"), "--nats-url", nats.url)
    assert done.code == 0, done.error
    assert done.lines[0].split() == ["shard", "copied", "records", "messages", "last", "group"]
    assert [line.split()[:4:3] for line in done.lines[1:3]] == [["0", "0"], ["1", "1"]]
    (folder,) = (tmp_path / "b").iterdir()
    assert done.lines[-1] == f"ok        {folder}, and there are no keys"
    done = run("cluster", "backup", str(tmp_path / "b"), "--nats-url", nats.url, "--keep", "1", "--json")
    (found,) = [json.loads(line) for line in done.lines]
    assert found["continues"] == str(folder)
    assert found["removed"] == [str(folder)]
    assert [each["copied"] for each in found["shards"]] == [0, 0]
