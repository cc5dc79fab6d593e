"""Deliveries to endpoints: what is sent, what is tried again, and what becomes a dead letter."""

from __future__ import annotations

import hmac
import json
import random
import socket
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.push.conftest import Pushing, pushing
from tests.support.clock import FakeClock
from tests.support.hook_server import Behavior, HookServer, Received, answer, endless, hang, hook_server, raw
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import Waiter
from wonderq.broker.pushes import Pushed, PushedMessage, PushRequest
from wonderq.model.messages import NewMessage
from wonderq.model.push import DeliveryPolicy
from wonderq.model.topics import Deliveries, Publication
from wonderq.push import connection
from wonderq.push.connection import Connection
from wonderq.push.pusher import PushLimits
from wonderq.push.webhook import Webhooks

NOT_AGAIN = {"retries": 0}


def test_messages_are_delivered_and_deleted(push: Pushing, hook: HookServer) -> None:
    made = push.subscribe("mail", hook.url)
    assert made.queue == "orders--push-mail"
    push.publish("one", "zwei ü")
    eventually(lambda: len(hook.received) == 2)
    eventually(lambda: not push.counts("mail"))
    assert sorted(hook.texts) == ["one", "zwei ü"]
    assert {each.line for each in hook.received} == {"POST /hook HTTP/1.1"}


def verified(secret: str, received: Received) -> bool:
    """Verify a request as Standard Webhooks describes it."""
    message_id, timestamp = received.headers["webhook-id"], received.headers["webhook-timestamp"]
    signed = f"{message_id}.{timestamp}.".encode() + received.body
    digest = hmac.digest(b64decode(secret.removeprefix("whsec_")), signed, "sha256")
    return f"v1,{b64encode(digest).decode()}" in received.headers["webhook-signature"].split()


def test_a_request_has_headers_and_a_signature(push: Pushing, hook: HookServer) -> None:
    secret = push.subscribe("mail", hook.url).secret
    push.publish('{"order": 1}', attributes={"kind": ("String", "paid")})
    [received] = eventually(lambda: list(hook.received))
    assert verified(secret, received)
    assert not verified(secret, received._replace(body=b'{"order": 2}'))
    assert received.headers["content-type"] == "text/plain; charset=utf-8"
    assert received.headers["host"] == f"127.0.0.1:{hook.port}"
    assert (received.headers["wonderq-topic"], received.headers["wonderq-subscription"]) == ("orders", "mail")
    assert received.headers["wonderq-attempt"] == "1"


def test_the_envelope_has_the_attributes_and_the_id_of_the_publication(push: Pushing, hook: HookServer) -> None:
    push.subscribe("mail", hook.url, raw=False)
    [published] = push.publish("text", subject="About", attributes={"kind": ("String", "paid")})
    [received] = eventually(lambda: list(hook.received))
    assert received.headers["content-type"] == "application/json"
    envelope = json.loads(received.body)
    assert (envelope["Message"], envelope["Subject"], envelope["MessageId"]) == ("text", "About", published)
    assert envelope["MessageAttributes"] == {"kind": {"Type": "String", "Value": "paid"}}
    assert received.headers["webhook-id"] == published


def test_an_attempt_that_fails_is_repeated_after_its_delay(push: Pushing, hook: HookServer, hasty: None) -> None:
    hook.behavior = answer(500)
    push.subscribe("mail", hook.url, delivery={"retries": 2, "min_delay": 10, "max_delay": 30})
    push.publish("text")
    for attempt, delay_s in ((1, 10), (2, 30)):
        eventually(partial(hook.has_received, attempt))
        eventually(lambda: push.counts("mail") == {"delayed": 1})
        push.advance(delay_s - 0.001)
        assert push.counts("mail") == {"delayed": 1}
        if attempt == 2:
            hook.behavior = answer(204)
        push.advance(0.001)
    eventually(lambda: not push.counts("mail"))
    assert [each.headers["wonderq-attempt"] for each in hook.received] == ["1", "2", "3"]
    assert len({each.headers["webhook-id"] for each in hook.received}) == 1


def test_after_the_last_retry_a_message_is_a_dead_letter_with_the_reason(
    push: Pushing, hook: HookServer, hasty: None
) -> None:
    hook.behavior = answer(503)
    push.broker.put_queue("dead")
    push.subscribe(
        "mail", hook.url, dead_letter_queue="dead", delivery={"retries": 1, "no_delay_retries": 1}, raw=False
    )
    push.publish("text")
    [dead] = eventually(lambda: list(push.broker.messages("dead")))
    assert json.loads(dead.body)["Message"] == "text"
    assert dead.envelope is not None
    assert dead.envelope.dead_letter_source is not None
    assert "responded with 503" in dead.envelope.dead_letter_source.reason
    assert len(hook.received) == 2
    assert not push.counts("mail")


