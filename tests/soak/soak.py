"""The soak itself: rounds of lives of one broker after the other on a folder, and a check of everything after each round."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.soak.connections import mixed
from tests.soak.copies import listings, wonderq
from tests.soak.resources import Resources, Sampler
from tests.soak.traffic import VOLATILE, administer_queues, work
from tests.support.broker_process import BrokerDidNotStartError, BrokerProcess
from tests.support.history.calls import DEAD_LETTERS, DISK_FULL, Drop, FinalState, Outcome
from tests.support.history.checker import Rule, Violation
from tests.support.history.recording import RecordingClient
from tests.support.kill_cycles import KILLS_WHILE_STARTING, MECHANISMS, Options, Run, Traffic, create_queues
from tests.support.mechanisms import CHECKPOINTS_FOUND, PURGES, has_checkpoint, scraped
from tests.support.tmpfs import Tmpfs
from tests.support.worker import QUEUES

DISK_BYTES = 32 << 20

FULL_DISKS, BACKUPS, VERIFIED, DROPS = "full disks", "backups", "verified folders", "drops"

#: Bodies go up to this size.
BIG_BYTES = 8000


@dataclass(frozen=True, slots=True)
class Plan:
    """Durations of the phases, in seconds."""

    seconds: float
    round_s: float = 180
    pause_s: float = 0.03
    """Average pause of a client after a call."""
    short_s: tuple[float, float] = (6.0, 12.0)
    """Lives after the first of a round, which takes ``long_share`` of it."""
    long_share: float = 0.7
    full_s: tuple[float, float] = (2.0, 5.0)
    seed: int = 0
    segment_bytes: int = 256 << 10


class Soak(Run):
    """Runs for so long; violations end it, and then the folder is kept."""

    queues = (*QUEUES, DEAD_LETTERS, VOLATILE)
    required = (
        *(each for each in MECHANISMS if each != KILLS_WHILE_STARTING),
        *(BACKUPS, VERIFIED, PURGES, DROPS),
    )

    def __init__(self, plan: Plan, folder: Path, disk: Tmpfs, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.resources = Resources()
        self.rounds = 0
        self._disk = disk
        self._say = say
        if not disk.why_not:
            self.required = (*self.required, FULL_DISKS)
        options = Options(seed=plan.seed, segment_bytes=plan.segment_bytes, producers=3, consumers=4)
        super().__init__(options, folder)

    def _start(self) -> BrokerProcess:
        return BrokerProcess(
            self.data,
            "--fsync",
            self.options.fsync,
            segment_bytes=self.options.segment_bytes,
            stderr=self.errors,
        )

    def _begin_folder(self) -> None:
        super()._begin_folder()
        self.data = self._disk.root / f"data-{self._folders}"
        for worker in self.workers:
            worker.big_bytes = BIG_BYTES

    def soak(self) -> None:
        until_s = time.monotonic() + self.plan.seconds
        try:
            while time.monotonic() < until_s and not self.report.violations:
                self._round(min(self.plan.round_s, until_s - time.monotonic()))
            self.report.violations += [
                Violation(Rule.ANSWERED, f"the broker grows: {text}") for text in self.resources.growing()
            ]
        except BrokerDidNotStartError as error:
            self._violate(f"the broker did not start again: {error}")
            self._judge(None)

    def _round(self, seconds: float) -> None:
        self.rounds += 1
        until_s = time.monotonic() + seconds
        self._life(seconds * self.plan.long_share, long=True)
        while (left_s := until_s - time.monotonic()) > 1:
            self._life(min(self.random.uniform(*self.plan.short_s), left_s), long=False)
        calls = len(self.history.calls)
        final = self._finish()
        began_s = time.monotonic()
        self._judge(final)
        self._say(f"round {self.rounds}: {calls} calls, checked in {time.monotonic() - began_s:.1f} s; {self}")
        if not self.report.violations:
            # A new folder every other round, so that a folder also grows old.
            if self.rounds % 2 == 0:
                shutil.rmtree(self.data)
                self._begin_folder()
            else:
                self._keep_folder()

    def _keep_folder(self) -> None:
        """Go on where everything was drained, with a history of its own."""
        data, log = self.data, self.errors
        super()._begin_folder()
        self.data = data
        self.errors = log.with_name(f"broker-{self._folders}.stderr")
        for worker in self.workers:
            worker.big_bytes = BIG_BYTES

    def _life(self, seconds: float, *, long: bool) -> None:
        self.report.cycles += 1
        self.cycles_here += 1
        self.mechanisms.counts[CHECKPOINTS_FOUND] += has_checkpoint(self.data)
        broker = self._start()
        sampler = Sampler(broker.process.pid, self.data)
        traffic = Traffic()
        try:
            url = broker.ready()
            self._end_outage()
            create_queues(url, self.queues)
            self._list(url)
            self._send(traffic, url)
            self._events(seconds, long=long)
            self.mechanisms.counts.update(scraped(url))
            self._end(broker, traffic, stop=self.random.random() < 0.3)
        finally:
            self._disk.make_room()
            broker.kill()
            traffic.done.set()
            self.resources.lives.append(sampler.stop())

    def _send(self, traffic: Traffic, url: str) -> None:
        for number, worker in enumerate(self.workers):
            mine = self._clients(url)
            produces = number < self.options.producers
            traffic.add(mine.values(), work, worker, mine, traffic.done, traffic.failures, produces, self.plan.pause_s)
        mine = self._clients(url)
        rng = random.Random(self.random.random())
        traffic.add(mine.values(), administer_queues, mine, rng, traffic.done, traffic.failures, self.plan.pause_s * 20)

    def _clients(self, url: str) -> dict[str, RecordingClient]:
        make = mixed(random.Random(self.random.random()))
        return {queue: RecordingClient(url, queue, make=make) for queue in self.queues}

    def _events(self, seconds: float, *, long: bool) -> None:
        """Let the life pass, with a full disk in most, and a backup in some."""
        until_s = time.monotonic() + seconds
        events = [self._fill_disk] if not self._disk.why_not and (long or self.random.random() < 0.3) else []
        events += [self._back_up] if long or self.random.random() < 0.2 else []
        self.random.shuffle(events)
        for event in events:
            time.sleep(self.random.uniform(0.05, 0.4) * max(until_s - time.monotonic(), 0))
            event()
        time.sleep(max(until_s - time.monotonic(), 0))

    def _fill_disk(self) -> None:
        self.mechanisms.counts[FULL_DISKS] += 1
        since_s = time.monotonic()
        self.history.disk_full.append((since_s, float("inf")))
        until_s = since_s + self.random.uniform(*self.plan.full_s)
        # Fill the space that compaction frees too, but at intervals: another writer may be faster or slower.
        every_s = self.random.choice((0.02, 0.2, 1.0))
        while time.monotonic() < until_s:
            self._disk.fill()
            time.sleep(every_s)
        self._disk.make_room()
        self.history.disk_full[-1] = (since_s, time.monotonic())

    def _back_up(self) -> None:
        """Copy the folder of the running broker, verify the copy, and take it down as a listing."""
        copy = self.folder / f"copy-{self.mechanisms.counts[BACKUPS]}"
        self.mechanisms.counts[BACKUPS] += 1
        start_s, wall_s = time.monotonic(), time.time()
        done = wonderq("folder", "backup", str(self.data), str(copy))
        if done.returncode != 0:
            self._violate(f"the backup failed with exit code {done.returncode}: {done.stdout}{done.stderr}")
            return
        made = listings(copy, self.queues, start_s, wall_s, self.plan.segment_bytes)
        self.history.extend(made)
        self._verify(copy)
        if not self.report.violations:
            shutil.rmtree(copy)

    def _verify(self, folder: Path) -> None:
        done = wonderq("folder", "verify", str(folder))
        self.mechanisms.counts[VERIFIED] += 1
        if done.returncode != 0:
            self._violate(f"{folder} does not verify, exit code {done.returncode}: {done.stdout}{done.stderr}")

    def _stopped(self) -> None:
        self._verify(self.data)

    def __str__(self) -> str:
        figures = self.report.figures
        names = (
            *("calls", "acked messages", "claimed messages", "acked deletes", "acked updates", "listings"),
            *("drained messages", "refused", "refused for a full disk", "unknown outcomes"),
        )
        counted = ", ".join(f"{name} {figures[name]}" for name in names)
        return f"lives {self.report.cycles}, {counted}, {self.resources}, violations {len(self.report.violations)}"

    def _judge(self, final: FinalState | None) -> None:
        self.report.figures["refused for a full disk"] += sum(call.code == DISK_FULL for call in self.history.calls)
        self.mechanisms.counts[DROPS] += sum(
            isinstance(call, Drop) and call.outcome is Outcome.OK for call in self.history.calls
        )
        super()._judge(final)
