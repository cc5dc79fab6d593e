"""A run: round after round, some scenarios at once on a broker that is killed under them, and then their judges."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.promises.catalogue import SCENARIOS
from tests.promises.client import Client
from tests.promises.journal import Journal
from tests.promises.lives import Lives
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

#: Small segments, with checkpoints and compaction all the time: every kill is near one.
SEGMENT_BYTES = 64 << 10

KILLS, STOPS, KILLS_WHILE_STARTING = "kills", "stops", "kills while starting"

#: Violations of one scenario in one round that are reported: the others rarely add anything.
_REPORTED = 5


@dataclass(frozen=True)
class Plan:
    """Settings of a run."""

    seed: int
    minutes: float = 0  # a run has one round at least
    only: Sequence[str] = ()
    together: int = 6  # scenarios in a round
    lives: int = 4  # in a round
    life_s: tuple[float, float] = (1.5, 4.5)
    requests: int = 600  # of all clients in a life at least, so that a busy machine does as much as an idle one
    longest_life_s: float = 20


@dataclass(slots=True)
class Round:
    """Scenarios on one broker with a folder of its own."""

    number: int
    scenarios: Sequence[Scenario]
    data: Path
    rng: random.Random
    journals: dict[str, Journal] = field(default_factory=dict)
    unsettled: dict[str, str] = field(default_factory=dict)
    """Why scenarios could not be brought to their ends."""

    @property
    def requests(self) -> int:
        """The number of requests so far."""
        return sum(map(len, self.journals.values()))


class Run:
    """All rounds of a plan, with the sums of their verdicts."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.rounds = 0
        self.exchanges = 0
        self.verdicts = {name: Verdict() for name in plan.only or SCENARIOS}
        self.mechanisms: Counter[str] = Counter(dict.fromkeys((KILLS, STOPS, KILLS_WHILE_STARTING), 0))
        self._next: list[str] = []

    def run(self, say: Callable[[str], None] = print) -> None:
        """Run until the time is over or a promise is broken; in that case the evidence is in the folder.

        Raises:
            AssertionError: an actor could not go on: the broker did not start, did not answer, or answered with 500.
        """
        until_s = time.monotonic() + 60 * self.plan.minutes
        while not self.violations and (self.rounds == 0 or time.monotonic() < until_s):
            self.rounds += 1
            rng = random.Random(f"{self.plan.seed}/{self.rounds}")
            names = self._chosen(rng)
            this = Round(self.rounds, [SCENARIOS[name] for name in names], self.folder / f"data-{self.rounds}", rng)
            self._live(this)
            self._judge(this)
            say(f"round {self.rounds}: {', '.join(names)}: {this.requests:,} requests")
            if not self.violations:
                shutil.rmtree(this.data)

    @property
    def violations(self) -> int:
        """The number of violations."""
        return sum(len(verdict.violations) for verdict in self.verdicts.values())

    def counts(self) -> dict[str, int]:
        """Return how often each judge saw what, and how often the broker was killed."""
        found = {
            f"{name.replace('_', ' ')}: {what}": verdict.counts[what]
            for name, verdict in self.verdicts.items()
            for what in dict.fromkeys((*SCENARIOS[name].required, *verdict.counts))
        }
        return {**self.mechanisms, **found}

    def unseen(self) -> list[str]:
        """Return what no judge saw although its scenario is for it."""
        found = [each for each in self.mechanisms if not self.mechanisms[each]]
        return found + [
            f"{name.replace('_', ' ')}: {what}"
            for name, verdict in self.verdicts.items()
            for what in SCENARIOS[name].required
            if not verdict.counts[what]
        ]

    def _chosen(self, rng: random.Random) -> list[str]:
        """Take the next scenarios in a random order, all of them before one comes again."""
        names = list(self.plan.only or SCENARIOS)
        chosen: list[str] = []
        while len(chosen) < min(self.plan.together, len(names)):
            if not self._next:
                self._next = rng.sample(names, len(names))
            name = self._next.pop()
            if name not in chosen:
                chosen.append(name)
        return chosen

    def _live(self, this: Round) -> None:
        lives = Lives(this.data, segment_bytes=SEGMENT_BYTES)
        this.journals = {scenario.name: Journal() for scenario in this.scenarios}
        try:
            lives.start()
            for scenario in this.scenarios:
                _alone(scenario.set_up, lives, this.journals[scenario.name], f"{scenario.name}/set-up")
            load = _Load(this, lives)
            for number in range(self.plan.lives):
                if number:
                    lives.start()
                self._wait(this, load)
                self._end(this, lives)
            load.is_over.set()
            lives.start()
            load.join()
            for scenario in this.scenarios:
                try:
                    _alone(scenario.settle, lives, this.journals[scenario.name], f"{scenario.name}/settle")
                except AssertionError as error:
                    this.unsettled[scenario.name] = str(error)
        finally:
            lives.close()

    def _wait(self, this: Round, load: _Load) -> None:
        """Wait for a while, and until enough requests were answered."""
        began_s, enough = time.monotonic(), this.requests + self.plan.requests
        time.sleep(this.rng.uniform(*self.plan.life_s))
        while this.requests < enough and time.monotonic() < began_s + self.plan.longest_life_s:
            time.sleep(0.05)
        load.check()

    def _end(self, this: Round, lives: Lives) -> None:
        """End a life, and perhaps begin one that is killed while it starts."""
        is_clean = this.rng.random() < 0.1
        lives.end(is_clean=is_clean)
        self.mechanisms[STOPS if is_clean else KILLS] += 1
        if this.rng.random() < 0.2:
            lives.start_and_kill(this.rng)
            self.mechanisms[KILLS_WHILE_STARTING] += 1

    def _judge(self, this: Round) -> None:
        for scenario in this.scenarios:
            journal = this.journals[scenario.name]
            self.exchanges += len(journal)
            verdict = Verdict()
            why_not = this.unsettled.get(scenario.name)
            # Without its end, a journal may lack the last listings, which some judges need.
            with suppress(*([IndexError] if why_not else [])):
                verdict += scenario.judge(journal)
            if why_not:
                verdict.report(f"the scenario does not come to its end: {why_not}")
            for exchange in journal.where(lambda each: each.status == 500):
                verdict.report("the broker answered with 500", exchange)
            if verdict.violations:
                self._keep(this, scenario, journal, verdict)
            self.verdicts[scenario.name] += verdict

    def _keep(self, this: Round, scenario: Scenario, journal: Journal, verdict: Verdict) -> None:
        """Write the violations, and the whole journal."""
        base = self.folder / f"{scenario.name}-{this.number}"
        base.with_suffix(".violations").write_text("\n\n".join(map(str, verdict.violations[:_REPORTED])) + "\n")
        base.with_suffix(".journal").write_text("".join(f"{exchange.line()}\n" for exchange in journal))


