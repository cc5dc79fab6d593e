"""Cycles of work and kills on one folder after another, with a check of every promise.

Each cycle starts `wonderq serve`, lists every queue, lets producers and consumers work at once, and sends SIGKILL (now
and then SIGTERM, and now and then while the broker still starts). Receipts outlive a cycle. Now and then, and at the end,
the run stops the broker cleanly, replays its folder, and consumes all that is left. Then the checker judges the whole
history, and the next cycle has a new folder, so that the disk does not fill.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.broker_process import BrokerDidNotStartError, BrokerProcess
from tests.support.history.calls import (
    DEAD_LETTERS,
    Call,
    Consume,
    Delete,
    FinalQueue,
    FinalState,
    History,
    Listing,
    Outcome,
    Produce,
    Seen,
    Update,
)
from tests.support.history.checker import Rule, Violation, check
from tests.support.history.recording import RecordingClient, Target, request, seen_in
from tests.support.mechanisms import (
    CHECKPOINTS,
    CHECKPOINTS_FOUND,
    CLAIMS_EXPIRED,
    COMPACTIONS,
    DELETES,
    ENDS,
    NOT_WHOLE,
    PUBLISHES,
    REPEATED_PUBLISHES,
    ROTATIONS,
    TORN_TAILS,
    UPDATES,
    Mechanisms,
    acknowledged,
    has_checkpoint,
    rotations,
    scraped,
)
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from tests.support.worker import FOREVER_S, QUEUES, Load, Names, Worker, work
from wonderq.broker.broker import Broker
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

SEGMENT_BYTES = 32 << 20

#: Segments that rotate often, with checkpoints and compaction all the time: every kill is near one.
SMALL_SEGMENT_BYTES = 64 << 10

KILLS, KILLS_WHILE_STARTING, STOPS = "kills", "kills while starting", "stops"

#: Mechanisms that kills under load have to hit.
MECHANISMS = (
    *(KILLS, KILLS_WHILE_STARTING, STOPS, CHECKPOINTS, CHECKPOINTS_FOUND, COMPACTIONS, ROTATIONS),
    *(CLAIMS_EXPIRED, UPDATES, DELETES, PUBLISHES, REPEATED_PUBLISHES),
    *ENDS,
)

#: Cycles on one folder, and its size, after which everything is checked and the next folder begins.
CYCLES_PER_FOLDER = 50
FOLDER_BYTES = 768 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a run."""

    cycles: int = 200
    seed: int = 0
    fsync: str = "always"
    segment_bytes: int = SMALL_SEGMENT_BYTES
    producers: int = 3
    consumers: int = 5


@dataclass(slots=True)
class Report:
    """Figures and violations of a run."""

    cycles: int = 0
    figures: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        names = (
            "calls",
            "acked produces",
            "acked messages",
            "acked claims",
            "claimed messages",
            "acked deletes",
            "acked updates",
            "refused",
            "unknown outcomes",
            "listings",
            "drained messages",
        )
        figures = ", ".join(f"{name} {self.figures[name]}" for name in names)
        return f"cycles {self.cycles}, {figures}, violations {len(self.violations)}"


@dataclass(slots=True)
class Traffic:
    """The clients of one life of the broker, each in its thread."""

    done: threading.Event = field(default_factory=threading.Event)
    clients: list[RecordingClient] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def add(self, clients: Iterable[RecordingClient], work: Callable[..., None], *arguments: object) -> None:
        """Let a thread work with these clients; it is to end when ``done`` is set."""
        self.clients += clients
        self.threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self.threads[-1].start()


