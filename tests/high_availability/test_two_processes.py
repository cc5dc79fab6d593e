"""Two real processes on one log in NATS: whatever happens to the owner, nothing acknowledged is lost or comes back."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.commands import read_lines, started
from tests.support.nats_servers import NatsCluster, freeze, needs_nats, start, thaw
from tests.support.shared_processes import NOT_SENT, Pair, SharedProcess, request
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.ownership.announcements import Announcement, decode
from wonderq_storage.jetstream_peers import JetStreamPeers
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.local_servers import free_ports

pytestmark = [pytest.mark.slow, needs_nats]


@pytest.fixture(scope="module", params=[1, 3])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), request.param) as cluster:
        yield cluster


@pytest.fixture
def pair(cluster: NatsCluster, tmp_path: Path) -> Iterator[Pair]:
    stream = f"T{secrets.token_hex(6)}"
    with Pair(tmp_path, f"{cluster.url}/{stream}", "--log-bytes", str(64 << 20)) as pair:
        owner = pair.owner()
        pair.other(owner).await_status("standing_by")
        yield pair
    for each in pair.all:
        assert "Traceback" not in each.log()


class Load:
    """Clients that produce, look, and delete, and remember what was acknowledged."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.produced: dict[str, str] = {}
        """Bodies by id of the messages whose produce was acknowledged."""
        self.attempted: set[str] = set()
        self.deleted: set[str] = set()
        self.perhaps_deleted: set[str] = set()
        self.stale: list[str] = []
        self._threads = [
            *(threading.Thread(target=self._produce, args=(number,)) for number in range(3)),
            *(threading.Thread(target=self._consume) for _ in range(2)),
            threading.Thread(target=self._look),
        ]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        for each in self._threads:
            each.join(PATIENCE_S)

    def await_more(self, count: int = 30) -> None:
        """Wait until so many more messages were produced."""
        before = len(self.produced)
        eventually(lambda: len(self.produced) >= before + count, "more messages to be acknowledged")

    def _produce(self, number: int) -> None:
        count = 0
        while not self._ending.is_set():
            body = f"{number}-{count}"
            count += 1
            with self._lock:
                self.attempted.add(body)
            reply = self._pair.carry_out("POST", "/messages/produce", {"message": body})
            if reply.status == 201:
                with self._lock:
                    self.produced[reply.json["id"]] = body

    def _consume(self) -> None:
        while not self._ending.is_set():
            reply = self._pair.carry_out("GET", "/messages/consume?max=2&visibility_timeout=600")
            for message in reply.json if reply.status == 200 else []:
                path = f"/messages/{message['id']}?receipt={message['receipt']}"
                with self._lock:
                    self.perhaps_deleted.add(message["id"])
                if self._pair.carry_out("DELETE", path).status == 200:
                    with self._lock:
                        self.deleted.add(message["id"])
            self._ending.wait(0.01)

    def _look(self) -> None:
        """Read messages that must be there, from any process that answers: also from one that was just frozen."""
        while not self._ending.is_set():
            with self._lock:
                known = list(self.produced)[-20:]
                gone = list(self.deleted)[-20:]
            for message_id in [*known[:1], *gone[:1]]:
                for process in self._pair.all:
                    reply = process("GET", f"/messages/{message_id}")
                    with self._lock:
                        may_be_gone = message_id in self.perhaps_deleted
                    if reply.status == 404 and not may_be_gone:
                        self.stale.append(f"{message_id} is missing at {process.name}")
                    if reply.status == 200 and message_id in gone:
                        self.stale.append(f"{message_id} is back at {process.name}")

    def check(self) -> None:
        """Compare what is left with what was acknowledged."""
        left: dict[str, str] = {}
        after = ""
        while True:
            reply = self._pair.carry_out("GET", f"/dev/messages?limit=1000{after}")
            assert reply.status == 200, reply
            page = reply.json["messages"] if isinstance(reply.json, dict) else reply.json
            left |= {each["id"]: each["message"] for each in page}
            if len(page) < 1000:
                break
            after = f"&after={page[-1]['id']}"
        lost = [each for each in self.produced if each not in left and each not in self.perhaps_deleted]
        back = [each for each in self.deleted if each in left]
        bodies = [*left.values()]
        assert (lost, back, self.stale) == ([], [], [])
        assert len(set(bodies)) == len(bodies), "a message is there twice"
        assert set(bodies) <= self.attempted
        assert self.deleted, "the load deletes, too"