def fill_log(client: Client) -> None:
    """Produce and delete large messages, so that segments end, and are compacted, whatever the scenarios do."""
    client.produce("filler", [{"message": "." * 4000}] * 4)
    answer = client.consume("filler", visibility_timeout=60, most=20)
    receipts = [message["receipt"] for message in answer.answer] if answer.is_done else []
    if receipts:
        client.call("delete", "POST", "/queues/filler/messages/delete", "filler", {"receipts": receipts})
    client.pause(0.1)


class _Load:
    """The actors of a round, each in its thread."""

    def __init__(self, this: Round, lives: Lives) -> None:
        self.is_over = threading.Event()
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._begin(fill_log, Client(lives, Journal(), "filler"))
        for scenario in this.scenarios:
            seed = this.rng.random()
            for number, actor in enumerate(scenario.actors(random.Random(seed)), 1):
                self._begin(actor, Client(lives, this.journals[scenario.name], f"{scenario.name}/{number}"))

    def _begin(self, actor: Actor, client: Client) -> None:
        self._threads.append(threading.Thread(target=self._act, args=(actor, client), daemon=True))
        self._threads[-1].start()

    def _act(self, actor: Actor, client: Client) -> None:
        try:
            while not self.is_over.is_set():
                actor(client)
        except BaseException as error:
            self._failures.append(error)
        finally:
            client.close()

    def check(self) -> None:
        """Raise the first failure of an actor."""
        if self._failures:
            raise self._failures[0]

    def join(self) -> None:
        """Wait until all actors have ended."""
        for thread in self._threads:
            thread.join()
        self.check()


def _alone(act: Callable[[Client], None], lives: Lives, journal: Journal, name: str) -> None:
    client = Client(lives, journal, name)
    try:
        act(client)
    finally:
        client.close()
