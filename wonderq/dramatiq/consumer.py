"""Consumers for dramatiq's workers, and the claims of the messages that a worker has in hand."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import dramatiq
from dramatiq.errors import ConnectionClosed, DecodeError

from wonderq.client.errors import NotFound, StaleReceipt, Unreachable, WonderQError
from wonderq.client.sync import Client
from wonderq.client.sync_message import Message
from wonderq.client.sync_queue import Queue

logger = logging.getLogger("wonderq.dramatiq")

#: The longest wait and the most messages that a broker grants a request by default.
_MOST_WAIT_S, _MOST_MESSAGES = 20, 1000


class ClaimedMessage(dramatiq.MessageProxy):
    """A message of dramatiq that this worker has claimed."""

    def __init__(self, claim: Message, message: dramatiq.Message[object]) -> None:
        super().__init__(message)
        self.claim = claim
        self.must_stay = False
        """Whether the message must not be deleted: it was to be sent again, and that failed."""


class ClaimsInHand:
    """Messages that a worker has claimed and not finished. A thread renews their claims at a third of the lease.

    A consumer that fails is replaced while the messages that it received are still worked on, so all consumers of a
    broker share this object.
    """

    def __init__(self, client: Client, lease_s: float) -> None:
        self.lease_s = lease_s
        self._client = client
        self._changed = threading.Condition()
        self._messages: dict[str, ClaimedMessage] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, messages: Iterable[ClaimedMessage]) -> None:
        """Renew the claims of these messages from now on."""
        with self._changed:
            self._messages.update((each.claim.claim_receipt, each) for each in messages)
            if self._thread is None and self._messages:
                self._thread = threading.Thread(target=self._renew, name="wonderq-renew", daemon=True)
                self._thread.start()

    def remove(self, message: ClaimedMessage) -> None:
        """Renew the claim of this message no more. Nothing happens if it is not in hand."""
        with self._changed:
            self._messages.pop(message.claim.claim_receipt, None)
            self._changed.notify_all()

    def wait_for_room(self, queue: str, most: int, timeout_s: float) -> int:
        """Wait until fewer than ``most`` messages of a queue are in hand; return how many more may be received."""
        with self._changed:
            self._changed.wait_for(lambda: self._count(queue) < most, timeout_s)
            return most - self._count(queue)

    def _count(self, queue: str) -> int:
        return sum(each.claim.queue == queue for each in self._messages.values())

    def keep(self, message_id: str) -> None:
        """Do not delete a message when it is acknowledged, because it could not be sent again for its next attempt.

        dramatiq sends a message again before it acknowledges it, and acknowledges it also if that failed.
        """
        with self._changed:
            for each in self._messages.values():
                if each.message_id == message_id:
                    each.must_stay = True

    def stop(self) -> None:
        """Renew no claim any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _renew(self) -> None:
        while not self._stop.wait(self.lease_s / 3):
            with self._changed:
                claims = [each.claim for each in self._messages.values()]
            for some in (claims[at : at + _MOST_MESSAGES] for at in range(0, len(claims), _MOST_MESSAGES)):
                try:
                    outcomes = self._client.renew(some, self.lease_s)
                except WonderQError as error:
                    logger.warning("claims were not renewed: %s", error)
                    break
                for claim, refused in zip(some, outcomes, strict=True):
                    if refused is not None:
                        self._drop(claim)

    def _drop(self, claim: Message) -> None:
        with self._changed:
            message = self._messages.pop(claim.claim_receipt, None)
            self._changed.notify_all()
        if message is not None:  # and not finished meanwhile
            logger.warning("%s lost its claim: it may run elsewhere too", message)


class Consumer(dramatiq.Consumer):
    """Iterates over the messages of a queue."""

    def __init__(self, queue: Queue, claims: ClaimsInHand, prefetch: int, timeout_s: float) -> None:
        self._queue = queue
        self._claims = claims
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._received: deque[ClaimedMessage] = deque()

    def __next__(self) -> dramatiq.MessageProxy | None:
        if not self._received:
            self._received.extend(self._receive())
        return self._received.popleft() if self._received else None

    def _receive(self) -> list[ClaimedMessage]:
        """Receive as many messages as there is room for. If the broker does not answer, there are none meanwhile."""
        room = self._claims.wait_for_room(self._queue.name, self._prefetch, self._timeout_s)
        if room <= 0:
            return []
        try:
            messages = self._queue.receive(
                min(room, _MOST_MESSAGES), wait=min(self._timeout_s, _MOST_WAIT_S), lease=self._claims.lease_s
            )
        except NotFound:  # it is created with its first message
            messages = []
            time.sleep(self._timeout_s)
        except Unreachable as error:
            logger.warning("no messages of %s: %s", self._queue.name, error)
            messages = []
            time.sleep(self._timeout_s)
        claimed = [each for each in map(_decode, messages) if each is not None]
        self._claims.add(claimed)
        return claimed

    def ack(self, message: dramatiq.MessageProxy) -> None:
        """Delete a message, whose work is done."""
        assert isinstance(message, ClaimedMessage)
        self._finish(message, message.claim.release if message.must_stay else message.claim.delete)

    def nack(self, message: dramatiq.MessageProxy) -> None:
        """Make a message a dead letter."""
        assert isinstance(message, ClaimedMessage)
        error = message._exception or "dramatiq rejected it"  # noqa: SLF001 - it has no other access
        self._finish(message, partial(message.claim.dead, error))

    def requeue(self, messages: Iterable[dramatiq.MessageProxy]) -> None:
        """Give messages back that were not worked on.

        A message whose release does not arrive comes back when its claim ends.
        """
        for each in messages:
            assert isinstance(each, ClaimedMessage)
            self._claims.remove(each)
            try:
                each.claim.release(uncounted=True)
            except WonderQError as error:
                logger.warning("%s comes back when its claim ends: %s", each, error)

    def close(self) -> None:
        """Give the messages back that dramatiq has not taken."""
        self.requeue(self._received)
        self._received.clear()

    def _finish(self, message: ClaimedMessage, how: Callable[[], None]) -> None:
        """End a claim. If it has ended already, others have the message.

        Raises:
            ConnectionClosed: no answer came, and the claim is still renewed; dramatiq calls again.
        """
        self._claims.remove(message)
        try:
            how()
        except (StaleReceipt, NotFound):
            logger.warning("%s had lost its claim: it may have run elsewhere too", message)
        except Unreachable as error:
            self._claims.add([message])
            raise ConnectionClosed(error) from error


def _decode(claim: Message) -> ClaimedMessage | None:
    """Return a message of dramatiq, or None if it is none: then it becomes a dead letter."""
    try:
        body = claim.body
        return ClaimedMessage(claim, dramatiq.Message.decode(body if isinstance(body, bytes) else claim.text.encode()))
    except (DecodeError, ValueError) as error:
        logger.exception("message %s of %s is none of dramatiq, so it becomes a dead letter", claim.id, claim.queue)
        with suppress(WonderQError):  # its claim ends, and whoever gets it next does this
            claim.dead(error)
        return None
