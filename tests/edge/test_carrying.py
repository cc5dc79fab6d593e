"""Decisions about one request: where it goes, how often, and what its client hears at the end. Without any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest

from wonderq.cluster import carrying, forwarding, wire
from wonderq.cluster.applications import Applications, Outcome, Response
from wonderq.cluster.carrying import Carrier
from wonderq.cluster.forwarding import Forwarder, _Pending
from wonderq.cluster.receiving import Receiver
from wonderq.cluster.routing import first_source, is_repeatable, is_repeatable_sqs, name_in_path
from wonderq.cluster.shards import Process
from wonderq.cluster.wire import ForwardedRequest, Part
from wonderq.httpd.errors import RequestError
from wonderq_storage.nats import Connection, NatsTimeoutError, NatsUnreachableError, NoRespondersError, Reply

DONE = Outcome("done", Response("200 OK", [], [b"done"]))
NOT_DONE = Outcome("not_done", reason="It moved.")
UNKNOWN = Outcome("unknown", reason="It is silent.")


class Clock:
    """Monotonic time that passes only while a request is tried, or while its carrier pauses."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Others:
    """All other nodes: they answer with one outcome after the other, and each answer takes some time."""

    count = 4
    node = "me"
    token = "my token"

    def __init__(self, clock: Clock, outcomes: list[Outcome], takes_s: float = 0.0) -> None:
        self.outcomes = outcomes
        self.waited_s: list[float] = []
        self.ids: list[str] = []
        self.tokens: list[str] = []
        self._clock = clock
        self._takes_s = takes_s
        self.url_of_other = ""

    def local(self, _: int) -> None:
        return None

    def owner(self, _: int) -> str:
        return "other"

    def process(self, _: int) -> Process:
        return Process("other", "token of the other")

    def hears(self, _: Process) -> bool:
        return True

    def time_ms(self, _: str) -> int:
        return 0

    def url_of(self, _: str) -> str:
        return self.url_of_other

    def changed(self, _: Callable[[int], None]) -> Callable[[], None]:
        return lambda: None

    def send(self, owner: str, request: ForwardedRequest, _: Callable[[], bool]) -> Outcome:
        assert owner == "other"
        self.waited_s.append(request.waited_s)
        self.ids.append(request.id)
        self.tokens.append(request.token)
        self._clock.now_s += self._takes_s
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(carrying, "time", clock)

    def pause(_self: Carrier, _shard: int, seconds: float) -> None:
        clock.now_s += seconds

    monkeypatch.setattr(Carrier, "_pause", pause)
    return clock


def request() -> ForwardedRequest:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/queues/q/messages/produce"}
    return ForwardedRequest.of(environ, b"{}", key_id=None, base_url="", region="", is_of_ui=False)


def carry_out(others: Others, *, repeatable: bool = False) -> Response:
    carrier = Carrier(others, cast("Applications", None), cast("Forwarder", others))
    return carrier.carry_out(2, request(), lambda: False, lambda: repeatable)


def test_a_request_that_was_surely_not_carried_out_is_tried_again(clock: Clock) -> None:
    others = Others(clock, [NOT_DONE, NOT_DONE, DONE])
    assert carry_out(others) is DONE.response
    assert len(set(others.ids)) == 3, "each try has an id of its own, so that a cancellation means one of them"


def test_the_response_tells_the_address_of_the_owner_if_that_is_known(clock: Clock) -> None:
    others = Others(clock, [NOT_DONE, DONE])
    others.url_of_other = "http://10.0.0.2:7979"
    response = carry_out(others)
    assert response.owner_url == "http://10.0.0.2:7979"
    assert response.read() == b"done"


def test_it_is_tried_until_the_time_of_its_client_is_up(clock: Clock) -> None:
    others = Others(clock, [NOT_DONE])
    began_s = clock.now_s
    with pytest.raises(RequestError) as refused:
        carry_out(others)
    assert (refused.value.status, refused.value.code) == (503, "shard_unavailable")
    assert refused.value.headers == {"Retry-After": "1"}
    assert "Shard 2 " in str(refused.value)
    assert carrying.RETRY_S <= clock.now_s - began_s < carrying.RETRY_S + 1


@pytest.mark.parametrize("repeatable", [False, True])
def test_an_unknown_outcome_is_tried_again_only_if_that_is_safe(clock: Clock, repeatable: bool) -> None:
    others = Others(clock, [UNKNOWN, DONE])
    if repeatable:
        assert carry_out(others, repeatable=True) is DONE.response
        return
    with pytest.raises(RequestError) as refused:
        carry_out(others)
    assert (refused.value.status, refused.value.code) == (503, "outcome_unknown")
    assert len(others.ids) == 1


