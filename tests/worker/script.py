"""A broker that answers by a script, and time that a test moves, for engines without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.errors import Refused, StaleReceipt, Unreachable
from wonderq.client.messages import Contents
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.engine import Engine
from wonderq.worker.executor import Places, no_clients
from wonderq.worker.outcomes import Settlement
from wonderq.worker.policy import Policy
from wonderq.worker.slots import Slots
from wonderq.worker.source import Next, Refusal

LEASE_S = 30.0


def message(name: str = "m", *, tries: int = 1, queue: str = "jobs", text: str = "", **more: Any) -> Contents:
    return Contents(
        id=name,
        text=text,
        queue=queue,
        status="processing",
        tries=tries,
        produced_at=datetime.now(UTC),
        receipt=f"receipt-{name}",
        **more,
    )


class FakeTime:
    """Time that stands still until `advance`."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._conditions: set[threading.Condition] = set()
        self._lock = threading.Lock()
        self.deadlines: list[float] = []
        """All times up to which somebody waited."""

    def now_s(self) -> float:
        return self._now_s

    def wait(self, condition: threading.Condition, until: Callable[[], bool], timeout_s: float | None) -> bool:
        deadline = float("inf") if timeout_s is None else self._now_s + timeout_s
        with self._lock:
            self._conditions.add(condition)
            self.deadlines.append(deadline)
        while not until() and self._now_s < deadline:
            assert condition.wait(PATIENCE_S), "nobody woke a loop of the engine"
        return until()

    def advance(self, seconds: float) -> None:
        self._now_s += seconds
        with self._lock:
            conditions = list(self._conditions)
        for condition in conditions:
            with condition:
                condition.notify_all()


class Script:
    """A source whose messages a test gives, and which records what it is asked."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._given: list[Contents] = []
        self._cancelled = False
        self.polls: list[tuple[list[Settlement], int, float]] = []
        self.open_polls = 0
        self.settled: list[Settlement] = []
        self.beside: list[Settlement] = []
        """Settlements that were sent in a request of their own, not with a poll."""
        self.renewals: list[tuple[list[str], float]] = []
        self.lost: set[str] = set()
        """Ids of messages whose claim has ended."""
        self.is_down = False
        self.refusing: set[str] = set()
        """Queues whose claims are neither renewed nor settled, except with a poll."""
        self.sizes: set[int] = set()
        """Numbers of messages that requests asked for, settled or renewed."""
        self.claim_error: Refused | None = None
        """Error of the claims of all polls, which settle nevertheless."""
        self.prepared = 0

    def give(self, *messages: Contents) -> None:
        with self._condition:
            self._given += messages
            self._condition.notify_all()

    def prepare(self) -> None:
        self._fail_if_down()
        self.prepared += 1

    def next(self, settlements: Sequence[Settlement], free: int, wait_s: float) -> Next:
        self._fail_if_down()
        with self._condition:
            self.polls.append((list(settlements), free, wait_s))
            self.sizes |= {len(settlements), free}
            refused = self._settle(settlements)
            if wait_s:
                self.open_polls += 1
                assert self._condition.wait_for(lambda: self._given or self._cancelled or self.claim_error, PATIENCE_S)
                self.open_polls -= 1
            if self.claim_error is not None:
                return Next((), refused, self.claim_error)
            taken, self._given = self._given[:free], self._given[free:]
            return Next(taken, refused)

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Refusal]:
        self._fail_if_down({each.message.queue for each in settlements})
        with self._condition:
            self.sizes.add(len(settlements))
            self.beside += settlements
            return self._settle(settlements)

    def _settle(self, settlements: Sequence[Settlement]) -> list[Refusal]:
        refused = [Refusal(each, StaleReceipt("stale")) for each in settlements if each.message.id in self.lost]
        self.settled += [each for each in settlements if each.message.id not in self.lost]
        return refused

    def renew(self, messages: Sequence[Contents], lease_s: float) -> Sequence[bool]:
        self._fail_if_down({each.queue for each in messages})
        self.sizes.add(len(messages))
        self.renewals.append((sorted(each.id for each in messages), lease_s))
        return [each.id not in self.lost for each in messages]

    def cancel(self) -> None:
        with self._condition:
            self._cancelled = True
            self._condition.notify_all()

    def _fail_if_down(self, queues: Collection[str] = ()) -> None:
        if self.is_down:
            raise Unreachable("the broker is down", outcome_unknown=True)
        if self.refusing.intersection(queues):
            raise Refused("no", status=503, code="shutting_down")

    def settlement_of(self, name: str) -> Settlement:
        """Wait until a message is settled, and return how."""
        return eventually(lambda: next((each for each in self.settled if each.message.id == name), None), name)  # type: ignore[return-value]


class Handler:
    """A handler that waits until the test lets it go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.contexts: dict[str, Context] = {}
        self._gates: dict[str, threading.Event] = {}
        self._errors: dict[str, BaseException] = {}
        self._lock = threading.Lock()

    def __call__(self, context: Context) -> None:
        self.contexts[context.id] = context
        self.started.append(context.id)
        assert self._gate(context.id).wait(PATIENCE_S)
        error = self._errors.get(context.id)
        if error is not None:
            raise error
        if context.id.startswith("checks"):
            context.check()

    def _gate(self, name: str) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(name, threading.Event())

    def wait_for(self, *names: str) -> None:
        eventually(lambda: set(names) <= set(self.started), f"the handlers of {names}")

    def let_go(self, name: str, error: BaseException | None = None) -> None:
        if error is not None:
            self._errors[name] = error
        self._gate(name).set()


