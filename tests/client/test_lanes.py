"""Calls of several threads and tasks share requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.client.script import Gate, answer, fields_of, produced
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import ClientClosedError, Invalid, Unreachable
from wonderq.client.gate import Gate as ThreadGate
from wonderq.client.lanes import MOST_LANES, Lanes
from wonderq.client.messages import Sent
from wonderq.client.operations import SENDS, SENDS_TOGETHER, Batcher, Operation
from wonderq.client.polls import Poll
from wonderq.client.requests import MSGPACK, Answer, NoAnswer, Request
from wonderq.client.sync import Client
from wonderq.client.sync_message import Message
from wonderq.client.thread_lanes import ThreadLane


def messages_of(request: Request) -> Any:
    assert request.body is not None
    decode = msgspec.msgpack.decode if request.media_type == MSGPACK else msgspec.json.decode
    return decode(request.body)["messages"]


def texts_of(request: Request) -> list[str]:
    return [each["message"] for each in messages_of(request)]


@pytest.fixture
def gate() -> Gate:
    return Gate(produced)


@pytest.fixture
def client(gate: Gate) -> Client:
    client = Client("http://127.0.0.1:1")
    client._engine._http = gate  # type: ignore[assignment]
    return client


def waiting_in(client: Client) -> int:
    return sum(len(lane._batcher) for lane in client._engine._lanes)


def test_sends_gather_while_a_request_is_under_way(client: Client, gate: Gate) -> None:
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    others = [Call(queue.send, str(number)) for number in range(1, 20)]
    eventually(lambda: waiting_in(client) == 19)
    gate.let_go(2)
    assert first.result() == Sent("0")
    assert [each.result() for each in others] == [Sent(str(number)) for number in range(1, 20)]
    assert texts_of(gate.requests[0]) == ["0"]
    assert sorted(texts_of(gate.requests[1]), key=int) == [str(number) for number in range(1, 20)]
    assert len(gate.requests) == 2


@pytest.mark.parametrize(
    ("end", "path", "field"),
    [
        (Message.delete, "/messages/delete", "receipts"),
        (lambda message: message.renew(60), "/messages/update", "entries"),
    ],
    ids=["deletes", "renewals"],
)
def test_deletes_and_renewals_gather_too(
    client: Client, gate: Gate, end: Callable[[Message], None], path: str, field: str
) -> None:
    gate._respond = lambda request: answer(200, {"results": [{"success": True}] * len(fields_of(request)[field])})
    about: dict[str, Any] = {"text": "", "queue": "q", "status": "processing", "tries": 1, "engine": client._engine}
    messages = [
        Message(id=f"m{number}", receipt=f"r{number}", produced_at=datetime.now(UTC), **about) for number in range(9)
    ]
    first = Call(end, messages[0])
    gate.wait_for_request()
    others = [Call(end, message) for message in messages[1:]]
    eventually(lambda: waiting_in(client) == 8)
    gate.let_go(2)
    for each in (first, *others):
        each.result()
    assert [request.target.endswith(path) for request in gate.requests] == [True, True]
    assert [len(fields_of(request)[field]) for request in gate.requests] == [1, 8]


def test_an_idle_client_waits_for_nothing(client: Client, gate: Gate) -> None:
    gate.let_go(3)
    for text in "abc":
        assert client.queue("q").send(text) == Sent(text)
    assert [texts_of(request) for request in gate.requests] == [["a"], ["b"], ["c"]]


def test_queues_and_kinds_of_calls_do_not_wait_for_each_other(client: Client, gate: Gate) -> None:
    calls = [Call(client.queue(name).send, "x") for name in ("a", "b")]
    gate.wait_for_request()
    gate.wait_for_request()
    gate.let_go(2)
    for each in calls:
        each.result()


def test_a_thread_sends_no_more_than_one_request_for_others(client: Client, gate: Gate) -> None:
    """The first caller returns although more calls keep coming."""
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    second = Call(queue.send, "1")
    eventually(lambda: waiting_in(client) == 1)
    gate.let_go()
    first.result()
    gate.wait_for_request()
    assert not second.done
    gate.let_go()
    second.result()


def test_batches_of_several_threads_are_under_way_at_a_time(gate: Gate) -> None:
    """They share no request. One after the other, each would wait for the disk as often as there are threads."""
    client = Client("http://127.0.0.1:1", pool=3)
    client._engine._http = gate  # type: ignore[assignment]
    queue = client.queue("q")
    calls = []
    for number in range(5):
        calls.append(Call(queue.send_together, [str(number), "more"]))
        if number < 3:
            gate.wait_for_request()
    eventually(lambda: waiting_in(client) == 2)
    assert len(gate.requests) == 3
    gate.let_go(5)
    for number, call in enumerate(calls):
        assert call.result() == [Sent(str(number)), Sent("more")]
    producers = [fields_of(request)["producer_id"] for request in gate.requests]
    numbers = [(fields_of(request)["producer_id"], fields_of(request)["request_number"]) for request in gate.requests]
    assert (len(gate.requests), len(set(producers)), len(set(numbers))) == (5, 3, 5)


def test_batches_of_one_thread_have_one_producer(client: Client, gate: Gate) -> None:
    gate.let_go(3)
    for _ in range(3):
        client.queue("q").send_together(["a"])
    fields = list(map(fields_of, gate.requests))
    assert len({each["producer_id"] for each in fields}) == 1
    assert [each["request_number"] for each in fields] == [1, 2, 3]


def test_no_thread_sees_lanes_that_are_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes: Lanes[ThreadLane]
    seen: list[int] = []

    def make(batcher: Batcher) -> ThreadLane:
        seen.extend(len(each) for each in lanes._lanes.values())
        return ThreadLane(batcher, lambda _batcher, _operations, _ends_s: None)

    lanes = Lanes(make, 8)
    monkeypatch.setattr(ThreadLane, "load", 1)
    for _ in range(3):
        lanes.of("q", SENDS_TOGETHER)
    lanes.of("q", SENDS)
    assert seen == [1, 2, 3]
    assert len(list(lanes)) == 4


def test_lanes_without_an_operation_go_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lane:
        def __init__(self, batcher: Batcher) -> None:
            self.load = 1 if "busy" in batcher.queue else 0

    monkeypatch.setattr("wonderq.client.lanes.MOST_IN_USE", 10)
    lanes = Lanes(Lane, 8)
    busy = [lanes.of(f"busy-{number}", SENDS) for number in range(3)]
    for number in range(1000):
        lane = lanes.of(f"reply-{number}", SENDS)
        assert lanes.of(f"reply-{number}", SENDS) is lane
        assert len(list(lanes)) <= 10
    assert [lanes.of(f"busy-{number}", SENDS) for number in range(3)] == busy
    for number in range(100):  # more than that, if all are busy
        lanes.of(f"more-busy-{number}", SENDS)
    assert len(list(lanes)) > 100


def test_a_client_has_few_producers_however_many_threads_send_batches(gate: Gate) -> None:
    client = Client("http://127.0.0.1:1", pool=100)
    client._engine._http = gate  # type: ignore[assignment]
    calls = []
    for number in range(20):
        calls.append(Call(client.queue("q").send_together, ["a"]))
        if number < MOST_LANES:
            gate.wait_for_request()
    eventually(lambda: waiting_in(client) == 20 - MOST_LANES)
    gate.let_go(20)
    for call in calls:
        call.result()
    assert len({fields_of(request)["producer_id"] for request in gate.requests}) == MOST_LANES


def test_an_error_of_one_caller_reaches_no_other(client: Client, gate: Gate) -> None:
    def respond(request: Request) -> Answer | NoAnswer:
        if "bad" in texts_of(request):
            return answer(400, {"error": {"code": "invalid_value", "message": "bad", "field": "messages[0].delay"}})
        return produced(request)

    gate._respond = respond
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    good, bad = Call(queue.send, "good"), Call(queue.send, "bad")
    eventually(lambda: waiting_in(client) == 2)
    gate.let_go(10)
    first.result()
    assert good.result() == Sent("good")
    with pytest.raises(Invalid):
        bad.result()


def test_a_call_that_waits_too_long_for_others_did_not_happen(gate: Gate) -> None:
    client = Client("http://127.0.0.1:1", timeout=0.2)
    client._engine._http = gate  # type: ignore[assignment]
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    with pytest.raises(Unreachable) as raised:
        Call(queue.send, "1").result()
    assert not raised.value.outcome_unknown
    gate.let_go(2)
    first.result()
    queue.send("2")
    assert [texts_of(request) for request in gate.requests] == [["0"], ["2"]]


def test_an_interrupted_sender_passes_the_lane_on(client: Client, gate: Gate) -> None:
    def interrupt(_: Request) -> Answer | NoAnswer:
        gate._respond = produced
        raise KeyboardInterrupt

    gate._respond = interrupt
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    second = Call(queue.send, "1")
    eventually(lambda: waiting_in(client) == 1)
    gate.let_go(2)
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.result() == Sent("1")
    gate.let_go()
    assert queue.send("2") == Sent("2")


def interrupt_waiting(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a call, and interrupt its thread while it waits for its turn."""

    def interrupt(_self: object, _timeout_s: float) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ThreadGate, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call()