def test_an_outcome_stays_unknown_although_later_tries_were_surely_in_vain(clock: Clock) -> None:
    others = Others(clock, [UNKNOWN, NOT_DONE])
    with pytest.raises(RequestError) as refused:
        carry_out(others, repeatable=True)
    assert refused.value.code == "outcome_unknown"


def test_a_poll_that_moves_has_waited_already(clock: Clock) -> None:
    others = Others(clock, [NOT_DONE, NOT_DONE, DONE], takes_s=7.0)
    carry_out(others)
    assert others.waited_s[0] == 0
    assert 7 <= others.waited_s[1] < 8
    assert 14 <= others.waited_s[2] < 16, "and a poll that was moved may be moved again, however long it has waited"


def test_what_an_owner_says_that_did_nothing_is_the_last_word_if_it_is_an_error(clock: Clock) -> None:
    damaged = Response("503 Service Unavailable", [], [b"log_damaged"])
    assert carry_out(Others(clock, [Outcome("not_done", damaged)])) is damaged
    early = Response("200 OK", [], [b"[]"])
    with pytest.raises(RequestError, match="was not carried out"):
        carry_out(Others(clock, [Outcome("not_done", early)]))


def test_an_owner_that_stops_after_it_has_begun_does_not_say_that_it_did_nothing(clock: Clock) -> None:
    stopping = Response("503 Service Unavailable", [], [b"shutting_down"])
    with pytest.raises(RequestError) as refused:
        carry_out(Others(clock, [Outcome("unknown", stopping)]))
    assert refused.value.code == "outcome_unknown"


class Body:
    """A body that is made while it is read."""

    is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"log_failed"])

    def close(self) -> None:
        self.is_closed = True


def meet_an_obstacle(others: Others, first: Outcome, *, repeatable: bool = False) -> RequestError:
    """Carry out a request whose first try had an outcome, while nothing can be stored."""
    refusal = RequestError(503, "no_quorum", "Nothing can be stored.")
    carrier = Carrier(others, cast("Applications", None), cast("Forwarder", others), obstacle=lambda _: refusal)
    with pytest.raises(RequestError) as refused:
        carrier.carry_out(2, request(), lambda: False, lambda: repeatable, first)
    return refused.value


@pytest.mark.parametrize("repeatable", [False, True])
def test_an_obstacle_does_not_hide_that_the_outcome_is_unknown(clock: Clock, repeatable: bool) -> None:
    """``no_quorum`` and ``log_damaged`` say that nothing was carried out, so that a client sends it again."""
    others, body = Others(clock, [DONE]), Body()
    first = Outcome("unknown", Response("503 Service Unavailable", [], body), "The shard was lost.")
    error = meet_an_obstacle(others, first, repeatable=repeatable)
    assert error.code == "outcome_unknown"
    assert body.is_closed
    assert others.ids == []


def test_an_obstacle_is_told_after_a_try_that_did_nothing(clock: Clock) -> None:
    body = Body()
    first = Outcome("not_done", Response("200 OK", [], body))
    assert meet_an_obstacle(Others(clock, [DONE]), first).code == "no_quorum"
    assert body.is_closed


def test_a_request_is_for_one_process_of_the_owner(clock: Clock) -> None:
    others = Others(clock, [DONE])
    carry_out(others)
    assert others.tokens == ["token of the other"]


# Both ends of the way to another node


