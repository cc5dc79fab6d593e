"""A slice of the power cuts of `tests.powercut.cut_cycles`, a disk that is lost under a broker, and a check of the check."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import cut_cycles
from tests.powercut.cut_cycles import CUTS, SEGMENT_BYTES, CutBroker
from tests.support.broker_process import RunningBroker
from tests.support.filesystem import FILESYSTEMS, Medium, why_not
from tests.support.history.calls import History
from tests.support.history.checker import Rule, check
from tests.support.history.recording import RecordingClient
from tests.support.kill_cycles import Options
from tests.support.queue_client import QueueClient
from wonderq.client.errors import Refused


@pytest.fixture(params=FILESYSTEMS)
def filesystem(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if reason := why_not(name):
        pytest.skip(f"no power cuts of {name} here: {reason}")
    return name


@pytest.fixture
def medium(filesystem: str, tmp_path: Path) -> Iterator[Medium]:
    with Medium(tmp_path / "medium", filesystem) as medium:
        yield medium


def broker_on(medium: Medium) -> RunningBroker:
    return RunningBroker(medium.root / "data", stderr=medium.root.with_name("stderr"))


def test_power_cuts_break_no_promise(filesystem: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    report, mechanisms = cut_cycles.run(Options(cycles=2, seed=seed, segment_bytes=SEGMENT_BYTES), filesystem, tmp_path)
    print(report)
    assert report.violations == [], "\n".join(map(str, report.violations[:5]))
    assert mechanisms.counts[CUTS] >= 4


@pytest.mark.parametrize("filesystem", ["ext4"], indirect=True)
@pytest.mark.parametrize("fsync", ["always", "os"])
def test_what_a_weaker_policy_loses_is_found(medium: Medium, fsync: str) -> None:
    """Otherwise it would prove nothing that the strong one is found to lose nothing."""
    lost = False
    for attempt in range(
        1 if fsync == "always" else 5
    ):  # a kernel that is slow to stop may write everything before the cut
        lost = lost or _loses(medium, f"data-{attempt}", fsync)
    assert lost == (fsync == "os")


def _loses(medium: Medium, name: str, fsync: str) -> bool:
    """Cut the power after some sends; return whether any is lost, and check that it is the newest that are."""
    data, errors = medium.root / name, medium.root.with_name("stderr")
    history = History()
    broker = CutBroker(medium, data, errors, fsync=fsync)
    writer = RecordingClient(broker.ready(), "default")
    produced = [writer.produce([f"{n} ".ljust(3000, "x")]).ids[0] for n in range(60)]
    cut_s = time.monotonic()
    broker.kill()
    broker = CutBroker(medium, data, errors, fsync=fsync)
    reader = RecordingClient(broker.ready(), "default")
    history.outages.append((cut_s, time.monotonic()))
    there = [each.id for each in reader.list_all().messages]
    broker.kill()
    for client in (writer, reader):
        history.extend(client.calls)
        client.close()
    # Even if some are lost, a sealed segment is synced.
    assert len(there) > 0
    assert there == produced[: len(there)]
    lost = len(there) < len(produced)
    assert {each.rule for each in check(history)} == ({Rule.ACKED_IS_THERE} if lost else set())
    return lost


@pytest.mark.parametrize("filesystem", ["ext4"], indirect=True)
def test_a_broker_whose_disk_is_gone_refuses_to_write(medium: Medium) -> None:
    with broker_on(medium) as broker:
        with QueueClient(broker.url) as client:
            kept = client.produce_batch(["a", "b"])
            medium.cut()
            for attempt in (lambda: client.produce("c"), client.consume, lambda: client.produce("d")):
                with pytest.raises(Refused) as refused:
                    attempt()
                assert (refused.value.status, refused.value.code) == (503, "log_failed")
            assert not client.ready()
        broker.kill()
    medium.revive()
    with broker_on(medium) as broker, QueueClient(broker.url) as client:
        assert [each["id"] for each in client.messages()] == kept
        assert client.ready()


@pytest.mark.parametrize("filesystem", ["ext4"], indirect=True)
def test_a_broker_that_cannot_read_its_log_says_so(medium: Medium) -> None:
    with broker_on(medium) as broker, QueueClient(broker.url) as client:
        [message_id] = client.produce_batch(["a"])
        medium.cut()
        for attempt in (lambda: list(client.messages()), lambda: client.get(message_id), client.consume):
            with pytest.raises(Refused) as refused:
                attempt()
            assert (refused.value.status, refused.value.code) == (503, "log_damaged")
        assert not client.ready()