def test_an_interrupted_waiter_does_not_stop_the_lane(
    client: Client, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    interrupt_waiting(lambda: queue.send("1"), monkeypatch)
    gate.let_go(3)
    first.result()
    assert queue.send("2") == Sent("2")
    assert [texts_of(request) for request in gate.requests] == [["0"], ["2"]]


def test_no_call_is_answered_with_the_batch_of_an_interrupted_waiter(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of these has one operation, so the interrupted one would go in the place of the next."""
    client = Client("http://127.0.0.1:1", pool=1)
    client._engine._http = gate  # type: ignore[assignment]
    send = client.queue("q").send_together
    first = Call(send, ["0"])
    gate.wait_for_request()
    interrupt_waiting(lambda: send(["1"]), monkeypatch)
    gate.let_go(3)
    first.result()
    for text in "23":
        assert Call(send, [text]).result() == [Sent(text)]
    assert [texts_of(request) for request in gate.requests] == [["0"], ["2"], ["3"]]


def test_a_thread_leads_until_its_own_operation_is_done(client: Client, gate: Gate) -> None:
    """The operations before its own may fill a request."""
    gate._respond = lambda request: answer(201, {"ids": [each["message"][:1] for each in messages_of(request)]})
    queue = client.queue("q")
    calls = [Call(queue.send, "0")]
    gate.wait_for_request()
    for waiting, text in enumerate("123"):
        calls.append(Call(queue.send, text * 3_000_000))
        eventually(lambda waiting=waiting: waiting_in(client) == waiting + 1)  # type: ignore[misc]
    gate.let_go(4)
    assert [each.result() for each in calls] == [Sent(text) for text in "0123"]
    assert len(gate.requests) == 4


def test_the_others_are_told_that_the_thread_that_sent_for_them_was_interrupted(client: Client, gate: Gate) -> None:
    """Their messages may have been added."""

    def interrupt(request: Request) -> Answer | NoAnswer:
        if len(texts_of(request)) > 1:
            raise KeyboardInterrupt
        return produced(request)

    gate._respond = interrupt
    queue = client.queue("q")
    first = Call(queue.send, "0")
    gate.wait_for_request()
    calls = [Call(queue.send, text) for text in "123"]
    eventually(lambda: waiting_in(client) == 3)
    gate.let_go(2)
    first.result()
    errors = []
    for each in calls:
        with pytest.raises((KeyboardInterrupt, Unreachable)) as raised:
            each.result()
        errors.append(raised.value)
    told = [each for each in errors if isinstance(each, Unreachable)]
    assert [each.outcome_unknown for each in told] == [True, True]
    assert told[0] is not told[1], "each raises its own, with its own traceback"
    gate.let_go()
    assert queue.send("4") == Sent("4")


def test_calls_that_wait_while_the_client_is_closed_are_told_so(client: Client, gate: Gate) -> None:
    def close(request: Request) -> Answer | NoAnswer:
        if texts_of(request) != ["0"]:
            raise ClientClosedError
        return produced(request)

    gate._respond = close
    calls = [Call(client.queue("q").send, "0")]
    gate.wait_for_request()
    calls += [Call(client.queue("q").send, text) for text in "12"]
    eventually(lambda: waiting_in(client) == 2)
    gate.let_go(2)
    calls[0].result()
    for each in calls[1:]:
        with pytest.raises(RuntimeError, match="closed"):
            each.result()


# The time of a call


def test_a_request_for_others_ends_with_the_time_of_its_sender(client: Client, gate: Gate) -> None:
    """A call that waited for others gets no second time of its own. The one that came last has the most left."""
    ends_s: list[float] = []
    arrived, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def carry_out(_: Batcher, operations: Sequence[Operation], until_s: float) -> None:
        ends_s.append(until_s)
        arrived.release()
        assert go_on.acquire(timeout=PATIENCE_S)
        for operation in operations:
            operation.succeed()

    lane = ThreadLane(Batcher("q", SENDS), carry_out)
    calls = []
    for number, timeout_s in enumerate((10_000, 20_000, 30_000)):
        calls.append(Call(lane.run, Operation("x"), timeout_s))
        eventually(lambda number=number: lane.load == number + 1)  # type: ignore[misc]
    assert arrived.acquire(timeout=PATIENCE_S)
    before_s = time.monotonic()
    go_on.release(2)
    for each in calls:
        each.result()
    assert len(ends_s) == 2
    assert ends_s[0] < before_s + 10_000
    assert before_s + 20_000 < ends_s[1] < before_s + 30_000

    gate.let_go()
    client._engine._carry_out(Batcher("q", SENDS), [Operation({"message": "x"})], time.monotonic() + 10)
    assert gate.requests[0].timeout_s < 10


def test_a_call_whose_turn_comes_too_late_is_not_made() -> None:
    lane = ThreadLane(Batcher("q", SENDS), lambda _batcher, operations, _ends_s: operations[0].succeed("done"))
    with pytest.raises(Unreachable) as raised:
        lane.run(Operation("late"), 0)
    assert not raised.value.outcome_unknown
    assert lane.run(Operation("next"), PATIENCE_S) == "done"


def test_lanes_of_many_threads_and_queues_never_mix(client: Client, gate: Gate) -> None:
    """Each call gets the result of its own message, from its own queue."""

    def respond(request: Request) -> Answer:
        queue = request.target.split("/")[2]
        return answer(201, {"ids": [f"{queue}/{text}" for text in texts_of(request)]})

    gate._respond = respond
    gate.let_go(100_000)

    def work(thread: int) -> None:
        for number in range(100):
            queue, text = f"q{(thread + number) % 5}", f"{thread}-{number}"
            assert client.queue(queue).send(text) == Sent(f"{queue}/{text}")

    for each in [Call(work, thread) for thread in range(16)]:
        each.result()
    assert sum(len(texts_of(request)) for request in gate.requests) == 1600


def test_callers_that_leave_early_hold_up_no_other() -> None:
    """The threads of a request wake each other, also over those that have given up meanwhile."""

    def carry_out(_: Batcher, operations: Sequence[Operation], _ends_s: float) -> None:
        for operation in operations:
            operation.succeed(operation.entry)

    lane = ThreadLane(Batcher("q", SENDS), carry_out)

    def work(thread: int) -> None:
        for number in range(300):
            operation = Operation(f"{thread}-{number}")
            is_patient = thread % 2 == 0
            try:
                assert lane.run(operation, 10 * PATIENCE_S if is_patient else number % 5 / 10_000) == operation.entry
            except Unreachable:
                assert not is_patient

    for each in [Call(work, thread) for thread in range(16)]:
        each.result()
    assert not lane._turns


def test_a_caller_that_was_about_to_leave_wakes_the_others() -> None:
    """Its time is over, and before it can take its operation back, a thread counts on it to wake the next one."""
    arrived, go_on = threading.Semaphore(0), threading.Semaphore(0)
    is_leaving, leaves = threading.Event(), threading.Event()

    def carry_out(_: Batcher, operations: Sequence[Operation], _ends_s: float) -> None:
        arrived.release()
        assert go_on.acquire(timeout=PATIENCE_S)
        for operation in operations:
            operation.succeed(operation.entry)

    class Lane(ThreadLane):
        def _give_up(self, operation: Operation, turn: ThreadGate, timeout_s: float) -> None:
            is_leaving.set()
            assert leaves.wait(PATIENCE_S)
            super()._give_up(operation, turn, timeout_s)

    lane = Lane(Batcher("q", SENDS), carry_out)

    def run(name: str, timeout_s: float = 10 * PATIENCE_S) -> Call[None]:
        waiting = len(lane._batcher)
        call = Call(lane.run, Operation(name), timeout_s)
        eventually(lambda: len(lane._batcher) == waiting + 1 or not lane._batcher)
        return call

    calls = [run("first")]
    assert arrived.acquire(timeout=PATIENCE_S)
    calls += [run("second"), run("leaving", 0.001), run("last")]
    assert is_leaving.wait(PATIENCE_S)
    go_on.release(2)
    eventually(lambda: not lane._turns)
    leaves.set()
    for call in calls:
        call.result()


class AsyncGate:
    """`Gate` for tasks."""

    def __init__(self, respond: Callable[[Request], Answer | NoAnswer]) -> None:
        self.requests: list[Request] = []
        self._respond = respond
        self.open = asyncio.Semaphore(0)

    async def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        self.requests.append(request)
        await self.open.acquire()
        return self._respond(request)

    async def close(self) -> None:
        """Do nothing: there are no connections."""


def use(client: AsyncClient, gate: AsyncGate) -> None:
    """Put a gate in the place of HTTP, for the running loop."""
    client._engine._loop = asyncio.get_running_loop()
    client._engine._http = gate  # type: ignore[assignment]


async def sending(client: AsyncClient, gate: AsyncGate, text: str) -> asyncio.Task[Sent]:
    """Put a gate in the place of HTTP, and return a send whose request is under way."""
    use(client, gate)
    call = asyncio.create_task(client.queue("q").send(text))
    while not gate.requests:
        await asyncio.sleep(0)
    return call


def test_tasks_share_requests() -> None:
    async def scenario() -> None:
        gate = AsyncGate(produced)
        async with AsyncClient("http://127.0.0.1:1") as client:
            use(client, gate)
            queue = client.queue("q")
            tasks = [asyncio.create_task(queue.send(str(number))) for number in range(10)]
            while not gate.requests:
                await asyncio.sleep(0)
            late = asyncio.create_task(queue.send("late"))
            cancelled = asyncio.create_task(queue.send("cancelled"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            cancelled.cancel()
            gate.open.release()
            gate.open.release()
            assert await asyncio.gather(*tasks) == [Sent(str(number)) for number in range(10)]
            assert await late == Sent("late")
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert [texts_of(request) for request in gate.requests] == [
                list(map(str, range(10))),
                ["late", "cancelled"],
            ]

    asyncio.run(scenario())


def test_batches_of_several_tasks_are_under_way_at_a_time() -> None:
    async def scenario() -> None:
        gate = AsyncGate(produced)
        async with AsyncClient("http://127.0.0.1:1", pool=3) as client:
            use(client, gate)
            queue = client.queue("q")
            tasks = [asyncio.create_task(queue.send_together([str(number)])) for number in range(5)]
            while len(gate.requests) < 3:
                await asyncio.sleep(0)
            for _ in tasks:
                gate.open.release()
            assert await asyncio.gather(*tasks) == [[Sent(str(number))] for number in range(5)]
            producers = [fields_of(request)["producer_id"] for request in gate.requests]
            assert (len(producers), len(set(producers))) == (5, 3)

    asyncio.run(scenario())


def test_a_task_that_waits_too_long_for_others_did_not_send() -> None:
    async def scenario() -> None:
        gate = AsyncGate(produced)
        async with AsyncClient("http://127.0.0.1:1", timeout=0.2) as client:
            first = await sending(client, gate, "0")
            queue = client.queue("q")
            with pytest.raises(Unreachable) as second:
                await queue.send("1")
            assert not second.value.outcome_unknown
            with pytest.raises(Unreachable) as of_first:  # its request is under way
                await first
            assert of_first.value.outcome_unknown
            gate.open.release()
            gate.open.release()
            assert await queue.send("2") == Sent("2")
            assert [texts_of(request) for request in gate.requests] == [["0"], ["2"]]

    asyncio.run(scenario())


def test_closing_waits_for_the_calls_under_way() -> None:
    async def scenario() -> None:
        gate = AsyncGate(produced)
        client = AsyncClient("http://127.0.0.1:1")
        call = await sending(client, gate, "x")
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        assert not closing.done()
        gate.open.release()
        await closing
        assert await call == Sent("x")

    asyncio.run(scenario())


def test_a_task_that_sends_for_others_and_is_cancelled_tells_them() -> None:
    """Their messages may have been added."""

    async def scenario() -> None:
        gate = AsyncGate(produced)
        client = AsyncClient("http://127.0.0.1:1")
        call = await sending(client, gate, "x")
        [sender] = [each for each in asyncio.all_tasks() if each.get_name() == "wonderq-lane"]
        sender.cancel()
        with pytest.raises(Unreachable) as raised:
            await call
        assert raised.value.outcome_unknown

    asyncio.run(scenario())
