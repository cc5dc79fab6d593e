"""Messages that an asyncio client received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wonderq.client import changes
from wonderq.client.async_engine import AsyncEngine
from wonderq.client.errors import NotFound, StaleReceipt, WonderQError
from wonderq.client.failures import ErrorLike
from wonderq.client.messages import ReceivedContents
from wonderq.client.operations import DELETES, UPDATES, Kind, Operation


class AsyncMessage(ReceivedContents, frozen=True, kw_only=True):
    """A message that was received. It is yours until ``claimed_until``."""

    async def delete(self) -> None:
        """Delete the message: its work is done; see `wonderq.Message.delete`."""
        await self._run(DELETES, changes.delete(self.claim_receipt))

    async def renew(self, lease: float | None = None) -> None:
        """Keep the message for ``lease`` seconds from now; see `wonderq.Message.renew`."""
        await self._run(UPDATES, changes.renew(self.claim_receipt, lease))

    async def release(
        self,
        delay: float = 0,
        *,
        backoff: float | None = None,
        uncounted: bool = False,
        error: ErrorLike | None = None,
    ) -> None:
        """Give the message back; see `wonderq.Message.release`."""
        receipt, consumer = self.claim_receipt, self.consumer
        await self._run(
            UPDATES, changes.release(receipt, delay, backoff, uncounted=uncounted, error=error, consumer=consumer)
        )

    async def bury(self, error: ErrorLike | None = None) -> None:
        """Set the message aside until it is kicked; see `wonderq.Message.bury`."""
        await self._run(UPDATES, changes.bury(self.claim_receipt, error, self.consumer))

    async def dead(self, error: ErrorLike) -> None:
        """Move the message to the dead-letter queue now; see `wonderq.Message.dead`."""
        await self._run(UPDATES, changes.dead(self.claim_receipt, error, self.consumer))

    async def _run(self, kind: Kind, operation: Operation) -> None:
        engine: AsyncEngine = self.engine
        try:
            await engine.run(self.queue, kind, operation)
        except (NotFound, StaleReceipt) as error:
            engine.ended([self.claim_receipt], [error])
            raise
        if operation.ends_claim:
            engine.ended([self.claim_receipt], [None])


@asynccontextmanager
async def keep(message: AsyncMessage, lease: float) -> AsyncIterator[None]:
    """Renew a message's claim from a task of its own at a third of its time, until the block ends."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease / 3)
            try:
                await message.renew(lease)
            except (NotFound, StaleReceipt):
                return  # the claim has ended; the delete at the end says so
            except WonderQError:
                continue

    task = asyncio.create_task(renew(), name="wonderq-renew")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
