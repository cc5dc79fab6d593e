"""Requests at a node that does not own the queue: one code path with the owner, and what happens when it moves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tests.support.edge_cluster import EdgeCluster, EdgeNode, Reply, edge_cluster
from tests.support.memory_log import MemoryLog
from tests.support.nats_servers import NatsCluster, needs_nats
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.cluster import forwarding, receiving, wire
from wonderq.cluster.applications import NOT_OWNER, Applications, Outcome
from wonderq.cluster.edge import MOST_BODY_BYTES
from wonderq.cluster.wire import ForwardedRequest
from wonderq.edge_app import EdgeSettings
from wonderq.httpd.errors import RequestError
from wonderq.httpd.server import Server
from wonderq.runtime.fibers import Event
from wonderq_storage.nats import Connection

pytestmark = needs_nats

MIB = 1 << 20


class Call:
    """A request under way on a thread of its own."""

    def __init__(self, node: EdgeNode, *arguments: Any, **named: Any) -> None:
        self.replies: list[Reply] = []
        self._thread = threading.Thread(target=lambda: self.replies.append(node(*arguments, **named)))
        self._thread.start()

    def reply(self) -> Reply:
        self._thread.join(PATIENCE_S)
        [reply] = self.replies
        return reply


@contextmanager
def waiting_client(node: EdgeNode, target: str) -> Iterator[socket.socket]:
    """Send a request, and yield its connection before the answer comes."""
    with socket.create_connection(("127.0.0.1", int(node.server.effective_port)), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield connection


def waiting(cluster: EdgeCluster, queue: str) -> int:
    """Return the number of messages of a queue that wait."""
    count: int = cluster.other(queue)("GET", f"/queues/{queue}/dev/messages/count?status=unprocessed").json["count"]
    return count


def test_any_node_answers_for_any_queue(cluster: EdgeCluster) -> None:
    for shard in range(cluster.count):
        queue = cluster.queue_of(shard)
        owner, other = cluster.owner(queue), cluster.other(queue)
        produced = other("POST", f"/queues/{queue}/messages/produce", json={"message": "one"})
        assert produced.status == 201, produced.content
        [message] = owner("GET", f"/queues/{queue}/messages/consume").json
        assert (message["id"], message["message"]) == (produced.json["id"], "one")
        deleted = other("DELETE", f"/queues/{queue}/messages/{message['id']}", json={"receipt": message["receipt"]})
        assert deleted.status == 200, deleted.content
        assert owner("GET", f"/queues/{queue}/dev/messages/count?status=unprocessed").json["count"] == 0


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/queues/{q}/messages/produce", {"message": 1}),
        ("POST", "/queues/{q}/messages/produce", {"messages": ["a", "b"]}),
        ("PUT", "/queues/{q}", {"max_receives": 0}),
        ("GET", "/queues/{q}/messages/consume?max=0", None),
        ("GET", "/queues/{q}/messages/nonsense", None),
        ("DELETE", "/queues/{q}/messages/nonsense", {"receipt": "nonsense"}),
        ("PATCH", "/queues/{q}/messages/nonsense", {}),
        ("GET", "/queues/{q}?figures=true", None),
        ("GET", "/queues/absent-{q}/history", None),
        ("POST", "/queues/{q}/messages/kick", None),
        ("POST", "/queues/{q}/messages/delete", {"ids": ["nonsense"]}),
        ("PUT", "/queues/{q}/nowhere", {}),
        ("POST", "/queues/{q}", {}),
        ("GET", "/nowhere", None),
    ],
)
def test_a_request_has_the_same_answer_at_the_owner_and_elsewhere(
    cluster: EdgeCluster, method: str, path: str, fields: Any
) -> None:
    queue = cluster.queue_of(1)
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    nodes = (cluster.owner(queue), cluster.other(queue))
    here, there = (node(method, path.format(q=queue), json=fields) for node in nodes)
    assert here.status == there.status < 500, (here, there)
    assert here.headers.get("allow") == there.headers.get("allow")
    assert here.headers["content-type"] == there.headers["content-type"]
    value, other = here.json, there.json
    if here.status >= 400 or method == "GET":
        for each in (value, other):
            each.pop("oldest_age", None)
        assert value == other


def test_a_response_of_several_parts_arrives_whole(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    bodies = [letter * (MIB - 100) for letter in "abc"]
    for body in bodies:
        assert cluster.other(queue)("POST", f"/queues/{queue}/messages/produce", json={"message": body}).status == 201
    found = cluster.other(queue)("GET", f"/queues/{queue}/messages/consume?max=3").json
    assert [each["message"] for each in found] == bodies


def test_a_body_too_large_for_a_message_of_nats_is_refused_by_every_node(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    body = b'{"message": "' + b"x" * MOST_BODY_BYTES + b'"}'
    for node in cluster.nodes.values():
        reply = node(
            "POST", f"/queues/{queue}/messages/produce", body=body, headers={"Content-Type": "application/json"}
        )
        assert (reply.status, reply.code) == (413, "body_too_large")


def test_the_client_of_a_forwarded_request_may_ask_for_msgpack_and_for_no_change(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    other = cluster.other(queue)
    other("PUT", f"/queues/{queue}")
    first = other("GET", f"/queues/{queue}", headers={"Accept": "application/msgpack"})
    assert first.headers["content-type"] == "application/msgpack"
    again = other(
        "GET", f"/queues/{queue}", headers={"Accept": "application/msgpack", "If-None-Match": first.headers["etag"]}
    )
    assert (again.status, again.content) == (304, b"")


def test_a_shard_that_can_store_nothing_is_refused_by_its_node_and_tried_again_by_others(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    owner, other = cluster.owner(queue), cluster.other(queue)
    owner.obstacles[1] = RequestError(503, "no_quorum", "Nothing can be stored.", headers={"Retry-After": "1"})
    produce = ("POST", f"/queues/{queue}/messages/produce")
    reply = owner(*produce, json={"message": "x"})
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "no_quorum", "1")
    call = Call(other, *produce, json={"message": "x"})
    eventually(lambda: other.assembly.carrier._waiting.get(1), "the request to be tried again")
    owner.obstacles.clear()
    assert call.reply().status == 201
    assert waiting(cluster, queue) == 1


# The shard moves


@pytest.mark.parametrize("retry_s", [0.05])
def test_a_shard_without_owner_is_named_and_nothing_is_carried_out(cluster: EdgeCluster) -> None:
    queue, shard = cluster.queue_of(1), 1
    broker = cluster.owner(queue).shards.brokers.pop(shard)
    cluster.hear(shard, None)
    for node in cluster.nodes.values():
        reply = node("POST", f"/queues/{queue}/messages/produce", json={"message": "x"})
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "shard_unavailable", "1")
        assert "Shard 1 " in reply.json["error"]["message"]
    assert queue not in broker.queue_names()


@pytest.mark.parametrize("claimed_by", ["ghost", "b", None])
def test_a_request_waits_for_the_next_owner(cluster: EdgeCluster, claimed_by: str | None) -> None:
    """The owner that is heard may be dead, may not own the shard any more, or none may be heard."""
    queue, shard = cluster.queue_of(1), 1
    del cluster.nodes["b"].shards.brokers[shard]
    cluster.hear(shard, claimed_by)
    call = Call(cluster.nodes["a"], "POST", f"/queues/{queue}/messages/produce", json={"message": "x"})
    eventually(lambda: cluster.nodes["a"].assembly.carrier._waiting.get(shard), "the request to be tried again")
    cluster.give(shard, "b")
    assert call.reply().status == 201
    assert waiting(cluster, queue) == 1


def hold_a_produce(cluster: EdgeCluster, queue: str, **fields: Any) -> Call:
    """Send a message at a node that does not own the queue, and keep its record from becoming durable."""
    shard = cluster.shard(queue)
    log = cluster.logs[shard]
    log.hold()
    body = {"message": "a held message", **fields}
    call = Call(cluster.other(queue), "POST", f"/queues/{queue}/messages/produce", json=body)
    await_record(log, b"a held message")
    return call


def await_record(log: MemoryLog, content: bytes) -> None:
    """Wait until a record with these bytes is appended."""
    eventually(lambda: any(content in each for each in log.records), f"a record with {content!r}")


def test_an_unknown_outcome_is_said_and_not_repeated(cluster: EdgeCluster) -> None:
    queue, shard = cluster.queue_of(1), 1
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    call = hold_a_produce(cluster, queue)
    former = cluster.logs[shard]
    cluster.open(shard, "a")
    cluster.hear(shard, "a")
    former.release()  # the former owner learns that it has lost the shard
    reply = call.reply()
    assert (reply.status, reply.code) == (503, "outcome_unknown")
    cluster.nodes["b"].shards.brokers.pop(shard)
    assert waiting(cluster, queue) == 0, "the record was not durable, and nobody has repeated it"


def test_a_frozen_owner_is_not_waited_for_once_another_one_is_heard(cluster: EdgeCluster) -> None:
    queue, shard = cluster.queue_of(1), 1
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    call = hold_a_produce(cluster, queue)
    cluster.open(shard, "a")
    cluster.hear(shard, "a")
    reply = call.reply()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "outcome_unknown", "1")


@pytest.fixture
def held(cluster: EdgeCluster, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a produce to shard 1, which b has not answered yet, at a node that waits long for a former owner."""
    monkeypatch.setattr(forwarding, "GRACE_S", 2 * PATIENCE_S)
    queue = cluster.queue_of(1)
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    return hold_a_produce(cluster, queue)


