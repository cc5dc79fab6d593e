"""A queue, for the tasks of an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Unpack

from wonderq.client import administration, calls, changes, claims
from wonderq.client.administration import QueueInfo, Redrive
from wonderq.client.async_engine import AsyncEngine
from wonderq.client.async_message import AsyncMessage, keep
from wonderq.client.async_stream import stream
from wonderq.client.bodies import Body
from wonderq.client.claims import Claim, Finish, Next, Received, Release, ToDeadLetters
from wonderq.client.errors import Refused, WonderQError
from wonderq.client.fields import MessageOptions, QueueSettings, given_options
from wonderq.client.messages import AttributeValue, Contents, Sent
from wonderq.client.operations import SENDS, SENDS_TOGETHER
from wonderq.client.polls import Poll


class AsyncQueue:
    """One queue of a broker. Its calls are those of `wonderq.Queue`, as coroutines."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self.name = name

    def __repr__(self) -> str:
        return f"<AsyncQueue {self.name!r} at {self._engine.options.endpoint.url}>"

    # Sending

    async def send(
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
        """Send a message, and return once it is durable; see `wonderq.Queue.send`."""
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
        sent: Sent = await self._engine.run(self.name, SENDS, changes.send(body, options))
        return sent

    async def send_together(self, messages: Sequence[Body | tuple[Body, MessageOptions]]) -> list[Sent]:
        """Send up to 1000 messages in one step: all are added, or none; see `wonderq.Queue.send_together`."""
        sent: list[Sent] = await self._engine.run(self.name, SENDS_TOGETHER, changes.send_together(messages))
        return sent

    # Receiving

    async def receive(
        self, limit: int = 10, *, wait: float = 0, lease: float | None = None, poll: Poll | None = None
    ) -> list[AsyncMessage]:
        """Receive up to ``limit`` messages, the oldest first; see `wonderq.Queue.receive`."""
        claim = Claim(limit, wait, lease, consumer=self._engine.options.consumer)
        return await self._engine.do(claims.receive(self.name, AsyncMessage, claim, self._engine), poll)

    async def next(
        self,
        *,
        delete: Iterable[Received] = (),
        release: Iterable[Release | Received] = (),
        dead: Iterable[ToDeadLetters] = (),
        limit: int = 10,
        wait: float = 0,
        lease: float | None = None,
        poll: Poll | None = None,
    ) -> Next[AsyncMessage]:
        """Finish messages and receive the next ones, in one request; see `wonderq.Queue.next`."""
        claim = Claim(limit, wait, lease, consumer=self._engine.options.consumer)
        finish = Finish.of(delete, release, dead)
        answer = await self._engine.do(claims.next_(self.name, AsyncMessage, claim, finish, self._engine), poll)
        self._engine.finished(finish, answer.results)
        return answer

    def messages(self, *, concurrency: int = 1, lease: float = 30) -> AsyncGenerator[AsyncMessage, None]:
        """Yield messages without end, and hold at most ``concurrency`` of them.

        A message is held from its claim until you delete, release or bury it or make it a dead letter. So a loop whose
        body starts a task for each message runs ``concurrency`` tasks at once. The claims of all held messages are
        renewed together, for ``lease`` seconds each time. Finish every message, also one whose work failed. Any call of
        this client may do so. If another client does, or the call has only an id, the loop sees it at the next renewal.

        When the loop ends, messages that it has not taken yet are given back without counting a try, and claims are
        renewed no longer. After ``break`` that is soon; `contextlib.aclosing` does it at once.

        Raises:
            Refused: the broker refuses to give messages.
            Unreachable: no answer came, also not to the repeated requests.
            ValueError: ``concurrency`` is not positive.
        """
        if concurrency < 1:
            raise ValueError("concurrency is a number of messages: 1 or more")
        return stream(self._engine, self.name, concurrency, lease)

    @asynccontextmanager
    async def one(self, *, wait: float = 0, lease: float = 30) -> AsyncIterator[AsyncMessage | None]:
        """Receive one message, or None, and work on it in an ``async with`` block; see `wonderq.Queue.one`."""
        messages = await self.receive(1, wait=wait, lease=lease)
        if not messages:
            yield None
            return
        message = messages[0]
        try:
            async with keep(message, lease):
                yield message
        except BaseException as error:
            with suppress(WonderQError):  # the claim ends by itself, and the block's exception says more
                await message.release(error=error if isinstance(error, Exception) else None)
            raise
        await message.delete()

    async def hand_over(
        self, messages: Iterable[Received], send: Sequence[tuple[str, Body] | tuple[str, Body, MessageOptions]]
    ) -> list[Sent]:
        """Delete messages of this queue and send others, in one step; see `wonderq.Queue.hand_over`."""
        receipts = list(map(claims.receipt_of, messages))
        sent = await self._engine.do(calls.hand_over(self.name, receipts, send))
        self._engine.ended(receipts, [None] * len(receipts))
        return sent

    # Messages that are not received

    async def look(
        self,
        *,
        status: str | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> AsyncIterator[Contents]:
        """Yield messages without receiving them, the oldest first; see `wonderq.Queue.look`."""
        filters = {"contains": contains, "attribute": attribute, "group": group}
        while True:
            found = await self._engine.do(calls.look(self.name, status, after, filters))
            for each in found:
                yield each
            if len(found) < calls.PAGE:
                return
            after = found[-1].id

    async def get(self, message_id: str) -> Contents:
        """Look at one message; see `wonderq.Queue.get`."""
        return await self._engine.do(calls.get(self.name, message_id))

    async def count(self, status: str) -> int:
        """Return the number of messages that are ``unprocessed``, ``processing``, ``delayed`` or ``buried``."""
        return (await self._engine.do(calls.count(self.name, status))).count

    async def delete(self, messages: Iterable[Received] = (), *, ids: Sequence[str] = ()) -> list[Refused | None]:
        """Delete up to 1000 messages; see `wonderq.Queue.delete`."""
        field, names = claims.names_to_delete(messages, ids)
        if not names:
            return []
        errors = await self._engine.do(calls.delete(self.name, field, names))
        self._engine.ended(names, errors)
        return errors

    async def release(self, messages: Iterable[Release | Received]) -> list[Refused | None]:
        """Give up to 1000 received messages back; see `wonderq.Queue.release`."""
        entries = list(map(claims.release_update, messages))
        if not entries:
            return []
        errors = await self._engine.do(calls.update(self.name, entries))
        self._engine.ended([each["receipt"] for each in entries], errors)
        return errors

    async def kick(self, limit: int = 10) -> int:
        """Make up to ``limit`` buried messages available again, the oldest first; return their number."""
        return (await self._engine.do(calls.kick(self.name, limit))).kicked

    async def purge(self) -> int:
        """Delete all messages, also those that consumers hold; return their number."""
        return (await self._engine.do(administration.purge(self.name))).deleted

    # The queue itself

    async def info(self) -> QueueInfo:
        """Return settings and statistics; see `wonderq.Queue.info`."""
        return await self._engine.do(administration.info(self.name))

    async def configure(self, **settings: Unpack[QueueSettings]) -> QueueInfo:
        """Create the queue, or change the given settings and keep the others."""
        return await self._engine.do(administration.configure(self.name, settings))

    async def drop(self) -> None:
        """Delete the queue and its messages."""
        await self._engine.do(administration.drop(self.name))

    # Redrives

    async def redrive(
        self,
        destination: str | None = None,
        *,
        per_second: int | None = None,
        limit: int | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        dry_run: bool = False,
    ) -> Redrive:
        """Start moving the available and buried messages, in the background; see `wonderq.Queue.redrive`."""
        fields = {
            "destination": destination,
            "per_second": per_second,
            "limit": limit,
            "contains": contains,
            "attribute": attribute,
            "dry_run": dry_run,
        }
        return await self._engine.do(administration.start_redrive(self.name, fields))

    async def redrives(self) -> list[Redrive]:
        """Return the redrives of this queue, newest first."""
        return await self._engine.do(administration.redrives(self.name))

    async def get_redrive(self, redrive_id: str) -> Redrive:
        """Return a redrive; see `wonderq.Queue.get_redrive`."""
        return await self._engine.do(administration.redrive("GET", self.name, redrive_id))

    async def cancel_redrive(self, redrive_id: str) -> Redrive:
        """Cancel a redrive, and return it. Messages that it has moved stay where they are."""
        return await self._engine.do(administration.redrive("DELETE", self.name, redrive_id))
