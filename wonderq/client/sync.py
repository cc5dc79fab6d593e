"""The client for threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from wonderq.client import administration, calls, claims, topics
from wonderq.client.administration import QueueInfo, Schedule
from wonderq.client.bodies import Body
from wonderq.client.calls import Call
from wonderq.client.claims import Claim, Finish, Next, Queues, Received, Release, ToDeadLetters
from wonderq.client.engine_options import EngineOptions
from wonderq.client.errors import NotFound, Refused, WonderQError
from wonderq.client.messages import AttributeValue, Contents
from wonderq.client.polls import Poll
from wonderq.client.sync_engine import Engine
from wonderq.client.sync_message import Message
from wonderq.client.sync_queue import Queue
from wonderq.client.sync_topic import Topic
from wonderq.client.topics import TopicInfo

T = TypeVar("T")


class Client:
    """A client of one broker. Any number of threads may share it, and a forked process may go on using it.

    Calls of several threads share requests: while one is under way, the sends, deletes and renewals of all other
    threads gather, and go together in the next one. Each call returns once its own message is durable, or raises the
    error of its own message. All errors are a `WonderQError`.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        key: str | None = None,
        retries: int = 5,
        pool: int = 8,
        timeout: float = 60,
        connect_timeout: float = 5,
        read_timeout: float = 30,
        buffer: int = 64 << 20,
        consumer: str | None = None,
    ) -> None:
        """Make a client; the first call connects.

        Args:
            url: ``http://HOST:PORT``; default: ``WONDERQ_URL``, or else http://127.0.0.1:7979. Several, as a list or
                separated by commas, are the nodes of a cluster: the client uses one, and the next one when that fails.
            key: API key; default: ``WONDERQ_KEY``.
            retries: repetitions of a request that was not answered, or that the broker asks to repeat later.
            pool: most connections for calls with ``wait``, and the same number for all others.
            timeout: seconds that a call may take in all, besides its ``wait``.
            connect_timeout: seconds that a connection may take.
            read_timeout: seconds that the answer to one request may take, besides the call's ``wait``.
            buffer: most bytes of calls that wait to share a request; further calls wait until there is room.
            consumer: name under which the broker shows who has a message, such as ``"host:pid"``.

        Raises:
            ValueError: an argument is out of range, or the URL or the key is malformed.
        """
        self._engine = Engine(
            EngineOptions.of(url, key, retries, pool, timeout, connect_timeout, read_timeout, buffer, consumer)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Address of the broker; the first one if there are several."""
        return self.options.endpoint.url

    @property
    def options(self) -> EngineOptions:
        """The arguments of this client, checked."""
        return self._engine.options

    def with_pool(self, least: int) -> Client:
        """Return this client if its pool has so many connections, or else another one like it whose pool has them.

        The caller closes the other one.
        """
        options = self.options
        if options.connections >= least:
            return self
        made = Client.__new__(Client)
        made._engine = Engine(msgspec.structs.replace(options, connections=least))  # noqa: SLF001 - it is one of our own
        return made

    def close(self) -> None:
        """Close the connections. Calls under way finish; further ones raise `RuntimeError`."""
        self._engine.close()

    def ready(self) -> bool:
        """Return whether the broker accepts work. A broker that cannot be reached does not."""
        try:
            self.do(administration.ready())
        except WonderQError:
            return False
        return True

    # Queues

    def queue(self, name: str = "default") -> Queue:
        """Return a queue by its name. This asks the broker nothing."""
        return Queue(self._engine, name)

    def queues(self, prefix: str = "") -> list[QueueInfo]:
        """Return settings and statistics of the queues that the key opens, by name; only those with a prefix."""
        return self._engine.list_all(lambda after: administration.queues(prefix, after))

    # Topics

    def topic(self, name: str) -> Topic:
        """Return a topic by its name. This asks the broker nothing."""
        return Topic(self._engine, name)

    def topics(self) -> list[TopicInfo]:
        """Return the topics that the key opens, by name."""
        return self._engine.list_all(topics.topics)

    # Messages of several queues

    def receive(
        self,
        queues: Queues,
        limit: int = 10,
        *,
        wait: float = 0,
        lease: float | None = None,
        poll: Poll | None = None,
    ) -> list[Message]:
        """Receive messages of up to 32 queues with one request; see `Queue.receive`.

        ``queues`` are names, of which the first queue with messages comes first, or a mapping of names to weights:
        ``{"urgent": 3, "jobs": 1}`` gives three turns to the first and one to the second.
        """
        claim = Claim(limit, wait, lease, queues, self.options.consumer)
        return self.do(claims.receive(None, Message, claim, self._engine), poll)

    def next(
        self,
        queues: Queues,
        *,
        delete: Iterable[Received] = (),
        release: Iterable[Release | Received] = (),
        dead: Iterable[ToDeadLetters] = (),
        limit: int = 10,
        wait: float = 0,
        lease: float | None = None,
        consumer: str | None = None,
        poll: Poll | None = None,
    ) -> Next[Message]:
        """Finish messages and receive the next ones of several queues; see `receive` and `Queue.next`.

        The messages to finish may be of any queues. ``consumer`` is the name under which the broker shows who has the
        next ones, by default that of the client.
        """
        claim = Claim(limit, wait, lease, queues, consumer or self.options.consumer)
        finish = Finish.of(delete, release, dead)
        return self.do(claims.next_(None, Message, claim, finish, self._engine), poll)

    def renew(self, messages: Sequence[Contents], lease: float | None = None) -> list[Refused | None]:
        """Renew the claims of messages, with one request for each of their queues; return None or an error for each.

        Args:
            messages: messages that were received, up to 1000 of a queue.
            lease: seconds from now; by default for as long as each claim was made.

        Raises:
            Refused: the broker refused the request for a queue that exists. The claims of the others were renewed.
            Unreachable: no answer came.
        """
        outcomes: dict[str, Refused | None] = {}
        failure: Refused | None = None
        for queue, receipts in claims.receipts_by_queue(messages).items():
            errors: list[Refused | None]
            try:
                errors = self.do(calls.renew(queue, receipts, lease))
            except NotFound as error:
                errors = [error] * len(receipts)
            except Refused as error:
                failure = error  # raised after the claims of the other queues were renewed
                continue
            outcomes.update(zip(receipts, errors, strict=True))
        if failure is not None:
            raise failure
        return [outcomes[each.claim_receipt] for each in messages]

    # Schedules

    def schedules(self) -> list[Schedule]:
        """Return the schedules of the queues that the key opens, by name."""
        return self._engine.list_all(administration.schedules)

    def get_schedule(self, name: str) -> Schedule:
        """Return a schedule.

        Raises:
            NotFound: there is none with this name.
        """
        return self.do(administration.get_schedule(name))

    def put_schedule(
        self,
        name: str,
        *,
        cron: str | None = None,
        queue: str | None = None,
        body: Body | None = None,
        timezone: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        group: str | None = None,
        priority: int | None = None,
        delay: float | None = None,
        missed: Literal["skip", "once", "all"] | None = None,
        paused: bool | None = None,
    ) -> Schedule:
        """Create a schedule, or change the given fields of one. A new one needs ``cron``, ``queue`` and ``body``.

        Args:
            name: name of the schedule.
            cron: minute, hour, day of month, month, day of week, such as ``"30 4 * * *"``.
            queue: queue to send the messages to.
            body: body of the messages.
            timezone: IANA time zone of ``cron``, at first UTC.
            attributes: attributes of the messages; they replace all earlier ones.
            group: group of the messages.
            priority: priority of the messages, 0 to 9.
            delay: seconds until a message becomes available.
            missed: which messages to send for times that passed while the broker was down.
            paused: whether to send no messages for now.
        """
        fields = {
            "cron": cron,
            "queue": queue,
            "timezone": timezone,
            "group": group,
            "priority": priority,
            "delay": delay,
            "missed": missed,
            "paused": paused,
        }
        return self.do(administration.put_schedule(name, body, attributes, fields))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule. The messages that it has sent remain.

        Raises:
            NotFound: there is none with this name.
        """
        self.do(administration.delete_schedule(name))

    # Any call

    def call(
        self,
        method: str,
        target: str,
        answer: type[T],
        body: Any = None,
        *,
        wait: float = 0,
        repeatable: bool | None = None,
    ) -> T:
        """Make any call of the HTTP API, and return its answer decoded as a type.

        Args:
            method: HTTP method, in capital letters.
            target: path with its query, percent-encoded, such as ``"/queues?prefix=mail"``.
            answer: type of the answer.
            body: fields of the body; None for no body.
            wait: seconds that the call asks the broker to wait.
            repeatable: whether to send the call again if its outcome is unknown. By default, all but POST are.

        Raises:
            ValueError: the method or the target is malformed.
        """
        return self.do(calls.any_call(method, target, answer, body, wait, repeatable))

    def do(self, call: Call[T], poll: Poll | None = None) -> T:
        """Make a call of `wonderq.client.calls` or its neighbours."""
        return self._engine.do(call, poll)
