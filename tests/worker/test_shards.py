"""A worker whose queues are in different shards of a cluster: an engine for each group, and slots that they share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from tests.worker.running import running
from tests.worker.script import LEASE_S, Handler, Script, message
from wonderq.client.errors import Forbidden, Refused
from wonderq.client.messages import Contents
from wonderq.client.sync import Client
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.crew import Crew, Queues, groups_of
from wonderq.worker.engine import Engine
from wonderq.worker.executor import Places, no_clients
from wonderq.worker.outcomes import Ending, Settlement
from wonderq.worker.policy import Policy
from wonderq.worker.slots import RESERVED_S, Share, Slots
from wonderq.worker.source import Next
from wonderq.worker.worker import Worker


class Divided(Script):
    """A cluster: it refuses a poll of queues in different shards. ``is_silent``: a poll gets no answer."""

    def __init__(self, queues: Queues) -> None:
        super().__init__()
        self._shards = {queue.partition("--")[0] for queue in queues}
        self.is_silent = False
        self.was_asked = threading.Event()
        self._goes_on = threading.Event()

    def next(self, settlements: Sequence[Settlement], free: int, wait_s: float) -> Next:
        if len(self._shards) > 1:
            raise Refused("the queues are in different shards", status=409, code="different_shards")
        self.was_asked.set()
        if self.is_silent:
            self._goes_on.wait(PATIENCE_S)
            self.is_silent = False
        return super().next(settlements, free, wait_s)

    def answer(self) -> None:
        """Answer the poll that waits in silence."""
        self._goes_on.set()

    def cancel(self) -> None:
        self.answer()
        super().cancel()


class Scene:
    """A worker of several groups. The scripts are by the part of the queues' names that decides the shard."""

    def __init__(self, queues: Queues, concurrency: int, scripts: Mapping[str, Divided]) -> None:
        self.scripts = scripts
        self.handler = Handler()
        self.handled: list[str] = []
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._at_once = 0
        self.places = Places(no_clients)
        self.crew = Crew(self._make, queues, concurrency, self.places)
        self.call = Call(self.crew.run)

    def _make(self, queues: Queues, slots: Share) -> Engine:
        names = list(queues)
        script = self.scripts[names[0].partition("--")[0]] if len(groups_of(queues)) == 1 else Divided(queues)
        job = Job("job", self._handle, False, Policy(lease=LEASE_S))
        return Engine(script, lambda _: job, slots=slots, places=self.places, lease_s=LEASE_S, grace_s=10.0)

    def _handle(self, context: Context) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.handled.append(context.id)
        try:
            if context.id.startswith("waits"):
                self.handler(context)
        finally:
            with self._lock:
                self._at_once -= 1


@contextmanager
def scene(
    queues: Queues = ("a", "b"), *, concurrency: int = 2, silent: str = "", **given: list[Contents]
) -> Iterator[Scene]:
    """Run a worker until the block ends. ``given`` are the messages that its queues have when it starts."""
    scripts = {name: Divided([name]) for queue in queues if (name := queue.partition("--")[0])}
    for name, messages in given.items():
        scripts[name].give(*messages)
    if silent:
        scripts[silent].is_silent = True
    made = Scene(queues, concurrency, scripts)
    try:
        yield made
    finally:
        made.crew.stop(at_once=True)
        for name in made.handler.started:
            made.handler.let_go(name)
        made.call.join(PATIENCE_S)
        assert made.call.done


def many(name: str, count: int) -> list[Contents]:
    return [message(f"{name}{number}", queue=name) for number in range(count)]


@pytest.mark.parametrize(
    ("queues", "groups"),
    [
        (["a"], [["a"]]),
        (["a", "b--x", "a--y", "b"], [["a", "a--y"], ["b--x", "b"]]),
        (["a.fifo", "a--x.fifo", "a"], [["a.fifo", "a--x.fifo", "a"]]),
        ({"a": 3, "b": 1, "a--x": 2}, [{"a": 3, "a--x": 2}, {"b": 1}]),
    ],
)
def test_queues_are_grouped_by_the_part_of_their_names_that_decides_the_shard(
    queues: Queues, groups: list[Queues]
) -> None:
    assert groups_of(queues) == groups


def test_a_worker_of_two_shards_receives_from_both() -> None:
    with scene(["a", "b", "a--x"], a=many("a", 5), b=many("b", 5)) as s:
        eventually(lambda: len(s.handled) == 10)
        for name in "ab":
            for number in range(5):
                assert s.scripts[name].settlement_of(f"{name}{number}").ending is Ending.DELETE


