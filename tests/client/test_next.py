"""`next`, several queues, and batches of messages that were received, against a real broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.claims import Claim, Release, ToDeadLetters
from wonderq.client.errors import Invalid, NotFound, StaleReceipt, TooMany
from wonderq.client.failures import Failure
from wonderq.client.sync import Client
from wonderq.client.sync_message import Message
from wonderq.client.sync_queue import Queue


def filled(queue: Queue, *texts: str, lease: float | None = None) -> list[Message]:
    """Send messages, and receive them."""
    queue.send_together(texts)
    return queue.receive(len(texts), lease=lease)


def test_next_finishes_each_message_as_asked_and_claims_others(client: Client, queue: Queue) -> None:
    graves = client.queue(f"{queue.name[:70]}-dead")
    graves.configure()
    queue.configure(dead_letter_queue=graves.name)
    done, again, later, bad = filled(queue, "done", "again", "later", "bad")
    found = queue.next(
        delete=[done],
        release=[Release(again, error="not now"), Release(later, delay=600)],
        dead=[ToDeadLetters(bad, ZeroDivisionError("by 0"))],
    )
    assert found.claim_error is None
    assert found.results.errors == []
    assert (found.results.delete, found.results.release, found.results.dead) == ([None], [None, None], [None])
    [message] = found.messages
    assert (message.text, message.tries) == ("again", 2)
    assert message.last_error is not None
    assert (message.last_error.message, message.last_error.attempt) == ("not now", 1)
    assert [each.text for each in queue.look(status="delayed")] == ["later"]
    [grave] = graves.look()
    assert grave.last_error is not None
    assert grave.last_error.type == "ZeroDivisionError"
    message.delete()  # it is bound to its client


def test_next_tells_what_could_not_be_finished_and_finishes_the_rest(queue: Queue) -> None:
    first, second, third = filled(queue, "a", "b", "c")
    first.delete()
    second.release()
    found = queue.next(delete=[first, third], release=[second], limit=5)
    gone, none = found.results.delete
    assert isinstance(gone, NotFound)
    assert none is None
    assert isinstance(found.results.release[0], StaleReceipt)
    assert found.results.errors == [gone, found.results.release[0]]
    assert [each.text for each in found.messages] == ["b"]


def test_a_refused_claim_keeps_what_was_finished(queue: Queue) -> None:
    first, _ = filled(queue, "a", "b")
    queue.send("c")
    queue.configure(max_in_flight=1)
    found = queue.next(delete=[first])
    assert found.messages == []
    assert found.results.delete == [None]
    assert isinstance(found.claim_error, TooMany)
    assert (found.claim_error.code, found.claim_error.status) == ("too_many_in_flight", 429)
    with pytest.raises(NotFound):
        queue.get(first.id)


def test_next_that_is_refused_as_a_whole_finishes_nothing(queue: Queue) -> None:
    [message] = filled(queue, "a")
    with pytest.raises(Invalid):
        queue.next(delete=[message], limit=-1)
    message.renew(60)


def test_next_waits_for_a_message(queue: Queue) -> None:
    [message] = filled(queue, "a")
    waiting = Call(lambda: queue.next(delete=[message.claim_receipt], wait=20))
    queue.send("b")
    assert [each.text for each in waiting.result().messages] == ["b"]


@pytest.mark.parametrize("weighted", [False, True])
def test_several_queues(client: Client, queue: Queue, weighted: bool) -> None:
    names = [f"{queue.name[:70]}-{each}" for each in ("urgent", "jobs")]
    urgent, jobs = map(client.queue, names)
    jobs.send_together(["j"] * 50)
    urgent.send_together(["u"] * 50)
    queues = dict(zip(names, (1000, 1), strict=True)) if weighted else names
    first = client.receive(queues, 50)
    assert len(first) == 50
    if not weighted:
        assert {each.queue for each in first} == {urgent.name}
    second = client.next(queues, delete=first, limit=100)
    assert second.results.errors == []
    assert len(second.messages) == 50
    assert Counter(each.queue for each in (*first, *second.messages)) == {urgent.name: 50, jobs.name: 50}
    assert client.renew(second.messages, 60) == [None] * 50
    for each in second.messages:
        each.delete()
    assert client.receive(queues) == []


def test_a_claim_asks_with_its_lease_and_the_weights_of_its_queues() -> None:
    claim = Claim(limit=5, lease_s=600.0, queues={"urgent": 3, "jobs": 1}, consumer="host:1")
    fields = claim.fields()
    assert fields.pop("attempt_id") != claim.fields()["attempt_id"]
    assert fields == {
        "max": 5,
        "visibility_timeout": 600.0,
        "queues": [{"queue": "urgent", "weight": 3}, {"queue": "jobs", "weight": 1}],
        "consumer": "host:1",
    }


def test_a_lease_goes_before_the_timeout_of_the_queue(queue: Queue) -> None:
    queue.configure(visibility_timeout=60)
    queue.send_together(["a", "b", "c"])
    [usual] = queue.receive(1)
    [received] = queue.receive(1, lease=3600)
    [next_one] = queue.next(limit=1, lease=3600).messages
    assert usual.claimed_until is not None
    for each in (received, next_one):
        assert each.claimed_until is not None
        assert each.claimed_until - usual.claimed_until >= timedelta(seconds=3600 - 60)


def test_a_queue_that_is_missing_among_several_is_named(client: Client, queue: Queue) -> None:
    queue.configure()
    with pytest.raises(NotFound, match="no-such-queue"):
        client.receive([queue.name, "no-such-queue"])


def test_batches_have_a_result_for_each_message(client: Client, queue: Queue) -> None:
    first, second, third = filled(queue, "a", "b", "c", lease=5)
    first.delete()
    gone, none = client.renew([first, second], 600)
    assert isinstance(gone, NotFound)
    assert none is None
    stale, released, later = queue.release([first, Release(second, uncounted=True), Release(third, backoff=60)])
    assert isinstance(stale, NotFound)
    assert (released, later) == (None, None)
    [again] = queue.receive()
    assert (again.text, again.tries) == ("b", 1)
    done, stale = queue.delete([again, second])
    assert done is None
    assert isinstance(stale, NotFound | StaleReceipt)
    assert queue.delete(ids=[third.id]) == [None]
    assert queue.count("delayed") == 0
    assert queue.delete([]) == queue.release([]) == client.renew([]) == []
    with pytest.raises(ValueError, match="not both"):
        queue.delete([again], ids=["1"])


def test_hand_over_deletes_and_sends_in_one_step(client: Client, queue: Queue) -> None:
    target = client.queue(f"{queue.name[:70]}-to")
    target.configure()
    [message] = filled(queue, "a")
    [first, _] = queue.hand_over([message], [(target.name, {"n": 1}), (target.name, "b", {"priority": 3})])
    assert sorted((each.text, each.priority) for each in target.look()) == [("b", 3), ('{"n":1}', 0)]
    assert target.get(first.id).body == {"n": 1}
    with pytest.raises((StaleReceipt, NotFound)):
        queue.hand_over([message], [(target.name, "c")])
    assert len(list(target.look())) == 2


def test_a_failure_of_any_form_is_kept(queue: Queue) -> None:
    messages = filled(queue, "a", "b", "c")
    messages[0].release(error=Failure("Kind", "why", "line 1"))
    messages[1].bury({"type": "Kind", "message": "why"})
    messages[2].dead("why")
    found = {each.text: each.last_error for each in queue.look()}
    assert all(each is not None and each.message == "why" for each in found.values())
    with pytest.raises(ValueError, match="message"):
        queue.receive()[0].release(error={"text": "why"})


def test_the_broker_shows_the_consumer(broker: RunningBroker, queue: Queue) -> None:
    queue.send("a")
    with Client(broker.url, consumer="host:1") as named:
        named.queue(queue.name).receive()
    assert [each.consumer for each in queue.look(status="processing")] == ["host:1"]


@pytest.mark.parametrize(
    "fail",
    [
        lambda _, message: message.bury("late"),
        lambda _, message: message.dead("late"),
        lambda queue, message: queue.next(release=[Release(message, delay=60, error="late")]),
        lambda queue, message: queue.next(dead=[ToDeadLetters(message, ValueError("late"))]),
    ],
)
def test_an_error_after_the_end_of_the_lease_has_the_name_too(
    broker: RunningBroker, queue: Queue, fail: Callable[[Queue, Message], object]
) -> None:
    queue.send("a")
    with Client(broker.url, consumer="host:1") as named:
        same = named.queue(queue.name)
        [message] = same.receive(lease=0.001)
        eventually(lambda: queue.count("unprocessed") == 1)
        fail(same, message)
    error = queue.get(message.id).last_error
    assert error is not None
    assert (error.message, error.consumer) == ("late", "host:1")


def test_the_same_calls_in_asyncio(broker: RunningBroker, queue: Queue) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker.url) as client:
            mail = client.queue(queue.name)
            await mail.send_together(["a", "b", "c", "d"])
            first, second, third, fourth = await mail.receive(4)
            assert await client.renew([first, second], 60) == [None, None]
            found = await client.next([queue.name], delete=[first], release=[second], dead=[ToDeadLetters(third, "x")])
            assert found.results.errors == []
            assert [each.text for each in found.messages] == ["b"]
            await found.messages[0].delete()
            [sent] = await mail.hand_over([fourth], [(queue.name, "e")])
            assert await mail.release(await client.receive({queue.name: 1})) == [None]
            assert await mail.delete(ids=[sent.id]) == [None]

    asyncio.run(scenario())
