"""A client of a broker under load: it produces, or consumes and uses its claims, and records the answers."""

from __future__ import annotations

import enum
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from zlib import crc32

from tests.support.history.calls import Consume, Delete, Outcome, Update, dead_letters_of
from tests.support.history.recording import RecordingClient, Sources, Target
from wonderq.client.errors import Refused

#: Queues of the load. Each has the dead-letter queue.
QUEUES = ("default", "orders", "jobs")

#: Topic to which all of them are subscribed.
TOPIC = "events"

#: Number of messages in a queue at which its producers pause.
BACKLOG = 400

#: A claim that nobody gives back: it must outlive every restart.
FOREVER_S = 3600.0

_SHORT_S = (0.1, 0.25, 0.5, 1.0)
_LONG_S = (5.0, 20.0, FOREVER_S)


@dataclass(frozen=True, slots=True)
class Names:
    """The queues of a load, and the topic to which all of them are subscribed."""

    queues: tuple[str, ...] = QUEUES
    topic: str = TOPIC
    together: bool = True
    """Whether one request may be about several of the queues: not if they are in several shards."""

    @classmethod
    def of_family(cls, family: str) -> Self:
        """Return names with the same part before ``--``, which are in one shard."""
        return cls(tuple(f"{family}--{each}" for each in QUEUES), f"{family}--{TOPIC}")

    @property
    def letters(self) -> str:
        """Their dead-letter queue."""
        return dead_letters_of(self.queues[0])

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.queues, self.letters)


class Load(enum.Enum):
    """Kinds of load of one cycle."""

    BUSY = enum.auto()
    LARGE = enum.auto()
    """Large bodies, so that segments fill up."""
    QUIET = enum.auto()
    """Few messages, and consumers that wait for them."""


@dataclass(slots=True)
class Holding:
    """A receipt that a consumer has, and the timeout by which a renewal goes."""

    queue: str
    id: str
    receipt: str
    visibility_timeout_s: float
    certain: bool = True
    """False once an update's answer was lost: it is then not known by which timeout a renewal goes."""


