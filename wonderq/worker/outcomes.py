"""Outcomes of handlers: exceptions by which a handler chooses one, and what becomes of its message."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from wonderq.client.messages import Contents
from wonderq.worker.policy import Policy


class Retry(Exception):  # noqa: N818 - stands in the `raise` lines of users
    """Raise it to try the message again, after ``delay`` seconds or else the usual backoff.

    The try counts: when no retries are left, the message becomes a dead letter.
    """

    def __init__(self, reason: str = "the handler asked for a retry", *, delay: float | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


class Dead(Exception):  # noqa: N818 - stands in the `raise` lines of users
    """Raise it to make the message a dead letter now, with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class TimedOut(Exception):  # noqa: N818 - is the type of an error that people read
    """The handler ran longer than its timeout."""


class Interrupt(BaseException):  # as CancelledError of asyncio is, so that no `except Exception` stops it
    """The handler should end now. Nothing is acknowledged. `Context.check` raises it."""


class LeaseLost(Interrupt):
    """The claim has ended, and another consumer may have the message."""


class Stopping(Interrupt):
    """The worker stops, or the handler ran longer than its timeout."""


class Ending(enum.Enum):
    """Ways in which the claim of a message ends."""

    DELETE = "done"
    RETRY = "retried"
    DEAD = "dead"
    GIVE_BACK = "given back"
    """It becomes available at once, and the try does not count."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one claim."""

    message: Contents
    ending: Ending
    delay_s: float = 0.0
    """Pause before a retry."""
    error: BaseException | None = None
    """Error of the handler, which the broker keeps with the message."""


def settle(message: Contents, error: BaseException | None, policy: Policy, random: Callable[[], float]) -> Settlement:
    """Return what becomes of a message after its handler returned, or raised an error."""
    if error is None:
        return Settlement(message, Ending.DELETE)
    if isinstance(error, Interrupt):
        return Settlement(message, Ending.GIVE_BACK)
    if isinstance(error, Dead) or message.tries > policy.retries:
        return Settlement(message, Ending.DEAD, error=error)
    delay_s = error.delay if isinstance(error, Retry) else None
    if delay_s is None:
        delay_s = policy.backoff_s(message.tries, random)
    return Settlement(message, Ending.RETRY, delay_s, error)
