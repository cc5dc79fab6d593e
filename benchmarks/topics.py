"""What a publish costs, compared with a send to one queue, and the longest turn of a publish.

    python -m benchmarks.topics [--messages 100] [--bytes 10000] [--rounds 20]

Each round sends one batch to a queue, and publishes the same batch to topics with 1, 10 and 100 queues. The figures are
medians of all rounds. A round deletes what it added before the next one begins, outside the time that is measured.

The longest turn is the time for which a publish keeps the thread, between two moments at which others can run. It is
measured with 10,000 subscriptions, of which 10, 100, 1,000 or all match.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq.model.messages import NewMessage
from wonderq.model.topics import Publication
from wonderq.runtime.fibers import Hub
from wonderq_storage import FileLog, SyncPolicy

QUEUES = (1, 10, 100)
SUBSCRIPTIONS = 10_000
MATCHING = (10, 100, 1_000, 10_000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100, help="messages of a batch")
    parser.add_argument("--bytes", type=int, default=10_000, help="bytes of a message")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.messages, options.bytes, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        turns(Path(folder), options.rounds)


def compare(folder: Path, messages: int, size: int, rounds: int) -> None:
    """Compare publishes with a send."""
    log = FileLog(folder, sync=SyncPolicy("always"))
    broker = Broker(log)
    bodies = ["b" * size] * messages
    publications = [Publication(NewMessage(body)) for body in bodies]
    broker.put_queue("alone")
    calls: dict[str, Callable[[], object]] = {"send to a queue": lambda: broker.send("alone", bodies)}
    names = ["alone"]
    for count in QUEUES:
        topic = f"to-{count}"
        broker.topics.put(topic)
        for number in range(count):
            names.append(f"{topic}-{number}")
            broker.put_queue(names[-1])
            broker.topics.subscribe(topic, names[-1], queue=names[-1])
        calls[f"publish to {count} queues"] = partial(broker.topics.publish, topic, publications)
    took_s: dict[str, list[float]] = {name: [] for name in calls}
    grew: dict[str, int] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            begin, end = time.perf_counter(), log.end()
            call()
            took_s[name].append(time.perf_counter() - begin)
            grew[name] = log.end() - end
        for name in names:
            broker.purge(name)
    broker.close()
    base_s, base_bytes = statistics.median(took_s["send to a queue"]), grew["publish to 1 queues"]
    print(f"batches of {messages} messages of {size} bytes, {rounds} rounds")
    for name, all_s in took_s.items():
        median_s = statistics.median(all_s)
        more = ""
        if name.startswith("publish to 1") and name != "publish to 1 queues":
            more = f", {(grew[name] - base_bytes) / (int(name.split()[2]) - 1):.1f} bytes of log a further queue"
        print(f"{name:22} {median_s * 1e3:8.2f} ms  {median_s / base_s:5.2f} times a send{more}")


def longest_turn_s(call: Callable[[], object]) -> tuple[float, float]:
    """Make a call on a fiber; return its longest turn and all of them, in seconds of the processor."""
    hub = Hub(lambda: None)
    ended: list[bool] = []

    def work() -> None:
        try:
            call()
            ended.append(True)
        finally:
            ended.append(False)

    hub.spawn(work)
    longest_s = whole_s = 0.0
    while not ended:
        began_s = time.thread_time()
        hub.run()
        took_s = time.thread_time() - began_s
        longest_s, whole_s = max(longest_s, took_s), whole_s + took_s
    assert ended[0], "the call failed"
    return longest_s, whole_s


def turns(folder: Path, rounds: int) -> None:
    """Measure the longest turn of a publish of one message to a topic with many subscriptions."""
    log = FileLog(folder, sync=SyncPolicy("os"))
    broker = Broker(log, limits=Limits(queues=2 * SUBSCRIPTIONS))
    broker.topics.put("many")
    for number in range(SUBSCRIPTIONS):
        broker.put_queue(f"q{number}")
        matching = [name for most, name in ((each, f"m{each}") for each in MATCHING) if number < most]
        broker.topics.subscribe("many", f"q{number}", queue=f"q{number}", filter={"kind": matching})
    longest_turn_s(partial(broker.topics.publish, "many", [Publication(NewMessage("compiles the filters"))]))
    gc.freeze()  # as `wonderq.runtime.collector` does in a server
    print(f"one message of 100 bytes, {SUBSCRIPTIONS:,} subscriptions with filters; time of the processor")
    for most in MATCHING:
        longest_s: list[float] = []
        whole_s: list[float] = []
        for _ in range(rounds):
            message = Publication(NewMessage("b" * 100, attributes={"kind": ("String", f"m{most}")}))
            longest, whole = longest_turn_s(partial(broker.topics.publish, "many", [message]))
            longest_s.append(longest)
            whole_s.append(whole)
        print(
            f"{most:6} match: {statistics.median(whole_s) * 1e3:8.2f} ms in all, "
            f"longest turn {statistics.median(longest_s) * 1e3:8.2f} ms"
        )
    broker.close()


if __name__ == "__main__":
    main()
