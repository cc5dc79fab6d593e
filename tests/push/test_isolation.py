"""An endpoint that is slow or down delays no other, loses nothing, and takes no memory."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.push.conftest import Pushing, pushing
from tests.support.certificates import make_certificate
from tests.support.clock import FakeClock
from tests.support.hook_server import HookServer, answer, hang, hook_server
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.broker.pushes import Pushed, PushedMessage, PushKey
from wonderq.push import line as lines
from wonderq.push import pusher, resolver
from wonderq.push.delivery import Outcome, Settlement, released
from wonderq.push.line import Line
from wonderq.push.pusher import PushLimits


def test_endpoints_that_hang_leave_slots_for_the_others(broker: Broker, clock: FakeClock) -> None:
    limits = PushLimits(requests=6, requests_per_endpoint=3)
    with pushing(broker, clock, limits) as push, hook_server() as slow, hook_server() as good:
        slow.behavior = hang
        for number in range(5):
            push.subscribe(f"slow-{number}", f"{slow.url}/{number}")
        push.subscribe("good", good.url)
        push.publish(*map(str, range(50)))
        eventually(lambda: slow.open == 5)
        eventually(lambda: not push.counts("good"))
        assert sorted(map(int, good.texts)) == list(range(50))
        assert slow.most_open == 5
        slow.close()


class NameServer:
    """Finds every host at once, except those whose name begins with `dead`. Those hang until the end."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.asked: list[str] = []

    def look_up(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("dead"):
            self.end.wait(PATIENCE_S)
            raise OSError("no answer")
        return ["127.0.0.1"]


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.end.set()


def test_lookups_that_hang_leave_threads_for_the_others(
    broker: Broker, clock: FakeClock, hook: HookServer, names: NameServer
) -> None:
    with pushing(broker, clock, hosts=("*", "127.0.0.0/8"), lookup=names.look_up) as push:
        for number in range(40):
            push.subscribe(f"dead-{number}", f"http://dead{number}.example.com/", delivery={"timeout": 60})
        push.publish("text")
        eventually(lambda: len(names.asked) == 40)
        push.subscribe("good", f"http://good.example.com:{hook.port}/")
        push.publish("text")
        eventually(lambda: hook.texts == ["text"])
        names.end.set()


def is_delayed(push: Pushing, queue: str) -> bool:
    return push.broker.queue(queue).counts["delayed"] == 1


def test_an_attempt_whose_lookup_does_not_begin_is_none(
    broker: Broker, clock: FakeClock, hook: HookServer, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_TURN_S", 0.01)
    attempted: list[str] = []

    def note(pushed: Pushed, message: PushedMessage) -> Settlement:
        attempted.append(pushed.subscription.name)
        return released(pushed, message)

    monkeypatch.setattr(pusher, "released", note)
    limits = PushLimits(requests=2)
    with pushing(broker, clock, limits, ("*", "127.0.0.0/8"), lookup=names.look_up) as push:
        urls = [f"http://dead{number}.example.com/" for number in range(2)]
        queues = [push.subscribe(f"dead-{at}", url, delivery={"timeout": 1}).queue for at, url in enumerate(urls)]
        push.publish("text")
        for queue in queues:
            eventually(partial(is_delayed, push, queue))
            broker.put_queue(queue, paused=True)
        push.subscribe("good", f"http://good.example.com:{hook.port}/", delivery={"retries": 0})
        push.publish("text")
        eventually(lambda: attempted.count("good") > 2)
        assert names.asked == ["dead0.example.com", "dead1.example.com"]
        names.end.set()
        eventually(lambda: hook.texts == ["text"])
        eventually(lambda: not push.counts("good"))
        assert hook.received[0].headers["wonderq-attempt"] == "1"
        assert broker.counters.push.attempts["dead"] == 0


def test_an_attempt_without_a_thread_for_its_lookup_is_none(
    broker: Broker, clock: FakeClock, hook: HookServer, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may have no more threads for a time."""
    refusals = ["can't start new thread"] * 3

    class ScarceThread(threading.Thread):
        def start(self) -> None:
            if refusals:
                raise RuntimeError(refusals.pop())
            super().start()

    monkeypatch.setattr(resolver, "_TURN_S", 0.01)
    monkeypatch.setattr(resolver, "Thread", ScarceThread)
    with pushing(broker, clock, hosts=("*", "127.0.0.0/8"), lookup=names.look_up) as push:
        push.subscribe("good", f"http://good.example.com:{hook.port}/", delivery={"retries": 0})
        push.publish("text")
        eventually(lambda: hook.texts == ["text"])
        eventually(lambda: not push.counts("good"))
    assert hook.received[0].headers["wonderq-attempt"] == "1"
    assert not refusals


LOOKUP_AT_THE_END = """
import asyncio, threading
from wonderq.model.push_hosts import PushHosts
from wonderq.push.resolver import Resolver

async def main():
    begun = threading.Event()
    resolver = Resolver(PushHosts(("*",)), 1, lambda _: (begun.set(), threading.Event().wait()))
    resolver.lookup("dead.example.com")
    await asyncio.to_thread(begun.wait)
    resolver.close()

asyncio.run(main())
"""


def test_a_lookup_that_hangs_does_not_delay_the_end_of_the_process() -> None:
    subprocess.run([sys.executable, "-c", LOOKUP_AT_THE_END], timeout=PATIENCE_S, check=True)


@pytest.mark.slow
def test_an_endpoint_that_hung_gets_one_request_at_a_time(push: Pushing, hook: HookServer, hasty: None) -> None:
    push.subscribe("mail", hook.url, delivery={"timeout": 1})
    push.publish(*map(str, range(30)))
    eventually(lambda: len(hook.received) == 30)
    eventually(lambda: not push.counts("mail"))
    hook.behavior = answer(500)
    push.publish("a fault")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    hook.most_open, hook.behavior = 0, hang
    push.publish(*map(str, range(5)))
    eventually(lambda: push.counts("mail") == {"delayed": 3, "processing": 1, "unprocessed": 2})
    assert hook.most_open == 1


def line() -> Line:
    return Line(PushKey(1, "mail"), 10, lambda: None)


FAULT = Outcome("It failed.")


def test_the_pause_after_failures_grows_to_a_bound_and_ends_with_a_success() -> None:
    found = line()
    pauses_s = []
    now_s = 100.0
    for _ in range(20):
        found.learn(FAULT, now_s, now_s)
        pauses_s.append(found.pause_s(now_s))
        now_s += pauses_s[-1]
    assert pauses_s[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert pauses_s[-1] == pytest.approx(20)
    assert found.limit == 1
    assert found.learn(Outcome(), now_s, now_s)
    assert (found.pause_s(now_s), found.reason) == (0, "")


def test_requests_that_failed_together_are_one_failure() -> None:
    found = line()
    for _ in range(10):
        found.learn(FAULT, 100.0, 101.0)
    assert found.pause_s(101.0) == pytest.approx(0.1)


def test_a_message_that_is_refused_does_not_slow_its_endpoint_down() -> None:
    found = line()
    for _ in range(20):
        found.learn(Outcome("No.", is_final=True), 100.0, 100.0)
    assert (found.limit, found.pause_s(100.0)) == (10, 0)


def test_the_endpoint_may_ask_for_a_longer_pause() -> None:
    found = line()
    found.learn(Outcome("Later.", retry_after_s=60), 100.0, 100.0)
    assert found.pause_s(100.0) == pytest.approx(60)
    found.learn(Outcome("Later.", retry_after_s=10**9), 100.0, 100.0)
    assert found.pause_s(100.0) == pytest.approx(300)


def test_a_rate_is_counted_per_second() -> None:
    found = line()
    assert found.permitted(0, 10, 100.0) == (10, 0)
    assert found.permitted(5, 10, 100.0) == (5, 0)
    found.count(5, 5, 100.0)
    permitted, wait_s = found.permitted(5, 10, 100.0)
    assert (permitted, round(wait_s, 3)) == (0, 0.2)
    assert found.permitted(5, 10, 100.61)[0] == 3


def timers(push: Pushing) -> int:
    """Return the number of timers of the push thread."""
    assert push.pusher is not None
    loop = push.pusher._loop
    assert isinstance(loop, asyncio.base_events.BaseEventLoop)
    return sum(not each.cancelled() for each in list(loop._scheduled))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_endpoint_down_for_a_minute_of_steady_load(
    broker: Broker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minute passes on the broker's clock; the pauses of the endpoint are as much shorter as the test is."""
    monkeypatch.setattr(lines, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(lines, "_LONGEST_PAUSE_S", 2.0)
    with pushing(broker, clock) as push, hook_server() as good:
        down = HookServer()
        port = down.port
        push.subscribe("down", down.url)
        push.subscribe("good", good.url)
        push.publish("before")
        eventually(lambda: down.received and good.received)
        down.close()
        most = Counter[str]()
        sent = ["before"]
        for second in range(60):
            batch = [f"{second}.{number}" for number in range(20)]
            push.publish(*batch)
            sent += batch
            expected = len(sent)
            eventually(partial(good.has_received, expected))  # at once
            push.advance(1)
            assert push.pusher is not None
            most["deliveries"] = max(most["deliveries"], len(push.pusher._deliveries))
            most["tasks"] = max(most["tasks"], len(push.pusher._tasks))
            most["timers"] = max(most["timers"], timers(push))
            most["settlements"] = max(most["settlements"], *(len(e.settlements) for e in push.pusher._lines.values()))
        assert sorted(good.texts) == sorted(sent)
        assert not set(push.counts("down")) & {"buried"}
        assert sum(push.counts("down").values()) == len(sent) - 1
        assert most["deliveries"] <= 11
        assert most["tasks"] <= 10
        assert most["timers"] <= 25  # one for each request, each claim and each endpoint
        assert most["settlements"] <= 10
        with hook_server(port) as back:
            eventually(lambda: (push.advance(1), not push.counts("down"))[1])
            assert {*back.texts, "before"} == set(sent)
            assert push.broker.counters.push.attempts["dead"] == 0


@pytest.mark.slow
def test_tls_is_verified(broker: Broker, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
    with hook_server(tls=certificate.serving()) as hook, pushing(broker, clock) as push:
        push.broker.put_queue("dead")
        push.subscribe("good", f"https://localhost:{hook.port}/")
        push.subscribe("other", f"https://127.0.0.1:{hook.port}/", dead_letter_queue="dead", delivery={"retries": 0})
        push.publish("text")
        eventually(lambda: not push.counts("good"))
        [dead] = eventually(lambda: list(push.broker.messages("dead")))
        assert dead.envelope is not None
        assert dead.envelope.dead_letter_source is not None
        assert "certificate verify failed" in dead.envelope.dead_letter_source.reason
        assert hook.texts == ["text"]
    monkeypatch.setenv("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile)
    with hook_server(tls=certificate.serving()) as hook, pushing(broker, clock) as push:
        push.subscribe("unknown", f"https://localhost:{hook.port}/", dead_letter_queue="dead", delivery={"retries": 0})
        push.publish("text")
        eventually(lambda: len(list(push.broker.messages("dead"))) > 1)
        assert not hook.received


def test_stopping_gives_back_what_is_under_way(
    broker: Broker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wonderq.push.pusher._GRACE_S", 0.01)
    with hook_server() as hook:
        with pushing(broker, clock) as push:
            hook.behavior = hang
            queue = push.subscribe("mail", hook.url).queue
            push.publish("text")
            eventually(lambda: hook.open)
        assert push.counts("mail") == {"unprocessed": 1}
        [message] = broker.messages(queue)
        assert message.receives == 0
        assert broker.core.consumers.waiting_for(broker.core.state.queues[queue]) == 0
        hook.behavior = answer(200)
        with pushing(broker, clock) as push:
            eventually(lambda: not push.counts("mail"))
        assert hook.texts == ["text", "text"]
