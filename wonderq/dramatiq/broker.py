"""`WonderQBroker`: what dramatiq asks of a broker, as calls of the client."""

from __future__ import annotations

import time
from typing import Any

import dramatiq
from dramatiq.errors import ConnectionClosed, QueueJoinTimeout, QueueNotFound

from wonderq.client.engine_options import this_process
from wonderq.client.errors import NotFound, Unreachable
from wonderq.client.fields import MessageOptions
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue
from wonderq.dramatiq.consumer import ClaimsInHand, Consumer

#: Option of a message or an actor with its priority in the queue, as dramatiq's broker for RabbitMQ calls it.
PRIORITY = "broker_priority"

_JOIN_PAUSE_S = 0.05

#: Most connections that wait for messages: a consumer occupies one for each queue.
_CONNECTIONS = 100


class WonderQBroker(dramatiq.Broker):
    """A broker for dramatiq that keeps each of its queues in a queue of the same name.

    A task is durable when `send` returns. A worker renews the claims of all messages that it has in hand, also while
    they wait for a free thread, so a task may take any time. If a worker is killed, others get its messages when the
    lease ends. A message that fails for good becomes a dead letter, with its traceback.

    ``broker_priority``, from 0 to 9 (first), is the priority of a message. It is an option of an actor, or of
    `send_with_options`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        lease: float = 60,
        middleware: list[dramatiq.Middleware] | None = None,
    ) -> None:
        """Make a broker; the first message connects.

        Args:
            url: ``http://HOST:PORT``; default: ``WONDERQ_URL``, or else http://127.0.0.1:7979.
            key: API key; default: ``WONDERQ_KEY``.
            lease: seconds after which others get the messages of a worker that was killed.
            middleware: all middleware of the broker; default: that of dramatiq.

        Raises:
            ValueError: the URL or the key is malformed.
        """
        super().__init__(middleware=middleware)
        self.actor_options.add(PRIORITY)
        self.client = Client(url, key=key, pool=_CONNECTIONS, consumer=this_process())
        self.queues: dict[str, Queue] = {}
        self._claims = ClaimsInHand(self.client, lease)

    def close(self) -> None:
        """Stop renewing claims, and close the connections."""
        self._claims.stop()
        self.client.close()

    def declare_queue(self, queue_name: str) -> None:
        """Note that actors use a queue. The broker creates it with its first message."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = self.client.queue(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Send a message, and return once it is durable. ``delay`` is in milliseconds.

        Raises:
            ConnectionClosed: no answer came, also not to the repeated requests.
            QueueNotFound: the queue was not declared.
            Refused: the broker refused the message.
        """
        queue = self._queue(message.queue_name)
        options = MessageOptions(delay=(delay or 0) / 1000, priority=self._priority_of(message))
        self.emit_before("enqueue", message, delay)
        try:
            queue.send(_body_of(message), **options)
        except Exception as error:
            self._claims.keep(message.message_id)
            if isinstance(error, Unreachable):
                raise ConnectionClosed(error) from error
            raise
        self.emit_after("enqueue", message, delay)
        return message

    def _priority_of(self, message: dramatiq.Message[Any]) -> int:
        actor = self.actors.get(message.actor_name)
        of_actor = 0 if actor is None else actor.options.get(PRIORITY, 0)
        priority: int = message.options.get(PRIORITY, of_actor)
        return priority

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        """Return an iterator over the messages of a queue.

        ``prefetch`` is the most messages of this queue that the worker has in hand. ``timeout`` is the longest wait for
        a message, in milliseconds.

        Raises:
            QueueNotFound: the queue was not declared.
        """
        return Consumer(self._queue(queue_name), self._claims, prefetch, timeout / 1000)

    def flush(self, queue_name: str) -> None:
        """Delete all messages of a queue, also those in hand.

        Raises:
            QueueNotFound: the queue was not declared.
        """
        try:
            self._queue(queue_name).purge()
        except NotFound:
            return  # it gets its first message later

    def flush_all(self) -> None:
        """Delete all messages of all declared queues."""
        for each in self.queues:
            self.flush(each)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue has only dead letters. ``timeout`` is in milliseconds.

        Raises:
            QueueJoinTimeout: it still has others.
            QueueNotFound: the queue was not declared.
        """
        queue = self._queue(queue_name)
        deadline_s = None if timeout is None else time.monotonic() + timeout / 1000
        while _unfinished(queue):
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise QueueJoinTimeout(queue_name)
            time.sleep(_JOIN_PAUSE_S)

    def _queue(self, name: str) -> Queue:
        try:
            return self.queues[name]
        except KeyError:
            raise QueueNotFound(name) from None


def _body_of(message: dramatiq.Message[Any]) -> str | bytes:
    """Return an encoded message, as text if it is text, such as the JSON of dramatiq's usual encoder."""
    data = message.encode()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _unfinished(queue: Queue) -> int:
    """Return the number of messages that are not dead letters."""
    try:
        counts = queue.info().counts
    except NotFound:
        return 0
    return sum(counts.values()) - counts["buried"]
