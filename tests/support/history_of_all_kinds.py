"""A history of a broker with every kind of record."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.clock import FakeClock
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.finishing import Finish
from wonderq.broker.polls import Sources
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.topics import Publication
from wonderq.state import record
from wonderq_storage import FileCheckpoints, FileLog

HOUR_MS = 3_600_000


class Writer:
    """A broker on a new folder, with small segments and a clock that moves a second with each step."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.clock = FakeClock()
        self.log = FileLog(folder, segment_bytes=4096, now_ms=self.clock.now_ms)
        self.broker = Broker(self.log, clock=self.clock)
        self.checkpoints = FileCheckpoints(folder)
        self.random = random.Random(seed)

    def body(self, name: str) -> str:
        """Some text, not all of it ASCII."""
        letters = "abcdefghij \n\u00e9\u4e16\U0001f600"
        return name + ": " + "".join(self.random.choices(letters, k=self.random.randrange(250)))

    def write_history(self, steps: int) -> None:
        """Every kind of record, and messages that are waiting, claimed, expired, delayed, restated and gone."""
        broker = self.broker
        broker.put_queue("orders.fifo", visibility_timeout_ms=12_345, delay_ms=0)
        for step in range(steps):
            ids = broker.produce("default", [self.body(f"{step} {part}") for part in range(3)])
            self.clock.ms += 1000
            delayed = broker.produce("orders.fifo", [self.body(f"order {step}"), ""], [HOUR_MS, None])
            claimed = broker.claim("default", limit=2, visibility_timeout_ms=HOUR_MS if step % 2 else 5000)
            self.clock.ms += 1000
            first = Target(claimed[0].id, claimed[0].receipt)
            match step % 6:
                case 0:
                    broker.delete("default", first)
                case 1:
                    broker.update("default", first, Change(body=self.body(f"restated {step}")))
                case 2:
                    broker.update("default", first, Change(visibility_timeout_ms=0))
                case 3:
                    broker.update("default", first, Change(delay_ms=HOUR_MS))
                case 4:
                    broker.update("default", first, Change(visibility_timeout_ms=2 * HOUR_MS))
            broker.delete_batch("default", [Target(id=ids[2]), Target(id=ids[0])])
            broker.claim("orders.fifo", limit=1)
            broker.update("orders.fifo", Target(id=delayed[0]), Change(body=""))
            self.write_what_version_2_brought(step)
            self.write_what_consumers_report(step)
            self.write_what_is_published(step)
            broker.produce("passing", [self.body("soon gone")])
            if step % 4 == 3:
                broker.purge("passing")
            if step % 5 == 4:
                broker.drop_queue("passing")

    def write_what_version_2_brought(self, step: int) -> None:
        """Priorities, groups, keys, attributes, attempts, notes, and messages that are buried, kicked, updated and moved."""
        broker = self.broker
        broker.put_queue("tasks.fifo", max_receives=2, dead_letter_queue="dead", tags={"team": "é"})
        attributes: dict[str, tuple[str, str | bytes]]
        attributes = {"text": ("String", "é"), "bytes": ("Binary", bytes(range(step))), "number": ("Number", "1.5")}
        trace = {"traceparent": f"00-{step:032x}-{step + 1:016x}-01"}
        new = NewMessage(
            self.body("task"), attributes=attributes, system=trace, group=f"g{step % 3}", key=f"key {step % 4}"
        )
        broker.send("tasks.fifo", [new, new._replace(key="", group="")])
        broker.claim("tasks.fifo", limit=3, visibility_timeout_ms=1500, attempt_id=f"attempt {step % 5}")
        urgent = [
            NewMessage(self.body(f"urgent {step}"), priority=step % 10, group="" if step % 2 else "some") for _ in "ab"
        ]
        sent = broker.send("default", urgent)
        target = Target(id=sent[0].id)
        broker.update("default", target, Change(bury=True) if step % 3 else Change(attributes=attributes, if_version=1))
        if step % 6 == 5:
            broker.kick("default", 1)
        with broker.locked() as (_, commit, now_ms):
            commit(
                record.Metadata(
                    record.METADATA,
                    now_ms,
                    "space",
                    f"note {step % 3}",
                    None if step % 4 == 3 else {"step": step, "é": [1]},
                )
            )

    def write_what_consumers_report(self, step: int) -> None:
        """Claims with a name, errors, dead letters on request, and releases that do not count."""
        broker = self.broker
        broker.put_queue("jobs", max_receives=9, dead_letter_queue="dead")
        broker.produce("jobs", [self.body(f"job {step}") for _ in range(4)])
        sources, options = Sources(("jobs", "default")), ClaimOptions(3, HOUR_MS, consumer=f"worker {step % 3}")
        error = ReportedError(self.body("failed"), "Error", "Traceback")
        changes = (
            None,
            Change(delay_ms=1000, error=error),
            Change(dead=True, error=error),
            Change(visibility_timeout_ms=0, uncounted=True),
            Change(error=error),
        )
        held = broker.claim_from(sources, options)
        ends = [Finish(each.receipt or "", changes[(step + at) % 5]) for at, each in enumerate(held[:2])]
        broker.next(sources, ends, options._replace(limit=2, attempt_id=f"next {step % 2}"))

    def write_what_is_published(self, step: int) -> None:
        """Topics and subscriptions that come, change and go, and messages in several queues, with and without heads."""
        broker = self.broker
        broker.topics.put("events", tags={"step": str(step)}, deduplication_window_ms=60_000)
        broker.topics.put(f"passing-{step % 2}.fifo")
        for queue in ("jobs", "default", "tasks.fifo", "delayed"):
            broker.put_queue(queue, **({"delay_ms": 7_000} if queue == "delayed" else {}))
            broker.topics.subscribe("events", queue.removesuffix(".fifo"), queue=queue, raw=queue != "jobs")
        broker.topics.subscribe("events", "default", filter={"text": ["é"]}, paused=step % 4 == 3)
        if step % 3 == 2:
            broker.topics.unsubscribe("events", "delayed")
        text = {"text": ("String", "é")}
        new = NewMessage(
            self.body("event"), attributes=text if step % 2 else None, group=f"g{step % 3}", priority=step % 5
        )
        others = [
            NewMessage(self.body("second"), delay_ms=2_000),
            NewMessage("", key=f"key {step % 4}", attributes=text),
        ]
        broker.topics.publish("events", [Publication(new, "é"), *map(Publication, others)])
        broker.topics.publish("events", [Publication(NewMessage(self.body("alone")))])
        for queue in ("delayed", "jobs"):
            broker.claim(queue, limit=2, visibility_timeout_ms=HOUR_MS if step % 2 else 1000)
        if step % 4 == 1:
            broker.topics.delete(f"passing-{step % 2}.fifo")

    def close(self) -> int:
        self.broker.close()
        return self.clock.ms
