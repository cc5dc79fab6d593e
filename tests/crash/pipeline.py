"""Kills a broker under a pipeline: keyed messages into a FIFO queue, by hand-over into the next, poison to the dead letters.

    python -m tests.crash.pipeline --cycles 50 [--seed S] [--fsync POLICY] [--segment-bytes N]

What `tests.support.kill_cycles` checks is what every queue promises. Here it is what comes with groups, keys, hand-overs and
dead letters: `judge` has the rules. Producers send again what was not answered, with its key, and after each start what was
answered too; the consumers of each life know nothing of those before.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.broker_process import BrokerProcess
from tests.support.history.recording import request
from tests.support.mechanisms import (
    CHECKPOINTS,
    CHECKPOINTS_FOUND,
    CLAIMS_EXPIRED,
    COMPACTIONS,
    DEAD_LETTERS,
    DECLARED_DEAD,
    ERRORS,
    NEXTS,
    NOT_WHOLE,
    ROTATIONS,
    UNCOUNTED,
    Mechanisms,
    has_checkpoint,
    rotations,
    scraped,
)
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.client.errors import Refused, Unreachable

STEPS, DONE, DEAD = "steps.fifo", "done", "dead"

#: A queue whose messages are all garbage soon: without it, the log would have nothing to compact.
LITTER = "litter"
QUEUES = (STEPS, DONE, DEAD)

KILLS, HAND_OVERS, REPEATED_SENDS, REPEATED_CLAIMS = "kills", "hand-overs", "keys sent again", "attempts repeated"

#: Mechanisms that the kills have to hit.
MECHANISMS = (
    *(KILLS, HAND_OVERS, REPEATED_SENDS, REPEATED_CLAIMS, DEAD_LETTERS, CLAIMS_EXPIRED),
    *(CHECKPOINTS, CHECKPOINTS_FOUND, COMPACTIONS, ROTATIONS),
    *(NEXTS, DECLARED_DEAD, UNCOUNTED, ERRORS),
)

MAX_RECEIVES = 3
_TIMEOUT_S = 0.1


@dataclass(slots=True)
class Producer:
    """Sends the messages of one group, one after the other, each until it is answered."""

    group: str
    poisonous: random.Random
    sent: dict[str, str] = field(default_factory=dict)
    """Bodies that were answered, and their ids."""
    tried: list[str] = field(default_factory=list)
    """All bodies, with and without an answer."""
    wrong: list[str] = field(default_factory=list)
    repeated: int = 0
    """Number of sendings that were answered as duplicates."""

    def send_again(self, client: QueueClient) -> None:
        """Send what was answered once more: it has to be known still."""
        for body in list(self.sent)[-20:]:
            self._send(client, body)

    def send_more(self, client: QueueClient, done: threading.Event) -> None:
        while not done.is_set():
            if len(self.tried) == len(self.sent):
                kind = "poison" if self.poisonous.random() < 0.1 else "work"
                self.tried.append(f"{self.group} {len(self.tried):06} {kind}")
            self._send(client, self.tried[-1])
            done.wait(0.004)  # so that the others keep up

    def _send(self, client: QueueClient, body: str) -> None:
        message_id = client.produce(body, group=self.group, idempotency_key=body)
        self.repeated += body in self.sent
        if self.sent.setdefault(body, message_id) != message_id:
            self.wrong.append(f"{body} was sent again with its key, and was added again")


def claim_next(
    client: QueueClient, ends: dict[str, Any], chance: random.Random, counts: Counter[str]
) -> list[dict[str, Any]]:
    """Finish messages and claim others; a repeated attempt has to get the same results."""
    body = {**ends, "max": chance.choice((1, 2, 5)), "visibility_timeout": _TIMEOUT_S, "consumer": "worker"}
    if chance.random() < 0.3:
        body["attempt_id"] = f"{chance.random()}"
    answers = [request(client, "POST", "/messages/next", body) for _ in range(2 if "attempt_id" in body else 1)]
    if answers[-1].get("results") != answers[0].get("results"):
        raise AssertionError(f"a repeated attempt got {answers[-1]}, and before it {answers[0]}")
    counts[NEXTS] += any(ends.values())
    for name, mechanism in (("dead", DECLARED_DEAD), ("release", UNCOUNTED)):
        entries = ends.get(name, [])
        results = answers[0].get("results", {}).get(name, [{"success": True}] * len(entries))
        done = [entry for entry, result in zip(entries, results, strict=True) if result["success"]]
        counts[mechanism] += len(done)
        counts[ERRORS] += sum("error" in entry for entry in done)
    messages: list[dict[str, Any]] = answers[-1]["messages"]
    return messages


def consume_by_next(client: QueueClient, done: threading.Event, chance: random.Random, counts: Counter[str]) -> None:
    """Give up on poison that is the first of its group in an answer, and give back the others without a try."""
    ends: dict[str, Any] = {}
    while not done.is_set():
        claimed = claim_next(client, ends, chance, counts)
        ends = {"release": [], "dead": []}
        groups: set[str] = set()
        for each in claimed:
            if each["group"] not in groups and each["message"].endswith("poison"):
                ends["dead"].append({"receipt": each["receipt"], "error": {"message": each["message"]}})
            elif chance.random() < 0.7:
                error = {"error": {"message": each["message"]}} if chance.random() < 0.3 else {}
                ends["release"].append({"receipt": each["receipt"], "uncounted": True, **error})
            groups.add(each["group"])
        if not claimed:
            done.wait(0.02)


def consume(client: QueueClient, done: threading.Event, chance: random.Random, counts: Counter[str]) -> None:
    """Hand over what is not poison, all of an answer at once; and leave the rest until its claim ends."""
    while not done.is_set():
        attempt = f"{chance.random()}" if chance.random() < 0.3 else None
        limit = chance.choice((1, 2, 5, 20))
        claimed = client.consume(limit=limit, wait=0.05, visibility_timeout=_TIMEOUT_S, attempt_id=attempt)
        if attempt is not None:
            before, claimed = (
                claimed,
                client.consume(limit=limit, visibility_timeout=_TIMEOUT_S, attempt_id=attempt),
            )
            counts[REPEATED_CLAIMS] += bool(before) and before[0]["receipt"] in [each["receipt"] for each in claimed]
        good = [each for each in claimed if not each["message"].endswith("poison")]
        if not good or chance.random() < 0.1:
            continue
        outputs = [{"queue": DONE, "message": each["message"], "group": each["group"]} for each in good]
        try:
            client.hand_over([each["receipt"] for each in good], outputs)
            counts[HAND_OVERS] += 1
        except Refused as refused:
            if refused.code not in ("stale_receipt", "message_not_found"):
                raise


def litter(client: QueueClient, done: threading.Event) -> None:
    while not done.wait(0.02):
        client.produce_batch(["x" * 1000] * 10)
        client.purge()


@dataclass(frozen=True, slots=True)
class Found:
    """A message in a queue at the end of the pipeline."""

    body: str
    id: str
    origin_receives: int | None = None
    """Receive count in the source queue, for a dead letter."""
    reason: str = ""
    """Reason of a dead letter."""
    error: str | None = None
    """Message of the last error that a consumer reported."""


def judge(tried: Iterable[str], sent: Mapping[str, str], found: Mapping[str, Sequence[Found]]) -> list[str]:
    """Say what is wrong with what is in the queues, given all bodies that were sent and the ids that were answered.

    - A keyed message is there exactly once, in whichever queue, if its sending was answered, and at most once if not.
    - So a hand-over or a move was done wholly or not at all: done by half, a message would be in two queues, or in none.
    - The messages of a group are in each queue in the order in which they were sent.
    - A dead letter had its tries, or its consumer gave up on it and the reason is his error. Poison goes nowhere else.
    - An error stays with the message for which it was reported.
    """
    wrong: list[str] = []
    places = [(queue, each) for queue, messages in found.items() for each in messages]
    counts = Counter(each.body for _, each in places)
    known = set(tried)
    for body in known:
        if counts[body] > 1:
            wrong.append(
                f"{body} is there {counts[body]} times: {[queue for queue, each in places if each.body == body]}"
            )
        if not counts[body] and body in sent:
            wrong.append(f"{body} was answered and is nowhere")
    wrong += [f"nobody sent {body}" for body in counts if body not in known]
    for queue, messages in found.items():
        newest: dict[str, str] = {}
        for each in messages:
            group = each.body.split()[0]
            if each.body < newest.get(group, ""):
                wrong.append(f"in {queue}, {each.body} comes after {newest[group]}")
            newest[group] = each.body
    for queue, each in places:
        if queue == STEPS and each.body in sent and sent[each.body] != each.id:
            wrong.append(f"{each.body} has another id than was answered")
        if queue == DONE and each.body.endswith("poison"):
            wrong.append(f"{each.body} was handed over, which nobody did")
        if each.error not in (None, each.body):
            wrong.append(f"{each.body} has the error of {each.error}")
        given_up = each.reason == each.error == each.body and each.body.endswith("poison")
        if queue == DEAD and each.origin_receives != MAX_RECEIVES and not (given_up and each.origin_receives):
            wrong.append(f"{each.body} is a dead letter after {each.origin_receives} receives")
    return wrong


def _found(message: dict[str, Any]) -> Found:
    origin, error = message.get("dead_letter", {}), message.get("last_error", {})
    return Found(
        message["message"], message["id"], origin.get("receive_count"), origin.get("reason", ""), error.get("message")
    )


class Pipeline:
    """All cycles on one folder."""

    def __init__(self, folder: Path, seed: int, *, fsync: str = "always", segment_bytes: int = 1 << 16) -> None:
        self._folder = folder
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._chance = random.Random(seed)
        self.producers = [Producer(f"g{n}", random.Random(self._chance.random())) for n in range(3)]
        self.figures: Counter[str] = Counter()
        self.mechanisms = Mechanisms(MECHANISMS)

    def run(self, cycles: int) -> list[str]:
        """Return what is wrong, after the first cycle in which something is."""
        for _ in range(cycles):
            wrong = self._cycle()
            if wrong:
                return wrong
        return []

    def _cycle(self) -> list[str]:
        data = self._folder / "data"
        self.mechanisms.counts[CHECKPOINTS_FOUND] += has_checkpoint(data)
        broker = BrokerProcess(
            data,
            "--fsync",
            self._fsync,
            segment_bytes=self._segment_bytes,
            stderr=self._folder / "stderr",
        )
        try:
            url = broker.ready()
            with QueueClient(url, queue=STEPS) as client:
                client.put_queue(max_receives=MAX_RECEIVES, dead_letter_queue=DEAD)
            wrong = self._look(url)
            if not wrong:
                self._work(broker, url)
            self.figures["cycles"] += 1
            self.mechanisms.counts[ROTATIONS] = rotations(data)
            self.mechanisms.counts[REPEATED_SENDS] = sum(producer.repeated for producer in self.producers)
        finally:
            broker.kill()
        return wrong or [each for producer in self.producers for each in producer.wrong]

    def _look(self, url: str) -> list[str]:
        """Judge what a kill left."""
        with QueueClient(url, queue=DONE) as done, QueueClient(url, queue=DEAD) as dead:
            done.put_queue()
            dead.put_queue()
        found = {}
        for queue in QUEUES:
            with QueueClient(url, queue=queue) as client:
                found[queue] = list(map(_found, client.messages()))
            self.figures[queue] = len(found[queue])
        tried = [body for producer in self.producers for body in producer.tried]
        sent = {body: message_id for producer in self.producers for body, message_id in producer.sent.items()}
        self.figures["sent"] = len(sent)
        return judge(tried, sent, found)

    def _work(self, broker: BrokerProcess, url: str) -> None:
        done = threading.Event()
        failures: list[Exception] = []

        def begin(work: Callable[[QueueClient], object], queue: str = STEPS) -> threading.Thread:
            def run() -> None:
                try:
                    with QueueClient(url, queue=queue) as client:
                        work(client)
                except Unreachable:
                    pass  # it was killed
                except Exception as error:
                    failures.append(error)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            return thread

        def produce(producer: Producer) -> Callable[[QueueClient], None]:
            def work(client: QueueClient) -> None:
                producer.send_again(client)
                producer.send_more(client, done)

            return work

        threads = [begin(produce(producer)) for producer in self.producers]
        threads.append(begin(lambda client: litter(client, done), LITTER))
        counted: list[Counter[str]] = []
        for _ in range(3):
            chance = random.Random(self._chance.random())
            counts: Counter[str] = Counter()
            counted.append(counts)
            threads.append(
                begin(lambda client, chance=chance, counts=counts: consume(client, done, chance, counts))  # type: ignore[misc]
            )
        chance = random.Random(self._chance.random())
        ended: Counter[str] = Counter()
        counted.append(ended)
        threads.append(begin(lambda client: consume_by_next(client, done, chance, ended)))
        time.sleep(self._chance.uniform(0.2, 1.2))
        counted.append(scraped(url))
        broker.kill()
        self.mechanisms.counts[KILLS] += 1
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a call has no end"
        for counts in counted:
            self.mechanisms.counts.update(counts)
        if failures:
            raise failures[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.pipeline", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--fsync", default="always")
    parser.add_argument("--segment-bytes", type=int, default=1 << 16)
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="wonderq-pipeline-"))
    print(f"seed {given.seed}", flush=True)
    pipeline = Pipeline(folder, given.seed, fsync=given.fsync, segment_bytes=given.segment_bytes)
    wrong = pipeline.run(given.cycles)
    mechanisms, is_whole = pipeline.mechanisms.verdict(is_slice=given.slice)
    print(", ".join(f"{name} {count}" for name, count in pipeline.figures.items()), mechanisms, sep="\n")
    if wrong:
        print(*wrong[:20], f"the folder is kept: {folder}", sep="\n")
        return 1
    shutil.rmtree(folder)
    return 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