class Scene:
    """An engine with a script, a handler and fake time."""

    def __init__(self, policy: Policy, concurrency: int, grace_s: float, **more: Any) -> None:
        self.script = Script()
        self.script.is_down = more.pop("is_down", False)
        self.time = FakeTime()
        self.handler = Handler()
        self.policy = policy
        self.places = Places(more.pop("close_clients", no_clients))
        self.engine = Engine(
            self.script,
            more.pop("resolve", lambda _message: Job("job", self.handler, False, self.policy)),
            slots=more.pop("slots", None) or Slots(concurrency).share(),
            places=self.places,
            lease_s=more.pop("lease_s", LEASE_S),
            grace_s=grace_s,
            time=self.time,
            random=lambda: 0.5,
            **more,
        )
        self.call: Call[None] | None = None

    def start(self) -> None:
        self.call = Call(self._run)

    def _run(self) -> None:
        try:
            self.engine.run()
        finally:
            self.places.close()

    def end(self) -> None:
        """Wait for the engine to end."""
        assert self.call is not None
        self.call.result()

    def begin(self, *messages: Contents) -> None:
        """Give messages, and wait until their handlers run."""
        self.script.give(*messages)
        self.handler.wait_for(*(each.id for each in messages))

    def wait_for_deadline(self, after_s: float) -> None:
        """Wait until a loop of the engine waits for a time that lies so far ahead."""
        due = self.time.now_s() + after_s
        eventually(lambda: any(abs(each - due) < 0.001 for each in self.time.deadlines), f"a deadline in {after_s} s")


@contextmanager
def scene(policy: Policy | None = None, *, concurrency: int = 4, grace_s: float = 10.0, **more: Any) -> Iterator[Scene]:
    """Run an engine until the block ends. Handlers that still wait are let go."""
    made = Scene(policy or Policy(lease=LEASE_S), concurrency, grace_s, **more)
    made.start()
    try:
        yield made
    finally:
        made.script.is_down = False
        made.engine.stop(at_once=True)
        for name in made.handler.started:
            made.handler.let_go(name)
        assert made.call is not None
        made.call.join(PATIENCE_S)
