"""The speed of a broker in this process, with its log in a folder, on one server (R1) and on three (R3).

In each round, each log does the same work in turn: callers produce, claim and delete messages of 200 bytes, one by one
or in batches. The figures are medians over the rounds. All servers, the broker and the callers share the machine.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.replicated.servers import Servers
from wonderq.broker.broker import Broker
from wonderq.model.messages import Target
from wonderq_storage import FileLog
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Connection, JetStream

BODY = "x" * 200


class Situation(NamedTuple):
    """Callers at the same time, the messages of each of their calls, and how many calls each makes."""

    callers: int
    batch: int
    calls: int
    target: float | None
    """Least ratio of R3 to a folder, if there is one."""

    @property
    def name(self) -> str:
        return f"{self.callers} x {self.batch}"


SITUATIONS = (
    Situation(1, 1, 600, 0.25),
    Situation(16, 1, 150, None),
    Situation(64, 1, 100, 0.7),
    Situation(16, 100, 100, 0.7),
)

FOLDER, ONE, THREE = "folder", "R1", "R3"
LOGS = (FOLDER, ONE, THREE)

OPERATIONS = ("produce", "claim", "delete")

_COLUMNS = (
    "callers x messages",
    "operation",
    "folder: messages/s (p50/p99 ms)",
    "R1 (ratio)",
    "R3 (ratio, p50/p99 ms)",
    "target",
)


class Measured(NamedTuple):
    """One operation of all callers."""

    messages_per_s: float
    seconds: float
    latencies_ms: list[float]


@contextmanager
def brokers(folder: Path) -> Iterator[dict[str, Broker]]:
    """Open a broker on each kind of log."""
    with ExitStack() as stack:
        opened = {FOLDER: Broker(FileLog(folder / "log"))}
        for name, count in ((ONE, 1), (THREE, 3)):
            servers = stack.enter_context(Servers(folder / name, count))
            connection = stack.enter_context(closing(Connection(servers.urls)))
            opened[name] = Broker(JetStreamLog(JetStream(connection), "speed", node="benchmark", replicas=count))
        for broker in opened.values():
            stack.callback(broker.close)
        yield opened


def together(callers: int, call: Callable[[int], object], calls: int, batch: int) -> Measured:
    """Let each caller call so often, all at once."""
    latencies_ms: list[float] = []
    failures: list[Exception] = []
    barrier = threading.Barrier(callers + 1)

    def work(caller: int) -> None:
        mine = []
        barrier.wait()
        try:
            for _ in range(calls):
                began = time.perf_counter()
                call(caller)
                mine.append((time.perf_counter() - began) * 1000)
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)
        latencies_ms.extend(mine)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(callers)]
    for each in threads:
        each.start()
    barrier.wait()
    began = time.perf_counter()
    for each in threads:
        each.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return Measured(callers * calls * batch / seconds, seconds, latencies_ms)


def measure(broker: Broker, queue: str, situation: Situation) -> dict[str, Measured]:
    """Produce, claim and delete messages in a queue of their own."""
    callers, batch, calls, _ = situation
    bodies = [BODY] * batch
    claimed: dict[int, list[list[str]]] = defaultdict(list)

    def claim(caller: int) -> None:
        messages = broker.claim(queue, limit=batch)
        if len(messages) != batch:
            raise RuntimeError(f"{len(messages)} of {batch} messages were claimed")
        claimed[caller].append([each.receipt for each in messages if each.receipt is not None])

    def delete(caller: int) -> None:
        receipts = claimed[caller].pop()
        if any(broker.delete_batch(queue, Target.each((None, each) for each in receipts))):
            raise RuntimeError("a message was not deleted")

    broker.put_queue(queue)
    measured = {
        "produce": together(callers, lambda _: broker.produce(queue, bodies), calls, batch),
        "claim": together(callers, claim, calls, batch),
        "delete": together(callers, delete, calls, batch),
    }
    broker.drop_queue(queue)
    return measured


def run(folder: Path, rounds: int) -> str:
    """Measure everything, and return the report."""
    found: dict[tuple[str, str, str], list[Measured]] = defaultdict(list)
    with brokers(folder) as opened:
        for number in range(rounds):
            for situation in SITUATIONS:
                for at in range(len(LOGS)):
                    log = LOGS[(at + number) % len(LOGS)]
                    measured = measure(opened[log], f"queue-{number}-{situation.callers}-{situation.batch}", situation)
                    for operation, each in measured.items():
                        found[situation.name, operation, log].append(each)
    return report(found)


def report(found: dict[tuple[str, str, str], list[Measured]]) -> str:
    """Return the medians as a table, with a line of all three operations together for each situation."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for situation in SITUATIONS:
        for operation in OPERATIONS:
            folder, one, three = (found[situation.name, operation, log] for log in LOGS)
            lines.append(
                f"| {situation.name} | {operation} | {_rate(folder):,.0f} ({_latencies(folder)}) | {_rate(one):,.0f} "
                f"({_rate(one) / _rate(folder):.2f}) | {_rate(three):,.0f} ({_rate(three) / _rate(folder):.2f}, "
                f"{_latencies(three)}) | |"
            )
        folder_s, one_s, three_s = (_all_s(found, situation, log) for log in LOGS)
        target = "" if situation.target is None else f"at least {situation.target}"
        lines.append(
            f"| {situation.name} | all three | | ({folder_s / one_s:.2f}) | ({folder_s / three_s:.2f}) | {target} |"
        )
    return "\n".join(lines)


def _rate(measured: list[Measured]) -> float:
    return median(each.messages_per_s for each in measured)


def _latencies(measured: list[Measured]) -> str:
    cuts = quantiles([latency for each in measured for latency in each.latencies_ms], n=100)
    return f"{cuts[49]:.2f}/{cuts[98]:.2f}"


def _all_s(found: dict[tuple[str, str, str], list[Measured]], situation: Situation, log: str) -> float:
    """Return the median time of a round's produces, claims and deletes."""
    rounds = zip(*(found[situation.name, operation, log] for operation in OPERATIONS), strict=True)
    seconds: list[float] = [sum(each.seconds for each in operations) for operations in rounds]
    return median(seconds)