def test_without_a_dead_letter_queue_a_message_is_buried_and_can_be_kicked(
    push: Pushing, hook: HookServer, hasty: None
) -> None:
    hook.behavior = answer(500)
    queue = push.subscribe("mail", hook.url, delivery=NOT_AGAIN).queue
    push.publish("text")
    eventually(lambda: push.counts("mail") == {"buried": 1})
    hook.behavior = answer(200)
    assert push.broker.kick(queue, 10) == 1
    eventually(lambda: not push.counts("mail"))
    assert hook.texts == ["text", "text"]


@pytest.mark.parametrize("status", [400, 401, 404, 408, 410, 422, 499])
def test_a_refused_message_is_not_repeated(push: Pushing, hook: HookServer, status: int) -> None:
    hook.behavior = answer(status)
    push.subscribe("mail", hook.url, delivery={"retries": 9, "no_delay_retries": 9})
    push.publish("text")
    eventually(lambda: push.counts("mail") == {"buried": 1})
    assert len(hook.received) == 1


@pytest.mark.parametrize(
    "behavior",
    [
        answer(301, "Location: http://127.0.0.1:1/"),
        answer(307, "Location: /elsewhere"),
        answer(429),
        answer(500),
        answer(599),
        raw(b""),
        raw(b"HTTP/1.1 200"),
        raw(b"SSH-2.0-OpenSSH\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"),
        raw(b"HTTP/1.1 099 No\r\n\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nX: "),
    ],
)
def test_a_fault_of_the_endpoint_is_repeated(push: Pushing, hook: HookServer, behavior: Behavior, hasty: None) -> None:
    hook.behavior = behavior
    push.subscribe("mail", hook.url)
    push.publish("text")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    hook.behavior = answer(200)
    push.advance(20)
    eventually(lambda: not push.counts("mail"))
    assert hook.texts == ["text", "text"]
    assert {each.line for each in hook.received} == {"POST /hook HTTP/1.1"}


@pytest.mark.parametrize("behavior", [endless(b"HTTP/1.1 200 OK\r\n\r\n"), raw(b"HTTP/1.1 202 OK\r\n\r\n")])
def test_the_status_counts_however_the_body_ends(push: Pushing, hook: HookServer, behavior: Behavior) -> None:
    hook.behavior = behavior
    push.subscribe("mail", hook.url)
    push.publish("text")
    eventually(lambda: hook.received)
    eventually(lambda: not push.counts("mail"))
    eventually(lambda: not hook.open)


def begin_and_hang(connection: socket.socket, received: Received, closed: threading.Event) -> None:
    """Send the head of a response and a part of its body, and never the rest."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    hang(connection, received, closed)


def test_the_status_counts_when_the_body_outlasts_the_timeout(
    push: Pushing, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BODY_S", 1.5)  # more than the timeout
    hook.behavior = begin_and_hang
    push.subscribe("mail", hook.url, delivery={"timeout": 1})
    push.publish("text")
    eventually(lambda: hook.received and push.counts("mail") != {"processing": 1})
    assert (push.counts("mail"), hook.texts) == ({}, ["text"])


def after(act: Callable[[], object], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that acts before it does what another one does."""
    return lambda *arguments: (act(), function(*arguments))[1]


