"""Messages of a queue one after another, whose claims are renewed until each is finished."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress

from wonderq.client import calls
from wonderq.client.async_engine import AsyncEngine
from wonderq.client.async_message import AsyncMessage
from wonderq.client.claims import Claim, Release, receive, release_update
from wonderq.client.errors import WonderQError
from wonderq.client.operations import MOST_ENTRIES

#: Longest wait of a request for messages, in seconds.
_POLL_S = 20.0


class _Held:
    """Receipts of the messages that are not finished."""

    def __init__(self) -> None:
        self._receipts: dict[str, None] = {}
        self._has_room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._receipts)

    def add(self, receipt: str) -> None:
        self._receipts[receipt] = None

    def remove(self, receipt: str) -> None:
        self._receipts.pop(receipt, None)
        self._has_room.set()

    async def wait_for_room(self, most: int) -> int:
        """Wait until fewer than ``most`` are held, and return how many more there may be."""
        while len(self) >= most:
            self._has_room.clear()
            await self._has_room.wait()
        return most - len(self)

    async def renew(self, engine: AsyncEngine, queue: str, lease_s: float) -> None:
        """Renew all at a third of their time, until cancelled. A claim that has ended is held no longer."""
        while True:
            await asyncio.sleep(lease_s / 3)
            receipts = list(self._receipts)
            for at in range(0, len(receipts), MOST_ENTRIES):
                part = receipts[at : at + MOST_ENTRIES]
                with suppress(WonderQError):  # the next renewal comes before the leases end
                    errors = await engine.do(calls.renew(queue, part, lease_s))
                    for receipt, error in zip(part, errors, strict=True):
                        if error is not None:
                            self.remove(receipt)


async def stream(
    engine: AsyncEngine, queue: str, concurrency: int, lease_s: float
) -> AsyncGenerator[AsyncMessage, None]:
    """Yield messages of a queue, and never hold more than ``concurrency``; see `AsyncQueue.messages`."""
    held = _Held()
    engine.holders.add(held.remove)
    waiting: deque[AsyncMessage] = deque()
    renewing = asyncio.create_task(held.renew(engine, queue, lease_s), name="wonderq-renew")
    try:
        while True:
            limit = min(await held.wait_for_room(concurrency), MOST_ENTRIES)
            claim = Claim(limit, _POLL_S, lease_s, None, engine.options.consumer)
            for message in await engine.do(receive(queue, AsyncMessage, claim, engine)):
                held.add(message.claim_receipt)
                waiting.append(message)
            while waiting:
                yield waiting.popleft()
    finally:
        engine.holders.discard(held.remove)
        renewing.cancel()
        await asyncio.wait([renewing])
        given_back = [release_update(Release(each, uncounted=True)) for each in waiting]
        if given_back:
            with suppress(WonderQError, RuntimeError):  # the claims end by themselves, as those of a closed client
                await engine.do(calls.update(queue, given_back))
