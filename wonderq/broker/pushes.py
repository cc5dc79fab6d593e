"""Push, as the broker sees it: claims of the messages that endpoints get. `wonderq.push` sends the requests.

A delivery is a claim like that of any consumer. So it survives a restart, and the receive count of the message is the
number of its attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from wonderq.broker.changes import Changes
from wonderq.broker.claims import Claim, ClaimOptions, Claims
from wonderq.broker.consumers import Waiter
from wonderq.broker.core import Core
from wonderq.broker.reader import Reader
from wonderq.broker.transfers import PORTION_MESSAGES, Transfers
from wonderq.broker.updates import Update
from wonderq.model.errors import (
    BrokerError,
    MessageNotFoundError,
    NotClaimedError,
    QueueNotFoundError,
    StaleReceiptError,
)
from wonderq.model.messages import Target
from wonderq.model.push import CONFIRMATION_HEADER, DeliveryPolicy, Push, Style
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import PUBLISHED_HEADER, Published, Subscription, TopicSettings
from wonderq.runtime.fibers import yield_to_others
from wonderq.state.state import Queue

_ENDED = (MessageNotFoundError, NotClaimedError, StaleReceiptError)


class PushKey(NamedTuple):
    """Names a subscription with an endpoint. A later topic of the same name has another number."""

    topic: int
    subscription: str


class Pushed(NamedTuple):
    """A subscription with an endpoint, as it is now."""

    topic: str
    settings: TopicSettings
    subscription: Subscription
    push: Push
    queue: str


class PushedMessage(NamedTuple):
    """A message that was claimed for an endpoint."""

    id: str
    receipt: str
    text: str
    """Text as consumers of the queue would get it: in its envelope, if it has one."""
    produced_ms: int
    attempts: int
    """Number of attempts, with this one."""
    length: int
    """Bytes of its entry."""
    published: Published | None
    """Where it was published, for a subscription that wants an envelope."""
    is_confirmation: bool
    """Whether it asks the endpoint to confirm the subscription."""


class PushClaim(NamedTuple):
    """Outcome of a claim for an endpoint."""

    pushed: Pushed
    """The subscription at the moment of the claim. Its token is that of the newest request to confirm."""
    messages: Sequence[PushedMessage]
    wait_s: float | None
    """Seconds after which to claim again: 0 if another claim may find more at once, or the time until a delay or a
    claim ends. None if no time is known."""


class PushRequest(NamedTuple):
    """A request to an endpoint, without the headers that every request has."""

    headers: dict[str, str]
    body: bytes


class Composer(Protocol):
    """Makes the requests of one style."""

    def policy(self, pushed: Pushed) -> DeliveryPolicy:
        """Return the policy that applies to a subscription."""

    def compose(self, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> PushRequest:
        """Return the request that delivers a message."""


class _Room:
    """Room for the messages of one claim; see `wonderq.broker.claims.Room`."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def take(self, size: int) -> None:
        self.left_bytes -= size

    fit = take


