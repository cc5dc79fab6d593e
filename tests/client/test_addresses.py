"""Clients with several addresses: the next one is asked when one fails, and only if that is safe."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.client.script import refusal
from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from wonderq import AsyncClient, Client, Unreachable
from wonderq.app import create_stand_by_app
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.client.addresses import AVOIDED_S, Addresses
from wonderq.client.endpoint import Endpoint
from wonderq.client.requests import Answer, NoAnswer, Request
from wonderq.client.retries import Retries
from wonderq.rest.health import Standing

URLS = ["http://a:7979", "http://b:7979", "http://c:7979"]

ASKED = Request("POST", "/queues/orders/messages/produce")


@pytest.fixture(autouse=True)
def _begin_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Addresses.__init__
    monkeypatch.setattr(Addresses, "__init__", lambda self, urls: original(self, urls, lambda _: 0))


def url_of(served: ServedBroker) -> str:
    return f"http://127.0.0.1:{served.port}"


def closed_port() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def brokers() -> Iterator[list[ServedBroker]]:
    """Serve two brokers on one log, as two nodes of a cluster: what is sent to one can be read at the other."""
    broker = Broker(MemoryLog())
    with serving(broker) as first, serving(broker) as second:
        yield [first, second]


@contextmanager
def cutting(requests: list[bytes]) -> Iterator[str]:
    """Serve connections that end when a request has come, so that nobody knows whether it was carried out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    requests.append(connection.recv(1 << 16))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


# The choice


def test_a_failure_moves_on_and_a_good_answer_stays() -> None:
    addresses = Addresses(URLS)
    good, gone = Answer(200, b""), NoAnswer("refused", outcome_unknown=False)
    assert addresses.judge(0, ASKED, good) == (good, False)
    assert addresses.at == 0
    assert addresses.judge(0, ASKED, gone) == (gone, True)
    assert addresses.judge(1, ASKED, gone) == (gone, True)
    assert addresses.judge(2, ASKED, gone) == (gone, False), "all were tried"
    assert addresses.at == 0
    assert addresses.judge(0, ASKED, good) == (good, False)
    assert addresses.judge(0, ASKED, gone) == (gone, True), "and another round may begin"


def test_a_request_that_may_have_arrived_is_left_to_the_policy_of_repetitions() -> None:
    addresses = Addresses(URLS[:2])
    lost = NoAnswer("cut", outcome_unknown=True)
    assert addresses.judge(0, ASKED, lost) == (lost, False)
    assert addresses.at == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_the_pause_that_one_address_asks_for_does_not_hold_for_the_next(status: int) -> None:
    addresses = Addresses(URLS[:2])
    busy = Answer(status, b"", retry_after_s=5.0)
    assert addresses.judge(0, ASKED, busy) == (Answer(status, b""), False)
    assert addresses.judge(1, ASKED, busy) == (busy, False), "all of them ask for it"


def test_other_refusals_do_not_move_a_client() -> None:
    addresses = Addresses(URLS[:2])
    for status in (400, 404, 409, 429, 507):
        refused = Answer(status, b"", retry_after_s=1.0)
        assert addresses.judge(0, ASKED, refused) == (refused, False)
    assert addresses.at == 0


def test_a_late_failure_of_an_address_that_was_left_does_not_move_again() -> None:
    addresses = Addresses(URLS)
    lost = NoAnswer("cut", outcome_unknown=True)
    addresses.judge(0, ASKED, lost)
    addresses.judge(0, ASKED, lost)
    assert addresses.at == 1


# Owners of queues


def told(owner: str) -> Answer:
    """Return an answer that a node passed on."""
    return Answer(200, b"", owner=owner)


def test_further_requests_for_a_queue_go_to_its_owner() -> None:
    addresses = Addresses(URLS)
    assert addresses.judge(0, ASKED, told(URLS[2])) == (told(URLS[2]), False)
    assert addresses.of(ASKED) == 2
    assert addresses.of(Request("GET", "/queues/invoices")) == 0
    assert addresses.of(Request("GET", "/overview")) == 0
    addresses.judge(2, ASKED, Answer(200, b""))
    assert addresses.of(ASKED) == 2, "the owner passes nothing on, and so tells nothing"
    addresses.judge(2, ASKED, told(URLS[1]))
    assert addresses.of(ASKED) == 1, "the queue has moved"


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/queues/orders"),
        Request("GET", "/queues/orders?figures=true"),
        Request("PUT", "/topics/orders/subscriptions/all"),
        Request("PUT", "/schedules/orders--nightly"),
        Request("GET", "/queues/orders--dead/dev/messages?limit=10"),
        Request("POST", "/messages/consume", queue="orders"),
        Request("POST", "/messages/next", queue="orders--urgent"),
        Request("GET", "/queues/orders.fifo"),
        Request("GET", "/queues/orders--dead.fifo"),
        Request("POST", "/messages/next", queue="orders.fifo"),
    ],
    ids=lambda each: each.queue or each.target,
)
def test_names_that_share_what_stands_before_the_hyphens_have_one_owner(request_: Request) -> None:
    addresses = Addresses(URLS)
    addresses.judge(0, ASKED, told(URLS[2]))
    assert addresses.of(request_) == 2
    learnt = Addresses(URLS)
    learnt.judge(0, request_, told(URLS[1]))
    assert learnt.of(ASKED) == 1


