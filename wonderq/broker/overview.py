"""Overview: the figures of all queues and the problems of the broker, gathered at most once a second for all readers.

Gathering reads every queue, a few at a time. It rests a hundred times as long as it took, so that readers together cost
at most one percent of a processor, however many they are and however often they ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from wonderq.broker import problems, redrive, schedules
from wonderq.broker.core import Core
from wonderq.broker.feeds import NO_FEEDS, Feed, Feeds, FeedsReader, Refused, of_refused, refusals, refused
from wonderq.broker.history import NO_FLOWS, Flows, History, total
from wonderq.broker.problems import Problem, QueueFigures
from wonderq.broker.queries import find_names
from wonderq.model.permits import Permits
from wonderq.model.status import BURIED, CLAIMED, DELAYED, WAITING
from wonderq.runtime.fibers import in_turns, sorted_in_turns, yield_to_others

#: Queues to inspect, and to compare, before other requests have their turn.
_QUEUES_PER_STEP = 100
_COMPARED_PER_STEP = 500

#: Samples of `Figures.recent_waiting`: ten minutes.
_RECENT_POINTS = 60

_REST_S = 1.0
_REST_TIMES = 100

#: Problems of one kind that a reader gets, and sources of one dead-letter queue that are kept.
_MOST_OF_A_KIND = 100

#: The periods of rates, by their names.
PERIODS_MS = {"10s": 10_000, "1m": 60_000}

#: Figures by which queues can be sorted, the largest first.
ORDERS: Mapping[str, Callable[[QueueFigures], float]] = {
    "unprocessed": lambda each: each.waiting,
    "processing": lambda each: each.in_flight,
    "delayed": lambda each: each.delayed,
    "buried": lambda each: each.buried,
    "bytes": lambda each: each.bytes,
    "oldest_waiting": lambda each: -each.waiting_since_ms if each.waiting_since_ms is not None else -(1 << 62),
    "produced": lambda each: each.flows.produced,
    "deleted": lambda each: each.flows.deleted,
}


class Totals(NamedTuple):
    """Sums over queues."""

    queues: int
    waiting: int
    in_flight: int
    delayed: int
    buried: int
    dead_letters: int
    """Messages in the dead-letter queues, and buried ones."""
    consumers: int
    """Consumers that wait for a message."""


class Snapshot:
    """Figures that were gathered at one time. Sums, choices and orders that many readers need are computed once."""

    def __init__(
        self,
        queues: Sequence[QueueFigures],
        sources: Mapping[str, Sequence[str]],
        problems: Sequence[Sequence[Problem]],
        feeds: Feeds = NO_FEEDS,
        passed_over: Sequence[Refused] = (),
    ) -> None:
        self.queues = queues
        """All queues, by name."""
        self.sources = sources
        """For each dead-letter queue, the queues whose dead letters it gets; at most 100 of them."""
        self._problems = problems  # by kind
        self.feeds = feeds
        self._passed_over = passed_over
        self._totals: Totals | None = None
        self._with_dead_letters: Collection[str] | None = None
        self._ranked: dict[str, Sequence[str]] = {}

    def dead_letters_of(self, queue: QueueFigures) -> int:
        """Return the number of messages of a dead-letter queue, or of the buried messages of another queue."""
        if queue.name not in self.sources and queue.name not in self.feeds.of_dead_letters:
            return queue.buried
        return queue.waiting + queue.in_flight + queue.delayed + queue.buried

    def problems(self, permits: Permits) -> tuple[list[Problem], int]:
        """Return the problems that ``permits`` shows, at most 100 of each kind, and the number of the others.

        All problems are kept until here: those that a reader may see can be less urgent than a hundred others.
        """
        shown: list[Problem] = []
        more = 0
        for kind in self._problems:
            found = kind
            if not permits(None):
                found = [each for each in in_turns(kind, _COMPARED_PER_STEP) if _is_shown(each, permits)]
            shown += found[:_MOST_OF_A_KIND]
            more += max(len(found) - _MOST_OF_A_KIND, 0)
        return shown, more

    def refused_in_last_hour(self, permits: Permits) -> int:
        """Return the number of messages of topics that went to a dead-letter queue, because a queue refused them."""
        return sum(
            each.messages
            for each in self._passed_over
            if each.dead_letter_queue and permits(each.topic) and permits(each.queue)
        )

    def with_dead_letters(self) -> Collection[str]:
        """Return the names of the queues that have dead letters; see `dead_letters_of`."""
        if self._with_dead_letters is None:
            queues = in_turns(self.queues, _COMPARED_PER_STEP)
            self._with_dead_letters = {each.name for each in queues if self.dead_letters_of(each)}
        return self._with_dead_letters

    def totals(self, matches: Callable[[str], bool] | None) -> Totals:
        """Return the sums over the queues that match; for None, over all."""
        if matches is not None:
            return self._sums([each for each in in_turns(self.queues, _COMPARED_PER_STEP) if matches(each.name)])
        if self._totals is None:
            self._totals = self._sums(self.queues)
        return self._totals

    def _sums(self, queues: Sequence[QueueFigures]) -> Totals:
        dead = sum(map(self.dead_letters_of, in_turns(queues, _COMPARED_PER_STEP)))
        waiting, in_flight, delayed, buried, consumers = (
            sum(getattr(each, name) for each in in_turns(queues, _COMPARED_PER_STEP))
            for name in ("waiting", "in_flight", "delayed", "buried", "consumers")
        )
        return Totals(len(queues), waiting, in_flight, delayed, buried, dead, consumers)

    def ranked(self, order: str) -> Sequence[str]:
        """Return all names, those with the largest figure first; equal ones by name."""
        if order not in self._ranked:
            figures = list(map(ORDERS[order], in_turns(self.queues, _COMPARED_PER_STEP)))
            places = sorted_in_turns(range(len(figures)), figures.__getitem__, reverse=True)
            self._ranked[order] = [self.queues[place].name for place in places]
        return self._ranked[order]


def _is_shown(problem: Problem, permits: Permits) -> bool:
    return all(permits(name) for name in (problem.queue, problem.topic) if name is not None)


class Figures(NamedTuple):
    """Further figures of one queue, besides its `QueueInfo`."""

    consumers: int
    """Consumers that wait for a message."""
    per_second: Flows | None
    """Rates over about ten seconds; None if the queue has no history."""
    recent_waiting: Sequence[int]
    """Waiting messages at the last samples, the oldest first."""
    sources: Sequence[str]
    """Queues whose dead letters come here, at most 100."""
    feeds: Sequence[Feed]
    """Subscriptions by which messages come here, at most 100."""


class Elsewhere:
    """The queues of this shard that get dead letters of other shards of a cluster, as these have answered last."""

    def __init__(self) -> None:
        self.by_shard: dict[int, Mapping[str, Sequence[str]]] = {}
        """For each other shard, by the names of the dead-letter queues, its queues whose dead letters come here. There
        are none if only subscriptions lead to the queue."""
        self.is_wanted = False
        """Whether somebody has read the overview since the shards were asked."""

    def add_to(self, sources: dict[str, list[str]]) -> None:
        """Add to the sources of dead-letter queues those that are in other shards."""
        self.is_wanted = True
        for found in list(self.by_shard.values()):
            for name, elsewhere in in_turns(found.items(), _COMPARED_PER_STEP):
                here = sources.setdefault(name, [])
                here += elsewhere[: _MOST_OF_A_KIND - len(here)]


class Overview:
    """Gathers snapshots. You may call every method from any thread."""

    def __init__(self, core: Core, history: History) -> None:
        self._core = core
        self._history = history
        self._feeds = FeedsReader(core)
        self._gathering = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._due_s = 0.0
        self.elsewhere = Elsewhere()

    def current(self) -> Snapshot:
        """Return a snapshot that is about a second old at most, or a little older in a broker with many queues."""
        if (self._snapshot is None or time.monotonic() >= self._due_s) and self._gathering.acquire(blocking=False):
            try:
                began_s = time.thread_time()
                self._snapshot = self._gather()
                took_s = time.thread_time() - began_s
                self._due_s = time.monotonic() + max(_REST_S, _REST_TIMES * took_s)
            finally:
                self._gathering.release()
        return self._snapshot or self._gather()

    def sources_of_others(self, is_theirs: Callable[[str], bool]) -> dict[str, Sequence[str]]:
        """Return the dead-letter queues of another shard that are used here; see `Elsewhere.by_shard`."""
        found = self.current()
        names = {*found.sources, *found.feeds.of_dead_letters}
        return {name: found.sources.get(name, ()) for name in in_turns(names, _COMPARED_PER_STEP) if is_theirs(name)}

    def largest(self, order: str, limit: int | None, matches: Callable[[str], bool]) -> list[str]:
        """Return the names of matching queues, those with the largest figure first; ``order`` is a key of `ORDERS`."""
        return find_names(self.current().ranked(order), limit, matches)

    def per_second(self, queues: Sequence[str] | None, period_ms: int) -> Flows:
        """Return the rates of some queues together, or for None of all. Queues without a history count as idle."""
        names = [None] if queues is None else queues
        return total([found for each in names if (found := self._history.per_second(each, period_ms)) is not None])

    def figures_of(self, queue: str) -> Figures:
        """Return the figures of a queue, of this moment."""
        with self._core.lock:
            found = self._core.state.queues.get(queue)
            consumers = 0 if found is None else self._core.consumers.waiting_for(found)
        track = self._history.of(queue)
        recent = () if track is None else track.points["1h"].waiting[-_RECENT_POINTS:]
        snapshot = self.current()
        sources, feeds = snapshot.sources.get(queue, ()), snapshot.feeds.of_queue.get(queue, ())
        rates = self._history.per_second(queue, PERIODS_MS["10s"])
        return Figures(consumers, rates, recent, sources, feeds[:_MOST_OF_A_KIND])

    def _gather(self) -> Snapshot:
        with self._core.lock:
            metadata = self._core.state.metadata
            scheduled = metadata.get(schedules.NAMESPACE, {}).copy()
            redriven = metadata.get(redrive.NAMESPACE, {}).copy()
        names = self._core.names(self._core.lock)
        figures: list[QueueFigures] = []
        while some := list(islice(names, _QUEUES_PER_STEP)):
            rates = [self._history.per_second(name, PERIODS_MS["10s"]) or NO_FLOWS for name in some]
            with self._core.lock:
                queues, consumers = self._core.state.queues, self._core.consumers
                for name, flows in zip(some, rates, strict=True):
                    queue = queues.get(name)
                    if queue is None:  # it was deleted a moment ago
                        continue
                    messages, settings = queue.messages, queue.settings
                    counts = messages.counts
                    figures.append(
                        QueueFigures(
                            name,
                            counts[WAITING],
                            counts[CLAIMED],
                            counts[DELAYED],
                            counts[BURIED],
                            messages.bytes,
                            messages.oldest_waiting_ms(),
                            consumers.waiting_for(queue),
                            settings.paused,
                            settings.draining,
                            settings.dead_letter_queue,
                            flows,
                        )
                    )
            yield_to_others()
        now_ms = self._core.clock.now_ms()
        sources: dict[str, list[str]] = {}
        for each in in_turns(figures, _COMPARED_PER_STEP):
            if each.dead_letter_queue and len(sources.setdefault(each.dead_letter_queue, [])) < _MOST_OF_A_KIND:
                sources[each.dead_letter_queue].append(each.name)
        self.elsewhere.add_to(sources)
        feeds = self._feeds.current()
        passed_over = refused(self._core, self._history.topics.losses())
        kinds = (
            problems.of_broker(self._core),
            problems.of_schedules(scheduled),
            problems.of_redrives(redriven, now_ms),
            refusals(self._core, feeds),
            problems.of_queues(figures, sources.keys() | feeds.of_dead_letters, self._history, now_ms),
            of_refused(passed_over),
            problems.of_stopped_queues(figures),
        )
        return Snapshot(figures, sources, list(map(list, kinds)), feeds, passed_over)
