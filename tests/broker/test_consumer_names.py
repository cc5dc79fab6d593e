"""The name of the consumer that holds a message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.broker.conftest import Lasting
from wonderq.broker import claims
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.polls import Sources
from wonderq.model.errors import InvalidValueError
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq_storage import Position

Q = Sources(("q",))
NAMED = ClaimOptions(consumer="worker-1:42", visibility_timeout_ms=10_000)


def names(lasting: Lasting, queue: str = "q") -> list[str]:
    return [message.consumer for message in lasting.broker.messages(queue)]


def remembered(lasting: Lasting) -> int:
    messages = lasting.broker.core.state.queues["q"].messages
    messages.advance(lasting.clock.ms)
    return len(messages.claim_names.by_token)


def take(lasting: Lasting, limit: int = 10, consumer: str = "worker-1:42") -> list[Message]:
    return lasting.broker.claim_from(Q, NAMED._replace(limit=limit, consumer=consumer))


def test_messages_show_who_holds_them(lasting: Lasting) -> None:
    lasting.add("q", *"12345")
    assert [message.consumer for message in take(lasting, 2)] == ["worker-1:42"] * 2
    assert [message.consumer for message in lasting.take("q", 1)] == [""]
    (held,) = take(lasting, 1, "ünïcode")
    lasting.again()
    assert names(lasting) == ["worker-1:42", "worker-1:42", "", "ünïcode", ""]
    assert lasting.broker.get("q", held.id).consumer == "ünïcode"


@pytest.mark.parametrize(
    "end",
    [
        Change(visibility_timeout_ms=0),
        Change(delay_ms=60_000),
        Change(bury=True),
        Change(dead=True, error=ReportedError("x")),
        Change(expire=True),
        None,
    ],
)
def test_the_name_is_gone_with_the_claim(lasting: Lasting, end: Change | None) -> None:
    lasting.add("q", "1", "2")
    one, two = take(lasting)
    lasting.again()
    for message, left in ((one, 1), (two, 0)):
        assert remembered(lasting) == 1
        if end is None:
            lasting.broker.delete("q", Target(receipt=message.receipt))
        else:
            lasting.broker.update("q", Target(receipt=message.receipt), end)
        lasting.again()
        assert remembered(lasting) == left
    assert not any(names(lasting))


@pytest.mark.parametrize("group", ["", "g"])
def test_the_name_is_gone_at_the_deadline_and_with_the_next_claim(lasting: Lasting, group: str) -> None:
    lasting.broker.send("q", [NewMessage(body, group=group) for body in "123"])
    take(lasting)
    lasting.again()
    lasting.clock.ms += 10_000
    assert names(lasting) == [""] * 3
    assert len(take(lasting, 2, "worker-2")) == 2
    lasting.again()
    assert names(lasting) == ["worker-2", "worker-2", ""]
    lasting.clock.ms += 10_000
    assert len(lasting.take("q")) == 3
    lasting.again()
    assert names(lasting) == [""] * 3
    assert remembered(lasting) == 0


def test_a_renewal_and_new_contents_keep_the_name(lasting: Lasting) -> None:
    lasting.add("q", "1", "2", "3")
    held = take(lasting)
    for message, change in zip(held, (Change(), Change(body="new"), Change(error=ReportedError("x"))), strict=True):
        lasting.broker.update("q", Target(receipt=message.receipt), change)
    lasting.again()
    assert names(lasting) == ["worker-1:42"] * 3
    assert remembered(lasting) == 1
    for message in held:
        lasting.broker.delete("q", Target(receipt=message.receipt))
    lasting.again()
    assert remembered(lasting) == 0


def test_a_failure_names_the_consumer(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    (held,) = take(lasting)
    lasting.again().update("q", Target(receipt=held.receipt), Change(error=ReportedError("x"), bury=True))
    message = lasting.again().get("q", one)
    assert message.envelope is not None
    assert message.envelope.last_failure is not None
    assert message.envelope.last_failure.consumer == "worker-1:42"


@pytest.mark.parametrize("read", ["claim", "list", "get"])
def test_a_message_is_shown_with_its_consumer_though_the_claim_ends_before_it_is_read(
    lasting: Lasting, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    (one,) = lasting.add("q", "1")
    if read != "claim":
        take(lasting)
    durability = lasting.broker.core.durability
    wait = durability.wait

    def end_the_claim(position: Position) -> None:
        wait(position)
        lasting.clock.ms += 10_000
        assert remembered(lasting) == 0

    monkeypatch.setattr(durability, "wait", end_the_claim)
    broker = lasting.broker
    calls: dict[str, Callable[[], list[Message]]] = {
        "claim": lambda: take(lasting),
        "list": lambda: list(broker.messages("q")),
        "get": lambda: [broker.get("q", one)],
    }
    [message] = calls[read]()
    assert (message.status, message.consumer) == ("processing", "worker-1:42")


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_failure_after_the_deadline_names_nobody_whether_or_not_the_queue_was_looked_at(
    lasting: Lasting, looked_at: bool
) -> None:
    (one,) = lasting.add("q", "1")
    (held,) = take(lasting)
    lasting.clock.ms += 10_000
    if looked_at:
        assert names(lasting) == [""]
    lasting.broker.update("q", Target(receipt=held.receipt), Change(error=ReportedError("x")))
    message = lasting.again().get("q", one)
    assert message.envelope is not None
    assert message.envelope.last_failure is not None
    assert message.envelope.last_failure.consumer == ""


@pytest.mark.parametrize(("name", "shown"), [("worker-1:42", "worker-1:42"), ("", "worker-2")])
def test_a_failure_names_its_reporter_if_the_claim_has_no_name(lasting: Lasting, name: str, shown: str) -> None:
    (one,) = lasting.add("q", "1")
    (held,) = take(lasting, consumer=name)
    for expected, wait_ms in ((shown, 10_000), ("worker-2", 0)):
        change = Change(error=ReportedError("x"), reporter="worker-2")
        lasting.broker.update("q", Target(receipt=held.receipt), change)
        message = lasting.again().get("q", one)
        assert message.envelope is not None
        assert message.envelope.last_failure is not None
        assert message.envelope.last_failure.consumer == expected
        lasting.clock.ms += wait_ms


@pytest.mark.parametrize("name", ["x" * 65, "a\nb"])
def test_the_name_of_a_reporter_is_that_of_a_consumer(lasting: Lasting, name: str) -> None:
    lasting.add("q", "1")
    (held,) = take(lasting)
    with pytest.raises(InvalidValueError, match=r"error\.consumer must have 1 to 64 printable"):
        lasting.broker.update("q", Target(receipt=held.receipt), Change(error=ReportedError("x"), reporter=name))


def test_a_purge_and_a_dropped_queue_leave_no_name(lasting: Lasting) -> None:
    lasting.add("q", "1", "2")
    take(lasting)
    lasting.again().purge("q")
    assert remembered(lasting) == 0
    lasting.add("q", "3")
    take(lasting)
    lasting.again().drop_queue("q")
    lasting.broker.put_queue("q")
    assert remembered(lasting) == 0


def test_a_repeated_attempt_keeps_the_name(lasting: Lasting) -> None:
    lasting.add("q", "1")
    options = NAMED._replace(attempt_id="a")
    lasting.broker.claim_from(Q, options)
    (again,) = lasting.again().claim_from(Q, options)
    assert again.consumer == "worker-1:42"
    assert names(lasting) == ["worker-1:42"]


def test_claims_beyond_the_limit_have_no_name(lasting: Lasting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MAX_NAMED_CLAIMS", 2)
    lasting.add("q", *"1234")
    for n in range(3):
        take(lasting, 1, f"worker-{n}")
    lasting.again()
    assert names(lasting) == ["worker-0", "worker-1", "", ""]
    lasting.clock.ms += 10_000
    take(lasting, 4, "worker-9")
    lasting.again()
    assert names(lasting) == ["worker-9"] * 4


def test_a_claim_without_a_name_writes_what_it_always_wrote(lasting: Lasting) -> None:
    lasting.add("q", *"123456789")
    sizes = []
    for consumer in ("", "w", "ww"):
        before = lasting.broker.log_bytes
        take(lasting, 1, consumer)
        sizes.append(lasting.broker.log_bytes - before)
    assert [size - sizes[0] for size in sizes] == [0, 2, 3]


def test_compaction_of_named_and_nameless_claims(lasting: Lasting) -> None:
    lasting.add("q", *"1234")
    take(lasting, 2)
    lasting.take("q", 1)
    end = lasting.log.rotate()
    lasting.log.sync()
    while (oldest := lasting.log.oldest()) and oldest[0] <= end:
        assert compact_oldest(lasting.broker, lasting.log)
    assert names(lasting) == ["worker-1:42", "worker-1:42", "", ""]
    lasting.again()
    assert names(lasting) == ["worker-1:42", "worker-1:42", "", ""]
    assert remembered(lasting) == 1


def test_compaction_of_the_longest_names_of_many_small_messages(lasting: Lasting) -> None:
    """Each rewritten message states the name, so their record would be larger than a segment."""
    lasting.broker.produce("q", ["x"] * 1_000)
    for _ in range(7):
        lasting.broker.produce("q", ["x"] * 1_000)
    for n in range(8):
        take(lasting, 1_000, "\U0001f389" * 63 + str(n))
    end = lasting.log.rotate()
    lasting.log.sync()
    while (oldest := lasting.log.oldest()) and oldest[0] <= end:
        assert compact_oldest(lasting.broker, lasting.log, batch_bytes=1 << 20)
    lasting.again()
    assert len(set(names(lasting))) == 8


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "\ud800"])
def test_names_that_are_refused(lasting: Lasting, name: str) -> None:
    lasting.add("q", "1")
    with pytest.raises(InvalidValueError, match="printable"):
        take(lasting, 1, name)
    assert lasting.again().count("q", "unprocessed") == 1