@pytest.mark.parametrize("target", ["/queues", "/queues?prefix=orders", "/overview", "/messages/consume", "/"])
def test_a_request_about_no_particular_queue_teaches_nothing(target: str) -> None:
    addresses = Addresses(URLS)
    addresses.judge(0, ASKED, told(URLS[2]))
    addresses.judge(0, Request("GET", target), told(URLS[1]))
    assert addresses.of(Request("GET", target)) == 0
    assert addresses.of(ASKED) == 2


def test_a_client_goes_to_no_address_that_it_was_not_given() -> None:
    addresses = Addresses(URLS)
    for url in ("http://elsewhere:7979", "http://a:7980", "https://b:7979", "", "nonsense"):
        addresses.judge(0, ASKED, told(url))
        assert addresses.of(ASKED) == 0


@pytest.mark.parametrize(
    "failure",
    [NoAnswer("refused", outcome_unknown=False), NoAnswer("cut", outcome_unknown=True), Answer(503, b"")],
    ids=["refused", "cut", "503"],
)
def test_an_owner_that_fails_is_forgotten(failure: Answer | NoAnswer) -> None:
    addresses = Addresses(URLS)
    invoices, letters = Request("GET", "/queues/invoices"), Request("GET", "/queues/letters")
    for request, owner in ((ASKED, 2), (invoices, 2), (letters, 1)):
        addresses.judge(0, request, told(URLS[owner]))
    _, again = addresses.judge(2, ASKED, failure)
    assert again == (isinstance(failure, NoAnswer) and not failure.outcome_unknown)
    assert [addresses.of(each) for each in (ASKED, invoices, letters)] == [0, 0, 1]