class Run:
    """All cycles, folder after folder."""

    queues: Sequence[str] = (*QUEUES, DEAD_LETTERS)
    required: Sequence[str] = MECHANISMS
    alarms: Sequence[str] = ("ends until the broker is restarted", "does not verify", "cannot be used")
    """Texts that no broker may log. A kill tears no checkpoint: it has its name only once it is whole."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.random = random.Random(options.seed)
        self.folder = folder
        self.report = Report()
        self.mechanisms = Mechanisms(self.required)
        self._folders = 0
        self._begin_folder()

    def _begin_folder(self) -> None:
        self._folders += 1
        self.data = self.folder / f"data-{self._folders}"
        self.errors = self.folder / f"broker-{self._folders}.stderr"
        self.history = History()
        self.cycles_here = 0
        big_bytes = 1_000_000 if self.options.segment_bytes >= SEGMENT_BYTES else self.options.segment_bytes // 8
        count = self.options.producers + self.options.consumers
        self.workers = [
            Worker(f"{self._folders}.{n}", random.Random(self.random.random()), big_bytes) for n in range(count)
        ]

    def run(self, say: Callable[[str], None] = lambda _: None) -> Report:
        """Run until the cycles are done or a violation is found; then the folder is kept."""
        try:
            while self.report.cycles < self.options.cycles and not self.report.violations:
                self._cycle()
                last = self.report.cycles == self.options.cycles
                if last or self.cycles_here >= CYCLES_PER_FOLDER or _disk_bytes(self.data) > FOLDER_BYTES:
                    self._judge(self._finish())
                    say(f"{self.report}\n{self.mechanisms}")
                    if not self.report.violations:
                        shutil.rmtree(self.data)
                        self._begin_folder()
        except BrokerDidNotStartError as error:
            self.report.violations.append(Violation(Rule.ANSWERED, f"the broker did not start again: {error}"))
            self._judge(None)
        return self.report

    def _start(self) -> BrokerProcess:
        return BrokerProcess(
            self.data,
            "--fsync",
            self.options.fsync,
            segment_bytes=self.options.segment_bytes,
            stderr=self.errors,
        )

    def _cycle(self) -> None:
        self.report.cycles += 1
        self.cycles_here += 1
        # Until the listings are through nobody works, so the outage lasts at least until the broker is ready.
        if self.cycles_here > 1 and self.random.random() < 0.15:
            broker = self._start()
            time.sleep(self.random.uniform(0.0, 0.5))
            broker.kill()
            self.mechanisms.counts[KILLS_WHILE_STARTING] += 1
        self.mechanisms.counts[CHECKPOINTS_FOUND] += has_checkpoint(self.data)
        broker = self._start()
        try:
            url = broker.ready()
            self._end_outage()
            if self.cycles_here == 1:
                create_queues(url, self.queues)
            kind = self.random.choices(list(Load), (85, 11, 4))[0]
            if kind is not Load.LARGE:
                self._list(url)
            self._work(broker, url, kind)
        finally:
            broker.kill()

    def _end_outage(self) -> None:
        if self.history.outages:
            self.history.outages[-1] = (self.history.outages[-1][0], time.monotonic())

    def _list(self, url: str) -> None:
        for queue in self.queues:
            client = RecordingClient(url, queue)
            client.list_all()
            self.history.extend(client.calls)
            client.close()

    def _begin_traffic(self, url: str, load: Load) -> Traffic:
        traffic = Traffic()
        for number, worker in enumerate(self.workers):
            mine = {queue: RecordingClient(url, queue) for queue in self.queues}
            produces = number < self.options.producers
            traffic.add(mine.values(), work, worker, mine, traffic.done, traffic.failures, produces, load)
        return traffic

    def _work(self, broker: BrokerProcess, url: str, load: Load) -> None:
        traffic = self._begin_traffic(url, load)
        time.sleep(self.random.uniform(0.05, 0.7) + (3 if load is Load.QUIET else 0))
        self.mechanisms.counts.update(scraped(url))
        self._end(broker, traffic, stop=self.random.random() < 0.06)

    def _end(self, broker: BrokerProcess, traffic: Traffic, *, stop: bool) -> None:
        """Stop or kill the broker under its load, and take down what its clients know."""
        self.history.outages.append((time.monotonic(), float("inf")))
        if stop:
            self._stop(broker)
            self.mechanisms.counts[STOPS] += 1
        self._bring_down(broker, stopped=stop)
        ended_s = time.monotonic()
        traffic.done.set()
        for thread in traffic.threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                self._violate("a client still waits for an answer from a broker that is gone")
        for client in traffic.clients:
            self.history.extend(self._known_of(call, ended_s) for call in client.calls)
            client.close()
            if client.hung:
                self._violate("a call was not answered for half a minute")
        if traffic.failures:
            raise traffic.failures[0]

    def _bring_down(self, broker: BrokerProcess, *, stopped: bool) -> None:
        """End a broker that may have been stopped already."""
        if not stopped:
            broker.kill()
            self.mechanisms.counts[KILLS] += 1

    def _known_of(self, call: Call, ended_s: float) -> Call:
        """Return a call as it can be judged: what a client abandoned may have been done as long as the broker was there."""
        return replace(call, end_s=ended_s) if call.end_s == float("inf") else call

    def _stop(self, broker: BrokerProcess) -> None:
        code = broker.terminate()
        if code != 0:
            self._violate(f"the broker stopped with exit code {code}: {broker.log()[-2000:]}")

    def _violate(self, text: str) -> None:
        self.report.violations.append(Violation(Rule.ANSWERED, text))

    # The end of a folder

    def _finish(self) -> FinalState:
        broker = self._start()
        try:
            url = broker.ready()
            self._end_outage()
            create_queues(url, self.queues)  # one may just have been dropped
            self._list(url)
            live = {queue: self._steady(url, queue) for queue in self.queues}
            self._stop(broker)
        finally:
            broker.kill()
        self._stopped()
        by_checkpoint = self._replay(by_checkpoint=True)
        replayed = self._replay(by_checkpoint=False)
        for queue in self.queues:
            one, other = (
                [(each.id, each.body, each.receive_count, each.error, each.source) for each in found[queue]]
                for found in (by_checkpoint, replayed)
            )
            if one != other:
                self._violate(f"from its checkpoint, {queue} has other messages than from the whole log")
        replayed_ms = time.time_ns() // 1_000_000
        broker = self._start()
        try:
            url = broker.ready()
            drained = {queue: self._drain(url, queue) for queue in self.queues}
            left = {queue: sum(_info(url, queue).values()) for queue in self.queues}
            broker.terminate()
        finally:
            broker.kill()
        return FinalState(
            tuple(
                FinalQueue(
                    queue, live[queue][0], live[queue][1], replayed[queue], replayed_ms, drained[queue], left[queue]
                )
                for queue in self.queues
            )
        )

    def _stopped(self) -> None:
        """Look at the folder of the broker that has been stopped cleanly; for longer runs."""

    def _steady(self, url: str, queue: str) -> tuple[dict[str, int], tuple[Seen, ...]]:
        """Return counts and listing of one moment: no deadline passed between them."""
        for _ in range(50):
            before = _info(url, queue)
            client = RecordingClient(url, queue)
            listing = client.list_all()
            self.history.extend(client.calls)
            client.close()
            after = _info(url, queue)
            if before == after:
                with QueueClient(url, queue=queue) as plain:
                    counts = {status: plain.count(status) for status in before}
                if counts == before:
                    return counts, listing.messages
        raise AssertionError("the counts do not come to rest though nobody works")

    def _replay(self, *, by_checkpoint: bool) -> dict[str, tuple[Seen, ...]]:
        """Read the folder as the broker does, and check that the clean stop left no torn tail."""
        log = FileLog(self.data, sync=SyncPolicy.parse(self.options.fsync), segment_bytes=self.options.segment_bytes)
        broker = Broker(log, checkpoints=FileCheckpoints(self.data) if by_checkpoint else None)
        try:
            if log.torn_bytes:
                self._violate(f"a clean stop left a torn tail of {log.torn_bytes} bytes")
            return {queue: seen_in(broker, queue) for queue in self.queues}
        finally:
            broker.close()

    def _drain(self, url: str, queue: str) -> tuple[str, ...]:
        """Take whatever is held away from its holder, consume all, and delete it."""
        client = RecordingClient(url, queue)
        change = Update(queue=queue, start_s=0, end_s=0, id="", delay_s=0.0)
        held = [found.id for found in client.list_all().messages if found.status != "unprocessed"]
        for at in range(0, len(held), 500):
            client.update_batch([replace(change, id=each) for each in held[at : at + 500]])
        drained: list[str] = []
        while deliveries := client.consume(limit=10, visibility_timeout_s=FOREVER_S).deliveries:
            drained += [each.id for each in deliveries]
            client.delete_batch([Target(each.id, each.receipt) for each in deliveries])
        client.list_all()
        self.history.extend(client.calls)
        client.close()
        return tuple(drained)

    def _judge(self, final: FinalState | None) -> None:
        figures = self.report.figures
        for call in self.history.calls:
            figures["calls"] += 1
            figures["refused"] += call.outcome is Outcome.REFUSED
            figures["unknown outcomes"] += call.outcome is Outcome.UNKNOWN
            if call.outcome is not Outcome.OK:
                continue
            match call:
                case Produce():
                    figures["acked produces"] += 1
                    figures["acked messages"] += len(call.ids)
                case Consume():
                    figures["acked claims"] += bool(call.deliveries)
                    figures["claimed messages"] += len(call.deliveries)
                case Delete():
                    figures["acked deletes"] += 1
                case Update():
                    figures["acked updates"] += 1
                case Listing():
                    figures["listings"] += 1
        self.mechanisms.counts.update(acknowledged(self.history))
        if final is not None:
            figures["drained messages"] += sum(len(each.drained) for each in final.queues)
        if self.data.is_dir():
            self.mechanisms.counts[ROTATIONS] += rotations(self.data)
            self.mechanisms.counts[TORN_TAILS] += sum(1 for _ in self.data.glob("torn/*"))
        log = self.errors.read_text(errors="replace") if self.errors.is_file() else ""
        for failure in self.alarms:
            if failure in log:
                self._violate(f"the broker logged {failure!r}: {log[max(log.index(failure) - 300, 0) :][:1500]}")
        self.report.violations += check(self._judged_history(), final)

    def _judged_history(self) -> History:
        """Return what the checker judges: all that was recorded, and what is to be assumed besides."""
        return self.history


def carry_out(run: Run, files: str, *, is_slice: bool) -> int:
    """Carry a run out and print its report; return the exit code of the program.

    The folder of the run is removed unless a promise is broken; then it has ``files``.
    """
    began_s = time.monotonic()
    report = run.run(lambda text: print(text, flush=True))
    mechanisms, is_whole = run.mechanisms.verdict(is_slice=is_slice)
    print(f"{report}, {time.monotonic() - began_s:.0f} s\n{mechanisms}")
    if report.violations:
        for violation in report.violations[:20]:
            print(violation)
        print(f"{files} are kept in {run.folder}")
        return 1
    shutil.rmtree(run.folder)
    return 0 if is_whole else NOT_WHOLE


def create_queues(url: str, queues: Sequence[str], names: Names | None = None) -> None:
    """Create the queues that are missing, and the topic of a load."""
    names = names or Names()
    for queue in queues:
        with QueueClient(url, queue=queue) as client:
            more = {"dead_letter_queue": names.letters} if queue in names.queues else {}
            request(client, "PUT", "", {"visibility_timeout": 7, **more})
    with QueueClient(url) as client:
        topic = client._client.topic(names.topic)
        topic.configure(deduplication_window=24 * 3600)
        for queue in set(queues).intersection(names.queues):
            topic.subscribe(queue, queue)


def _info(url: str, queue: str) -> dict[str, int]:
    with QueueClient(url, queue=queue) as client:
        counts: dict[str, int] = client.queue_info()["counts"]
    return counts


def _disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.wal"))