def test_an_answer_of_the_former_owner_counts_if_it_comes_late(cluster: EdgeCluster, held: Call) -> None:
    cluster.hear(1, "a")
    cluster.logs[1].release()
    assert held.reply().status == 201


def test_a_former_owner_that_is_not_heard_any_more_has_no_time_left(cluster: EdgeCluster, held: Call) -> None:
    cluster.nodes["a"].shards.silent.add("b")
    cluster.open(1, "a")
    cluster.hear(1, "a")
    reply = held.reply()
    assert (reply.status, reply.code) == (503, "outcome_unknown")


def test_a_client_of_the_owner_itself_hears_that_the_outcome_is_unknown(cluster: EdgeCluster) -> None:
    queue, shard = cluster.queue_of(1), 1
    owner = cluster.owner(queue)
    owner("PUT", f"/queues/{queue}")
    former, produce = cluster.logs[shard], f"/queues/{queue}/messages/produce"
    former.hold()
    unkeyed = Call(owner, "POST", produce, json={"message": "without a key"})
    keyed = Call(owner, "POST", produce, json={"message": "with a key", "idempotency_key": "k"})
    await_record(former, b"without a key")
    await_record(former, b"with a key")
    cluster.depose(shard, "a").release()
    reply = unkeyed.reply()
    assert (reply.status, reply.code) == (503, "outcome_unknown")
    assert keyed.reply().status == 201
    assert [each["message"] for each in owner("GET", f"/queues/{queue}/dev/messages").json] == ["with a key"]


