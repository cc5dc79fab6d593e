"""A run of faults, in lives: a life has a cluster of three nodes, and clients at all of them.

Each fault comes while clients work. When it is over, and all shards are served again, the clients rest, and the checker judges the history of the life so
far. At the end of a life all nodes are killed and started, and all messages are consumed.
"""

from __future__ import annotations

import random
import re
import shutil
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tests.cluster_faults.crew import LOADS, QUEUES, SHARDS, Crew
from tests.cluster_faults.nodes import Node, Nodes, Placed
from tests.support.history.calls import (
    ABANDONED,
    OUTCOME_UNKNOWN,
    Consume,
    FinalQueue,
    FinalState,
    History,
    Outcome,
    Seen,
)
from tests.support.history.checker import check
from tests.support.history.journal import about, ids_in
from tests.support.history.recording import RecordingClient
from tests.support.kill_cycles import Options, Report, Run, Traffic, create_queues
from tests.support.mechanisms import CHECKPOINTS, CLAIMS_EXPIRED, COMPACTIONS, of_metrics
from tests.support.networks import Networks
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.client.errors import WonderQError
from wonderq.cluster.shard_map import shard_of

CROSSED, UNKNOWN, KEYS_REPEATED, READS = (
    "messages crossed",
    "outcomes unknown",
    "keys sent again",
    "reads beside writers",
)

MECHANISMS = (CROSSED, UNKNOWN, KEYS_REPEATED, READS, CLAIMS_EXPIRED, CHECKPOINTS, COMPACTIONS)

#: Most faults of one life: the checker judges all of it again after each.
FAULTS_PER_LIFE = 10

#: How often a fault is followed by waiting until no shard is to move any more, so that the stricter rules of a cluster at rest
#: are checked too. Shards return to a node that was away only after 10 s.
_CALM = 0.3

#: Keys outlive a life.
_KEYS_LIVE_S = 86_400

#: A node repeats a claim whose answer it has lost at the next owner, so one claim may have been several.
_REPEATED_CLAIMS = 2