class Pushes:
    """Claims and finishes the messages of subscriptions with endpoints."""

    def __init__(self, core: Core, reader: Reader, transfers: Transfers, claims: Claims, changes: Changes) -> None:
        self._core = core
        self._reader = reader
        self._transfers = transfers
        self._claims = claims
        self._changes = changes
        self.hosts = PushHosts()
        """The hosts that endpoints may have."""
        self.composers: dict[Style, Composer] = {}
        self.listener: Callable[[PushKey], None] = lambda _: None
        """Called under the broker's lock when a subscription with an endpoint is new or changes."""

    def keys(self) -> list[PushKey]:
        """Return all subscriptions with endpoints. The lock is held for copies only, so others may come meanwhile."""
        with self._core.transaction:
            topics = list(self._core.state.topics.values())
        keys: list[PushKey] = []
        for topic in topics:
            with self._core.transaction:
                subscriptions = list(topic.subscriptions.values())
            keys += [PushKey(topic.number, each.name) for each in subscriptions if each.push is not None]
        return keys

    def find(self, key: PushKey) -> Pushed | None:
        """Return a subscription, or None if it has ended."""
        with self._core.transaction:
            found = self._find(key)
            return None if found is None else found[0]

    def _find(self, key: PushKey) -> tuple[Pushed, Queue] | None:
        topic = self._core.state.find_topic(key.topic)
        subscription = None if topic is None else topic.subscriptions.get(key.subscription)
        queue = None if subscription is None else self._core.state.find(subscription.queue)
        if topic is None or subscription is None or subscription.push is None or queue is None:
            return None
        return Pushed(topic.name, topic.settings, subscription, subscription.push, queue.name), queue

    def claim(self, key: PushKey, waiter: Waiter, *, limit: int, timeout_ms: int, most_bytes: int) -> PushClaim | None:
        """Claim messages for an endpoint, or return None if its subscription has ended.

        If there are none, ``waiter`` is woken when one arrives. Messages larger than ``most_bytes`` come alone, and so
        do those of a FIFO queue: several in one claim could be of one group.
        """
        core = self._core
        options = ClaimOptions(limit, timeout_ms, room=_Room(most_bytes), consumer=f"push {key.subscription}"[:80])
        while True:
            with core.transaction as now_ms:
                found = self._find(key)
                if found is None:
                    return None
                pushed, queue = found
                if queue.is_fifo:
                    options = options._replace(limit=1)
                if core.stopping:
                    return PushClaim(pushed, (), None)
                core.consumers.join(queue, waiter)
                outcome = self._claims.try_claim(queue, now_ms, options)
                due_ms = queue.messages.next_due_ms()
            if isinstance(outcome, Claim):
                messages = self._read(outcome)
                if messages:
                    return PushClaim(pushed, messages, 0 if len(messages) == options.limit < limit else None)
            elif outcome.dead:
                self._transfers.dead_letter(queue, outcome.dead[:PORTION_MESSAGES])
            elif not outcome.unfinished:
                waits = [outcome.wait_s] if due_ms is None else [outcome.wait_s, (due_ms - now_ms) / 1000]
                wait_s = min(waits)
                return PushClaim(pushed, (), wait_s if wait_s < _LONGEST_S else None)
            yield_to_others()

    def _read(self, claim: Claim) -> list[PushedMessage]:
        """Return the messages of a claim, once it is durable, without those that were deleted meanwhile."""
        core, queue = self._core, claim.queue
        core.durability.wait(claim.position)
        state, bodies, headers = self._reader.contents(queue, claim.messages)
        if not state.sequence:
            return []
        ids, receipts = core.ids.ids_and_receipts(queue.number, state.sequence, claim.token)
        messages = []
        for index, body in enumerate(bodies):
            of_message = headers.get(index, {})
            head = of_message.get(PUBLISHED_HEADER)
            messages.append(
                PushedMessage(
                    ids[index].decode(),
                    receipts[index].decode(),
                    self._reader.enveloped(queue, body, of_message)[0],
                    state.produced_ms[index],
                    state.receives[index],
                    state.length[index],
                    None if head is None else Published(*head),
                    CONFIRMATION_HEADER in of_message,
                )
            )
        return messages

    def settle(self, queue: str, delivered: Sequence[Target], failed: Sequence[Update]) -> list[BrokerError]:
        """Delete delivered messages, and release, move or bury those that failed. Return what could not be done.

        A message that was deleted, or whose claim has ended meanwhile, stays as it is. Raises what
        `Changes.delete_batch` does.
        """
        errors: list[BrokerError | None] = []
        try:
            if delivered:
                errors += self._changes.delete_batch(queue, delivered)
            if failed:
                errors += self._changes.update_batch(queue, failed)
        except QueueNotFoundError:  # deleted together with its subscription
            return []
        return [each for each in errors if each is not None and not isinstance(each, _ENDED)]

    def forget(self, key: PushKey, waiter: Waiter) -> None:
        """Wake this waiter no more."""
        with self._core.lock:
            found = self._find(key)
            if found is not None:
                self._core.consumers.withdraw(waiter, found[1])


#: Longest wait for a deadline: a clock that moves on wakes nobody.
_LONGEST_S = 86_400.0
