"""The plan of a publish: which queues get which messages, decided in portions and kept right until it is carried out.

A plan of few queues is made and carried out in one hold of the lock. A plan of many takes several. If a queue is used
in between, the decisions about it are void and made again (`wonderq.state.arrivals`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import mul
from typing import Any, NamedTuple, cast

from wonderq.broker.admission import Admission
from wonderq.broker.core import Core
from wonderq.broker.publish_batch import Batch, Placed, place
from wonderq.model.errors import BrokerError, MessageTooLargeError, QueueDrainingError
from wonderq.model.messages import size_of
from wonderq.model.topics import Subscription
from wonderq.state import record
from wonderq.state.arrivals import Arrival, Arrivals, ArrivingTargets
from wonderq.state.disposal import free
from wonderq.state.state import Queue

PORTION_STEPS = 2000
"""Most steps of about a microsecond that a plan takes while the lock is held."""

#: Most steps of decisions in the hold of the lock in which a long plan is carried out.
_MOST_STEPS_BESIDES = PORTION_STEPS // 4

#: Steps of a decision about one subscription, besides those for its messages.
_STEPS_PER_DECISION = 8

#: Decisions of a plan, in times the number of its subscriptions, after which it is carried out in one hold of the lock.
#: Otherwise queues that are busy enough would keep a publish from ever happening.
_MOST_REPETITIONS = 4


#: Queues to release that take as long as freeing one unit of decisions.
_FREEING_COSTS = 8


class Delivery(NamedTuple):
    """Messages that one queue gets."""

    queue: Queue
    indexes: Sequence[int]
    is_refused: bool
    """Whether the queue is the dead-letter queue of the subscription, whose own queue has refused the messages."""


class Decision(NamedTuple):
    """What becomes of the messages that match one subscription."""

    subscription: Subscription
    deliveries: Sequence[Delivery]
    skipped: Sequence[int]
    """Indexes of the messages that no queue gets."""
    arrivals: Sequence[Arrival] = ()
    """One for each delivery."""


class Plan:
    """Decisions about all subscriptions that a batch matches. Call every method under the lock."""

    def __init__(self, core: Core, batch: Batch) -> None:
        self._state = core.state
        self._admission = core.admission
        self._batch = batch
        self._steps_per_change = steps_of(1, len(batch.publications))
        evaluation_steps = batch.changes * self._steps_per_change
        self.is_long = evaluation_steps + steps_of(len(batch.chosen), batch.deliveries) > PORTION_STEPS
        """Whether it is made in several portions."""
        self._arrivals: Arrivals[Arrival] = Arrivals()
        self._expecting: dict[int, None] = {}  # queues that expect them, by number
        self._made = -batch.changes  # decisions, also those that were void, and evaluations of further changes
        self.topic = batch.topic
        self._fresh: Sequence[int] = ()
        self._place_of: dict[int, int] = {}
        self._void: list[dict[Any, Any]] = []  # contents of earlier plans, which are freed in portions
        self._reset()

    def _reset(self) -> None:
        count = len(self._batch.entries)
        # Subscriptions without a decision, the next one last.
        self._left: dict[str, None] = dict.fromkeys(reversed(self._batch.chosen)) if self._fresh else {}
        self.decisions: dict[str, Decision] = {}
        """By subscription."""
        self.queues_of = [0] * count
        """For each message of the batch, the number of queues that get it."""
        self.skips_of = [0] * count
        """For each message of the batch, the number of queues that refused it and were passed over."""
        self._headed_of = [0] * count  # the number of queues that get its head, too
        self._users: dict[int, dict[str, None]] = {}  # subscriptions whose decisions depend on a queue, by its number
        self._next_of: dict[int, int] = {}  # number of the next message that is added to a queue
        self._stale: dict[str, None] = {}  # subscriptions whose decisions are void, and still to be undone
        self._arrivals.targets = {}
        self._arrivals.used.clear()
        self._void += self.decisions, self._users, self._next_of, self._arrivals.targets

    # Making it

    def make_more(self, now_ms: int) -> Placed | None:
        """Make a portion of the decisions. If all are made and right, return the places of the messages.

        The caller must carry the plan out before it releases the lock then.

        Raises:
            BrokerError: a queue refuses messages, and its subscription does not pass over it.
        """
        placed = place(self.topic, self._batch, now_ms)
        steps = self._follow(placed)
        steps = self._renew(steps)
        while self._left and (steps < PORTION_STEPS or self._is_late):
            name, _ = self._left.popitem()
            steps += self._decide(name)
        must_wait = self.is_long and self._state.is_freezing
        if (
            self._left
            or self._stale
            or self._batch.changes
            or must_wait
            or (steps > _MOST_STEPS_BESIDES and not self._is_late)
        ):
            return None
        return placed

    @property
    def _is_late(self) -> bool:
        return not self.is_long or self._made > _MOST_REPETITIONS * len(self._batch.chosen)

    def _follow(self, placed: Placed) -> int:
        """Void the decisions that changes of subscriptions, or other publishes, have made wrong; return the steps.

        It takes no more time with more subscriptions, however many of them have changed.
        """
        most = self._batch.changes if self._is_late else PORTION_STEPS // self._steps_per_change + 1
        changed = self._batch.catch_up(most)
        self._made += len(changed)
        place_of = self._batch.places(placed.fresh)
        if placed.fresh != self._fresh or place_of != self._place_of:
            self._fresh, self._place_of = placed.fresh, place_of
            self._reset()
        for name in changed:
            self._decide_again(name)
        return len(changed) * self._steps_per_change

    def _renew(self, steps: int) -> int:
        """Void the decisions about queues that were used since, and undo a portion of them.

        Thousands of subscriptions may share one dead-letter queue. Returns the steps, with the given ones.
        """
        for number in self._arrivals.used:
            self._next_of.pop(number, None)
            self._arrivals.targets.pop(number, None)
            self._stale.update(self._users.pop(number, {}))
        self._arrivals.used.clear()
        while self._stale and (steps < PORTION_STEPS or self._is_late):
            name, _ = self._stale.popitem()
            self._decide_again(name)
            steps += _STEPS_PER_DECISION
        return steps

    def _decide_again(self, name: str) -> None:
        """Void the decision about a subscription, if there is one, and decide again if it still matches any message."""
        self._undo(name)
        if name in self._batch.chosen:
            self._left[name] = None
        else:
            self._left.pop(name, None)

    def _undo(self, name: str) -> None:
        decision = self.decisions.pop(name, None)
        if decision is None:
            return
        self._count(decision, -1)
        targets = self._arrivals.targets
        for arrival in decision.arrivals:
            found = targets.get(arrival.queue, [])
            at = bisect_left(found, arrival)
            if at < len(found) and found[at] is arrival:
                del found[at]
                if not found:
                    del targets[arrival.queue]

    def _count(self, decision: Decision, by: int) -> None:
        for _, indexes, _ in decision.deliveries:
            for index in indexes:
                self.queues_of[index] += by
                if not decision.subscription.raw:
                    self._headed_of[index] += by
        for index in decision.skipped:
            self.skips_of[index] += by

    def _decide(self, name: str) -> int:
        """Decide on a subscription; return the steps that it took."""
        subscription, chosen = self._batch.chosen[name]
        self._made += 1
        indexes = self._fresh if chosen is None else [index for index in chosen if index in self._place_of]
        queue = self._state.find(subscription.queue) if indexes else None
        if queue is None:
            return 1
        before = len(self._arrivals.used)
        decision = self._decision(subscription, queue, indexes)
        self._depend(queue, name)
        arrivals = [self._add_arrival(each, subscription, name) for each in decision.deliveries]
        self.decisions[name] = decision = decision._replace(arrivals=arrivals)
        self._count(decision, 1)
        if len(self._arrivals.used) > before:  # the plan itself has used these queues, which changes nothing
            for number in self._arrivals.used[before:]:
                if (used := self._state.find(number)) is not None:
                    used.expect(self._arrivals)
            del self._arrivals.used[before:]
        return steps_of(1, len(indexes))

    def _decision(self, subscription: Subscription, queue: Queue, indexes: Sequence[int]) -> Decision:
        refusal = refusal_of(self._admission, queue, self._batch, indexes)
        if refusal is None:
            return Decision(subscription, (Delivery(queue, indexes, False),), ())
        if subscription.when_full == "fail":
            raise refusal
        return self._pass_over(subscription, queue, indexes)

    def _pass_over(self, subscription: Subscription, queue: Queue, indexes: Sequence[int]) -> Decision:
        """Pass over a queue that refuses messages: those that are too large, or all of them."""

        def is_refused(some: Sequence[int]) -> bool:
            return refusal_of(self._admission, queue, self._batch, some) is not None

        fitting = [index for index in indexes if not is_refused([index])]
        if len(fitting) == len(indexes) or is_refused(fitting):
            fitting = []
        refused = sorted(set(indexes).difference(fitting))
        deliveries = [Delivery(queue, fitting, False)] if fitting else []
        dead_letters = self._state.queues.get(subscription.dead_letter_queue)
        if dead_letters is None:
            return Decision(subscription, deliveries, refused)
        return Decision(subscription, [*deliveries, Delivery(dead_letters, refused, True)], ())

    def _depend(self, queue: Queue, name: str) -> None:
        """Void the decision about a subscription if a queue is used before the plan is carried out."""
        self._users.setdefault(queue.number, {})[name] = None
        if self.is_long:
            self._expecting[queue.number] = None
            queue.expect(self._arrivals)

    def _add_arrival(self, delivery: Delivery, subscription: Subscription, name: str) -> Arrival:
        queue, indexes, is_refused = delivery
        if is_refused:
            self._depend(queue, name)
        first = self._next_of.get(queue.number)
        if first is None:
            first = queue.messages.next_sequence
        self._next_of[queue.number] = first + len(indexes)
        flags = (0 if subscription.raw else record.WITH_HEAD) | (record.FIFO if queue.is_fifo else 0)
        runs = () if len(indexes) == len(self._place_of) else record.to_runs(self._place_of[at] for at in indexes)
        arrival = Arrival(queue.number, first, flags, queue.settings.delay_ms, runs)
        self._arrivals.targets.setdefault(queue.number, []).append(arrival)
        return arrival

    # Carrying it out, once it is made

    @property
    def messages(self) -> list[int]:
        """Indexes of the messages that the record has."""
        return list(self._place_of) if any(self.queues_of) else []

    @property
    def has_heads(self) -> bool:
        """Whether any queue gets the heads of messages."""
        return any(self._headed_of)

    def check_total_room(self) -> None:
        """Check that the broker has room for the messages of all queues.

        Raises:
            BrokerFullError: it has not.
        """
        size = sum(map(mul, self.queues_of, self._batch.sizes))
        self._admission.check_total_room(sum(self.queues_of), size)

    def targets(self, now_ms: int) -> Sequence[record.Target]:
        """Return the targets of the record. A long plan is to be settled after the record is appended."""
        if self.is_long:
            copies, headed = ([column[at] for at in self._place_of] for column in (self.queues_of, self._headed_of))
            return cast("Sequence[record.Target]", ArrivingTargets(self._arrivals, now_ms, copies, headed))
        return [each.at(now_ms) for each in chain.from_iterable(self._arrivals.targets.values())]

    def portions(self) -> Iterator[list[Decision]]:
        """Yield all decisions in portions, for work that takes about as long as making them."""
        portion: list[Decision] = []
        steps = 0
        for decision in self.decisions.values():
            portion.append(decision)
            steps += sum(steps_of(1, len(each.indexes)) for each in decision.deliveries)
            if steps >= PORTION_STEPS:
                yield portion
                portion, steps = [], 0
        yield portion

    def release(self, most: int) -> bool:
        """Let at most ``most`` queues expect no more of the plan, also if it failed; return whether to call this again.

        The decisions are freed in portions, too.
        """
        while most > 0 and self._expecting:
            most -= 1
            number, _ = self._expecting.popitem()
            if (queue := self._state.find(number)) is not None:
                queue.settle()
        # The last contents are those of the plan itself; its arrivals are needed until all queues have settled.
        void = self._void if not self._expecting else self._void[:-1]
        return free(max(most // _FREEING_COSTS, 1), *void) <= 0 or bool(self._expecting)


def steps_of(queues: int, messages: int) -> int:
    """Return the steps of about a microsecond that it takes to decide on queues that get some messages together."""
    return _STEPS_PER_DECISION * queues + messages


def refusal_of(admission: Admission, queue: Queue, batch: Batch, indexes: Sequence[int]) -> BrokerError | None:
    """Return why a queue does not take messages, at least one, or None if it does; under the lock."""
    settings = queue.settings
    if settings.draining:
        return QueueDrainingError(queue.name)
    if not (settings.max_message_bytes or admission.limits_queues or queue.limits_size):
        return None
    sizes = batch.sizes
    if settings.max_message_bytes and indexes and max(sizes[at] for at in indexes) > settings.max_message_bytes:
        for index in indexes:
            message = batch.publications[index].message
            size = size_of(message.body, message.attributes)
            if size > settings.max_message_bytes:
                return MessageTooLargeError(size, settings.max_message_bytes, queue.name)
    try:
        admission.check_queue_room(queue, len(indexes), sum(sizes[at] for at in indexes))
    except BrokerError as error:
        return error
    return None
