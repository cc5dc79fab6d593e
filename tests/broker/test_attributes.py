"""Attributes with types, and what tracing systems add: returned unchanged, replaced as a whole, and counted."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.attributes import Attribute
from wonderq.model.errors import BatchTooLargeError, InvalidValueError, MessageTooLargeError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, NewMessage, Target

ATTRIBUTES: dict[str, Attribute] = {
    "text": ("String", "é\0"),
    "empty": ("String", ""),
    "number": ("Number", "-1.5e+10"),
    "label.ed-1_": ("Number.int", "12345678901234567890"),
    "bytes": ("Binary.png", bytes(range(256))),
}
SYSTEM = {"traceparent": "00-1-1-01", "tracestate": "a=b", "AWSTraceHeader": "Root=1"}


def test_they_are_given_out_as_they_were_given(lasting: Lasting) -> None:
    (sent,) = lasting.broker.send("q", [NewMessage("x", attributes=ATTRIBUTES, system=SYSTEM)])
    lasting.again()
    for message in (lasting.broker.get("q", sent.id), *lasting.broker.messages("q"), *lasting.take("q")):
        assert message.envelope is not None
        assert message.envelope.attributes == ATTRIBUTES
        assert message.envelope.system == SYSTEM
        assert message.body == "x"


def test_messages_with_and_without_come_together(lasting: Lasting) -> None:
    messages = [NewMessage("0"), NewMessage("1", attributes={"a": ("String", "x")}), NewMessage("2")]
    lasting.broker.send("q", messages)
    lasting.again()
    envelope = [message.envelope for message in lasting.take("q")]
    assert [each and each.attributes for each in envelope] == [None, {"a": ("String", "x")}, None]


def test_an_update_replaces_all_of_them_and_nothing_else(lasting: Lasting) -> None:
    (sent,) = lasting.broker.send(
        "q", [NewMessage("x", attributes=ATTRIBUTES, system=SYSTEM, group="g", priority=2, key="k")]
    )
    lasting.broker.update("q", Target(id=sent.id), Change(attributes={"new": ("String", "1")}))
    envelope = lasting.again().get("q", sent.id).envelope
    assert envelope is not None
    assert envelope.attributes == {"new": ("String", "1")}
    assert (envelope.system, envelope.group, envelope.priority, envelope.key) == (SYSTEM, "g", 2, "k")
    lasting.broker.update("q", Target(id=sent.id), Change(body="y"))
    envelope = lasting.again().get("q", sent.id).envelope
    assert envelope is not None
    assert envelope.attributes == {"new": ("String", "1")}
    lasting.broker.update("q", Target(id=sent.id), Change(attributes={}))
    message = lasting.again().get("q", sent.id)
    assert message.envelope is not None
    assert message.envelope.attributes == {}
    assert message.body == "y"


def test_a_plain_message_can_be_given_some(lasting: Lasting) -> None:
    (one,) = lasting.broker.produce("q", ["x"])
    lasting.again()
    lasting.broker.update("q", Target(id=one), Change(attributes=ATTRIBUTES))
    (message,) = lasting.again().messages("q")
    assert message.envelope is not None
    assert message.envelope.attributes == ATTRIBUTES
    assert (message.envelope.group, message.envelope.priority, message.envelope.dead_letter_source) == ("", 0, None)


@pytest.mark.parametrize(
    "attributes",
    [
        {"": ("String", "x")},
        {"a b": ("String", "x")},
        {"a" * 257: ("String", "x")},
        {"a": ("Text", "x")},
        {"a": ("String.", "x")},
        {"a": ("string", "x")},
        {"a": ("String", b"x")},
        {"a": ("Binary", "x")},
        {"a": ("Number", "one")},
        {"a": ("Number", "")},
        {"a": ("Number", "1e")},
        {str(n): ("String", "x") for n in range(65)},
    ],
)
def test_what_they_cannot_be_is_refused_when_sent_and_when_changed(
    lasting: Lasting, attributes: dict[str, Attribute]
) -> None:
    (one,) = lasting.add("q", "x")
    with pytest.raises(InvalidValueError):
        lasting.broker.send("q", [NewMessage("y", attributes=attributes)])
    with pytest.raises(InvalidValueError):
        lasting.broker.update("q", Target(id=one), Change(attributes=attributes))
    (message,) = lasting.again().messages("q")
    assert message.envelope is None


@pytest.mark.parametrize("system", [{"other": "x"}, {"traceparent": "x" * 1025}])
def test_tracing_has_known_fields_of_sensible_length(lasting: Lasting, system: dict[str, str]) -> None:
    with pytest.raises(InvalidValueError):
        lasting.broker.send("default", [NewMessage("y", system=system)])
    assert lasting.again().queue("default").bytes == 0


def test_they_count_for_a_message_s_size(lasting: Lasting) -> None:
    lasting.limit(Limits(message_bytes=100))
    head = len("a") + len("String")
    lasting.broker.send("q", [NewMessage("x" * 40, attributes={"a": ("String", "y" * (60 - head))})])
    with pytest.raises(MessageTooLargeError, match="101 bytes"):
        lasting.broker.send("q", [NewMessage("x" * 40, attributes={"a": ("String", "y" * (61 - head))})])
    (message,) = lasting.again().messages("q")
    with pytest.raises(MessageTooLargeError):
        lasting.broker.update("q", Target(id=message.id), Change(body="x" * 41))
    lasting.broker.update("q", Target(id=message.id), Change(body="x" * 39))


def test_a_queue_s_own_limit_counts_for_changes_too(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_message_bytes=20)
    lasting.broker.send("q", [NewMessage("x" * 5, attributes={"a": ("String", "y" * 8)})])
    with pytest.raises(MessageTooLargeError, match="at most 20"):
        lasting.broker.produce("q", ["x" * 21])
    (message,) = lasting.again().messages("q")
    for change in (Change(body="x" * 6), Change(attributes={"a": ("String", "y" * 9)})):
        with pytest.raises(MessageTooLargeError, match="at most 20"):
            lasting.broker.update("q", Target(id=message.id), change)
    lasting.broker.update("q", Target(id=message.id), Change(body="x" * 20, attributes={}))
    assert [each.body for each in lasting.again().messages("q")] == ["x" * 20]


def test_a_batch_that_would_have_to_read_too_much_is_refused(lasting: Lasting) -> None:
    """An update of the attributes of a message reads its body."""
    ids = [message_id for n in range(3) for message_id in lasting.add("q", *["x" * 90] * 2)]
    lasting.limit(Limits(message_bytes=100, batch_bytes=300))
    change = Change(attributes={"a": ("String", "x")})
    lasting.again()
    with pytest.raises(BatchTooLargeError):
        lasting.broker.update_batch("q", [(Target(id=each), change) for each in ids])
    assert lasting.broker.update_batch("q", [(Target(id=each), change) for each in ids[:2]]) == [None] * 2