def test_the_status_counts_when_the_broker_stops_during_the_body(
    broker: Broker, clock: FakeClock, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BODY_S", 600)
    monkeypatch.setattr("wonderq.push.pusher._GRACE_S", 0.01)
    is_body = threading.Event()
    monkeypatch.setattr(Connection, "_read_body", after(is_body.set, Connection._read_body))
    hook.behavior = begin_and_hang
    with pushing(broker, clock) as push:
        push.subscribe("mail", hook.url)
        push.publish("text")
        assert is_body.wait(PATIENCE_S)
    assert push.counts("mail") == {}


def test_an_endpoint_that_hangs_is_left_after_the_timeout(push: Pushing, hook: HookServer) -> None:
    hook.behavior = hang
    push.subscribe("mail", hook.url, delivery={"timeout": 1})
    push.publish("text")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    assert len(hook.received) == 1


def test_a_large_message_arrives_whole(push: Pushing, hook: HookServer) -> None:
    push.subscribe("mail", hook.url)
    push.publish("x" * 900_000)
    eventually(lambda: not push.counts("mail"))
    assert [len(each.body) for each in hook.received] == [900_000]


def test_no_more_requests_at_a_time_than_the_limit(push: Pushing, hook: HookServer) -> None:
    push.subscribe("mail", hook.url)
    push.publish(*map(str, range(20)))
    eventually(lambda: len(hook.received) >= 20)
    hook.behavior = hang
    push.publish(*map(str, range(20, 60)))
    eventually(lambda: hook.open == 10)
    eventually(lambda: push.counts("mail") == {"processing": 10, "unprocessed": 30})
    assert hook.most_open == 10


def test_the_subscription_ends_its_queue_and_its_deliveries(push: Pushing, hook: HookServer) -> None:
    hook.behavior = answer(500)
    queue = push.subscribe("mail", hook.url).queue
    push.publish("text")
    eventually(lambda: hook.received)
    push.broker.topics.unsubscribe("orders", "mail")
    assert queue not in push.broker.queue_names(limit=100)
    eventually(lambda: not push.broker.counters.push.endpoints)
    push.subscribe("mail", hook.url)
    push.publish("again")
    eventually(lambda: "again" in hook.texts)


def test_a_paused_queue_holds_its_messages_back(push: Pushing, hook: HookServer) -> None:
    queue = push.subscribe("mail", hook.url).queue
    push.broker.put_queue(queue, paused=True)
    push.publish("one")
    push.subscribe("log", hook.url.replace("hook", "other"))
    push.publish("two")
    eventually(lambda: "two" in hook.texts)
    assert push.counts("mail") == {"unprocessed": 2}
    push.broker.put_queue(queue, paused=False)
    eventually(lambda: not push.counts("mail"))


def test_a_rate_bounds_the_requests(push: Pushing, hook: HookServer) -> None:
    push.subscribe("mail", hook.url, delivery={"max_per_second": 5})
    begin_s = time.monotonic()
    push.publish(*map(str, range(9)))  # five at once, and four that take 0.2 s each
    eventually(lambda: not push.counts("mail"))
    assert time.monotonic() - begin_s > 0.75
    assert sorted(hook.texts) == sorted(map(str, range(9)))


def test_a_fifo_topic_keeps_the_order_of_each_group(push: Pushing, hook: HookServer, hasty: None) -> None:
    push.broker.topics.put("events.fifo")
    queue = push.broker.topics.subscribe("events.fifo", "mail", endpoint=hook.url)[0].queue
    assert queue == "events--push-mail.fifo"
    chance, done = random.Random(5), []

    def fail_sometimes(connection: socket.socket, received: Received, closed: threading.Event) -> None:
        fails = chance.random() < 0.3
        if not fails:
            done.append(received.text)
        answer(500 if fails else 200)(connection, received, closed)

    hook.behavior = fail_sometimes
    delivery = {"retries": 100, "no_delay_retries": 50}
    push.broker.topics.subscribe("events.fifo", "mail", delivery=delivery)
    messages = [NewMessage(f"{group}{number}", group=group) for number in range(10) for group in "abc"]
    push.broker.topics.publish("events.fifo", [Publication(each) for each in messages])
    eventually(lambda: not sum(push.broker.queue(queue).counts.values()))
    for group in "abc":
        assert [text for text in done if text.startswith(group)] == [f"{group}{number}" for number in range(10)]
    assert len(hook.received) > len(done)


def test_a_message_of_a_group_waits_for_the_retry_of_the_one_before(
    push: Pushing, hook: HookServer, hasty: None
) -> None:
    push.broker.topics.put("events.fifo")
    queue = push.broker.topics.subscribe("events.fifo", "mail", endpoint=hook.url, delivery={"retries": 1})[0].queue
    hook.behavior = answer(500)
    messages = [Publication(NewMessage(text, group=text[0])) for text in ("a1", "a2")]
    push.broker.topics.publish("events.fifo", messages)
    eventually(lambda: hook.texts == ["a1"])
    eventually(lambda: push.broker.counters.push.attempts["failed"] == 1)
    hook.behavior = answer(200)
    push.broker.topics.publish("events.fifo", [Publication(NewMessage("b1", group="b"))])
    eventually(lambda: hook.texts == ["a1", "b1"])
    push.advance(20)
    eventually(lambda: not sum(push.broker.queue(queue).counts.values()))
    assert hook.texts == ["a1", "b1", "a1", "a2"]


def test_a_change_of_the_url_applies_to_what_waits(push: Pushing, hook: HookServer) -> None:
    with hook_server() as elsewhere:
        hook.behavior = answer(500)
        push.subscribe("mail", hook.url)
        push.publish("text")
        eventually(lambda: push.counts("mail") == {"delayed": 1})
        push.subscribe("mail", elsewhere.url)
        push.advance(20)
        eventually(lambda: elsewhere.texts == ["text"])


def test_the_messages_of_a_queue_that_exists_are_delivered(push: Pushing, hook: HookServer) -> None:
    push.broker.send("jobs", ["produced"])
    push.subscribe("jobs", hook.url, queue="jobs")
    push.publish("published")
    eventually(lambda: sorted(hook.texts) == ["produced", "published"])
    push.broker.topics.unsubscribe("orders", "jobs")
    eventually(lambda: not push.broker.counters.push.endpoints)
    push.broker.send("jobs", ["later"])
    [message] = push.broker.claim("jobs", wait_s=5)
    assert message.body == "later"
    assert len(hook.received) == 2


def test_an_endpoint_that_pauses_keeps_no_message_from_other_consumers(push: Pushing, hook: HookServer) -> None:
    hook.behavior = answer(503, "Retry-After: 300")
    push.broker.put_queue("jobs")
    push.subscribe("jobs", hook.url, queue="jobs")
    push.publish("fails")
    eventually(lambda: push.counts("jobs") == {"delayed": 1})
    other, core = Waiter(), push.broker.core
    with push.broker.locked():
        core.consumers.join(core.state.queues["jobs"], other)  # behind the endpoint, if that has a place
    push.publish("for others")
    eventually(other.wake.is_set)
    [message] = push.broker.claim("jobs")
    assert message.body == "for others"


def test_an_endpoint_gets_messages_again_after_its_pause(push: Pushing, hook: HookServer, hasty: None) -> None:
    hook.behavior = answer(503)
    push.subscribe("mail", hook.url)
    for number in range(20):  # so that pauses end at different moments of the retreat from the queue
        push.publish(f"{number}")
        eventually(partial(lambda expected: push.broker.counters.push.attempts["failed"] == expected, number + 1))
    hook.behavior = answer(200)
    push.publish("last")
    eventually(lambda: "last" in hook.texts)
    push.advance(20)
    eventually(lambda: not push.counts("mail"))


@pytest.mark.parametrize("call", ["find", "claim"])
def test_a_subscription_that_begins_again_while_its_end_is_noticed_gets_its_messages(
    push: Pushing, hook: HookServer, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    push.wait_for_start()
    made, has_begun = getattr(push.broker.pushes, call), threading.Event()

    def end_and_begin(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(push.broker.pushes, call, made)
        push.broker.topics.unsubscribe("orders", "mail")
        found = made(*arguments, **named)
        push.subscribe("mail", hook.url)  # the push thread hears of it before it learns what was found
        has_begun.set()
        return found

    monkeypatch.setattr(push.broker.pushes, call, end_and_begin)
    push.subscribe("mail", hook.url)
    assert has_begun.wait(10)
    push.publish("text")
    eventually(lambda: not push.counts("mail"))
    assert hook.texts == ["text"]
    push.broker.topics.unsubscribe("orders", "mail")
    eventually(lambda: not push.broker.counters.push.endpoints)


def test_outcomes_are_settled_in_the_queue_of_their_claim(
    broker: Broker, clock: FakeClock, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription leads to another queue while requests for the messages of the first are under way."""
    ends = {text: threading.Event() for text in ("a1", "a2", "a3", "b1")}

    def end_later(connection: socket.socket, received: Received, closed: threading.Event) -> None:
        assert ends[received.text].wait(10)
        answer(200)(connection, received, closed)

    with pushing(broker, clock, PushLimits(requests_per_endpoint=3)) as push:
        broker.send("first", ["x1", "x2"])
        push.subscribe("mail", hook.url, queue="first")
        eventually(lambda: not sum(broker.queue("first").counts.values()))  # now it may get three at a time
        hook.behavior = end_later
        broker.send("first", ["a1", "a2", "a3"])
        eventually(lambda: hook.open == 3)
        broker.send("second", ["b1"])
        broker.topics.unsubscribe("orders", "mail")
        push.subscribe("mail", hook.url, queue="second")
        ends["a1"].set()
        eventually(lambda: "b1" in hook.texts)
        settle, may_settle = broker.pushes.settle, threading.Event()

        def settle_later(*arguments: Any) -> Any:
            assert may_settle.wait(10)
            return settle(*arguments)

        monkeypatch.setattr(broker.pushes, "settle", settle_later)
        assert push.pusher is not None
        [line] = push.pusher._lines.values()
        ends["a2"].set()
        eventually(lambda: line.is_settling and not line.settlements)
        ends["a3"].set()
        ends["b1"].set()
        eventually(lambda: len(line.settlements) == 2)  # which one round settles
        may_settle.set()
        eventually(lambda: not line.running)
        assert not sum(broker.queue("first").counts.values())
        assert not sum(broker.queue("second").counts.values())


@pytest.mark.parametrize(("before_s", "after_s"), [(1, 60), (60, 1)])
def test_a_policy_that_changes_before_the_claim_applies_to_its_messages(
    push: Pushing, hook: HookServer, monkeypatch: pytest.MonkeyPatch, before_s: int, after_s: int
) -> None:
    """But a request takes no longer than the claim was made for."""
    claim, timeouts_s = push.broker.pushes.claim, list[int]()

    class Composer(Webhooks):
        def compose(self, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> PushRequest:
            timeouts_s.append(policy.timeout)
            return super().compose(pushed, policy, message)

    def claim_later(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(push.broker.pushes, "claim", claim)
        push.subscribe("mail", hook.url, delivery={"retries": 1, "timeout": after_s})
        push.publish("text")
        return claim(*arguments, **named)

    monkeypatch.setitem(push.broker.pushes.composers, "webhook", Composer())
    monkeypatch.setattr(push.broker.pushes, "claim", claim_later)
    hook.behavior = answer(500)
    push.subscribe("mail", hook.url, delivery={"retries": 0, "timeout": before_s})
    eventually(lambda: push.broker.counters.push.last)
    eventually(lambda: "processing" not in push.counts("mail"))
    assert push.counts("mail") == {"delayed": 1}
    assert timeouts_s == [1]


def test_figures_and_log_lines(push: Pushing, hook: HookServer, hasty: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="wonderq.push")
    counters = push.broker.counters.push
    push.subscribe("mail", f"{hook.url}/secret-path")
    hook.behavior = answer(500)
    push.publish("text")
    eventually(lambda: counters.failing == 1)
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    hook.behavior = answer(200)
    push.advance(20)
    eventually(lambda: not counters.failing)
    hook.behavior = answer(404)
    push.publish("refused")
    eventually(lambda: push.counts("mail") == {"buried": 1})
    assert counters.attempts == {"delivered": 1, "failed": 1, "dead": 1}
    assert (counters.endpoints, sum(counters.duration_s.counts)) == (1, 3)
    eventually(lambda: counters.in_flight == 0)
    name = f"the endpoint http://127.0.0.1:{hook.port} of orders/mail"
    assert [each.getMessage() for each in caplog.records] == [
        f"{name} fails: The endpoint responded with 500.",
        f"{name} works again",
        f"{name} refuses a message: The endpoint responded with 404.",
    ]


def test_a_subscription_shows_its_last_request(push: Pushing, hook: HookServer, hasty: None) -> None:
    def deliveries() -> Deliveries:
        found = push.broker.topics.subscription("orders", "mail").deliveries
        assert found is not None
        return found

    push.subscribe("mail", hook.url, delivery={"retries": 1})
    assert deliveries() == (0, 0, 0, None)
    hook.behavior = answer(503)
    push.publish("text")
    eventually(lambda: deliveries()[:3] == (0, 1, 0))
    assert deliveries().last == (push.clock.now_ms(), "The endpoint responded with 503.")
    hook.behavior = answer(404)
    push.advance(20)
    eventually(lambda: deliveries()[:3] == (0, 0, 1))
    assert deliveries().last == (push.clock.now_ms(), "The endpoint responded with 404.")
    hook.behavior = answer(200)
    push.publish("more")
    eventually(lambda: deliveries() == (0, 0, 1, (push.clock.now_ms(), "")))
    push.broker.topics.unsubscribe("orders", "mail")
    eventually(lambda: not push.broker.counters.push.last)


def test_a_request_that_cannot_be_made_is_a_fault(
    push: Pushing, hook: HookServer, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be tried again at once, nor end the deliveries of others."""

    class Composer(Webhooks):
        def compose(self, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> PushRequest:
            request = super().compose(pushed, policy, message)
            return request._replace(headers={**request.headers, "x-text": message.text})

    monkeypatch.setitem(push.broker.pushes.composers, "webhook", Composer())
    push.subscribe("mail", hook.url)
    push.publish("a\r\nb: c", "plain")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    assert hook.texts == ["plain"]