@pytest.mark.parametrize("failure", [NoAnswer("cut", outcome_unknown=True), Answer(503, b"")], ids=["cut", "503"])
def test_an_owner_that_has_failed_is_not_asked_again_for_some_time(
    failure: Answer | NoAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("wonderq.client.addresses.monotonic", lambda: now_s)
    addresses = Addresses(URLS)
    addresses.judge(0, ASKED, told(URLS[2]))
    addresses.judge(2, ASKED, failure)
    for _ in range(3):
        assert addresses.of(ASKED) == 0
        addresses.judge(0, ASKED, told(URLS[2]))
    addresses.judge(0, ASKED, told(URLS[1]))
    assert addresses.of(ASKED) == 1, "another owner is asked at once"
    now_s += AVOIDED_S
    addresses.judge(1, ASKED, told(URLS[2]))
    assert addresses.of(ASKED) == 2


def test_an_address_whose_connections_are_all_in_use_has_not_failed() -> None:
    addresses = Addresses(URLS)
    addresses.judge(0, ASKED, told(URLS[2]))
    busy = NoAnswer("all are in use", outcome_unknown=False, is_local=True)
    assert addresses.judge(2, ASKED, busy) == (busy, False), "the next address would get no better chance"
    assert addresses.judge(0, Request("GET", "/overview"), busy) == (busy, False)
    assert (addresses.of(ASKED), addresses.at) == (2, 0)


@pytest.mark.parametrize("code", ["shard_unavailable", "outcome_unknown"])
def test_a_shard_without_an_owner_says_nothing_about_the_owners_of_others(code: str) -> None:
    addresses = Addresses(URLS)
    invoices, letters = Request("GET", "/queues/invoices"), Request("GET", "/queues/letters")
    for each in (ASKED, invoices):
        addresses.judge(0, each, told(URLS[2]))
    unowned = refusal(503, code)
    for node in (2, 0, 1):
        addresses.judge(node, ASKED, unowned)
    assert addresses.of(ASKED) == addresses.at, "its owner is to be learnt anew"
    assert addresses.of(invoices) == 2
    addresses.judge(0, letters, told(URLS[1]))
    assert addresses.of(letters) == 1
    addresses.judge(2, ASKED, refusal(503, "shutting_down"))
    assert addresses.of(invoices) == addresses.at, "here the node speaks of itself"


def test_when_an_owner_and_the_address_in_use_are_gone_the_third_is_tried_at_once() -> None:
    addresses = Addresses(URLS)
    addresses.judge(0, ASKED, told(URLS[1]))
    gone = NoAnswer("refused", outcome_unknown=False)
    tried = []
    again = True
    while again:
        tried.append(addresses.of(ASKED))
        _, again = addresses.judge(tried[-1], ASKED, gone)
    assert tried == [1, 0, 2]


@pytest.mark.parametrize(
    ("given", "announced"),
    [
        ("https://b.example.com", "https://b.example.com"),
        ("https://b.example.com", "https://b.example.com:443/"),
        ("http://b.example.com:7979", "http://B.example.com:7979"),
        ("http://[::1]:7979", "http://[::1]:7979"),
    ],
)
def test_an_address_may_be_announced_in_another_spelling(given: str, announced: str) -> None:
    addresses = Addresses([each.url for each in Endpoint.each(["http://a:1", given], None)])
    addresses.judge(0, ASKED, told(announced))
    assert addresses.of(ASKED) == 1


def test_the_owners_that_a_client_remembers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wonderq.client.addresses.MOST_OWNERS", 3)
    addresses = Addresses(URLS)
    requests = [Request("GET", f"/queues/q{number}") for number in range(5)]
    for each in requests:
        addresses.judge(0, each, told(URLS[1]))
    assert [addresses.of(each) for each in requests] == [0, 0, 0, 1, 1], "it began anew"


def test_addresses_come_as_a_list_or_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ["http://a:1", "http://b:7979"]
    for given in ("http://a:1,http://b:7979", "http://a:1/ , http://b:7979", expected, tuple(expected)):
        assert [each.url for each in Endpoint.each(given, None)] == expected
    monkeypatch.setenv("WONDERQ_URL", "http://a:1,http://b:7979")
    assert [each.url for each in Endpoint.each(None, None)] == expected
    for wrong in ([], "", "http://a:1,,http://b:1", "http://a:1,nonsense", ["http://a:1", "http://a:1/"]):
        with pytest.raises(ValueError, match="address"):
            Endpoint.each(wrong, None)


# Against servers


def test_a_client_goes_to_the_next_address_when_one_cannot_be_reached(brokers: list[ServedBroker]) -> None:
    with Client([closed_port(), url_of(brokers[1])], retries=0) as client:
        client.queue("q").send("x")
        assert [each.body for each in client.queue("q").receive()] == ["x"]


def test_a_client_goes_on_when_its_server_ends(brokers: list[ServedBroker]) -> None:
    with Client(",".join(map(url_of, brokers))) as client:
        queue = client.queue("q")
        queue.send("before")
        brokers[0].server.stop()
        brokers[0].thread.join()
        brokers[1].broker.core.stopping = False  # the end of the first server has stopped the broker of both
        queue.send("after")
        assert sorted(each.body for each in queue.receive(2)) == ["after", "before"]


def test_a_stand_by_is_left_at_once(brokers: list[ServedBroker], tmp_path: Any) -> None:
    standing = Standing("standing_by", "standing_by", "Another process owns the log.")
    app = create_stand_by_app(Access(Keys(tmp_path / "keys.json")), CollectorRegistry(), lambda: standing)
    with serving(Broker(MemoryLog()), app) as stand_by:
        pauses: list[float] = []
        with Client([url_of(stand_by), url_of(brokers[1])]) as client:
            steps = client.options.retries.attempt(Request("GET", "/queues/default"))
            step: Any = next(steps)
            outcomes = []
            while not isinstance(step, Answer):
                if isinstance(step, Request):
                    outcomes.append(client._engine._http.exchange(step))
                    try:
                        step = steps.send(outcomes[-1])
                    except StopIteration as end:
                        step = end.value
                else:
                    pauses.append(step.seconds)
                    step = steps.send(None)
        assert step.status == 200
        assert max(pauses) < 1, "less than the Retry-After of the stand-by"


def test_a_request_that_is_not_safe_to_repeat_goes_to_no_other_address(brokers: list[ServedBroker]) -> None:
    requests: list[bytes] = []
    with cutting(requests) as url, Client([url, url_of(brokers[1])]) as client:
        request = Request("PUT", "/queues/made", repeatable=False)
        with pytest.raises(Unreachable) as lost:
            client._engine._drive(Retries().attempt(request))
        assert lost.value.outcome_unknown
        assert len(requests) == 1
        assert "made" not in [each.name for each in client.queues()]
        again = client._engine._drive(Retries().attempt(Request("PUT", "/queues/made")))
        assert again.status == 201


def test_a_send_whose_answer_was_lost_is_repeated_at_the_next_address_and_stored_once(
    brokers: list[ServedBroker],
) -> None:
    requests: list[bytes] = []
    with cutting(requests) as url, Client([url, url_of(brokers[1])]) as client:
        client.queue("q").send("once")
        assert requests, "the first address got it"
        assert [each.body for each in client.queue("q").receive(5)] == ["once"]


def test_no_address_answers() -> None:
    with Client([closed_port(), closed_port()], retries=1, timeout=5) as client, pytest.raises(Unreachable) as lost:
        client.queue("q").send("x")
    assert not lost.value.outcome_unknown


def test_the_client_for_tasks_goes_to_the_next_address_too(brokers: list[ServedBroker]) -> None:
    async def use(make: Callable[[], AsyncClient]) -> None:
        async with make() as client:
            queue = client.queue("q")
            await queue.send("x")
            assert [each.body for each in await queue.receive()] == ["x"]

    requests: list[bytes] = []
    with ExitStack() as stack:
        cut = stack.enter_context(cutting(requests))
        for first in (closed_port(), cut):
            asyncio.run(use(lambda first=first: AsyncClient([first, url_of(brokers[1])])))  # type: ignore[misc]
    assert requests
