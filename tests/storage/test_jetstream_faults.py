"""Servers of a cluster of three are killed or frozen while threads append: no acknowledged record is lost or doubled."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import nats_servers
from tests.support.log_streams import LogStream, replayed
from tests.support.nats_servers import NatsCluster, freeze, needs_nats, thaw
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import LogFailedError, LogLostError, Position
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.local_servers import LocalServer

pytestmark = [needs_nats, pytest.mark.slow]

THREADS = 4


class Appending:
    """Threads that append records to a log until it is lost or they are stopped."""

    def __init__(self, log: JetStreamLog) -> None:
        self.log = log
        self.tried: set[bytes] = set()
        self.acknowledged: dict[bytes, Position] = {}
        self.errors: list[BaseException] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(THREADS)]
        for each in self._threads:
            each.start()

    def _run(self, thread: int) -> None:
        try:
            for number in range(1 << 30):
                if self._stopping.is_set():
                    return
                record = b"%d %d of epoch %d" % (thread, number, self.log.epoch)
                self.tried.add(record)
                position = self.log.append(record)
                self.log.wait(position)
                self.acknowledged[record] = position
        except BaseException as error:
            self.errors.append(error)

    def goes_on(self, records: int = 50) -> None:
        """Wait until this many more records are acknowledged."""
        aim = len(self.acknowledged) + records
        eventually(lambda: self.errors or len(self.acknowledged) >= aim, "records to be acknowledged")
        assert self.errors == []

    def stop(self) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join(timeout=PATIENCE_S)
            assert not each.is_alive()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path, 3) as cluster:
        yield cluster


@pytest.fixture
def stream(cluster: NatsCluster) -> Iterator[LogStream]:
    with closing(Connection(cluster.url)) as connection:
        yield LogStream(connection, replicas=3)


def start(stream: LogStream) -> JetStreamLog:
    return stream.start(patience_s=PATIENCE_S, part_bytes=1 << 20)


def leader(cluster: NatsCluster, stream: LogStream) -> LocalServer:
    info = eventually(lambda: stream.jetstream.stream_info(stream.name, timeout_s=PATIENCE_S))
    return cluster.named(info.leader)


def check(stream: LogStream, *appending: Appending) -> None:
    """Open the log and compare it with all that was tried and acknowledged."""
    log = stream.open(patience_s=PATIENCE_S)
    found = replayed(log)
    records = [record for _, record in found]
    assert len(records) == len(set(records)), "a record is doubled"
    by_record = {record: position for position, record in found}
    for each in appending:
        assert {record: by_record.get(record) for record in each.acknowledged} == each.acknowledged
    assert set(records) <= set().union(*(each.tried for each in appending))
    log.start()
    position = log.append(b"on")
    log.wait(position)
    assert log.read([(position, 2)]) == [b"on"]


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGSTOP])
def test_the_leader_of_the_stream_ends(cluster: NatsCluster, stream: LogStream, with_signal: signal.Signals) -> None:
    appending = Appending(start(stream))
    appending.goes_on()
    ended = leader(cluster, stream)
    if with_signal == signal.SIGKILL:
        ended.kill()
    else:
        freeze(ended)
    appending.goes_on()
    if with_signal == signal.SIGKILL:
        nats_servers.start(ended)
    else:
        thaw(ended)
    appending.goes_on()
    appending.stop()
    check(stream, appending)


def test_a_stream_that_is_larger_than_the_servers_storage_is_refused(stream: LogStream) -> None:
    with pytest.raises(LogFailedError, match=r"insufficient.*Make a smaller stream"):
        stream.start(max_bytes=1 << 60)


def test_a_follower_freezes(cluster: NatsCluster, stream: LogStream) -> None:
    """A third of the reads go to it, and time out."""
    log = start(stream)
    appending = Appending(log)
    appending.goes_on()
    follower = next(each for each in cluster.servers if each is not leader(cluster, stream))
    freeze(follower)
    appending.goes_on()
    appending.stop()
    log.close()
    again = stream.open(attempt_s=0.5, patience_s=PATIENCE_S)
    assert {record: position for position, record in replayed(again)} == appending.acknowledged
    thaw(follower)
    check(stream, appending)


def test_all_servers_end_at_once(cluster: NatsCluster, stream: LogStream) -> None:
    appending = Appending(start(stream))
    for _ in range(2):
        appending.goes_on()
        for each in cluster.servers:
            each.kill()
        for each in cluster.servers:
            nats_servers.start(each)
    appending.goes_on()
    appending.stop()
    check(stream, appending)


def test_owners_follow_on_each_other_while_leaders_end(cluster: NatsCluster, stream: LogStream) -> None:
    owners = [Appending(start(stream))]
    for round_number in range(4):
        owners[-1].goes_on()
        ended = leader(cluster, stream) if round_number % 2 else None
        if ended is not None:
            ended.kill()
        with closing(Connection(cluster.url)) as connection:
            log = stream.open(jetstream=JetStream(connection), patience_s=PATIENCE_S)
            replayed(log)
        rival = stream.open(patience_s=PATIENCE_S)
        replayed(rival)
        rival.start()
        former = owners[-1]
        eventually(lambda former=former: len(former.errors) == THREADS)  # type: ignore[misc]
        assert all(isinstance(each, LogLostError) for each in former.errors), former.errors
        owners.append(Appending(rival))
        owners[-1].goes_on()
        if ended is not None:
            nats_servers.start(ended)
    owners[-1].stop()
    check(stream, *owners)
