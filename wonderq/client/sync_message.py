"""Messages that a client for threads received."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wonderq.client import changes
from wonderq.client.errors import NotFound, StaleReceipt, WonderQError
from wonderq.client.failures import ErrorLike
from wonderq.client.messages import ReceivedContents
from wonderq.client.operations import DELETES, UPDATES, Kind, Operation
from wonderq.client.sync_engine import Engine


class Message(ReceivedContents, frozen=True, kw_only=True):
    """A message that was received. It is yours until ``claimed_until``."""

    def delete(self) -> None:
        """Delete the message: its work is done.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        self._run(DELETES, changes.delete(self.claim_receipt))

    def renew(self, lease: float | None = None) -> None:
        """Keep the message for ``lease`` seconds from now; by default for as long as the claim was made.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        self._run(UPDATES, changes.renew(self.claim_receipt, lease))

    def release(
        self,
        delay: float = 0,
        *,
        backoff: float | None = None,
        uncounted: bool = False,
        error: ErrorLike | None = None,
    ) -> None:
        """Give the message back.

        Args:
            delay: seconds until others may receive it.
            backoff: instead of ``delay``: the same, doubled for each receive after the first.
            uncounted: this receive does not count as a try.
            error: why the work failed; the broker keeps it as ``last_error``.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        receipt, consumer = self.claim_receipt, self.consumer
        self._run(
            UPDATES, changes.release(receipt, delay, backoff, uncounted=uncounted, error=error, consumer=consumer)
        )

    def bury(self, error: ErrorLike | None = None) -> None:
        """Set the message aside until it is kicked. ``error`` tells why, and is kept as ``last_error``.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        self._run(UPDATES, changes.bury(self.claim_receipt, error, self.consumer))

    def dead(self, error: ErrorLike) -> None:
        """Move the message to the dead-letter queue now, or bury it if the queue has none. ``error`` tells why.

        Raises:
            StaleReceipt: the claim ended, and another consumer may have the message.
        """
        self._run(UPDATES, changes.dead(self.claim_receipt, error, self.consumer))

    def _run(self, kind: Kind, operation: Operation) -> None:
        engine: Engine = self.engine
        engine.run(self.queue, kind, operation)


@contextmanager
def keep(message: Message, lease: float) -> Iterator[None]:
    """Renew a message's claim from a thread of its own at a third of its time, until the block ends."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(lease / 3):
            try:
                message.renew(lease)
            except (NotFound, StaleReceipt):
                return  # the claim has ended; the delete at the end says so
            except WonderQError:
                continue

    thread = threading.Thread(target=renew, name="wonderq-renew", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