def take_over(pair: Pair, former: SharedProcess) -> SharedProcess:
    """Wait until the other process serves."""
    other = pair.other(former)
    eventually(lambda: other.is_ready, "the other process to serve")
    return other


def test_killed(pair: Pair) -> None:
    with Load(pair) as load:
        for _ in range(3):
            load.await_more()
            owner = pair.owner()
            owner.kill()
            other = take_over(pair, owner)
            load.await_more()
            owner.start()
            owner.await_status("standing_by")
            assert other.is_ready, "who comes back takes nothing"
    load.check()


def await_fenced(former: SharedProcess) -> None:
    """Wait until a former owner knows that it is none."""
    eventually(lambda: former.metric("wonderq_log_fenced_total") >= 1, f"{former.name} to know that it lost the log")


def await_one_of_each(former: SharedProcess, other: SharedProcess) -> None:
    """Wait until one process serves and the other stands by.

    On a busy machine, the next owner may be silent for so long that the former one takes over again.
    """
    eventually(lambda: {former.status, other.status} == {"ready", "standing_by"}, "one to serve, and one to stand by")


def test_frozen_and_continued(pair: Pair) -> None:
    with Load(pair) as load:
        for _ in range(3):
            load.await_more()
            owner = pair.owner()
            owner.freeze()
            other = take_over(pair, owner)
            owner.thaw()
            await_fenced(owner)
            await_one_of_each(owner, other)
            load.await_more()
    load.check()


def test_an_idle_owner_that_was_frozen_steps_down_without_a_request(pair: Pair) -> None:
    owner = pair.owner()
    owner.freeze()
    take_over(pair, owner)
    owner.thaw()
    eventually(lambda: "This process stands by" in owner.log())


def test_stopped_in_order(pair: Pair) -> None:
    with Load(pair) as load:
        for _ in range(3):
            load.await_more()
            owner = pair.owner()
            assert owner.stop() == 0
            take_over(pair, owner)
            owner.start()
            owner.await_status("standing_by")
    load.check()


def test_nats_restarts(pair: Pair, cluster: NatsCluster) -> None:
    with Load(pair) as load:
        for _ in range(2):
            load.await_more()
            for server in cluster.servers:
                server.kill()
            eventually(lambda: all(each.status != "ready" for each in pair.all), "both to notice")
            for server in cluster.servers:
                start(server)
            pair.owner()
            load.await_more()
    load.check()


def test_without_nats_requests_are_refused_at_once_and_go_on_by_themselves(pair: Pair, cluster: NatsCluster) -> None:
    owner = pair.owner()
    for server in cluster.servers:
        freeze(server)
    try:
        waiting = threading.Thread(target=owner, args=("POST", "/messages/produce", {"message": "x"}))
        waiting.start()
        owner.await_status("waiting_for_quorum")
        reply = owner("POST", "/messages/produce", {"message": "y"})
        assert (reply.status, reply.json["error"]["code"]) == (503, "no_quorum")
        assert owner("GET", "/healthz").status == 200
    finally:
        for server in cluster.servers:
            thaw(server)
    waiting.join(PATIENCE_S)
    # The other process may have heard nothing of the owner for long enough to take the log over just then.
    eventually(lambda: pair.owner()("POST", "/messages/produce", {"message": "z"}).status == 201)


def test_the_leader_of_the_stream_dies(pair: Pair, cluster: NatsCluster) -> None:
    if len(cluster.servers) == 1:
        pytest.skip("needs three servers")
    with Load(pair) as load:
        for server in cluster.servers:
            load.await_more()
            server.kill()
            load.await_more()
            start(server)
            cluster.wait_until_ready()
            eventually(lambda: pair.owner().metric("wonderq_log_replicas_current") == 3)
    load.check()


def test_both_die(pair: Pair) -> None:
    with Load(pair) as load:
        load.await_more()
        for each in pair.all:
            each.kill()
        for each in pair.all:
            each.start()
        pair.owner()
        load.await_more()
    load.check()