@dataclass(slots=True)
class Worker:
    """A client thread. It outlives the broker, and uses its claims after the restart."""

    name: str
    random: random.Random
    big_bytes: int
    """Bodies go up to this size in a cycle of large ones."""
    holdings: list[Holding] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    """Some ids of each queue, dead ones among them."""
    made: int = 0
    publications: list[tuple[str, list[str]]] = field(default_factory=list)
    """Keys and bodies of what it has published."""
    names: Names = field(default_factory=Names)

    def produce(self, clients: dict[str, RecordingClient], large: bool) -> None:
        rng = self.random
        client = rng.choice(live(clients))
        kind = rng.random()
        delay_s = rng.choice((0.1, 0.4, 1.5)) if kind < 0.1 else None
        if large:
            size = rng.randrange(self.big_bytes // 4, self.big_bytes)
            count = rng.randint(1, 2)
        else:
            size = rng.choice((0, 0, 10, 100, 2000))
            count = 1 if kind < 0.6 else rng.randint(2, 20)
        bodies = [self._body(size) for _ in range(count)]
        call = client.produce(bodies, delay_s, single=count == 1 and rng.random() < 0.7)
        if call.ids:
            ids = self.known.setdefault(client.queue, [])
            ids.append(rng.choice(call.ids))
            del ids[:-30]

    def publish(self, clients: dict[str, RecordingClient]) -> None:
        """Publish to all queues, or repeat an earlier publish, whether it was answered or not."""
        rng = self.random
        if self.publications and rng.random() < 0.3:
            key, bodies = rng.choice(self.publications[-20:])
        else:
            bodies = [self._body(rng.choice((0, 10, 2000))) for _ in range(rng.randint(1, 5))]
            key = f"{self.name}-{self.made}"
            self.publications.append((key, bodies))
        rng.choice(live(clients)).publish(self.names.topic, bodies, key, self.names.queues)

    def _body(self, size: int) -> str:
        self.made += 1
        head = f"{self.name}-{self.made}."
        filling = self.random.choice(("a", "b", "c", "d", "\u00e9"))
        return head + filling * (size // len(filling.encode()))

    def consume(self, clients: dict[str, RecordingClient], *, patient: bool) -> None:
        rng = self.random
        client = rng.choice(live(clients) if rng.random() < 0.9 else list(clients.values()))
        timeout_s = rng.choice(_SHORT_S) if rng.random() < 0.8 else rng.choice(_LONG_S)
        # The larger bodies times the limit stay below what one claim may carry.
        claim: dict[str, Any] = {
            "limit": rng.choice((1, 1, 3, 10)),
            "visibility_timeout_s": timeout_s,
            "wait_s": 4.0 if patient else rng.choice((0, 0, 0.2, 1.0)),
            "consumer": rng.choice(("", self.name)),
        }
        kind = rng.random()
        if kind < 0.25:
            mine = [each for each in self.holdings if each.queue == client.queue and rng.random() < 0.7]
            calls = self._finish_and_claim(client, mine, claim)
        elif kind < 0.45 and self.names.together:
            mine = [each for each in self.holdings if rng.random() < 0.4]
            calls = self._finish_and_claim(client, mine, {**claim, "sources": self._sources()})
        else:
            calls = [client.consume(**claim)]
        for call in calls:
            for each in call.deliveries:
                self.holdings.append(Holding(call.queue, each.id, each.receipt, timeout_s))
                ids = self.known.setdefault(call.queue, [])
                ids.append(each.id)
                del ids[:-30]

    def _sources(self) -> Sources:
        rng = self.random
        queues = rng.sample(self.names.all, rng.randint(2, 3))
        return Sources(queues, [rng.randint(1, 9) for _ in queues] if rng.random() < 0.5 else ())

    def _finish_and_claim(self, client: RecordingClient, mine: list[Holding], claim: dict[str, Any]) -> list[Consume]:
        """Finish these messages, and claim the next."""
        rng = self.random
        mine = mine[:10]  # what is written again stays below what one request may write
        calls = client.next([self._end(each) for each in mine], **claim)
        if not client.lost:
            self.holdings = [each for each in self.holdings if each not in mine or rng.random() < 0.1]
        return calls

    def _end(self, mine: Holding) -> Delete | Update:
        """Choose the end of a claim."""
        rng = self.random
        about: dict[str, Any] = {"queue": mine.queue, "start_s": 0, "end_s": 0, "id": mine.id, "receipt": mine.receipt}
        choice = rng.random()
        if choice < 0.6:
            return Delete(**about)
        error = self._error() if rng.random() < 0.5 else None
        if choice < 0.75 and mine.queue in self.names.queues:
            return Update(**about, dead=True, error=error)
        delay_s, uncounted = rng.choice((0.0, 0.2, 1.0)), rng.random() < 0.5
        return Update(**about, delay_s=delay_s, uncounted=uncounted, error=error)

    def _error(self) -> str:
        self.made += 1
        return f"error {self.name}-{self.made}"

    def use_holdings(self, clients: dict[str, RecordingClient], *, eager: bool) -> None:
        """Do something with most of what was claimed; the rest expires, or is kept past the next crash."""
        rng = self.random
        kept: list[Holding] = []
        deletes: list[Holding] = []
        while self.holdings:
            mine = self.holdings.pop()
            client = clients[mine.queue]
            if client.lost:
                kept.append(mine)
                continue
            choice = rng.random()
            if eager or choice < 0.40:
                deletes.append(mine)
            elif choice < 0.50:
                client.delete(Target(mine.id, mine.receipt))
                if client.lost or rng.random() < 0.1:
                    kept.append(mine)  # to be refused later
            elif choice < 0.65:
                self._renew(client, mine)
                kept.append(mine)
            elif choice < 0.73:
                self._update(client, mine, visibility_timeout_s=0.0, uncounted=rng.random() < 0.5)
                if rng.random() < 0.3:
                    kept.append(mine)
            elif choice < 0.79:
                self._update(client, mine, body=self._body(rng.choice((0, 50, 3000))))
                kept.append(mine)
            elif choice < 0.82:
                self._update(client, mine, error=self._error())
                kept.append(mine)
            elif choice < 0.86:
                self._update(client, mine, delay_s=rng.choice((0.0, 0.2, 1.0)), uncounted=rng.random() < 0.5)
            elif choice < 0.90:
                if mine.queue in self.names.queues:
                    self._update(client, mine, dead=True, error=self._error())
            elif choice < 0.96:
                kept.append(mine)
        for queue, client in clients.items():
            found = [each for each in deletes if each.queue == queue]
            if found and not client.lost:
                client.delete_batch([Target(each.id, each.receipt) for each in found])
                if client.lost:
                    kept += found
            elif found:
                kept += found
        self.holdings = kept[-40:]

    def _renew(self, client: RecordingClient, mine: Holding) -> None:
        implied = mine.certain and not may_be_renewed_by_id(mine.id) and self.random.random() < 0.5
        timeout_s = mine.visibility_timeout_s if implied else self.random.choice((*_SHORT_S, 3.0))
        call = self._update(client, mine, visibility_timeout_s=timeout_s, implied=implied)
        if call.outcome is Outcome.OK:
            mine.visibility_timeout_s, mine.certain = timeout_s, True

    def _update(
        self,
        client: RecordingClient,
        mine: Holding,
        *,
        implied: bool = False,
        **fields: Any,
    ) -> Update:
        change = Update(queue=client.queue, start_s=0, end_s=0, id=mine.id, receipt=mine.receipt, **fields)
        call = client.update(change, implied_timeout=implied)
        if call.outcome is Outcome.UNKNOWN:
            mine.certain = False
        return call

    def act_by_id(self, clients: dict[str, RecordingClient]) -> None:
        """Delete or change messages of any holder, and ones that may be deleted."""
        rng = self.random
        client = rng.choice(list(clients.values()))
        ids = self.known.get(client.queue)
        if not ids:
            return
        chosen = rng.sample(ids, min(len(ids), rng.choice((1, 1, 3))))
        chosen = list(dict.fromkeys(chosen))
        change = Update(queue=client.queue, start_s=0, end_s=0, id="")
        choice = rng.random()
        if choice < 0.3:
            client.delete(Target(chosen[0]))
        elif choice < 0.5:
            client.delete_batch([Target(each) for each in chosen])
        elif choice < 0.7:
            client.update_batch([replace(change, id=each, body=self._body(rng.choice((5, 500)))) for each in chosen])
        elif choice < 0.73 and client.queue in self.names.queues:
            client.update_batch([replace(change, id=each, dead=True, error=self._error()) for each in chosen])
        elif choice < 0.83:
            timeout_s = rng.choice((0.0, 0.3, 1.0)) if may_be_renewed_by_id(chosen[0]) else 0.0
            client.update(replace(change, id=chosen[0], visibility_timeout_s=timeout_s))
        else:
            client.update_batch([replace(change, id=each, delay_s=rng.choice((0.0, 0.3, 1.0))) for each in chosen])


def live(clients: Mapping[str, RecordingClient]) -> list[RecordingClient]:
    """Return the clients of the queues into which messages are produced."""
    return [each for queue, each in clients.items() if queue != dead_letters_of(queue)]


def may_be_renewed_by_id(message_id: str) -> bool:
    """Tell whether others than the holder may renew a claim: of half of the messages.

    The holder does not see that, and would not know by which timeout it goes if he renews without naming one.
    """
    return crc32(message_id.encode()) % 2 == 0


def work(
    worker: Worker,
    clients: dict[str, RecordingClient],
    done: threading.Event,
    failures: list[BaseException],
    produces: bool,
    load: Load,
) -> None:
    """Let one client work until ``done`` is set or its connection is lost."""
    rng = worker.random
    try:
        waiting = 0
        while not done.is_set() and not any(client.lost for client in clients.values()):
            if produces and rng.random() < 0.9:
                if load is Load.QUIET:
                    done.wait(rng.uniform(0.2, 0.8))
                if load is not Load.LARGE and waiting < BACKLOG and rng.random() < 0.15:
                    worker.publish(clients)
                elif load is Load.LARGE or waiting < BACKLOG:
                    worker.produce(clients, load is Load.LARGE)
                else:
                    done.wait(0.02)
                if rng.random() < 0.05 or waiting >= BACKLOG:
                    waiting = backlog(rng.choice(live(clients)))
            elif rng.random() < 0.06:
                worker.act_by_id(clients)
            else:
                worker.consume(clients, patient=load is Load.QUIET)
                worker.use_holdings(clients, eager=load is Load.LARGE and rng.random() < 0.7)
    except Exception as error:
        failures.append(error)


def backlog(client: RecordingClient) -> int:
    """Ask how many messages wait; not recorded, as the listings show the same."""
    try:
        return client.client.count("unprocessed")
    except Refused:
        return 0  # there is no such queue, or no room to say
    except Exception:
        client.lost = True
        return 0
