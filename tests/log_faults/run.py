"""A run of faults, in lives: a life has three machines, a stream, and owners that follow on each other.

Each fault comes while clients work. When it is over, and the owner answers again, the checker judges the history of the
life so far. At the end of a life the stream is also replayed, with and without checkpoints, and all messages are consumed.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.log_faults.crew import TIMEOUT_S, Crew, acknowledged
from tests.log_faults.machines import Machine, Machines
from tests.log_faults.owner import WrongClock, open_log
from tests.log_faults.owner_process import CHECKPOINT_STREAM, OVERTAKEN, STREAM, OwnerProcess
from tests.log_faults.settings import REPLICAS
from tests.support.broker_process import BrokerDidNotStartError
from tests.support.history.calls import DISK_FULL, LOG_LOST, ClockChange, FinalState, Outcome, Seen
from tests.support.history.checker import check
from tests.support.history.recording import RecordingClient, Target, seen_in
from tests.support.kill_cycles import Options, Report, Run, Traffic, create_queues
from tests.support.mechanisms import (
    CHECKPOINTS,
    CHECKPOINTS_FOUND,
    CLAIMS_EXPIRED,
    COMPACTIONS,
    POSTED,
    scraped,
)
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq_storage import StorageError
from wonderq_storage.jetstream_checkpoints import JetStreamCheckpoints
from wonderq_storage.nats import Connection, JetStream, NatsError

TAKEOVERS, LOST_CALLS, KEYS_REPEATED = "takeovers", "calls refused by former owners", "keys sent again"

FULL_CALLS = "calls refused by a full stream"
QUESTIONS = "questions to former owners that wake up"

#: Not required: without root, there are no power cuts.
CHECKPOINTS_LEFT = "starts with a checkpoint after a power cut"

MECHANISMS = (
    *(TAKEOVERS, LOST_CALLS, FULL_CALLS, QUESTIONS, KEYS_REPEATED),
    *(POSTED, CHECKPOINTS, CHECKPOINTS_FOUND, COMPACTIONS, CLAIMS_EXPIRED),
)

#: Most faults of one life: the checker judges all of it again after each.
FAULTS_PER_LIFE = 10

#: Clocks of owners differ by less if nobody made one wrong.
_SAME_CLOCK_S = 0.005

#: Keys outlive a life, also if a clock leaps.
_KEYS_LIVE_S = 86_400

#: Receipts of each queue with which a former owner is asked. Nobody else gets these messages meanwhile.
_QUESTIONS, _HELD_S = 2, 60.0

#: Requests have arrived after this time, though nobody reads them.
_ASKING_S = 0.3

_CALL_S = 2.0
_PAUSE_S = 0.05


class Fault(NamedTuple):
    """A fault, as a function of the run. It may leave another owner as `FaultRun.owner`, which must answer."""

    cause: Callable[[FaultRun], None]
    apart: bool = False
    """Whether it needs machines with networks and disks of their own."""
    weight: int = 1
    """Its frequency in relation to the others."""


@dataclass(slots=True)
class Owner:
    """An owner that has taken the log over, and the clients that work on it."""

    process: OwnerProcess
    machine: Machine
    url: str
    crew: Crew | None = None
    traffic: Traffic | None = None
    counted: Counter[str] = field(default_factory=Counter)


class FaultRun(Run):
    """All faults, life after life."""

    owner: Owner
    machines: Machines
    alarms = ("ends until the broker is restarted", "the log is damaged")
    """A start may meet a checkpoint of which another owner has removed a part: it passes over that."""

    def __init__(
        self,
        options: Options,
        folder: Path,
        faults: Mapping[str, Fault],
        *,
        apart: bool,
        sync: str = "always",
    ) -> None:
        """Prepare ``options.cycles`` faults. ``apart`` and ``sync`` are those of `Machines`."""
        self.faults = faults
        self.required = (*MECHANISMS, *faults)
        self._apart = apart
        self._sync = sync
        self._order: list[str] = []
        super().__init__(options, folder)

    def _begin_folder(self) -> None:
        super()._begin_folder()
        self.crews = [Crew(f"{self._folders}{name}", random.Random(self.random.random())) for name in "ab"]
        self._processes: list[OwnerProcess] = []
        self._clock_s: float | None = None
        self._replayed_ms = 0

    def run(self, say: Callable[[str], None] = lambda _: None) -> Report:
        """Run until the faults are done or a violation is found; then the files are kept in the folder ``kept``."""
        self.say = say
        while self.report.cycles < self.options.cycles and not self.report.violations:
            life = self.folder / f"life-{self._folders}"
            life.mkdir()
            with Machines(life, apart=self._apart, sync=self._sync) as self.machines:
                try:
                    self._live()
                except (AssertionError, BrokerDidNotStartError, StorageError) as error:
                    self._violate(f"{type(error).__name__}: {error}")
                finally:
                    for each in self._processes:
                        each.kill()
                if self.report.violations:
                    self._keep()
            say(f"{self.report}\n{self.mechanisms}")
            if not self.report.violations:
                shutil.rmtree(life)
                self._begin_folder()
        return self.report

    def _keep(self) -> None:
        for each in self.machines.all:
            each.kill()
            shutil.copytree(each.server.folder, self.folder / "kept" / each.name)

    def _live(self) -> None:
        self.begin_outage()
        self.owner = self.start_owner()
        self._end_outage()
        create_queues(self.owner.url, self.queues)
        for queue in self.queues:
            with QueueClient(self.owner.url, queue=queue) as client:
                client.put_queue(deduplication_window=_KEYS_LIVE_S)
        for _ in range(min(FAULTS_PER_LIFE, self.options.cycles - self.report.cycles)):
            self._endure(self._next_fault())
            if self.report.violations:
                return
        for crew in self.crews:
            crew.keyed.settle(self.owner.url)
            self.history.extend(crew.keyed.calls)
        self.begin_outage()
        self._stop(self.owner.process)
        final = self._finish()
        self._judge(FinalState(tuple(replace(each, replayed_ms=self._replayed_ms) for each in final.queues)))

    def _next_fault(self) -> str:
        """Choose a fault; each comes as often as its weight says."""
        if not self._order:
            self._order = [name for name, fault in sorted(self.faults.items()) for _ in range(fault.weight)]
            self.random.shuffle(self._order)
        return self._order.pop()

    def _endure(self, fault: str) -> None:
        """Cause a fault while clients work, and judge what they know when it is over."""
        self.report.cycles += 1
        began_s = time.monotonic()
        self.wait_until_whole()
        self.work(self.owner)
        self.progress(self.owner)
        time.sleep(self.random.uniform(0, 0.3))
        self.history.slow.append((time.monotonic(), float("inf")))
        self.faults[fault].cause(self)
        self.progress(self.owner)
        self.history.slow[-1] = (self.history.slow[-1][0], time.monotonic())
        self.count(self.owner)
        self.rest(self.owner)
        self._list(self.owner.url)
        self.mechanisms.counts[fault] += 1
        self.say(f"{self.report.cycles}: {fault}, {time.monotonic() - began_s:.1f} s")
        keyed = [call for crew in self.crews for call in (*crew.keyed.calls, *crew.keyed.left())]
        self.report.violations += check(replace(self.history, calls=[*self.history.calls, *keyed]))
        for crew in self.crews:
            for problem in crew.keyed.problems:
                self._violate(problem)

    # Owners

    def spawn(self, machine: Machine | None = None, *, clock_ms: int = 0) -> OwnerProcess:
        """Start a process that takes the log over."""
        machine = machine or self.random.choice(self.machines.all)
        self.data = machine.data
        process = OwnerProcess(
            machine,
            self.machines.urls(machine),
            f"owner-{len(self._processes)}",
            self.errors,
            disks=[each.medium.root for each in self.machines.all if each.medium],
            clock_ms=clock_ms,
            on_ready=self._note_clock,
        )
        self._processes.append(process)
        return process

    def start_owner(self, machine: Machine | None = None, *, clock_ms: int = 0) -> Owner:
        """Start an owner, and wait until it has the log."""
        machine = machine or self.random.choice(self.machines.all)
        for _ in range(5):
            process = self.spawn(machine, clock_ms=clock_ms)
            try:
                url = process.ready()
            except BrokerDidNotStartError as error:
                if OVERTAKEN not in str(error):
                    raise
                continue  # by the late record of a process that was killed
            self.mechanisms.counts[TAKEOVERS] += 1
            self.mechanisms.counts[CHECKPOINTS_FOUND] += process.had_checkpoint
            return Owner(process, machine, url)
        raise AssertionError("no process takes the log over")

    def _note_clock(self, process: OwnerProcess) -> None:
        if self._clock_s is None:
            self.history.wall_offset_s = process.clock_s
        elif abs(process.clock_s - self._clock_s) > _SAME_CLOCK_S:
            self.history.clock_changes.append(ClockChange(process.began_s, time.monotonic(), process.clock_s))
        self._clock_s = process.clock_s

    def begin_outage(self) -> None:
        """From now until `end_outage`, calls may go unanswered, or be refused by a former owner."""
        self.history.outages.append((time.monotonic(), float("inf")))

    def end_outage(self) -> None:
        """Owners and clients are well again."""
        self._end_outage()

    def elsewhere(self, owner: Owner) -> Machine:
        """Return a machine that is not the owner's."""
        return self.random.choice(self.machines.others(owner.machine))

    def leave(self, former: Owner) -> None:
        """Kill a former owner after another one has the log, and gather what its clients know."""
        former.process.kill()
        self.rest(former)

    # Clients

    def work(self, owner: Owner) -> None:
        """Let a crew that has nothing to do work on an owner."""
        idle = [each for each in self.crews if each.is_idle]
        owner.crew = self.random.choice(idle)
        owner.traffic = owner.crew.begin(owner.url, self.queues)

    def progress(self, owner: Owner, calls: int = 30) -> None:
        """Wait until this many more changes of an owner's clients are acknowledged."""
        traffic = owner.traffic
        assert traffic is not None
        aim = acknowledged(traffic) + calls
        self.wait_for(lambda: traffic.failures or acknowledged(traffic) >= aim, "calls to be acknowledged")

    def question(self, former: Owner) -> None:
        """Ask a frozen former owner for what only the owner of now can know, and let it go on.

        It must not answer from the past, before it finds out: neither with listings, nor with refusals of new receipts.
        Each time it is asked one kind of these, because one answer that waits for the log holds up the others.
        """
        lists = self.random.random() < 0.5
        clients: list[RecordingClient] = []

        def client_of(owner: Owner, queue: str) -> RecordingClient:
            clients.append(RecordingClient(owner.url, queue, timeout_s=TIMEOUT_S))
            return clients[-1]

        questions: list[Callable[[], object]] = []
        for queue in self.queues:
            claim = client_of(self.owner, queue).consume(limit=_QUESTIONS, visibility_timeout_s=_HELD_S)
            refused = [Target(each.id, each.receipt) for each in claim.deliveries]
            if lists:
                questions.append(client_of(former, queue).list_all)
            else:
                questions += [partial(client_of(former, queue).delete, each) for each in refused]
        with ThreadPoolExecutor(_QUESTIONS * len(self.queues)) as pool:
            asked = [pool.submit(question) for question in questions]
            time.sleep(_ASKING_S)
            former.process.thaw()
            for answer in asked:
                answer.result()
        self.mechanisms.counts[QUESTIONS] += len(questions)
        for client in clients:
            self.history.extend(client.calls)
            client.close()

    def rest(self, owner: Owner) -> None:
        """Let an owner's clients end, and gather what they know.

        What a former owner was asked without an answer may have happened until the next one had the log: until now.
        """
        if owner.traffic is None:
            return
        assert owner.crew is not None
        owner.traffic.done.set()
        for thread in owner.traffic.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a client still waits for an answer"
        now_s = time.monotonic()
        for client in owner.traffic.clients:
            for call in client.calls:
                self.mechanisms.counts[LOST_CALLS] += call.code == LOG_LOST
                self.mechanisms.counts[FULL_CALLS] += call.code == DISK_FULL
                self.history.calls.append(replace(call, end_s=now_s) if call.outcome is Outcome.UNKNOWN else call)
            client.close()
        self.mechanisms.counts[KEYS_REPEATED] += owner.crew.keyed.take_repeated()
        if owner.traffic.failures:
            raise owner.traffic.failures[0]
        owner.traffic, owner.crew.is_idle = None, True

    def count(self, owner: Owner) -> None:
        """Count what an owner has done since it was counted last."""
        found = scraped(owner.url)
        self.mechanisms.counts += found - owner.counted
        owner.counted = found

    # Servers

    def info(self, stream: str = STREAM) -> dict[str, Any]:
        """Return what a stream's leader says about the stream."""
        found: list[dict[str, Any]] = []

        def ask() -> bool:
            answer = self.call("STREAM.INFO", stream=stream)
            found.extend([answer] if answer else [])
            return bool(answer)

        self.wait_for(ask, f"the stream {stream} to answer")
        return found[0]

    def call(self, verb: str, body: dict[str, Any] | None = None, *, stream: str = STREAM) -> dict[str, Any] | None:
        """Ask each server in turn to do something with a stream; return None if none does."""
        for machine in self.machines.all:
            with closing(Connection(machine.server.url)) as connection:
                try:
                    return JetStream(connection).call(f"{verb}.{stream}", body, timeout_s=_CALL_S)
                except NatsError:
                    continue
        return None

    def streams(self) -> list[str]:
        """Return the stream of the log, and that of its checkpoints once there is one."""
        found = self.call("STREAM.INFO", stream=CHECKPOINT_STREAM)
        return [STREAM] if found is None else [STREAM, CHECKPOINT_STREAM]

    def leader(self, stream: str = STREAM) -> Machine:
        """Return the machine with the leader of a stream."""
        found: list[str] = []

        def ask() -> bool:
            name = self.info(stream)["cluster"].get("leader")
            if name:
                found.append(name)
            return bool(name)

        self.wait_for(ask, f"the stream {stream} to have a leader")
        return self.machines.named(found[0])

    def wait_until_whole(self, unless: Callable[[], bool] = lambda: False, *, patience_s: float = PATIENCE_S) -> None:
        """Wait until all replicas of the streams have all of them, so that the next fault meets a minority again."""

        def is_whole(stream: str) -> bool:
            cluster = self.info(stream)["cluster"]
            replicas = cluster.get("replicas", [])
            return len(replicas) == len(self.machines.all) - 1 and all(
                each["current"] and not each.get("offline") for each in replicas
            )

        self.wait_for(
            lambda: unless() or all(map(is_whole, self.streams())), "all replicas to be current", patience_s=patience_s
        )

    def make_leader(self, machine: Machine, *, patience_s: float = PATIENCE_S) -> None:
        """Let a server lead the streams, once it has all of them."""

        def leads(stream: str) -> bool:
            if self.leader(stream) is machine:
                return True
            self.wait_until_whole(patience_s=patience_s)
            self.call("STREAM.LEADER.STEPDOWN", {"placement": {"preferred": machine.name}}, stream=stream)
            return False

        for stream in self.streams():
            self.wait_for(partial(leads, stream), f"{machine.name} to lead {stream}", patience_s=patience_s)

    def wait_for(self, condition: Callable[[], object], what: str, *, patience_s: float = PATIENCE_S) -> None:
        """Wait for a condition that takes some time to look at.

        Raises:
            AssertionError: it does not come true.
        """
        deadline_s = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline_s, f"waited {patience_s:.0f} s in vain for {what}"
            time.sleep(_PAUSE_S)

    def demand(self, holds: bool, otherwise: str) -> None:
        """Report what a fault must not lead to."""
        if not holds:
            self._violate(otherwise)

    # The end of a life

    def _start(self) -> OwnerProcess:
        return self.spawn()

    def _replay(self, *, by_checkpoint: bool) -> dict[str, tuple[Seen, ...]]:
        """Replay the stream in this process, as an owner does."""
        with closing(Connection(self.machines.urls(self.machines.all[0]))) as connection:
            assert self._clock_s is not None
            ahead_s = self._clock_s - (time.time() - time.monotonic())
            clock = WrongClock(round(1000 * ahead_s))  # that of the owner, so that no hold begins once more
            jetstream = JetStream(connection)
            checkpoints = JetStreamCheckpoints(jetstream, STREAM, replicas=REPLICAS) if by_checkpoint else None
            broker = Broker(open_log(jetstream, STREAM, "judge"), checkpoints=checkpoints, clock=clock)
            try:
                return {queue: seen_in(broker, queue) for queue in self.queues}
            finally:
                self._replayed_ms = broker.core.clock.now_ms()
                broker.close()
