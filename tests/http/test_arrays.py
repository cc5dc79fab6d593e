"""Responses that are joined from pieces have the bytes that an encoder of whole objects returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.http_client import JSON, MSGPACK, Client
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.polls import Sources
from wonderq.broker.reader import Batch
from wonderq.httpd.errors import encode_json
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.rest.arrays import JSON_FORMAT, MSGPACK_FORMAT
from wonderq.rest.bodies import encode_msgpack
from wonderq.rest.deliveries import delivered
from wonderq.rest.messages import batch_results
from wonderq.rest.objects import message_object

FORMATS = {"JSON": JSON_FORMAT, "msgpack": MSGPACK_FORMAT}
ODD = [
    "",
    "~",
    '"~"',
    "~" * 40,
    "\0\x7f",
    "\\\n\"'",
    "é",
    "日本",
    "\U0001f600",
    "x" * 31,
    "x" * 32,
    "x" * 256,
    "x" * 65_536,
]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> Broker:
    return Broker(MemoryLog(), clock=clock)


def deliver(broker: Broker, *queues: str, limit: int = 1000, consumer: str = "") -> list[Batch]:
    return broker.deliver(Sources(queues or ("default",)), ClaimOptions(limit=limit, consumer=consumer))


def check(batches: Sequence[Batch]) -> None:
    objects = [message_object(message) for batch in batches for message in batch.messages()]
    for form in FORMATS.values():
        assert b"".join(delivered(batches, form)) == form.encode(objects)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 15, 16, 192, 300])
def test_any_number_of_messages(broker: Broker, count: int) -> None:
    broker.produce("default", ["x"] * 300)
    check(deliver(broker, limit=count) if count else [])


@given(st.lists(st.text() | st.sampled_from(ODD), min_size=1, max_size=12))
def test_any_texts(bodies: list[str]) -> None:
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.produce("default", bodies)
    batches = deliver(broker)
    assert [message.body for batch in batches for message in batch.messages()] == bodies
    check(batches)


def produce_at_other_times(broker: Broker, clock: FakeClock) -> None:
    for number in range(8):
        clock.ms += number
        broker.produce("default", [f"message {number}"])


def with_attributes(broker: Broker, _clock: FakeClock) -> None:
    broker.send("default", ["x", *(NewMessage("x", attributes={"a": ("Number", str(each))}) for each in range(8))])


def with_the_same_attributes(broker: Broker, _clock: FakeClock) -> None:
    message = NewMessage("x", attributes={"a": ("Number", "1"), "b": ("String", "~" * 40)}, group="~", key="")
    broker.send("default", [message._replace(body=body) for body in ODD])


def some_with_the_same_attributes(broker: Broker, _clock: FakeClock) -> None:
    broker.send("default", ["x", *[NewMessage("x", attributes={"a": ("Number", "1")})] * 8])


def some_claimed_before(broker: Broker, _clock: FakeClock) -> None:
    broker.produce("default", ["x"] * 8)
    for message in broker.claim("default", limit=3):
        broker.update("default", Target(receipt=message.receipt), Change(visibility_timeout_ms=0))


def all_claimed_before(broker: Broker, clock: FakeClock) -> None:
    broker.produce("default", ["x"] * 8)
    broker.claim("default", visibility_timeout_ms=1)
    clock.ms += 1


def one_updated_before(broker: Broker, _clock: FakeClock) -> None:
    ids = broker.produce("default", ["x"] * 8)
    broker.update("default", Target(id=ids[3]), Change(body="y"))


def in_groups(broker: Broker, _clock: FakeClock) -> None:
    broker.send("default", [NewMessage("x", group=f"g{number % 3}", priority=number) for number in range(8)])


def large(broker: Broker, _clock: FakeClock) -> None:
    broker.produce("default", ["x" * 20_000] * 8)


def large_with_attributes(broker: Broker, _clock: FakeClock) -> None:
    broker.send("default", [NewMessage("x" * 20_000, attributes={"a": ("String", "b")})] * 8)


@pytest.mark.parametrize("consumer", ["", "worker ~"])
@pytest.mark.parametrize(
    "fill",
    [
        produce_at_other_times,
        with_attributes,
        with_the_same_attributes,
        some_with_the_same_attributes,
        some_claimed_before,
        all_claimed_before,
        one_updated_before,
        in_groups,
        large,
        large_with_attributes,
    ],
)
def test_any_kind_of_messages(
    broker: Broker, clock: FakeClock, fill: Callable[[Broker, FakeClock], None], consumer: str
) -> None:
    fill(broker, clock)
    batches = deliver(broker, consumer=consumer)
    assert sum(len(batch.bodies) for batch in batches) >= 8
    check(batches)


def test_several_queues(broker: Broker, clock: FakeClock) -> None:
    for queue in "abc":
        broker.produce(queue, ["x"] * 7)
    with_attributes(broker, clock)
    batches = deliver(broker, "a", "default", "b", "c")
    assert [len(batch.bodies) for batch in batches] == [7, 9, 7, 7]
    check(batches)


def test_a_large_response_states_its_length(broker: Broker) -> None:
    broker.produce("default", ["x" * 600_000] * 3)
    reply = Client(broker)("GET", "/messages/consume")
    assert [each["message"] for each in reply.json] == ["x" * 600_000] * 3
    assert int(reply.headers["Content-Length"]) == len(reply.content)


@pytest.mark.parametrize("count", [1, 4, 5, 16, 300])
@pytest.mark.parametrize("by", ["id", "receipt"])
@pytest.mark.parametrize(("media_type", "encode"), [(JSON, encode_json), (MSGPACK, encode_msgpack)])
def test_results_of_a_deletion(
    broker: Broker, media_type: str, encode: Callable[[object], bytes], by: str, count: int
) -> None:
    broker.produce("default", ["x"] * count)
    messages = broker.claim("default", limit=count)
    targets = [(None, each.receipt) if by == "receipt" else (each.id, None) for each in messages]
    names = [message_id or receipt for message_id, receipt in targets]
    reply = Client(broker)("POST", "/messages/delete", json={f"{by}s": names}, headers={"Accept": media_type})
    assert reply.content.removesuffix(b"\n") == encode(batch_results(targets, [None] * count))
    assert broker.count("default", "processing") == 0
