"""Situations: a folder with much in it, and the steps that are measured there.

The sizes hold for ``--scale 1``. A step is one request of an unprivileged client, or background work from its cause to
its end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks.holds import folders
from benchmarks.holds.bodies import FORM, HOSTILE, SQS_JSON, Hostile
from benchmarks.holds.folders import Fill
from benchmarks.holds.measured import Answer, MeasuredBroker
from benchmarks.scripts import JSON

#: Longest holds for requests that ordinary clients make, and for background work and requests that are meant to harm.
ORDINARY_MS, HOSTILE_MS = 20.0, 50.0

_MILLION = 1_000_000
_HOSTILE_BYTES = 33 << 20
_BATCH = 1000

#: Duration of a measurement without a request.
_REST_S = 2.0

#: Interval at which the end of background work is looked for, and the longest wait for it.
_LOOK_S, _PATIENCE_S = 0.2, 900.0


class Step(NamedTuple):
    """One measurement. ``run`` returns a short description of the outcome."""

    name: str
    run: Callable[[MeasuredBroker], str]
    bound_ms: float = ORDINARY_MS


class Situation(NamedTuple):
    """A folder and what is measured on it."""

    name: str
    fill: Fill
    steps: list[Step]
    options: tuple[str, ...] = ()
    """Options of `wonderq serve`."""
    segment_bytes: int = 64 << 20


def outcome(answer: Answer) -> str:
    status = f"{answer.status} in" if answer.status else "closed after"
    return f"{status} {answer.seconds:.2f} s"


def request(method: str, path: str, value: Any = None, *, name: str = "", bound_ms: float = ORDINARY_MS) -> Step:
    """Return the step of one request with a body in JSON, or with none."""

    def run(broker: MeasuredBroker) -> str:
        body = b"" if value is None else json.dumps(value).encode()
        return outcome(broker.ask(method, path, body, {"Content-Type": JSON} if body else None))

    return Step(name or f"{method} {path}", run, bound_ms)


def until(reached: Callable[[MeasuredBroker], bool], broker: MeasuredBroker) -> str:
    """Wait for the end of background work, and return how long it took."""
    began = time.monotonic()
    while not reached(broker):
        if time.monotonic() - began > _PATIENCE_S:
            return "not finished"
        time.sleep(_LOOK_S)
    return f"{time.monotonic() - began:.1f} s"


def after(request: Step, reached: Callable[[MeasuredBroker], bool]) -> Step:
    """Return the step of a request and the background work that it causes."""

    def run(broker: MeasuredBroker) -> str:
        answered = request.run(broker)
        return f"{answered}, done after {until(reached, broker)}"

    return Step(request.name, run, request.bound_ms)


def rest(_broker: MeasuredBroker) -> str:
    time.sleep(_REST_S)
    return ""


AT_REST = Step("at rest", rest)


def is_empty(queue: str, broker: MeasuredBroker) -> bool:
    return not sum(broker.ask_json("GET", f"/queues/{queue}")["counts"].values())


def metric(name: str, broker: MeasuredBroker) -> float:
    """Return the value of a metric without labels."""
    for line in broker.ask("GET", "/metrics").body.splitlines():
        if line.startswith(name.encode() + b" "):
            return float(line.split()[1])
    return 0.0


def consumed(path: str, count: int) -> Callable[[MeasuredBroker], str]:
    """Return the work of a step: consume, then delete all at once."""

    def run(broker: MeasuredBroker) -> str:
        messages = broker.ask_json("POST", f"{path}/messages/consume", {"max": count})
        receipts = [message["receipt"] for message in messages]
        if receipts:
            broker.ask_json("POST", f"{path}/messages/delete", {"receipts": receipts})
        return f"{len(receipts)} messages"

    return run


def handed_on(path: str, count: int) -> Callable[[MeasuredBroker], str]:
    """Return the work of a step: finish messages and claim the next ones in one request, until there are none."""

    def run(broker: MeasuredBroker) -> str:
        total, receipts = 0, ["0" * 40]
        while receipts:
            answer = broker.ask_json("POST", f"{path}/messages/next", {"max": count, "delete": receipts})
            receipts = [message["receipt"] for message in answer["messages"]]
            total += len(receipts)
        return f"{total} messages"

    return run


def received(queue: str, *, is_json: bool) -> Callable[[MeasuredBroker], str]:
    """Return the work of a step: receive ten messages as an SQS client."""
    url = f"/000000000000/{queue}"
    json_body = json.dumps({"QueueUrl": url, "MaxNumberOfMessages": 10}).encode()
    form_body = f"Action=ReceiveMessage&QueueUrl={url}&MaxNumberOfMessages=10".encode()
    json_headers = {"Content-Type": SQS_JSON, "X-Amz-Target": "AmazonSQS.ReceiveMessage"}

    def run(broker: MeasuredBroker) -> str:
        if is_json:
            return outcome(broker.ask("POST", "/", json_body, json_headers))
        return outcome(broker.ask("POST", "/", form_body, {"Content-Type": FORM}))

    return run


def updated(path: str, count: int, change: dict[str, Any]) -> Callable[[MeasuredBroker], str]:
    """Return the work of a step: change messages in one request."""

    def run(broker: MeasuredBroker) -> str:
        ids = [each["id"] for each in broker.ask_json("GET", f"{path}/dev/messages?limit={count}")]
        broker.ask_json("POST", f"{path}/messages/update", {"entries": [{"id": each, **change} for each in ids]})
        return f"{len(ids)} messages"

    return run


def nothing(_broker: Any) -> None:
    """Fill nothing."""


def ordinary(_size: Callable[[int], int]) -> Situation:
    """The largest requests that ordinary clients make, on a broker with little in it."""
    attributes = {f"attribute{number}": "x" * 20 for number in range(10)}
    path = "/queues/work"
    batches: dict[str, list[Any]] = {
        "1,000 texts of 100 B": ["x" * 100] * _BATCH,
        "1,000 texts of 16 KB": ["x" * 16_000] * _BATCH,
        "16 texts of 1 MiB": ["x" * (1 << 20)] * 15,
        "1,000 with 10 attributes": [{"message": "x", "attributes": attributes}] * _BATCH,
        "1,000 with a group": [{"message": "x", "group": f"g{number}"} for number in range(_BATCH)],
        "1,000 with a key": [{"message": "x", "idempotency_key": f"k{number}"} for number in range(_BATCH)],
        "1,000 with a delay each": [{"message": "x", "delay": 3600 + number} for number in range(_BATCH)],
    }
    steps = [AT_REST]
    for name, messages in batches.items():
        steps.append(request("POST", f"{path}/messages/produce", {"messages": messages}, name=f"produce {name}"))
        if "delay" not in name:
            steps.append(Step(f"consume and delete {name}", consumed(path, _BATCH)))
    for name in ("1,000 texts of 16 KB", "1,000 with 10 attributes"):
        again = {"messages": batches[name]}
        steps.append(request("POST", "/queues/next/messages/produce", again, name=f"produce {name} again"))
        steps.append(Step(f"next of {name}", handed_on("/queues/next", _BATCH)))
    for is_json in (True, False):
        again = {"messages": batches["16 texts of 1 MiB"]}
        steps.append(request("POST", "/queues/sqs/messages/produce", again, name="produce 16 texts of 1 MiB again"))
        form = "JSON" if is_json else "XML"
        steps.append(Step(f"ReceiveMessage of 10 texts of 1 MiB, {form}", received("sqs", is_json=is_json)))
    change = {"message": "y", "attributes": attributes}
    steps += [
        Step("update the text of 1,000", updated(path, _BATCH, change)),
        Step("bury 1,000", updated(path, _BATCH, {"bury": True})),
        request("POST", f"{path}/messages/kick", {"max": _BATCH}),
        request("POST", f"{path}/purge"),
        request("GET", "/openapi.json"),
        request("GET", "/metrics"),
    ]
    return Situation("largest ordinary requests", nothing, steps)


def many_queues(size: Callable[[int], int]) -> Situation:
    def sqs(body: bytes, broker: MeasuredBroker) -> str:
        return outcome(broker.ask("POST", "/", body, {"Content-Type": FORM}))

    sources = b"Action=ListDeadLetterSourceQueues&QueueUrl=/000000000000/queue-0"
    steps = [
        AT_REST,
        request("GET", "/queues"),
        request("GET", "/metrics"),
        Step("ListQueues of SQS", partial(sqs, b"Action=ListQueues")),
        Step("ListDeadLetterSourceQueues of SQS", partial(sqs, sources)),
        request("GET", "/queues/queue-0"),
        request("PUT", "/queues/queue-0", {"retention": 1000}),
        request("DELETE", "/queues/queue-1"),
    ]
    # The default queue and the one for dead letters count too.
    return Situation("10,000 queues", folders.queues(size(9_990), 2, 20), steps)


def large_tags(size: Callable[[int], int]) -> Situation:
    steps = [request("GET", "/queues"), request("GET", "/metrics"), request("GET", "/queues/queue-0")]
    return Situation("10,000 queues with 50 tags", folders.queues(size(9_990), 50, 100), steps)


def many_subscriptions(size: Callable[[int], int]) -> list[Situation]:
    """A topic with the most subscriptions. Each batch has as many messages as may be added to all queues together."""
    count = size(9_990)
    fill = folders.subscriptions("orders", count)
    path = "/topics/orders"

    def publish(kind: str, messages: int, broker: MeasuredBroker) -> str:
        attributes = {"kind": {"type": "String", "value": kind}}
        batch = [{"message": "x" * 100, "attributes": attributes} for _ in range(messages)]
        return outcome(
            broker.ask("POST", f"{path}/publish", json.dumps({"messages": batch}).encode(), {"Content-Type": JSON})
        )

    steps = [
        AT_REST,
        Step("publish, no queue matches", partial(publish, "none", 1)),
        Step("publish, a tenth of the queues match", partial(publish, "some", 1)),
        Step("publish, all queues match", partial(publish, "all", 1)),
        Step("publish two messages, all queues match", partial(publish, "all", 2)),
        request("POST", f"{path}/match", {"message": "x"}),
        request("GET", "/topics"),
        request("GET", f"{path}/subscriptions"),
        request("GET", "/metrics"),
        request("DELETE", f"{path}/subscriptions/s1"),
        request("DELETE", "/queues/q2"),
        request("PUT", f"{path}/subscriptions/s3", {"paused": True}),
        request("DELETE", path),
        AT_REST,
    ]
    return [Situation("a topic with 10,000 subscriptions", fill, steps)]


def million_groups(size: Callable[[int], int]) -> list[Situation]:
    fill = folders.groups("work", size(_MILLION))
    path = "/queues/work"
    claims = [
        AT_REST,
        Step("consume and delete 1,000", consumed(path, _BATCH)),
        request("PUT", path, {"max_in_flight_per_group": 1}),
        Step("consume and delete 1,000 again", consumed(path, _BATCH)),
        request("PUT", path, {"max_in_flight_per_group": 0}),
        after(request("PUT", path, {"retention": 1}, name="retention of all"), partial(is_empty, "work")),
    ]
    return [
        Situation("a million groups", fill, claims),
        Situation("a million groups: purge", fill, [request("POST", f"{path}/purge"), AT_REST]),
        Situation("a million groups: drop", fill, [request("DELETE", path), AT_REST]),
    ]


def million_deadlines(size: Callable[[int], int]) -> list[Situation]:
    steps = [
        request("POST", "/queues/work/messages/consume?max=1", name="the first consume"),
        request("GET", "/queues/work"),
        Step("consume and delete 1,000", consumed("/queues/work", _BATCH)),
        AT_REST,
    ]
    return [
        Situation("a million deadlines at one moment", folders.due("work", size(_MILLION), 0), steps),
        Situation("a million deadlines at their own", folders.due("work", size(_MILLION), 0.5), steps),
    ]


def due_together(size: Callable[[int], int]) -> Situation:
    """Delays that end within a second while the broker runs."""
    count = size(200)

    def run(broker: MeasuredBroker) -> str:
        due_s = time.time() + 5 + count * 0.1
        for batch in range(count):
            delays = [due_s - time.time() + (batch * _BATCH + number) / (count * _BATCH) for number in range(_BATCH)]
            messages = [{"message": "x", "delay": max(delay, 0)} for delay in delays]
            broker.ask_json("POST", "/queues/work/messages/produce", {"messages": messages})
        time.sleep(max(0, due_s + 1.5 - time.time()))
        return ""

    def claim(broker: MeasuredBroker) -> str:
        found = broker.ask_json("POST", "/queues/work/messages/consume", {"max": _BATCH, "wait": 1})
        return f"{len(found)} messages"

    steps = [Step("200,000 delays come and end", run), Step("the consume after that", claim)]
    return Situation("200,000 delays end within a second", nothing, steps)


def million_retained(size: Callable[[int], int]) -> Situation:
    count = size(_MILLION)
    path = "/queues/work"
    steps = [
        AT_REST,
        request("GET", f"{path}/dev/messages/status?status=buried"),
        request("GET", f"{path}/dev/messages?limit=1000"),
        request("GET", f"{path}/dev/messages"),
        request("GET", f"{path}/dev/messages?contains=absent"),
        after(request("PUT", path, {"retention": 1}, name="retention of all"), partial(is_empty, "work")),
    ]
    return Situation("a million messages", folders.waiting("work", count), steps)


def listings(size: Callable[[int], int]) -> Situation:
    def fill(broker: Any) -> None:
        folders.rich("rich", size(15_000), 30)(broker)
        for _ in range(size(100)):
            broker.produce("large", ["x" * 1_000_000])

    steps = [
        request("GET", f"/queues/{queue}/dev/messages{query}")
        for queue in ("rich", "large")
        for query in ("", "?contains=absent", "?attribute=absent", "?group=absent")
    ]
    return Situation("messages with 30 attributes, messages of 1 MB", fill, steps)


def poisoned(size: Callable[[int], int]) -> list[Situation]:
    count = size(100_000)

    def until_healthy(queue: str, broker: MeasuredBroker) -> str:
        began, before_s = time.monotonic(), metric("process_cpu_seconds_total", broker)
        while time.monotonic() - began < _PATIENCE_S:
            if broker.ask_json("POST", f"/queues/{queue}/messages/consume", {"max": 1, "wait": 1}):
                used_s = metric("process_cpu_seconds_total", broker) - before_s
                return f"{time.monotonic() - began:.1f} s, {used_s:.1f} s of the processor"
        return "not finished"

    def is_moved(queue: str, broker: MeasuredBroker) -> bool:
        return bool(broker.ask_json("GET", f"/queues/{queue}/redrive")[0]["status"] != "running")

    situations = []
    for kind, work, dead, fill in (
        ("dead letters", "work", "dead", folders.waiting("work", count)),
        (
            "dead letters, each of a group of a FIFO queue,",
            "work.fifo",
            "dead.fifo",
            folders.groups("work.fifo", count),
        ),
    ):
        steps = [
            Step("consume until the healthy message comes", partial(until_healthy, work)),
            after(request("POST", f"/queues/{dead}/redrive", {"destination": "default"}), partial(is_moved, dead)),
        ]
        situations.append(Situation(f"100,000 {kind} before one message", folders.poisoned(work, dead, fill), steps))
    return situations


def hostile(size: Callable[[int], int]) -> Situation:
    """Hostile bodies of several sizes each, because a call may refuse the largest ones by their length."""
    sizes = [size(_HOSTILE_BYTES >> bits) for bits in (0, 2, 4, 6, 8)]

    def send(each: Hostile, broker: MeasuredBroker) -> str:
        method, path = each.call.split()
        answers = [broker.ask(method, path, each.body(length), each.headers) for length in sizes]
        return f"{' '.join(str(answer.status) for answer in answers)} in {sum(each.seconds for each in answers):.2f} s"

    steps = [Step(f"{each.call}: {each.name}", partial(send, each), HOSTILE_MS) for each in HOSTILE]
    return Situation("bodies of up to 33 MiB", nothing, steps)


def checkpoints(size: Callable[[int], int]) -> Situation:
    batch = {"messages": ["x" * 10_000] * 100}

    def run(broker: MeasuredBroker) -> str:
        before = metric("wonderq_checkpoints_total", broker)
        for _ in range(1000):
            broker.ask_json("POST", "/queues/other/messages/produce", batch)
            if metric("wonderq_checkpoints_total", broker) > before:
                break
        return until(lambda broker: metric("wonderq_checkpoints_total", broker) > before, broker)

    step = Step("produce until a checkpoint is written", run)
    return Situation("checkpoint of a million messages", folders.waiting("work", size(_MILLION), "x"), [step])


def compaction(size: Callable[[int], int]) -> Situation:
    segment_bytes = 32 << 20

    def is_compacted(broker: MeasuredBroker) -> bool:
        before = metric("wonderq_compaction_dropped_segments_total", broker)
        time.sleep(3)
        return metric("wonderq_compaction_dropped_segments_total", broker) == before > 0

    steps = [after(request("POST", "/queues/garbage/purge"), is_compacted)]
    options = ("--segment-bytes", str(segment_bytes))
    fill = folders.mixed("live", "garbage", max(size(300_000), 100_000))
    return Situation("compaction of 300 MB", fill, steps, options, segment_bytes)


def all_situations(scale: float) -> list[Situation]:
    """Return all situations, with sizes multiplied by ``scale``."""

    def size(full: int) -> int:
        return max(1, int(full * scale))

    return [
        ordinary(size),
        many_queues(size),
        large_tags(size),
        *many_subscriptions(size),
        *million_groups(size),
        *million_deadlines(size),
        due_together(size),
        million_retained(size),
        listings(size),
        *poisoned(size),
        hostile(size),
        checkpoints(size),
        compaction(size),
    ]