class SilentNats:
    """A connection over which requests go out, and no answer comes. Nothing else can be sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def ask(self, _subject: str, payload: bytes, _callback: Any) -> Callable[[], None]:
        self.sent.append(payload)
        return lambda: None

    def post(self, _subject: str, _payload: bytes) -> None:
        raise NatsUnreachableError("no connection")


@pytest.mark.parametrize("ends", ["node", "client"])
def test_a_cancellation_that_cannot_be_sent_does_not_make_the_request_undone(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(forwarding, "_POLL_S", 0.0)
    nats = SilentNats()
    others = Others(clock, [])
    forwarder = Forwarder(cast("Connection", nats), "p", others, wait_s=0.0, answer_s=0.01)
    if ends == "node":
        forwarder.stop_waiting()
    outcome = forwarder.send("other", request(), lambda: ends == "client")
    assert outcome.verdict == ("unknown" if ends == "node" else "done")
    assert len(nats.sent) == 1


class Received:
    """A node that gets requests, without a network. It carries them out at once."""

    def __init__(self, token: str) -> None:
        self.carried_out: list[str] = []
        self.posted: list[Part] = []
        self._receiver = Receiver(cast("Connection", self), "p", "other", cast("Applications", self), token=token)
        self._receiver.start(self)

    def subscribe_to_requests(self, _subject: str, callback: Callable[[bytes, str], None]) -> None:
        self._receive = callback

    def subscribe(self, _subject: str, _callback: Callable[[bytes], None]) -> None:
        pass

    def submit(self, work: Callable[[], Any]) -> None:
        work()

    def post(self, _subject: str, payload: bytes) -> None:
        self.posted.append(wire.decode_part(payload))

    def carry_out(self, request: ForwardedRequest, _client_gone: Callable[[], bool]) -> Outcome:
        self.carried_out.append(request.id)
        return DONE

    def get(self, sent: ForwardedRequest) -> list[str]:
        """Get a request, and return the verdicts that are sent back."""
        self._receive(wire.encode(sent), "reply")
        assert not self._receiver.is_busy
        verdicts = [each.verdict for each in self.posted]
        self.posted.clear()
        return verdicts


def sent(*, token: str = "", deadline_ms: int = 1 << 50) -> ForwardedRequest:
    found = request()
    found.id, found.token, found.deadline_ms = "1", token, deadline_ms
    return found


def test_a_process_is_silent_about_requests_for_another_one_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer that it does not own the shard would come first, and the request would be made again."""
    monkeypatch.setattr("wonderq.cluster.receiving.Hub.current", lambda: None)
    node = Received("mine")
    assert node.get(sent(token="another")) == []
    assert node.carried_out == []
    assert node.get(sent(token="mine")) == ["done"]
    assert node.get(sent(token="")) == ["done"], "an older node tells no token"