class Cluster(ThreadingHTTPServer):
    """A cluster with a shard for each queue. Polls that wait do so until `over` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Node)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.polls: set[str] = set()
        self.over = threading.Event()
        self.connections: set[BaseHTTPRequestHandler] = set()
        """Connections that are open."""


class _Node(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cluster

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self)

    def finish(self) -> None:
        super().finish()
        self.server.connections.remove(self)

    def do_GET(self) -> None:
        self._answer(403, {"error": {"code": "forbidden", "message": "no"}})

    def do_POST(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if len(fields["queues"]) > 1:
            self._answer(409, {"error": {"code": "different_shards", "message": "no"}})
            return
        if "wait" in fields:
            self.server.polls.update(fields["queues"])
            self.server.over.wait(PATIENCE_S)
        self._answer(200, {"messages": []})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        thread = threading.Thread(target=cluster.serve_forever, daemon=True)
        thread.start()
        yield cluster
        cluster.over.set()
        cluster.shutdown()
        thread.join()


MANY_QUEUES = [f"q{number}" for number in range(5)]


@contextmanager
def polling(cluster: Cluster, worker: Worker) -> Iterator[None]:
    """Run a worker until the block ends, in which there is a poll of each queue."""
    with running(worker):
        try:
            eventually(lambda: cluster.polls == set(MANY_QUEUES), "a poll of each group")
            yield
        finally:
            cluster.over.set()


def test_all_groups_poll_at_the_same_time_also_if_the_pool_is_smaller(cluster: Cluster) -> None:
    with Client(cluster.url, pool=2) as client, polling(cluster, _worker(client)):
        pass


def test_a_worker_closes_the_connections_that_it_made_itself(cluster: Cluster) -> None:
    with Client(cluster.url, pool=2) as client:
        worker = _worker(client)
        with pytest.raises(Forbidden):
            client.queue("q0").info()
        [own] = cluster.connections
        with polling(cluster, worker):
            assert len(cluster.connections) >= 1 + len(MANY_QUEUES)
        eventually(lambda: cluster.connections == {own}, "the end of the connections")
        Call(worker.run).result()  # it was stopped
        assert worker.run_until_empty() == 0


def test_a_worker_does_not_close_the_client_that_it_was_given(cluster: Cluster) -> None:
    with Client(cluster.url, pool=len(MANY_QUEUES)) as client:
        with polling(cluster, _worker(client)):
            pass
        with pytest.raises(Forbidden):
            client.queue("q0").info()


def _worker(client: Client) -> Worker:
    return Worker(client, dict.fromkeys(MANY_QUEUES, lambda _: None))


def test_a_worker_that_cannot_be_divided_ends_with_the_reason() -> None:
    class OtherReason(Divided):
        def prepare(self) -> None:
            raise Refused("the dead-letter queue is elsewhere", status=409, code="different_shards")

    crew_scripts = {"a": OtherReason(["a"])}
    made = Scene(["a", "a--x"], 1, crew_scripts)
    with pytest.raises(Refused, match="elsewhere"):
        made.call.result()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_all_groups_together_hold_no_more_messages_than_the_worker_has_slots(concurrency: int) -> None:
    with scene(concurrency=concurrency, a=many("a", 40), b=many("b", 40)) as s:
        eventually(lambda: len(set(s.handled)) == 80)
        assert s.most_at_once <= concurrency
        assert len(s.handled) == 80
        assert max(free for each in s.scripts.values() for _, free, _ in each.polls) <= concurrency


def test_a_message_for_which_no_slot_is_free_is_given_back_and_counts_no_try() -> None:
    with scene(concurrency=1) as s:
        b = s.scripts["b"]
        eventually(lambda: b.open_polls)
        s.scripts["a"].give(message("waits", queue="a"))
        s.handler.wait_for("waits")
        late = message("late", queue="b")
        b.give(late)
        assert b.settlement_of("late").ending is Ending.GIVE_BACK
        polls = len(b.polls)
        assert s.handled == ["waits"]
        b.give(late)
        assert len(b.polls) == polls, "it waits for a slot, and does not ask all the time"
        s.handler.let_go("waits")
        eventually(lambda: s.handled == ["waits", "late"])


def test_a_result_does_not_wait_while_another_group_has_all_slots() -> None:
    with scene(["b", "a"], concurrency=1) as s:
        b = s.scripts["b"]
        eventually(lambda: b.open_polls)
        s.scripts["a"].give(message("waits-a", queue="a"))
        s.handler.wait_for("waits-a")
        urgent = message("waits-b", queue="b")
        b.give(urgent)
        assert b.settlement_of("waits-b").ending is Ending.GIVE_BACK
        b.give(urgent)
        s.handler.let_go("waits-a")
        s.handler.wait_for("waits-b")
        assert s.scripts["a"].settlement_of("waits-a").ending is Ending.DELETE
        assert [each.message.id for each in b.settled] == ["waits-b"], "it was given back once, and runs still"


def test_a_shard_that_does_not_answer_does_not_hold_up_the_others() -> None:
    with scene(silent="a") as s:
        assert s.scripts["a"].was_asked.wait(PATIENCE_S)
        s.scripts["b"].give(*many("b", 5))
        eventually(lambda: len(s.handled) == 5)
        assert s.scripts["a"].is_silent
        s.scripts["a"].answer()
        s.scripts["a"].give(*many("a", 5))
        eventually(lambda: len(s.handled) == 10)


def test_queues_that_come_first_have_precedence() -> None:
    with scene(["a", "b"], concurrency=1, a=many("a", 20), b=many("b", 20)) as s:
        eventually(lambda: len(s.handled) == 40)
        before = s.handled[: s.handled.index("a19")]
        assert sum(each.startswith("b") for each in before) <= 1, "the one that was asked for first of all"


def test_weights_count_across_shards() -> None:
    with scene({"a": 9, "b": 1}, concurrency=1, a=many("a", 100), b=many("b", 100)) as s:
        eventually(lambda: len(s.handled) >= 60)
        first = s.handled[:60]
        assert sum(each.startswith("a") for each in first) > 35
        eventually(lambda: len(s.handled) == 200)


def test_an_error_of_one_group_ends_the_worker() -> None:
    with scene() as s:
        b = s.scripts["b"]
        eventually(lambda: b.open_polls)
        s.scripts["a"].give(message("waits", queue="a"))
        s.handler.wait_for("waits")
        b.claim_error = Refused("never", status=409, code="different_shards")
        b.give()
        assert s.scripts["a"].settlement_of("waits").ending is Ending.GIVE_BACK
        with pytest.raises(Refused, match="never"):
            s.call.result()


def test_a_worker_that_stops_lets_the_handlers_of_all_groups_finish() -> None:
    with scene(a=[message("waits-a", queue="a")], b=[message("waits-b", queue="b")]) as s:
        s.handler.wait_for("waits-a", "waits-b")
        assert s.crew.running == 2
        s.crew.stop()
        for name in ("waits-a", "waits-b"):
            s.handler.let_go(name)
        s.call.result()
        assert [s.scripts[name].settlement_of(f"waits-{name}").ending for name in "ab"] == [Ending.DELETE] * 2


# Slots


def test_reserved_slots_are_not_there_for_others_for_a_moment() -> None:
    slots = Slots(3)
    first, second = slots.share(), slots.share()
    with slots.lock:
        first.reserve(2, 10.0)
        assert (first.available(10.0), second.available(10.0)) == (3, 1)
        assert second.available(10.0 + RESERVED_S) == 3, "the broker does not answer"
        first.end_reservation()
        assert second.available(10.0) == 3
        first.fill(3)
        assert (first.available(10.0), second.available(10.0)) == (0, 0)
        second.empty()
        assert first.available(10.0) == 1


def test_the_engine_whose_place_is_lower_gets_the_slot() -> None:
    slots = Slots(1)
    first, second = slots.share(lambda: 0.0), slots.share(lambda: 1.0)
    with slots.lock:
        second.line_up()
        assert second.available(0.0) == 1
        first.line_up()
        assert (first.available(0.0), second.available(0.0)) == (1, 0)
        first.leave_line()
        assert second.available(0.0) == 1


def test_all_in_the_line_get_new_places_for_the_next_slot() -> None:
    """With places that stay, one bad draw would count for all slots until then."""
    slots = Slots(1)
    places = iter([0.5, 0.1, 0.2, 0.3])
    first, second = (slots.share(lambda: next(places)) for _ in range(2))
    with slots.lock:
        first.line_up()
        second.line_up()
        assert (first.available(0.0), second.available(0.0)) == (0, 1)
        second.leave_line()  # and the first one has 0.2 now
        second.line_up()
        assert (first.available(0.0), second.available(0.0)) == (1, 0)
