"""The client against a real broker."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.broker_process import RunningBroker
from tests.support.threads import Call
from wonderq.client import bodies
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import Invalid, NotFound, StaleReceipt, Unreachable
from wonderq.client.messages import AttributeValue, Sent
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue


@dataclass
class Mail:
    to: str
    copies: int = 1


@pytest.mark.parametrize(
    "body", ["text", "", "{not json", b"", b"\x00\xff", {"to": "a@b"}, [1, 2.5, None, True], None, 17, "\u2028ü"]
)
def test_a_body_arrives_as_it_was_sent(queue: Queue, body: Any) -> None:
    queue.send(body)
    [message] = queue.receive()
    assert message.body == body
    assert type(message.body) is type(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | st.binary() | json_values)
def test_bodies_survive_their_text(body: Any) -> None:
    text, content_type = bodies.dumps(body)
    assert bodies.loads(text, content_type) == body


def test_a_dataclass_comes_back_as_one(queue: Queue) -> None:
    queue.send(Mail("a@b", 3))
    [message] = queue.receive()
    assert message.json() == {"to": "a@b", "copies": 3}
    assert message.json_as(Mail) == Mail("a@b", 3)
    with pytest.raises(ValueError, match="Expected"):
        message.json_as(list[int])


def test_a_body_that_json_cannot_express_is_refused(queue: Queue) -> None:
    with pytest.raises(TypeError):
        queue.send(object())


def test_all_options_arrive(queue: Queue) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    attributes: dict[str, AttributeValue] = {"text": "a", "count": 3, "share": 0.25, "raw": b"\x00\xff"}
    sent = queue.send("x", attributes=attributes, group="g", priority=7, key="k", traceparent=trace, tracestate="a=b")
    assert queue.send("y", key="k") == Sent(sent.id, duplicate=True)
    [message] = queue.receive()
    assert message.id == sent.id
    assert message.attributes == attributes
    assert (message.group, message.priority, message.key) == ("g", 7, "k")
    assert (message.traceparent, message.tracestate) == (trace, "a=b")
    assert message.tries == 1
    assert message.queue == queue.name
    assert message.produced_at.tzinfo is not None


def test_delays(queue: Queue) -> None:
    queue.send("later", delay=60)
    queue.send("at", deliver_at=datetime.now(UTC) + timedelta(hours=1))
    assert queue.receive() == []
    assert [each.text for each in queue.look(status="delayed")] == ["later", "at"]
    with pytest.raises(ValueError, match="time zone"):
        queue.send("x", deliver_at=datetime(2030, 1, 1))


def test_an_unknown_option_is_refused(queue: Queue) -> None:
    with pytest.raises(TypeError, match="prioritty"):
        queue.send("x", prioritty=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="prioritty"):
        queue.send_together([("x", {"prioritty": 1})])  # type: ignore[typeddict-unknown-key]


def test_the_broker_names_the_invalid_field(queue: Queue) -> None:
    with pytest.raises(Invalid) as raised:
        queue.send("x", priority=99)
    assert raised.value.field == "priority"


def test_a_message_is_changed_by_its_receipt(queue: Queue) -> None:
    queue.send("a")
    [message] = queue.receive(lease=5)
    message.renew(600)
    assert message.claimed_until is not None
    renewed = queue.get(message.id).claimed_until
    assert renewed is not None
    assert renewed - message.claimed_until > timedelta(minutes=5)
    message.release()
    with pytest.raises(StaleReceipt):
        message.delete()
    [again] = queue.receive()
    assert again.tries == 2
    again.release(delay=600)
    assert queue.get(message.id).status == "delayed"


def test_buried_and_kicked(queue: Queue) -> None:
    queue.send("a")
    queue.receive()[0].bury()
    assert [each.text for each in queue.look(status="buried")] == ["a"]
    assert queue.kick() == 1
    [message] = queue.receive()
    message.delete()
    with pytest.raises(NotFound):
        queue.get(message.id)


def test_a_message_that_was_looked_at_has_no_receipt(queue: Queue) -> None:
    queue.send("a")
    [message] = queue.look()
    with pytest.raises(ValueError, match="only looked at"):
        _ = message.claim_receipt


def test_together_all_are_sent_or_none(queue: Queue) -> None:
    first, second = queue.send_together(["a", ({"b": 1}, {"priority": 3})])
    assert first.id != second.id
    with pytest.raises(Invalid):
        queue.send_together(["c", ("d", {"priority": 99})])
    assert [each.body for each in queue.look()] == ["a", {"b": 1}]


def test_one_deletes_at_the_end(queue: Queue) -> None:
    queue.send("a")
    with queue.one() as message:
        assert message is not None
        assert queue.info().counts["processing"] == 1
    assert list(queue.look()) == []
    with queue.one() as nothing:
        assert nothing is None


def test_one_gives_back_on_an_exception(queue: Queue) -> None:
    queue.send("a")
    with pytest.raises(ZeroDivisionError), queue.one():
        raise ZeroDivisionError
    assert [each.status for each in queue.look()] == ["unprocessed"]


def test_one_renews_meanwhile(queue: Queue) -> None:
    queue.send("a")
    with queue.one(lease=1) as message:
        assert message is not None
        first = message.claimed_until
        moved = threading.Event()
        for _ in range(3000):
            until = queue.get(message.id).claimed_until
            if until is None or until != first:
                moved.set()
                break
    assert moved.is_set()


def test_receive_waits_for_a_message(queue: Queue) -> None:
    queue.configure()
    waiting = Call(lambda: queue.receive(wait=20))
    queue.send("a")
    assert [each.text for each in waiting.result()] == ["a"]


def test_queues(client: Client, queue: Queue) -> None:
    info = queue.configure(visibility_timeout=5, max_receives=3, tags={"team": "a"})
    assert info.settings["visibility_timeout"] == 5
    assert queue.name in [each.name for each in client.queues()]
    queue.send("a")
    assert queue.purge() == 1
    assert queue.info().counts["unprocessed"] == 0
    queue.drop()
    with pytest.raises(NotFound):
        queue.info()


def test_look_pages_through_a_long_queue(queue: Queue) -> None:
    for _ in range(2):
        queue.send_together([str(number) for number in range(600)])
    assert len(list(queue.look())) == 1200
    assert len(list(queue.look(contains="59"))) == 2 * 16


def test_many_threads(queue: Queue) -> None:
    def work(thread: int) -> list[str]:
        return [queue.send(f"{thread}-{number}").id for number in range(20)]

    calls = [Call(work, thread) for thread in range(16)]
    ids = [message_id for call in calls for message_id in call.result()]
    assert len(set(ids)) == 320
    received = [message for _ in range(4) for message in queue.receive(100)]
    assert {each.id for each in received} == set(ids)
    deletes = [Call(message.delete) for message in received]
    for each in deletes:
        each.result()
    assert queue.info().counts == {"unprocessed": 0, "processing": 0, "delayed": 0, "buried": 0}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that closes each connection without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_no_answer_leaves_the_outcome_unknown(silent: int) -> None:
    with Client(f"http://127.0.0.1:{silent}", retries=0) as client, pytest.raises(Unreachable) as raised:
        client.queue().send("x")
    assert raised.value.outcome_unknown


def test_no_connection_means_that_nothing_was_done() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=0) as client, pytest.raises(Unreachable) as raised:
        client.queue().send("x")
    assert not raised.value.outcome_unknown


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://host/path", "http://host?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(url)


def test_a_malformed_key_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="API key") as raised:
        Client(key="se cret")
    assert "cret" not in str(raised.value)


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WONDERQ_URL", "http://[::1]:81/")
    monkeypatch.setenv("WONDERQ_KEY", "wq_k")
    client = Client()
    assert client.url == "http://[::1]:81"
    assert client._engine.options.endpoint.headers["Authorization"] == "Bearer wq_k"


def test_the_same_in_asyncio(broker: RunningBroker, queue: Queue) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker.url) as client:
            mail = client.queue(queue.name)
            await mail.configure(visibility_timeout=60)
            sent = await mail.send({"n": 1}, attributes={"raw": b"\x00"})
            assert (await mail.get(sent.id)).body == {"n": 1}
            [message] = await mail.receive(lease=5)
            await message.renew(60)
            await message.release()
            async with mail.one() as again:
                assert again is not None
                assert again.attributes == {"raw": b"\x00"}
            async with mail.one() as nothing:
                assert nothing is None
            await mail.send_together(["a", "b"])
            with pytest.raises(ZeroDivisionError):
                async with mail.one(lease=60):
                    raise ZeroDivisionError
            assert [each.text async for each in mail.look()] == ["a", "b"]
            [first] = await mail.receive(1)
            await first.bury()
            assert await mail.kick() == 1
            assert (await mail.info()).counts["unprocessed"] == 2
            assert await mail.purge() == 2
            assert queue.name in [each.name for each in await client.queues()]
            with pytest.raises(Invalid):
                await mail.send("x", priority=99)
            await mail.drop()
            with pytest.raises(NotFound):
                await mail.info()

    asyncio.run(scenario())