def test_an_obstacle_at_the_former_owner_does_not_hide_that_the_outcome_is_unknown(cluster: EdgeCluster) -> None:
    owner, queue = cluster.nodes["b"], cluster.queue_of(1)
    owner("PUT", f"/queues/{queue}")
    cluster.logs[1].hold()
    call = Call(owner, "POST", f"/queues/{queue}/messages/produce", json={"message": "a held message"})
    await_record(cluster.logs[1], b"a held message")
    former = cluster.depose(1, "a")
    owner.obstacles[1] = RequestError(503, "no_quorum", "Nothing can be stored.")
    former.release()
    reply = call.reply()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "outcome_unknown", "1")


def test_two_processes_with_one_name_do_not_answer_for_each_other(cluster: EdgeCluster) -> None:
    """The one that does not own the shard answers faster. If it counted, the request would be made again and again."""
    queue = cluster.queue_of(1)
    owner, other = cluster.owner(queue), cluster.other(queue)
    connection = Connection(cluster.servers, name="a namesake")
    asked: list[ForwardedRequest] = []

    class Namesake:
        def carry_out(self, request: ForwardedRequest, _: Callable[[], bool]) -> Outcome:
            asked.append(request)
            return NOT_OWNER

    receiver = receiving.Receiver(
        connection, "wonderq-test", owner.name, cast("Applications", Namesake()), token="another token"
    )
    try:
        receiver.start(other.server)
        connection.request("$JS.API.INFO", timeout_s=PATIENCE_S)  # so that the server has its subscriptions
        for number in range(5):
            body = {"message": str(number)}
            assert other("POST", f"/queues/{queue}/messages/produce", json=body).status == 201
    finally:
        connection.close()
    assert waiting(cluster, queue) == 5
    assert asked == []