_WAITING = re.compile(r"^wonderq_crossing_messages\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)
_SENT = re.compile(r"^wonderq_crossing_sent_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)

_DRAINED_AT_ONCE = 5

#: An error of the program, to its last line.
_TRACEBACK = re.compile(r"^.*\nTraceback \(most recent call last\):\n(?:[ \n].*\n?)*.*$", re.MULTILINE)

#: A long listing whose owner loses the shard is cut off, and the server logs why.
_CUT_OFF = "/wonderq/rest/listing.py"

_PAUSE_S = 0.05
_JOURNAL_LINES = 60


class Fault(NamedTuple):
    """A fault, as a function of the run. It leaves all nodes running, with right clocks, and none drained."""

    cause: Callable[[ClusterFaultRun], None]
    apart: bool = False
    """Whether it needs machines with networks of their own."""


class ClusterFaultRun(Run):
    """All faults, life after life."""

    queues = QUEUES
    shards = SHARDS
    nodes: Nodes
    traffic: Traffic
    """The clients that work."""

    def __init__(self, options: Options, folder: Path, faults: Mapping[str, Fault], networks: Networks | None) -> None:
        """Prepare ``options.cycles`` faults."""
        self.faults = faults
        self.required = (*MECHANISMS, *faults)
        self.unavailable_s: defaultdict[str, list[float]] = defaultdict(list)
        """For each fault that was caused, the longest time that a produce took meanwhile, by kind."""
        self._networks = networks
        self._order: list[str] = []
        super().__init__(options, folder)

    def _begin_folder(self) -> None:
        super()._begin_folder()
        self.crew = Crew(f"{self._folders}", random.Random(self.random.random()))
        self.history.shard_of = lambda queue: shard_of(queue, SHARDS)
        self._ghosts: list[Consume] = []
        self._caused: list[str] = []
        self._counted: dict[str, Counter[str]] = {}

    # Lives

    def run(self, say: Callable[[str], None] = lambda _: None) -> Report:
        """Run until the faults are done or a violation is found; then the files are kept."""
        self.say = say
        while self.report.cycles < self.options.cycles and not self.report.violations:
            life = self.folder / f"life-{self._folders}"
            life.mkdir()
            with Nodes(life, self._networks) as self.nodes:
                try:
                    self._live()
                except (AssertionError, WonderQError) as error:
                    self._violate("\n".join([f"{type(error).__name__}: {error}", *self._troubles()]))
            for node in self.nodes:
                for logged in _TRACEBACK.findall(node.log()):
                    if _CUT_OFF not in logged:
                        self._violate(f"{node.name} logged an error: {logged[:3000]}")
            self._tell_violations()
            say(f"{self.report}\n{self.mechanisms}")
            if not self.report.violations:
                shutil.rmtree(life)
                self._begin_folder()
        say(self.availability())
        return self.report

    def _live(self) -> None:
        self.begin_outage()
        self.await_service()
        self._await_calm()
        url = self.nodes.all[0].url
        for names in LOADS:
            create_queues(url, names.all, names)
        for queue in self.queues:
            with QueueClient(url, queue=queue) as client:
                client.put_queue(deduplication_window=_KEYS_LIVE_S)
        self.end_outage()
        for _ in range(min(FAULTS_PER_LIFE, self.options.cycles - self.report.cycles)):
            self._endure(self._next_fault())
            if self.report.violations:
                return
        for keyed in self.crew.keyed:
            keyed.settle(self.nodes.url)
        self._await_calm()
        self.end_outage()
        self._await_arrivals()
        keyed_calls = self.crew.keyed_calls
        final = self._finish()
        self.history.extend(keyed_calls)
        self._judge(final)

    def _next_fault(self) -> str:
        if not self._order:
            self._order = sorted(self.faults)
            self.random.shuffle(self._order)
        return self._order.pop()

    def _endure(self, fault: str) -> None:
        """Cause a fault while clients work, and judge what they know when it is over."""
        self.report.cycles += 1
        self.await_service()
        traffic = self.crew.begin(self.nodes.url)
        try:
            self.progress(traffic)
            time.sleep(self.random.uniform(0, 0.3))
            began_s = time.monotonic()
            self.begin_outage()
            self.traffic = traffic
            self.faults[fault].cause(self)
            self.await_service()
            self.progress(traffic)
            self._end_fault(traffic)
        finally:
            self._rest(traffic)
        took_s = self.crew.longest_s(began_s, time.monotonic())
        self.unavailable_s[fault].append(took_s)
        self.mechanisms.counts[fault] += 1
        self._count()
        self._await_arrivals()
        self._list(self.nodes.url)
        text = f"{self.report.cycles}: {fault}, {time.monotonic() - began_s:.1f} s, a produce took up to {took_s:.2f} s"
        self._caused.append(f"{began_s:.3f} {text}")
        self.say(text)
        judged = self._judged_history()
        self.report.violations += check(replace(judged, calls=[*judged.calls, *self.crew.keyed_calls]))
        for problem in [*self.crew.problems, *(each for keyed in self.crew.keyed for each in keyed.problems)]:
            self._violate(problem)

    def _end_fault(self, traffic: Traffic) -> None:
        """End the outage if no shard is to move any more. Now and then, wait for that, and let clients work then."""
        if self.random.random() < _CALM:
            self._await_calm()
            self.end_outage()
            self.progress(traffic)
        elif self._is_calm():
            self.end_outage()

    def _list(self, _url: str) -> None:
        for queue in self.queues:
            super_url = self.random.choice(self.nodes.all).url
            client = RecordingClient(super_url, queue)
            client.list_all()
            self.history.extend(client.calls)
            client.close()

    # Clients

    def progress(self, traffic: Traffic) -> None:
        """Wait until a produce in each shard is acknowledged that was sent after this."""
        since_s = time.monotonic()

        def is_through() -> bool:
            return all(any(call.start_s > since_s for call in each.calls[-3:]) for each in self.crew.keyed)

        self.wait_for(lambda: traffic.failures or is_through(), "a produce in each shard to be acknowledged")

    def _rest(self, traffic: Traffic) -> None:
        """Let all clients end, and gather what they know. What is unknown may have happened until now."""
        traffic.done.set()
        for thread in traffic.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a client still waits for an answer"
        now_s = time.monotonic()
        for client in traffic.clients:
            for call in client.calls:
                self.mechanisms.counts[UNKNOWN] += call.code == OUTCOME_UNKNOWN
                self.history.calls.append(replace(call, end_s=now_s) if call.outcome is Outcome.UNKNOWN else call)
            self._ghosts += self._repeated(client, now_s)
            client.close()
        self.mechanisms.counts[KEYS_REPEATED] += sum(each.take_repeated() for each in self.crew.keyed)
        self.mechanisms.counts[READS] += self.crew.reads
        self.crew.reads = 0
        if traffic.failures:
            raise traffic.failures[0]

    def _repeated(self, client: RecordingClient, now_s: float) -> Iterator[Consume]:
        """Yield the claims that a node may have repeated: each may have claimed messages that nobody was told of."""
        for call in client.calls:
            if isinstance(call, Consume) and any(
                call.start_s <= until and since <= call.end_s for since, until in self.history.outages
            ):
                ghost = replace(call, end_s=now_s, outcome=Outcome.UNKNOWN, code=ABANDONED, deliveries=(), request=None)
                yield from [ghost] * _REPEATED_CLAIMS

    def _judged_history(self) -> History:
        return replace(self.history, calls=[*self.history.calls, *self._ghosts])

    # The cluster

    def begin_outage(self) -> None:
        """From now until `end_outage`, shards move."""
        if not self.history.outages or self.history.outages[-1][1] != float("inf"):
            self.history.outages.append((time.monotonic(), float("inf")))

    def end_outage(self) -> None:
        """No shard moves any more."""
        self._end_outage()

    def _end_outage(self) -> None:
        if self.history.outages and self.history.outages[-1][1] == float("inf"):
            super()._end_outage()

    def _troubles(self) -> Iterator[str]:
        """Yield what each node that answers says about its health."""
        for each in self.nodes:
            if each.process.poll() is None:
                yield f"    {each.name}: {each('GET', '/readyz').json}"

    def any_node(self) -> Node:
        return self.random.choice(self.nodes.all)

    def owner_of(self, name: str) -> Node:
        """Return the node that owns the shard of a queue or topic, when all nodes agree about that."""
        found: list[Placed | None] = []

        def is_known() -> bool:
            found.append(self.placed())
            return found[-1] is not None

        self.wait_for(is_known, f"the owner of {name}")
        placed = found[-1]
        assert placed is not None
        owner, _ = placed.owners[shard_of(name, SHARDS)]
        return next(each for each in self.nodes if each.name == owner)

    def placed(self) -> Placed | None:
        """Return where the shards are, if all nodes agree about that, and each shard has an owner."""
        views = [each.placed() for each in self.nodes]
        first = views[0]
        return first if first is not None and views.count(first) == len(views) and _is_served(first) else None

    def await_service(self) -> None:
        """Wait until all nodes know the same owner of each shard."""
        self.wait_for(self._is_served, "all shards to have an owner")

    def _is_served(self) -> bool:
        for each in self.nodes:
            assert each.process.poll() is None, f"the node {each.name} has ended: {each.log()[-2000:]}"
        return self.placed() is not None

    def _await_calm(self) -> None:
        self.wait_for(self._is_calm, "all shards to be where they should be")

    def _is_calm(self) -> bool:
        found = self.placed()
        return found is not None and tuple(owner for owner, _ in found.owners) == found.wanted

    def _await_arrivals(self) -> None:
        """Wait until nothing is on its way from one shard to another. Nobody sends meanwhile."""

        def have_arrived() -> bool:
            since_s = time.monotonic()
            before = self.placed()
            texts = [each("GET", "/metrics").json for each in self.nodes]
            waiting = [_sum(_WAITING, each.decode()) if isinstance(each, bytes) else 1.0 for each in texts]
            if before is None or any(waiting) or self.placed() != before:
                return False
            self.history.crossed.append((since_s, time.monotonic()))
            return True

        self.wait_for(have_arrived, "all messages to arrive in the other shards")

    def _count(self) -> None:
        """Count what the present owners have done since they were counted last."""
        for each in self.nodes:
            text = each("GET", "/metrics").json
            if not isinstance(text, bytes):
                continue
            found = of_metrics(text.decode())
            found[CROSSED] = round(_sum(_SENT, text.decode()))
            now = Counter({name: found[name] for name in (CROSSED, CLAIMS_EXPIRED, CHECKPOINTS, COMPACTIONS)})
            self.mechanisms.counts += now - self._counted.get(each.name, Counter())
            self._counted[each.name] = now

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition that takes some time to look at.

        Raises:
            AssertionError: it does not come true.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:.0f} s in vain for {what}"
            time.sleep(_PAUSE_S)

    def demand(self, holds: bool, otherwise: str) -> None:
        """Report what a fault must not lead to."""
        if not holds:
            self._violate(otherwise)

    # The end of a life

    def _finish(self) -> FinalState:
        """Compare the queues before and after a restart of everything, and consume all messages."""
        self._list("")
        url = self.any_node().url
        live = {queue: self._steady(url, queue) for queue in self.queues}
        self.begin_outage()
        for each in self.nodes:
            each.end()
        for each in self.nodes:
            each.start()
        self.await_service()
        self._await_calm()
        self.end_outage()
        replayed = {queue: self._listed(queue) for queue in self.queues}
        replayed_ms = time.time_ns() // 1_000_000
        with ThreadPoolExecutor(_DRAINED_AT_ONCE) as pool:
            found = pool.map(lambda queue: self._drain(url, queue), self.queues)
            drained = dict(zip(self.queues, found, strict=True))
        left = {}
        for queue in self.queues:
            with QueueClient(url, queue=queue) as client:
                left[queue] = sum(client.queue_info()["counts"].values())
        return FinalState(
            tuple(
                FinalQueue(queue, *live[queue], replayed[queue], replayed_ms, drained[queue], left[queue])
                for queue in self.queues
            )
        )

    def _listed(self, queue: str) -> tuple[Seen, ...]:
        client = RecordingClient(self.any_node().url, queue)
        listing = client.list_all()
        self.history.extend(client.calls)
        client.close()
        return listing.messages

    # Reports

    def availability(self) -> str:
        """Return for each kind of fault how long a produce took at most while it lasted."""
        lines = ["longest produce with a key, with its repetitions: fault, times, median, p95, longest"]
        for fault, found in sorted(self.unavailable_s.items()):
            ordered = sorted(found)
            p95 = ordered[min(round(0.95 * len(ordered)), len(ordered) - 1)]
            lines.append(f"  {fault}: {len(found)}, {statistics.median(found):.2f} s, {p95:.2f} s, {ordered[-1]:.2f} s")
        return "\n".join(lines)

    def _tell_violations(self) -> None:
        """Print what happened to the messages of the first violations."""
        history = self.history
        history = replace(history, calls=[*history.calls, *self.crew.keyed_calls])
        for violation in self.report.violations[:3]:
            for message_id in ids_in(violation.text, history)[:2]:
                self.say(f"journal of {message_id}:")
                for line in islice(about(message_id, history), _JOURNAL_LINES):
                    self.say(f"  {line}")
        if self.report.violations:
            first_s = min((call.start_s for call in history.calls), default=0.0)
            self.say(f"first call at {first_s:.3f}; faults:")
            for line in self._caused:
                self.say(f"  {line}")


def _is_served(placed: Placed) -> bool:
    return all(owner is not None for owner, _ in placed.owners)


def _sum(samples: re.Pattern[str], text: str) -> float:
    return sum(map(float, samples.findall(text)))
