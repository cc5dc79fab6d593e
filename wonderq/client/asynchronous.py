"""The client for asyncio. Its calls are those of `wonderq.client.sync`, as coroutines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from wonderq.client import administration, calls, claims, topics
from wonderq.client.administration import QueueInfo, Schedule
from wonderq.client.async_engine import AsyncEngine
from wonderq.client.async_message import AsyncMessage
from wonderq.client.async_queue import AsyncQueue
from wonderq.client.async_topic import AsyncTopic
from wonderq.client.bodies import Body
from wonderq.client.calls import Call
from wonderq.client.claims import Claim, Finish, Next, Queues, Received, Release, ToDeadLetters
from wonderq.client.engine_options import EngineOptions
from wonderq.client.errors import NotFound, Refused, WonderQError
from wonderq.client.messages import AttributeValue, Contents
from wonderq.client.polls import Poll
from wonderq.client.sync import Client
from wonderq.client.topics import TopicInfo

T = TypeVar("T")


class AsyncClient:
    """A client of one broker for the tasks of an event loop. It has the calls of `wonderq.Client`, as coroutines."""

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        key: str | None = None,
        retries: int = 5,
        pool: int = 100,
        timeout: float = 60,
        connect_timeout: float = 5,
        read_timeout: float = 30,
        buffer: int = 64 << 20,
        consumer: str | None = None,
    ) -> None:
        """Make a client; see `wonderq.Client`."""
        self._engine = AsyncEngine(
            EngineOptions.of(url, key, retries, pool, timeout, connect_timeout, read_timeout, buffer, consumer)
        )

    @classmethod
    def like(cls, client: Client) -> Self:
        """Return a client with the address, the key and the other arguments of a client for threads."""
        made = cls.__new__(cls)
        made._engine = AsyncEngine(client.options)  # noqa: SLF001 - it is one of our own
        return made

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """Address of the broker; the first one if there are several."""
        return self._engine.options.endpoint.url

    @property
    def options(self) -> EngineOptions:
        """The arguments of this client, checked."""
        return self._engine.options

    async def close(self) -> None:
        """Close the connections after the calls under way have finished; further ones raise `RuntimeError`.

        A call that waits for messages ends its wait, and returns those that the broker had already claimed for it.
        """
        await self._engine.close()

    async def ready(self) -> bool:
        """Return whether the broker accepts work. A broker that cannot be reached does not."""
        try:
            await self.do(administration.ready())
        except WonderQError:
            return False
        return True

    # Queues

    def queue(self, name: str = "default") -> AsyncQueue:
        """Return a queue by its name. This asks the broker nothing."""
        return AsyncQueue(self._engine, name)

    async def queues(self, prefix: str = "") -> list[QueueInfo]:
        """Return settings and statistics of the queues that the key opens, by name; only those with a prefix."""
        return await self._engine.list_all(lambda after: administration.queues(prefix, after))

    # Topics

    def topic(self, name: str) -> AsyncTopic:
        """Return a topic by its name. This asks the broker nothing."""
        return AsyncTopic(self._engine, name)

    async def topics(self) -> list[TopicInfo]:
        """Return the topics that the key opens, by name."""
        return await self._engine.list_all(topics.topics)

    # Messages of several queues

    async def receive(
        self,
        queues: Queues,
        limit: int = 10,
        *,
        wait: float = 0,
        lease: float | None = None,
        poll: Poll | None = None,
    ) -> list[AsyncMessage]:
        """Receive messages of up to 32 queues with one request; see `wonderq.Client.receive`."""
        claim = Claim(limit, wait, lease, queues, self._engine.options.consumer)
        return await self.do(claims.receive(None, AsyncMessage, claim, self._engine), poll)

    async def next(
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
    ) -> Next[AsyncMessage]:
        """Finish messages and receive the next ones of several queues; see `wonderq.Client.next`."""
        claim = Claim(limit, wait, lease, queues, consumer or self._engine.options.consumer)
        finish = Finish.of(delete, release, dead)
        answer = await self.do(claims.next_(None, AsyncMessage, claim, finish, self._engine), poll)
        self._engine.finished(finish, answer.results)
        return answer

    async def renew(self, messages: Sequence[Contents], lease: float | None = None) -> list[Refused | None]:
        """Renew the claims of messages, with one request for each of their queues; see `wonderq.Client.renew`."""
        outcomes: dict[str, Refused | None] = {}
        failure: Refused | None = None
        for queue, receipts in claims.receipts_by_queue(messages).items():
            errors: list[Refused | None]
            try:
                errors = await self.do(calls.renew(queue, receipts, lease))
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

    async def schedules(self) -> list[Schedule]:
        """Return the schedules of the queues that the key opens, by name."""
        return await self._engine.list_all(administration.schedules)

    async def get_schedule(self, name: str) -> Schedule:
        """Return a schedule; see `wonderq.Client.get_schedule`."""
        return await self.do(administration.get_schedule(name))

    async def put_schedule(
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
        """Create a schedule, or change the given fields of one; see `wonderq.Client.put_schedule`."""
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
        return await self.do(administration.put_schedule(name, body, attributes, fields))

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; see `wonderq.Client.delete_schedule`."""
        await self.do(administration.delete_schedule(name))

    # Any call

    async def call(
        self,
        method: str,
        target: str,
        answer: type[T],
        body: Any = None,
        *,
        wait: float = 0,
        repeatable: bool | None = None,
    ) -> T:
        """Make any call of the HTTP API, and return its answer decoded as a type; see `wonderq.Client.call`."""
        return await self.do(calls.any_call(method, target, answer, body, wait, repeatable))

    async def do(self, call: Call[T], poll: Poll | None = None) -> T:
        """Make a call of `wonderq.client.calls` or its neighbours."""
        return await self._engine.do(call, poll)