@pytest.mark.parametrize(
    "key", [{"idempotency_key": "k"}, {"producer_id": "p", "request_number": 1}], ids=["key", "number"]
)
def test_a_send_with_a_key_is_repeated_at_the_next_owner(cluster: EdgeCluster, key: dict[str, Any]) -> None:
    queue, shard = cluster.queue_of(1), 1
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    call = hold_a_produce(cluster, queue, **key)
    cluster.open(shard, "a")
    cluster.hear(shard, "a")
    assert call.reply().status == 201
    cluster.nodes["b"].shards.brokers.pop(shard)
    assert waiting(cluster, queue) == 1


def test_a_send_with_a_key_that_was_stored_is_not_stored_again(cluster: EdgeCluster) -> None:
    """The former owner's record is durable, and only its answer is lost."""
    queue, shard = cluster.queue_of(1), 1
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    call = hold_a_produce(cluster, queue, idempotency_key="k")
    former = cluster.logs[shard]
    former._durable = former._end
    cluster.open(shard, "a")
    cluster.hear(shard, "a")
    reply = call.reply()
    assert reply.status == 201
    assert reply.json.get("duplicate") in (True, None), "None if the former owner answers first"
    cluster.nodes["b"].shards.brokers.pop(shard)
    assert waiting(cluster, queue) == 1


