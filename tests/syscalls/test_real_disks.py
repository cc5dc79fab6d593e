"""Disks that are really full, read-only, limited, or fail on sync, under a broker that is started as users do it."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import filesystem as medium
from tests.support.broker_process import RunningBroker
from tests.support.folders import snapshot, write_log
from tests.support.queue_client import QueueClient
from tests.support.tmpfs import Tmpfs
from tests.support.waiting import PATIENCE_S
from tests.syscalls.refusals import produce_until_refused
from wonderq.client.errors import Refused

#: Exit code of a command that was refused.
REFUSED = 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Tmpfs]:
    with Tmpfs(tmp_path / "disk", size_bytes=40 << 20) as disk:
        if disk.why_not:
            pytest.skip(f"no disk of its own: {disk.why_not}")
        yield disk


def serve(data: Path, before: Callable[[], None] = lambda: None) -> subprocess.CompletedProcess[str]:
    """Start a broker that must not start."""
    return subprocess.run(
        [sys.executable, "-m", "wonderq", "serve", "--data", str(data), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=before,
    )


def check_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == REFUSED, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_first_start_on_a_full_disk_says_so_and_leaves_nothing(disk: Tmpfs) -> None:
    data = disk.root / "data"
    data.mkdir()
    disk.fill()
    check_refused(serve(data), "no room for another log segment", "No space left on device", str(data))
    assert list(data.iterdir()) == []


def test_a_start_on_a_full_disk_goes_on_with_the_log_there_is(disk: Tmpfs, tmp_path: Path) -> None:
    data = disk.root / "data"
    options = ("--segment-bytes", str(32 << 20))
    with RunningBroker(data, *options, stderr=tmp_path / "stderr") as broker, QueueClient(broker.url) as client:
        first, second = client.produce_batch(["first", "second"])
    disk.fill()
    with RunningBroker(data, *options, stderr=tmp_path / "stderr") as broker, QueueClient(broker.url) as client:
        client.delete_batch(ids=[first])
        assert [each["id"] for each in client.consume()] == [second]
        assert broker.terminate() == 0


def test_a_read_only_disk_is_refused_at_once(disk: Tmpfs) -> None:
    data = disk.root / "data"
    write_log(data, [])
    before = snapshot(data)
    disk.make_read_only()
    check_refused(serve(data), "Read-only file system", str(data))
    check_refused(serve(disk.root / "new"), "Read-only file system", "new")
    assert snapshot(data) == before


def test_a_limit_on_file_sizes_below_a_segment_is_a_full_disk(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = serve(data, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    check_refused(done, "no room for another log segment", "File too large")
    assert not data.exists()


@pytest.mark.skipif(medium.why_not("ext4") is not None, reason=f"no ext4 of its own: {medium.why_not('ext4')}")
def test_a_sync_that_really_fails_is_503_and_a_restart_has_all_that_was_acked(disk: Tmpfs) -> None:
    """The disk below the file system is full, which only the writing back finds out."""
    with medium.Medium(disk.root, "ext4", image_bytes=64 << 20) as file_system:
        data, options = file_system.root / "data", ("--segment-bytes", str(32 << 20))
        acked: list[str] = []
        with RunningBroker(data, *options, stderr=disk.root.with_name("stderr")) as broker:
            with QueueClient(broker.url) as client:
                acked += client.produce_batch(["a", "b"])
                disk.fill()
                more, refused = produce_until_refused(client, "x" * 10_000)
                acked += more
                assert (refused.status, refused.code) == (503, "log_failed")
                assert not client.ready()
                with pytest.raises(Refused, match="could not be written"):
                    client.consume()
            broker.kill()
        file_system.unmount()
        disk.make_room()
        file_system.mount()
        with (
            RunningBroker(data, *options, stderr=disk.root.with_name("stderr")) as broker,
            QueueClient(broker.url) as client,
        ):
            found = [each["id"] for each in client.messages()]
            assert found[: len(acked)] == acked
            assert len(found) <= len(acked) + 1
            client.produce("again")
