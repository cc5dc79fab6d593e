"""Failures that consumers report: the last error of a message, dead letters on request, and releases that do not count."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.errors import BatchTooLargeError, InvalidValueError, MessageNotFoundError, StaleReceiptError
from wonderq.model.failures import MAX_ERROR_BYTES, Failure, ReportedError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, Target

ERROR = ReportedError("no route to host", "OSError", "Traceback: ...")


def held_receipt(lasting: Lasting, queue: str = "q") -> Target:
    (held,) = lasting.take(queue, 1)
    return Target(receipt=held.receipt)


def last_failure(message: Message) -> Failure | None:
    return message.envelope.last_failure if message.envelope else None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (Change(error=ERROR), "processing"),
        (Change(error=ERROR, visibility_timeout_ms=0), "unprocessed"),
        (Change(error=ERROR, visibility_timeout_ms=60_000), "processing"),
        (Change(error=ERROR, delay_ms=60_000), "delayed"),
        (Change(error=ERROR, backoff_ms=60_000), "delayed"),
        (Change(error=ERROR, bury=True), "buried"),
        (Change(error=ERROR, dead=True), "buried"),
    ],
)
def test_a_message_keeps_the_last_error(lasting: Lasting, change: Change, status: str) -> None:
    attributes: dict[str, tuple[str, str | bytes]] = {"a": ("String", "x")}
    [sent] = lasting.broker.send("q", [NewMessage("1", attributes=attributes, priority=3, group="g")])
    earlier = Change(error=ReportedError("earlier"), visibility_timeout_ms=0)
    lasting.broker.update("q", held_receipt(lasting), earlier)
    lasting.again()
    target = held_receipt(lasting)
    lasting.clock.ms += 1_000
    reported_ms = lasting.clock.ms
    lasting.broker.update("q", target, change)
    message = lasting.again().get("q", sent.id)
    assert last_failure(message) == Failure(ERROR, reported_ms, 2, "")
    assert (message.status, message.receives, message.body) == (status, 2, "1")
    assert message.envelope is not None
    assert (message.envelope.attributes, message.envelope.priority, message.envelope.group) == (attributes, 3, "g")
    assert message.envelope.version == 1, "an error is no new version of the contents"
    assert message.first_claimed_ms


def test_an_error_beside_new_contents(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    lasting.broker.update("q", held_receipt(lasting), Change(error=ERROR, body="2", if_version=1))
    message = lasting.again().get("q", one)
    assert (message.body, last_failure(message)) == ("2", Failure(ERROR, lasting.clock.ms, 1, ""))
    assert message.envelope is not None
    assert message.envelope.version == 2


def test_a_stale_receipt_reports_nothing(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    stale = held_receipt(lasting)
    lasting.broker.update("q", stale, Change(visibility_timeout_ms=0))
    for change in (Change(error=ERROR), Change(dead=True, error=ERROR), Change(delay_ms=0, uncounted=True)):
        with pytest.raises(StaleReceiptError):
            lasting.broker.update("q", stale, change)
    message = lasting.again().get("q", one)
    assert (message.receives, message.envelope) == (1, None)


@pytest.mark.parametrize(
    "error",
    [
        ReportedError("é" * (MAX_ERROR_BYTES // 2), "e"),
        ReportedError("m" * 4_000, "t" * 193, "b" * 4_000),
        ReportedError("\ud800"),
    ],
)
def test_errors_that_are_refused(lasting: Lasting, error: ReportedError) -> None:
    lasting.add("q", "1", "2")
    targets = [held_receipt(lasting), held_receipt(lasting)]
    with pytest.raises(InvalidValueError, match="error") as caught:
        lasting.broker.update_batch("q", [(targets[0], Change(delay_ms=0)), (targets[1], Change(error=error))])
    assert caught.value.field == "error"
    assert lasting.again().count("q", "processing") == 2


def test_no_limit_of_sizes_refuses_the_largest_error(lasting: Lasting) -> None:
    lasting.add("q", *"123")
    lasting.broker.put_queue("q", max_message_bytes=1, max_bytes=1)
    lasting.limit(Limits(message_bytes=1, batch_bytes=3, bytes_per_queue=1, total_bytes=1))
    largest = ReportedError("m" * 8_000, "t" * 100, "b" * 92)
    targets = [held_receipt(lasting) for _ in range(3)]
    assert (
        lasting.broker.update_batch("q", [(each, Change(error=largest, delay_ms=0)) for each in targets]) == [None] * 3
    )
    failures = [last_failure(message) for message in lasting.again().messages("q")]
    assert [failure and failure.error for failure in failures] == [largest] * 3


def test_writing_again_more_than_a_batch_may_have_is_refused_as_a_whole(lasting: Lasting) -> None:
    lasting.add("q", *("x" * 60_000 for _ in range(4)))
    targets = [held_receipt(lasting) for _ in range(4)]
    lasting.limit(Limits(batch_bytes=100_000))
    with pytest.raises(BatchTooLargeError, match="fewer"):
        lasting.broker.update_batch("q", [(each, Change(error=ERROR, delay_ms=0)) for each in targets])
    assert lasting.again().count("q", "processing") == 4
    assert lasting.broker.update_batch("q", [(targets[0], Change(error=ERROR, delay_ms=0))]) == [None]


def test_dead_moves_to_the_dead_letter_queue_at_once(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=5, dead_letter_queue="dead")
    [sent] = lasting.broker.send("q", [NewMessage("1", group="g", key="k")])
    produced_ms = lasting.clock.ms
    lasting.clock.ms += 1_000
    lasting.broker.update("q", held_receipt(lasting), Change(dead=True, error=ERROR))
    assert list(lasting.again().messages("q")) == []
    (dead,) = lasting.broker.messages("dead")
    assert (dead.body, dead.status, dead.receives) == ("1", "unprocessed", 0)
    assert dead.envelope is not None
    assert dead.envelope.dead_letter_source == ("q", sent.id, ERROR.message, lasting.clock.ms, produced_ms, 1)
    assert last_failure(dead) == Failure(ERROR, lasting.clock.ms, 1, "")
    assert (dead.envelope.group, dead.envelope.key) == ("g", "k")
    with pytest.raises(MessageNotFoundError):
        lasting.broker.get("q", sent.id)


def test_dead_keeps_an_earlier_error_and_the_reason_is_short(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=5, dead_letter_queue="dead")
    lasting.add("q", "1", "2")
    lasting.broker.update("q", held_receipt(lasting), Change(error=ERROR, visibility_timeout_ms=0))
    lasting.broker.update("q", held_receipt(lasting), Change(dead=True))
    lasting.broker.update("q", held_receipt(lasting), Change(dead=True, error=ReportedError("x" * 5_000)))
    one, two = lasting.again().messages("dead")
    assert one.envelope is not None
    assert two.envelope is not None
    assert one.envelope.dead_letter_source is not None
    assert two.envelope.dead_letter_source is not None
    assert one.envelope.dead_letter_source.reason == "declared dead by its consumer"
    assert last_failure(one) == Failure(ERROR, lasting.clock.ms, 1, "")
    assert two.envelope.dead_letter_source.reason == "x" * 1_000


def test_dead_is_buried_without_a_dead_letter_queue_or_room_for_one(lasting: Lasting) -> None:
    lasting.add("a", "1")
    lasting.add("b", "2")
    lasting.broker.put_queue("b", max_receives=5, dead_letter_queue="dead")
    lasting.limit(Limits(queues=3))
    for queue in "ab":
        lasting.broker.update(queue, held_receipt(lasting, queue), Change(dead=True, error=ERROR))
    broker = lasting.again()
    assert [info.name for info in broker.queues()] == ["a", "b", "default"]
    for queue in "ab":
        (message,) = broker.messages(queue)
        assert message.status == "buried"
        assert last_failure(message) == Failure(ERROR, lasting.clock.ms, 1, "")
        assert broker.kick(queue, 1) == 1


def test_a_dead_letter_of_too_many_receives_has_the_last_error_too(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
    lasting.add("q", "1")
    lasting.broker.update("q", held_receipt(lasting), Change(error=ERROR, visibility_timeout_ms=0))
    assert lasting.again().claim("q") == []
    (dead,) = lasting.again().messages("dead")
    assert last_failure(dead) == Failure(ERROR, lasting.clock.ms, 1, "")


def test_a_redriven_message_starts_without_it(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=5, dead_letter_queue="dead")
    lasting.add("q", "1")
    lasting.broker.update("q", held_receipt(lasting), Change(dead=True, error=ERROR))
    redrive = lasting.again().redrives.start("dead")
    while lasting.broker.redrives.get(redrive).ended_ms is None:
        lasting.broker.redrives.run()
    (message,) = lasting.again().messages("q")
    assert (message.body, message.envelope) == ("1", None)


@pytest.mark.parametrize("with_error", [False, True])
@pytest.mark.parametrize(
    "release", [Change(visibility_timeout_ms=0, uncounted=True), Change(backoff_ms=1_000, uncounted=True)]
)
def test_an_uncounted_release_undoes_the_receive(lasting: Lasting, release: Change, with_error: bool) -> None:
    (one,) = lasting.add("q", "1")
    if with_error:
        release = Change(error=ERROR, **{name: value for name, value in vars(release).items() if name != "error"})
    for before in (0, 0, 1, 1):
        if before and not lasting.broker.get("q", one).receives:
            lasting.broker.update("q", held_receipt(lasting), Change(visibility_timeout_ms=0))
        target = held_receipt(lasting)
        assert lasting.again().get("q", one).receives == before + 1
        lasting.broker.update("q", target, release)
        message = lasting.again().get("q", one)
        assert (message.receives, bool(message.first_claimed_ms)) == (before, bool(before))
        lasting.clock.ms += 10_000


def test_an_uncounted_release_saves_a_message_from_the_dead_letters(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=2, dead_letter_queue="dead")
    (one,) = lasting.add("q", "1")
    for _ in range(4):
        lasting.broker.update("q", held_receipt(lasting), Change(visibility_timeout_ms=0, uncounted=True))
        lasting.again()
    assert lasting.broker.get("q", one).receives == 0


@pytest.mark.parametrize(
    "change",
    [
        Change(uncounted=True),
        Change(uncounted=True, visibility_timeout_ms=1_000),
        Change(uncounted=True, bury=True),
        Change(uncounted=True, dead=True),
        Change(uncounted=True, error=ERROR),
    ],
)
def test_only_a_release_may_be_uncounted(lasting: Lasting, change: Change) -> None:
    (one,) = lasting.add("q", "1")
    with pytest.raises(InvalidValueError, match="release"):
        lasting.broker.update("q", held_receipt(lasting), change)
    assert lasting.again().get("q", one).receives == 1


def test_only_the_holder_may_undo_a_receive(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    held_receipt(lasting)
    with pytest.raises(InvalidValueError, match="receipt"):
        lasting.broker.update("q", Target(id=one), Change(delay_ms=0, uncounted=True))
    assert lasting.again().get("q", one).receives == 1


def test_dead_excludes_the_other_ends_of_a_claim(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    target = held_receipt(lasting)
    for change in (Change(dead=True, bury=True), Change(dead=True, delay_ms=0)):
        with pytest.raises(InvalidValueError, match="only one"):
            lasting.broker.update("q", target, change)
    assert lasting.again().get("q", one).status == "processing"


def test_a_batch_of_all_of_them(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_receives=5, dead_letter_queue="dead")
    ids = lasting.add("q", *"12345")
    held = [Target(receipt=message.receipt) for message in lasting.take("q")]
    changes = [
        Change(dead=True, error=ERROR),
        Change(error=ERROR, delay_ms=1_000),
        Change(visibility_timeout_ms=0),
        Change(dead=True),
        Change(bury=True, error=ERROR),
    ]
    updates = [*zip(held, changes, strict=True), (held[0], Change(dead=True))]
    *done, twice = lasting.broker.update_batch("q", updates)
    assert done == [None] * 5
    assert isinstance(twice, InvalidValueError)
    broker = lasting.again()
    assert [(message.id, message.status) for message in broker.messages("q")] == [
        (ids[1], "delayed"),
        (ids[2], "unprocessed"),
        (ids[4], "buried"),
    ]
    assert [message.body for message in broker.messages("dead")] == ["1", "4"]