def test_long_polls_are_answered_when_the_log_is_lost(pair: Pair) -> None:
    owner = pair.owner()
    answers: list[Any] = []
    polls = [
        threading.Thread(target=lambda: answers.append(owner("GET", "/messages/consume?wait=20"))) for _ in range(3)
    ]
    for each in polls:
        each.start()
    eventually(lambda: owner.metric("wonderq_waiting_consumers") == 3)
    owner.freeze()
    take_over(pair, owner)
    owner.thaw()
    for each in polls:
        each.join(PATIENCE_S)
    assert {(each.status, each.json["error"]["code"]) for each in answers} == {(503, "log_lost")}


def test_a_stop_answers_the_requests_under_way(pair: Pair) -> None:
    owner = pair.owner()
    answers: list[Any] = []
    poll = threading.Thread(target=lambda: answers.append(owner("GET", "/messages/consume?wait=20")))
    poll.start()
    eventually(lambda: owner.metric("wonderq_waiting_consumers") == 1)
    began_s = time.monotonic()
    assert owner.stop() == 0
    poll.join(PATIENCE_S)
    assert [each.status for each in answers] == [200]
    assert time.monotonic() - began_s < PATIENCE_S
    assert request(owner.port, "GET", "/healthz").status == NOT_SENT


def test_a_stream_that_is_gone_is_begun_anew_by_nobody(cluster: NatsCluster, tmp_path: Path) -> None:
    stream = f"T{secrets.token_hex(6)}"
    with Pair(tmp_path, f"{cluster.url}/{stream}", "--log-bytes", str(64 << 20)) as pair:
        owner = pair.owner()
        other = pair.other(owner)
        other.await_status("standing_by")
        assert owner("POST", "/queues/q/messages/produce", {"message": "x"}).status == 201
        heard: list[Announcement | None] = []
        with closing(Connection(cluster.url)) as connection:
            jetstream = JetStream(connection)
            JetStreamPeers(jetstream, stream).listen(lambda data: heard.append(decode(data)))
            eventually(
                lambda: any(each and each.role == "standing_by" and each.sequence for each in heard),
                "the process that stands by to know what was acknowledged",
            )
            owner.kill()
            jetstream.call(f"STREAM.DELETE.{stream}", timeout_s=5)
        owner.start()  # which makes the stream anew
        owner.await_status("damaged")
        other.await_status("damaged")


def test_one_of_several_that_stand_by_takes_over(cluster: NatsCluster, tmp_path: Path) -> None:
    log = f"{cluster.url}/T{secrets.token_hex(6)}"
    with Pair(tmp_path, log, "--log-bytes", str(64 << 20), names=("a", "b", "c")) as several:
        for _ in range(3):
            owner = several.owner()
            others = [each for each in several.all if each is not owner]
            for each in others:
                each.await_status("standing_by")
            epoch = owner.metric("wonderq_log_epoch")
            assert owner.stop() == 0
            eventually(lambda others=others: [each.status for each in others].count("ready") == 1)  # type: ignore[misc]
            eventually(lambda others=others: sorted(each.status for each in others) == ["ready", "standing_by"])  # type: ignore[misc]
            assert several.owner().metric("wonderq_log_epoch") == epoch + 1, "nobody took it twice"
            owner.start()


def test_the_two_commands_of_the_documentation(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with started("nats", "serve", "--data", str(tmp_path / "nats"), "--port", str(port)) as nats:
        _, ready = read_lines(nats, 2)
        url = ready.removeprefix("ready: ")
        data = ["--data", str(tmp_path / "data"), "--log-bytes", str(64 << 20)]
        try:
            with started("serve", "--log", url, "--listen", "127.0.0.1:0", *data) as broker:
                (line,) = read_lines(broker, 1)
                found = re.fullmatch(r"wonderq listening on http://127\.0\.0\.1:(\d+) \(log (\S+), pid \d+\)", line)
                assert found is not None, line
                assert found[2] == f"{url}/wonderq"
                eventually(lambda: request(int(found[1]), "GET", "/readyz").status == 200)
                broker.terminate()
                _, errors = broker.communicate(timeout=PATIENCE_S)
            assert b"WARNING" not in errors, "the servers say that they sync"
            assert b"stopped cleanly" in errors
        finally:
            nats.terminate()
            nats.wait(timeout=PATIENCE_S)