def test_a_lost_connection_to_nats_makes_the_outcome_unknown(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    cluster.owner(queue)("PUT", f"/queues/{queue}")
    other = cluster.other(queue)
    call = hold_a_produce(cluster, queue)
    link = other.connection._link
    assert link is not None
    link.shut_down()
    reply = call.reply()
    assert (reply.status, reply.code) == (503, "outcome_unknown")
    cluster.logs[1].release()


@pytest.fixture
def three(nats: NatsCluster) -> Iterator[EdgeCluster]:
    with edge_cluster(nats.url, ("a", "b", "c"), settings=EdgeSettings(retry_s=0.4)) as found:
        yield found


def hand_over(cluster: EdgeCluster, shard: int, node: str) -> None:
    cluster.give(shard, node)


def take_over(cluster: EdgeCluster, shard: int, node: str) -> None:
    """Another node takes the shard, and its former owner stays frozen: it never answers again."""
    cluster.open(shard, node)
    cluster.hear(shard, None)
    cluster.hear(shard, node)


@pytest.mark.parametrize("move", [hand_over, take_over])
@pytest.mark.parametrize(("at", "to"), [("a", "c"), ("a", "a"), ("b", "c")], ids=["elsewhere", "to-here", "from-here"])
def test_a_long_poll_moves_to_the_next_owner(
    three: EdgeCluster, at: str, to: str, move: Callable[[EdgeCluster, int, str], None]
) -> None:
    """Shard 1 is owned by b. A consumer waits at a node, and the shard moves."""
    if at == "b" and move is take_over:
        pytest.skip("the node of a frozen owner is frozen with its consumers")
    queue, shard = three.queue_of(1), 1
    three.nodes["b"]("PUT", f"/queues/{queue}")
    with waiting_client(three.nodes[at], f"/queues/{queue}/messages/consume?wait=20") as client:
        three.wait_for_waiting(queue)
        move(three, shard, to)
        next_broker = three.nodes[to].shards.brokers[shard]
        eventually(lambda: next_broker.waiting_consumers, "the consumer to wait at the next owner")
        three.nodes["c"]("POST", f"/queues/{queue}/messages/produce", json={"message": "moved"})
        assert b'"moved"' in client.recv(1 << 16)


def test_a_consumer_that_disconnects_is_forgotten_by_the_owner(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    other = cluster.other(queue)
    other("PUT", f"/queues/{queue}")
    wait_s = 20
    with waiting_client(other, f"/queues/{queue}/messages/consume?wait={wait_s}"):
        began_s = time.monotonic()
        cluster.wait_for_waiting(queue)
    cluster.wait_for_waiting(queue, 0)
    assert time.monotonic() - began_s < wait_s, "otherwise its wait has ended by itself"
    other("POST", f"/queues/{queue}/messages/produce", json={"message": "x"})
    assert waiting(cluster, queue) == 1


def miss_the_owner(node: EdgeNode, shard: int) -> None:
    """The node does not hear the owner for a moment, and then the same process again."""
    owner = node.shards.owner(shard)
    for heard in (None, owner):
        node.shards.hear(shard, heard)


def lose_the_connection(node: EdgeNode, _shard: int) -> None:
    link = node.connection._link
    assert link is not None
    link.shut_down()


@pytest.mark.parametrize("disturb", [miss_the_owner, lose_the_connection])
def test_a_poll_that_is_made_again_takes_the_place_of_the_former_one(
    cluster: EdgeCluster, disturb: Callable[[EdgeNode, int], None]
) -> None:
    """Nobody reads the answer to the former one. It is the first in line at the owner, which has not noticed."""
    queue, shard = cluster.queue_of(1), 1
    owner, other = cluster.owner(queue), cluster.other(queue)
    owner("PUT", f"/queues/{queue}")
    works = owner.assembly.receiver._works
    with waiting_client(other, f"/queues/{queue}/messages/consume?wait=20") as client:
        cluster.wait_for_waiting(queue)
        [former] = works
        disturb(other, shard)
        eventually(lambda: works.keys() - {former}, "the poll to be made again")
        owner("POST", f"/queues/{queue}/messages/produce", json={"message": "read"})
        assert b'"read"' in client.recv(1 << 16)


def test_a_poll_that_is_given_up_claims_nothing(cluster: EdgeCluster) -> None:
    """A ``next`` is not made again, because it may have finished messages. Its client has an error by then."""
    queue, shard = cluster.queue_of(1), 1
    owner, other = cluster.owner(queue), cluster.other(queue)
    owner("PUT", f"/queues/{queue}")
    began_s, wait_s = time.monotonic(), 20
    call = Call(other, "POST", f"/queues/{queue}/messages/next", json={"delete": [], "wait": wait_s})
    cluster.wait_for_waiting(queue)
    miss_the_owner(other, shard)
    assert call.reply().code == "outcome_unknown"
    cluster.wait_for_waiting(queue, 0)
    assert time.monotonic() - began_s < wait_s, "otherwise its wait has ended by itself"
    owner("POST", f"/queues/{queue}/messages/produce", json={"message": "x"})
    assert waiting(cluster, queue) == 1


def test_a_shard_that_comes_back_has_a_new_broker(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    for owner in ("a", "b", "a", "b"):
        cluster.give(1, owner)
        for node in cluster.nodes.values():
            assert node("POST", f"/queues/{queue}/messages/produce", json={"message": owner}).status == 201
    assert waiting(cluster, queue) == 8
    cluster.open(1, "b")  # it was lost and taken over again before anybody heard of it
    for node in cluster.nodes.values():
        assert node("POST", f"/queues/{queue}/messages/produce", json={"message": "again"}).status == 201
    assert waiting(cluster, queue) == 10


def test_a_poll_at_another_node_ends_with_the_process(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    cluster.nodes["a"]("PUT", f"/queues/{queue}")
    other = cluster.other(queue)
    began_s = time.monotonic()
    wait_s = 20
    with waiting_client(other, f"/queues/{queue}/messages/consume?wait={wait_s}") as client:
        cluster.wait_for_waiting(queue)
        other.assembly.stop_waiting()
        response = client.recv(10_000)
        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.endswith(b"\r\n\r\n[]\n")
    assert time.monotonic() - began_s < wait_s, "otherwise its wait has ended by itself"
    assert other("POST", f"/queues/{queue}/messages/produce", json={"message": "x"}).status == 201
    assert other("GET", f"/queues/{queue}/messages/consume").json, "what does not wait is carried out to the end"


def test_a_node_that_stops_answers_what_others_have_asked_it_for() -> None:
    server = Server(lambda *_: [], "127.0.0.1", 0)
    may_end, began, done = Event(), threading.Event(), []

    def work() -> None:
        began.set()
        may_end.wait(PATIENCE_S)
        done.append("done")

    server.submit(work)
    thread = threading.Thread(target=lambda: server.run(may_end.set, is_busy=lambda: not done, drain_s=PATIENCE_S))
    thread.start()
    assert began.wait(PATIENCE_S)
    server.stop()
    thread.join(PATIENCE_S)
    assert done == ["done"]


def test_a_request_that_nobody_waits_for_any_more_is_not_carried_out(cluster: EdgeCluster) -> None:
    """The owner was frozen, and reads what has arrived when it goes on."""
    queue = cluster.queue_of(1)
    owner, other = cluster.owner(queue), cluster.other(queue)
    owner("PUT", f"/queues/{queue}")
    path = f"/queues/{queue}/messages/produce"
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_TYPE": "application/json"}
    late, timely = (
        ForwardedRequest.of(environ, body, key_id=None, base_url="", region="", is_of_ui=False)
        for body in (b'{"message": "late"}', b'{"message": "timely"}')
    )
    late.shard = timely.shard = 1
    late.id, timely.id = "1", "2"
    timely.deadline_ms = 1 << 50
    answered: list[Any] = []
    for each in (late, timely):
        other.connection.ask(
            wire.node_subject("wonderq-test", owner.name, "requests"), wire.encode(each), answered.append
        )
    eventually(lambda: len(answered) == 2, "the answers to both")
    assert [each["message"] for each in owner("GET", f"/queues/{queue}/dev/messages").json] == ["timely"]


@pytest.mark.parametrize("ahead_ms", [-600_000, 600_000])
def test_a_request_has_the_deadline_of_the_clock_of_the_owner(
    cluster: EdgeCluster, monkeypatch: pytest.MonkeyPatch, ahead_ms: int
) -> None:
    """Otherwise an owner would take all requests of a node whose clock is behind for late ones, and answer none."""
    queue = cluster.queue_of(1)
    owner, other = cluster.owner(queue), cluster.other(queue)
    owner("PUT", f"/queues/{queue}")
    own = time.time_ns
    monkeypatch.setattr(receiving, "time", SimpleNamespace(time_ns=lambda: own() - ahead_ms * 1_000_000))
    for each in cluster.nodes.values():
        each.shards.ahead_ms = ahead_ms
    deadlines: list[int] = []
    sent = wire.encode

    def encode(each: Any) -> bytes:
        if isinstance(each, ForwardedRequest):
            deadlines.append(each.deadline_ms)
        return sent(each)

    monkeypatch.setattr(wire, "encode", encode)
    began_ms = own() // 1_000_000
    assert other("GET", f"/queues/{queue}").status == 200
    longest_ms = round(other.assembly.carrier._forwarder._longest_s * 1000)
    assert deadlines
    assert all(began_ms <= each + ahead_ms - longest_ms <= own() // 1_000_000 for each in deadlines)


def test_a_node_answers_others_while_requests_wait_for_an_owner(cluster: EdgeCluster) -> None:
    lost, queue = cluster.queue_of(1), cluster.queue_of(3)
    del cluster.nodes["b"].shards.brokers[1]
    calls = [Call(cluster.nodes["a"], "GET", f"/queues/{lost}") for _ in range(5)]
    eventually(lambda: len(cluster.nodes["a"].assembly.carrier._waiting.get(1, ())) == 5, "all to wait")
    assert cluster.nodes["a"]("PUT", f"/queues/{queue}").status == 201
    assert {call.reply().code for call in calls} == {"shard_unavailable"}


def test_the_metrics_tell_what_came_of_requests_that_were_passed_on(cluster: EdgeCluster) -> None:
    queue = cluster.queue_of(1)
    other = cluster.other(queue)
    registry = CollectorRegistry()
    registry.register(other.assembly.collector)

    def count(outcome: str) -> float:
        labels = {"shard": "1", "outcome": outcome}
        return registry.get_sample_value("wonderq_forwarded_requests_total", labels) or 0

    for _ in range(3):
        other("PUT", f"/queues/{queue}")
    assert (count("done"), count("not_done"), count("unknown"), count("gone")) == (3, 0, 0, 0)
    with waiting_client(other, f"/queues/{queue}/messages/consume?wait=20"):
        cluster.wait_for_waiting(queue)
        assert registry.get_sample_value("wonderq_forwarded_requests_waiting") == 1
    eventually(lambda: count("gone") == 1, "the client to be missed")
    assert registry.get_sample_value("wonderq_forwarded_requests_waiting") == 0
    del cluster.nodes["b"].shards.brokers[1]
    other("PUT", f"/queues/{queue}")
    assert count("not_done") > 0