def test_a_request_that_comes_too_late_is_answered_without_being_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may only seem so, if a clock was just set. The other node makes it again."""
    monkeypatch.setattr("wonderq.cluster.receiving.Hub.current", lambda: None)
    node = Received("mine")
    assert node.get(sent(deadline_ms=1)) == ["not_done"]
    assert node.carried_out == []


# The parts of a response


def pending(*arrivals: Part | Exception) -> Outcome | None:
    found = _Pending()
    for each in arrivals:
        found.arrive(Reply(0, "", {}, wire.encode(each)) if isinstance(each, Part) else cast("Any", each))
    return found.outcome()


def test_parts_are_joined_once_the_last_one_is_there() -> None:
    parts = [Part(0, "more", b"a"), Part(1, "more", b"b"), Part(2, "done", b"c", "200 OK", [("X", "y")])]
    assert pending(*parts[:2]) is None
    outcome = pending(*parts)
    assert outcome is not None
    assert outcome.response is not None
    assert (outcome.verdict, outcome.response.read(), outcome.response.headers) == ("done", b"abc", [("X", "y")])


def test_a_lost_part_makes_the_outcome_unknown() -> None:
    outcome = pending(Part(0, "more", b"a"), Part(2, "done", b"c", "200 OK"))
    assert outcome is not None
    assert outcome.verdict == "unknown"


def test_only_a_request_that_nobody_received_was_surely_not_carried_out() -> None:
    not_received, lost = pending(NoRespondersError("nobody")), pending(NatsTimeoutError("late"))
    assert not_received is not None
    assert lost is not None
    assert (not_received.verdict, lost.verdict) == ("not_done", "unknown")


# The name that a request is about


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/queues/a", "a"),
        ("POST", "/queues/a.fifo/messages/produce", "a.fifo"),
        ("PUT", "/topics/t/subscriptions/s", "t"),
        ("PUT", "/schedules/s", "s"),
        ("POST", "/messages/produce", "default"),
        ("GET", "/messages/consume", "default"),
        ("GET", "/dev/messages", "default"),
        ("GET", "/dev/messages/status", "default"),
        ("POST", "/messages/consume", None),
        ("POST", "/messages/next", None),
        ("GET", "/queues", None),
        ("GET", "/messagesX", None),
        ("GET", "/overview", None),
        ("POST", "/", None),
    ],
)
def test_the_path_tells_the_name_that_decides(method: str, path: str, name: str | None) -> None:
    assert name_in_path(method, path) == name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"queues": ["a", "b"]}', "a"),
        (b'{"max": 3, "queues": [{"queue": "c", "weight": 2}]}', "c"),
        (b"{}", "default"),
        (b"", "default"),
        (b'{"queues": []}', "default"),
        (b'{"queues": [3]}', "default"),
        (b'{"queues": "a"}', "default"),
        (b"nonsense", "default"),
        (b'"\xff"', "default"),
    ],
)
def test_the_body_of_a_poll_tells_its_first_queue(body: bytes, name: str) -> None:
    assert first_source("application/json", body) == name


JSON_TYPES = ("application/json", "Application/JSON", "application/json; charset=utf-8", " application/json ;a=b")
MSGPACK_TYPES = ("application/msgpack", "Application/MsgPack", "APPLICATION/MSGPACK; charset=binary")


@pytest.mark.parametrize("media_type", [*JSON_TYPES, *MSGPACK_TYPES])
def test_a_body_is_read_as_the_owner_reads_it(media_type: str) -> None:
    """A send whose body is read in another way seems to be one that will be refused, and is made twice."""
    encode = msgspec.json.encode if "json" in media_type.lower() else msgspec.msgpack.encode
    produce = ("POST", "/queues/a/messages/produce", {"CONTENT_TYPE": media_type})
    assert first_source(media_type, encode({"queues": ["a"]})) == "a"
    assert is_repeatable(*produce, encode({"message": "x", "idempotency_key": "k"}))
    assert not is_repeatable(*produce, encode({"message": "x"}))


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/msgpack2", *JSON_TYPES, *MSGPACK_TYPES])
def test_a_send_that_this_node_cannot_read_is_not_carried_out_twice(media_type: str) -> None:
    """The owner may have another version, and be able to read it."""
    for body in (b"", b"\xff", b"nonsense", b"[]", b'"text"', b"3", b"[" * 100_000):
        assert not is_repeatable("POST", "/queues/a/messages/produce", {"CONTENT_TYPE": media_type}, body)
    if not media_type:
        assert not is_repeatable("POST", "/queues/a/messages/produce", {}, b'{"idempotency_key": "k"}')


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        ("GET", "/queues/a", {}, b"", True),
        ("GET", "/queues/a/messages/consume", {}, b"", True),
        ("POST", "/messages/consume", {}, b"{}", True),
        ("POST", "/queues/a/messages/produce", {}, b'{"message": "x"}', False),
        ("POST", "/queues/a/messages/produce", {}, b'{"message": "x", "idempotency_key": "k"}', True),
        ("POST", "/queues/a/messages/produce", {"HTTP_IDEMPOTENCY_KEY": "k"}, b'{"message": "x"}', True),
        ("POST", "/queues/a/messages/produce", {}, b'{"message": "x", "producer_id": "p"}', False),
        ("POST", "/queues/a/messages/produce", {}, b'{"message": "x", "producer_id": "p", "request_number": 1}', True),
        (*("POST", "/messages/produce", {}), b'{"messages": [{"message": "x", "idempotency_key": "k"}]}', True),
        (*("POST", "/messages/produce", {}), b'{"messages": [{"message": "x", "idempotency_key": "k"}, "y"]}', False),
        ("POST", "/messages/produce", {}, b'{"messages": []}', False),
        ("POST", "/topics/t/publish", {}, b'{"message": "x", "idempotency_key": "k"}', True),
        ("POST", "/queues/a/messages/next", {}, b'{"delete": []}', False),
        ("POST", "/queues/a/messages/delete", {}, b'{"ids": ["x"], "idempotency_key": "k"}', False),
        ("DELETE", "/queues/a/messages/x", {}, b"", False),
        ("POST", "/queues/a/purge", {}, b"", False),
        ("PUT", "/queues/a", {}, b"{}", False),
    ],
)
def test_what_may_be_carried_out_twice(
    method: str, path: str, headers: dict[str, str], body: bytes, expected: bool
) -> None:
    assert is_repeatable(method, path, {"CONTENT_TYPE": "application/json", **headers}, body) is expected


@pytest.mark.parametrize(
    ("action", "parameters", "expected"),
    [
        ("ReceiveMessage", {}, True),
        ("GetQueueAttributes", {}, True),
        ("ListQueues", {}, True),
        ("SendMessage", {"MessageBody": "x"}, False),
        ("SendMessage", {"MessageDeduplicationId": "d"}, True),
        ("SendMessageBatch", {"Entries": [{"MessageDeduplicationId": "d"}, {}]}, False),
        ("SendMessageBatch", {"Entries": [{"MessageDeduplicationId": "d"}]}, True),
        ("PublishBatch", {"PublishBatchRequestEntries": [{"MessageDeduplicationId": "d"}]}, True),
        ("DeleteMessage", {}, False),
        ("PurgeQueue", {}, False),
    ],
)
def test_which_actions_of_aws_may_be_carried_out_twice(action: str, parameters: dict[str, Any], expected: bool) -> None:
    assert is_repeatable_sqs(action, parameters) is expected
