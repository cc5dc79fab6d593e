"""Long answers are made in turns, each of which does a bounded amount of work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.turns import Turns
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress
from wonderq.model.attributes import Attribute
from wonderq.model.limits import Limits
from wonderq.model.messages import NewMessage
from wonderq.model.permits import everything
from wonderq.runtime import fibers
from wonderq.sqs import message_attributes, messages, wire
from wonderq.sqs.context import MOST_TEXTS, Context, Service
from wonderq.sqs.limits import relaxed


@pytest.mark.parametrize(("count", "characters"), [(10, 1_000_000), (1000, 10_000), (3, 5)])
def test_a_turn_escapes_a_bounded_number_of_characters(
    monkeypatch: pytest.MonkeyPatch, count: int, characters: int
) -> None:
    turns = Turns(monkeypatch)
    escaped = wire._escaped

    def note(text: str) -> str:
        turns.count(len(text))
        return escaped(text)

    monkeypatch.setattr(wire, "_escaped", note)
    body = ('<&>\r\n\0"' + "x" * characters)[:characters]
    result = {"Messages": [{"Body": body} for _ in range(count)]}
    data, _ = turns.run(lambda: wire.write("ReceiveMessage", result, "id", is_json=False))
    texts = [element.text for element in ET.fromstring(data).findall(".//{*}Body")]
    assert texts == [body.replace("\0", "\ufffd")] * count
    assert sum(turns.counts) >= count * characters
    assert max(turns.counts) <= fibers._STEPS_PER_TURN * wire._BYTES_PER_STEP + wire._WINDOW_BYTES


@pytest.mark.parametrize("suffix", ["", ".*"])
def test_a_turn_compares_attributes_with_a_bounded_number_of_names(
    monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A consumer that asks for many names of many messages."""
    turns = Turns(monkeypatch)
    of = message_attributes.Selection.of

    def note(selection: message_attributes.Selection, attributes: Mapping[str, Attribute]) -> Any:
        turns.count(len(attributes))
        return of(selection, attributes)

    monkeypatch.setattr(message_attributes.Selection, "of", note)
    broker = Broker(MemoryLog())
    attributes = {f"a{number}": ("String", "x") for number in range(64)}
    broker.send("jobs", [NewMessage("m", attributes=attributes)] * 500)
    service = Service(broker, relaxed(Limits()), PublicAddress())
    names = [f"a{number}{suffix}" for number in range(2, MOST_TEXTS + 2)]
    given = {"QueueUrl": "jobs", "MaxNumberOfMessages": 500, "MessageAttributeNames": names}
    context = Context(service, "ReceiveMessage", given, everything, {})
    found = turns.run(lambda: messages.receive_message(context))["Messages"]
    assert len(found) == 500
    assert all(each["MessageAttributes"].keys() == attributes.keys() - {"a0", "a1"} for each in found)
    assert sum(turns.counts) == 500 * 64
    assert max(turns.counts) <= fibers._STEPS_PER_TURN // (MOST_TEXTS // 20 if suffix else 1) + 64
    broker.close()


def test_the_attributes_of_an_invalid_entry_are_counted_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    given = {f"a{number}": {"DataType": "String", "StringValue": "é"} for number in range(10_000)}
    assert turns.run(lambda: message_attributes.size_of_any(given)) == sum(len(name) + 6 + 2 for name in given)
    assert len(turns.counts) >= 10_000 // fibers._STEPS_PER_TURN
