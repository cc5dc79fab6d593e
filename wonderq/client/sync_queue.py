"""A queue, for threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Unpack

from wonderq.client import administration, calls, changes, claims
from wonderq.client.administration import QueueInfo, Redrive
from wonderq.client.bodies import Body
from wonderq.client.claims import Claim, Finish, Next, Received, Release, ToDeadLetters
from wonderq.client.errors import Refused, WonderQError
from wonderq.client.fields import MessageOptions, QueueSettings, given_options
from wonderq.client.messages import AttributeValue, Contents, Sent
from wonderq.client.operations import SENDS, SENDS_TOGETHER
from wonderq.client.polls import Poll
from wonderq.client.sync_engine import Engine
from wonderq.client.sync_message import Message, keep


class Queue:
    """One queue of a broker. Any number of threads may share it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} at {self._engine.options.endpoint.url}>"

    # Sending

    def send(
        self,
        body: Body,
        *,
        delay: float | None = None,
        deliver_at: datetime | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        group: str | None = None,
        priority: int | None = None,
        key: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Sent:
        """Send a message, and return once it is durable.

        Args:
            body: ``str``, ``bytes``, or anything that JSON can express.
            delay: seconds until the message becomes available.
            deliver_at: time, with a time zone, at which it becomes available; excludes ``delay``.
            attributes: named values that travel with it.
            group: a FIFO queue delivers a group in order; other queues let groups take turns.
            priority: 0 (default) to 9 (first).
            key: idempotency key: a second message with it is not added.
            traceparent: trace context that the message continues.
            tracestate: the same, of the tracing systems.

        Raises:
            QueueFull: the queue has no room.
            Invalid: an option is out of range, or the message is too large.
            Unreachable: no answer came; ``outcome_unknown`` says whether the message may have been added.
        """
        options = given_options(
            delay=delay,
            deliver_at=deliver_at,
            attributes=attributes,
            group=group,
            priority=priority,
            key=key,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        sent: Sent = self._engine.run(self.name, SENDS, changes.send(body, options))
        return sent

    def send_together(self, messages: Sequence[Body | tuple[Body, MessageOptions]]) -> list[Sent]:
        """Send up to 1000 messages in one step: all are added, or none. Returns a result for each, in order.

        Each is a body, or a pair of a body and its options.
        """
        sent: list[Sent] = self._engine.run(self.name, SENDS_TOGETHER, changes.send_together(messages))
        return sent

    # Receiving

    def receive(
        self, limit: int = 10, *, wait: float = 0, lease: float | None = None, poll: Poll | None = None
    ) -> list[Message]:
        """Receive up to ``limit`` messages, the oldest first; wait up to ``wait`` seconds (at most 20) for the first.

        The messages are yours for ``lease`` seconds, by default the queue's ``visibility_timeout``. Delete each one
        when its work is done, or others receive it after that time. ``poll`` lets another thread end the wait.
        """
        claim = Claim(limit, wait, lease, consumer=self._engine.options.consumer)
        return self._engine.do(claims.receive(self.name, Message, claim, self._engine), poll)

    def next(
        self,
        *,
        delete: Iterable[Received] = (),
        release: Iterable[Release | Received] = (),
        dead: Iterable[ToDeadLetters] = (),
        limit: int = 10,
        wait: float = 0,
        lease: float | None = None,
        poll: Poll | None = None,
    ) -> Next[Message]:
        """Finish messages and receive the next ones, in one request.

        All deletes, releases and dead letters are durable even if no message comes. A message that cannot be finished
        does not stop the others: ``results`` has an error or None for each.

        Args:
            delete: messages, or receipts, whose work is done.
            release: messages to give back.
            dead: messages to make dead letters.
            limit: most messages to receive.
            wait: seconds to wait for the first one, at most 20.
            lease: seconds for which they are yours; by default the queue's ``visibility_timeout``.
            poll: lets another thread end the wait.
        """
        claim = Claim(limit, wait, lease, consumer=self._engine.options.consumer)
        finish = Finish.of(delete, release, dead)
        return self._engine.do(claims.next_(self.name, Message, claim, finish, self._engine), poll)

    @contextmanager
    def one(self, *, wait: float = 0, lease: float = 30) -> Iterator[Message | None]:
        """Receive one message, or None if there is none within ``wait`` seconds, and work on it in a ``with`` block.

        The claim is renewed while the block runs. At its end the message is deleted. If the block raises an exception,
        the message is given back, with the exception as its ``last_error``.

        Raises:
            StaleReceipt: the block ended well, but the claim had ended before, and others may have the message.
        """
        messages = self.receive(1, wait=wait, lease=lease)
        if not messages:
            yield None
            return
        message = messages[0]
        try:
            with keep(message, lease):
                yield message
        except BaseException as error:
            with suppress(WonderQError):  # the claim ends by itself, and the block's exception says more
                message.release(error=error if isinstance(error, Exception) else None)
            raise
        message.delete()

    def hand_over(
        self, messages: Iterable[Received], send: Sequence[tuple[str, Body] | tuple[str, Body, MessageOptions]]
    ) -> list[Sent]:
        """Delete messages of this queue and send others, in one step: both happen, or neither.

        Each message to ``send`` is the name of its queue, its body, and optionally its options.

        Raises:
            StaleReceipt: the claim of a message ended.
            Unreachable: no answer came. It is not asked again if ``outcome_unknown`` is true.
        """
        return self._engine.do(calls.hand_over(self.name, list(map(claims.receipt_of, messages)), send))

    # Messages that are not received

    def look(
        self,
        *,
        status: str | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> Iterator[Contents]:
        """Yield messages without receiving them, the oldest first. Their state does not change.

        Args:
            status: only ``unprocessed``, ``processing``, ``delayed`` or ``buried`` ones.
            contains: only those whose text contains this.
            attribute: only those with this attribute: ``name`` or ``name=value``.
            group: only those of this group.
            after: only those that were sent after the message with this id.
        """
        filters = {"contains": contains, "attribute": attribute, "group": group}
        while True:
            found = self._engine.do(calls.look(self.name, status, after, filters))
            yield from found
            if len(found) < calls.PAGE:
                return
            after = found[-1].id

    def get(self, message_id: str) -> Contents:
        """Look at one message.

        Raises:
            NotFound: the queue has no message with this id.
        """
        return self._engine.do(calls.get(self.name, message_id))

    def count(self, status: str) -> int:
        """Return the number of messages that are ``unprocessed``, ``processing``, ``delayed`` or ``buried``."""
        return self._engine.do(calls.count(self.name, status)).count

    def delete(self, messages: Iterable[Received] = (), *, ids: Sequence[str] = ()) -> list[Refused | None]:
        """Delete up to 1000 messages that were received, or any by their ids; return None or an error for each.

        Raises:
            ValueError: both are given.
        """
        field, names = claims.names_to_delete(messages, ids)
        return self._engine.do(calls.delete(self.name, field, names)) if names else []

    def release(self, messages: Iterable[Release | Received]) -> list[Refused | None]:
        """Give up to 1000 received messages back, in one request; return None or an error for each."""
        entries = list(map(claims.release_update, messages))
        return self._engine.do(calls.update(self.name, entries)) if entries else []

    def kick(self, limit: int = 10) -> int:
        """Make up to ``limit`` buried messages available again, the oldest first; return their number."""
        return self._engine.do(calls.kick(self.name, limit)).kicked

    def purge(self) -> int:
        """Delete all messages, also those that consumers hold; return their number.

        Raises:
            Unreachable: no answer came. It is not asked again if ``outcome_unknown`` is true.
        """
        return self._engine.do(administration.purge(self.name)).deleted

    # The queue itself

    def info(self) -> QueueInfo:
        """Return settings and statistics.

        Raises:
            NotFound: the queue does not exist.
        """
        return self._engine.do(administration.info(self.name))

    def configure(self, **settings: Unpack[QueueSettings]) -> QueueInfo:
        """Create the queue, or change the given settings and keep the others."""
        return self._engine.do(administration.configure(self.name, settings))

    def drop(self) -> None:
        """Delete the queue and its messages."""
        self._engine.do(administration.drop(self.name))

    # Redrives

    def redrive(
        self,
        destination: str | None = None,
        *,
        per_second: int | None = None,
        limit: int | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        dry_run: bool = False,
    ) -> Redrive:
        """Start moving the available and buried messages, in the background; `get_redrive` tells how far it is.

        Args:
            destination: queue to move all to; by default each dead letter goes back to the queue that it came from.
            per_second: most messages to move per second.
            limit: most messages to move.
            contains: only messages whose text contains this.
            attribute: only messages with this attribute: ``name`` or ``name=value``.
            dry_run: only count them.
        """
        fields = {
            "destination": destination,
            "per_second": per_second,
            "limit": limit,
            "contains": contains,
            "attribute": attribute,
            "dry_run": dry_run,
        }
        return self._engine.do(administration.start_redrive(self.name, fields))

    def redrives(self) -> list[Redrive]:
        """Return the redrives of this queue, newest first."""
        return self._engine.do(administration.redrives(self.name))

    def get_redrive(self, redrive_id: str) -> Redrive:
        """Return a redrive.

        Raises:
            NotFound: there is none with this id, or ten others have ended since.
        """
        return self._engine.do(administration.redrive("GET", self.name, redrive_id))

    def cancel_redrive(self, redrive_id: str) -> Redrive:
        """Cancel a redrive, and return it. Messages that it has moved stay where they are."""
        return self._engine.do(administration.redrive("DELETE", self.name, redrive_id))
