"""Calls that batch by themselves, as operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wonderq.client.bodies import Body
from wonderq.client.failures import ErrorLike, error_fields
from wonderq.client.fields import MessageOptions, message_fields
from wonderq.client.operations import Operation


def send(body: Body, options: MessageOptions) -> Operation:
    """Add one message."""
    return Operation(message_fields(body, options))


def send_together(messages: Sequence[Body | tuple[Body, MessageOptions]]) -> Operation:
    """Add messages, all or none."""
    pairs = [each if isinstance(each, tuple) else (each, MessageOptions()) for each in messages]
    return Operation([message_fields(body, options) for body, options in pairs])


def delete(receipt: str) -> Operation:
    """Delete a message that was received."""
    return Operation(receipt, ends_claim=True)


def renew(receipt: str, lease_s: float | None) -> Operation:
    """Renew a claim, for a time or for as long as before."""
    return Operation({"receipt": receipt} if lease_s is None else {"receipt": receipt, "visibility_timeout": lease_s})


def release(
    receipt: str,
    delay_s: float = 0,
    backoff_s: float | None = None,
    *,
    uncounted: bool = False,
    error: ErrorLike | None = None,
    consumer: str | None = None,
) -> Operation:
    """Give a message back, available after a delay. ``consumer`` is the name of its claim, as in what follows."""
    fields = release_fields(receipt, delay_s, backoff_s, uncounted=uncounted, error=error, consumer=consumer)
    return Operation(update_of(fields), ends_claim=True)


def update_of(release: dict[str, Any]) -> dict[str, Any]:
    """Return a release as an entry of a batch of updates."""
    return release if "delay" in release or "backoff" in release else {**release, "visibility_timeout": 0}


def release_fields(
    receipt: str,
    delay_s: float,
    backoff_s: float | None,
    *,
    uncounted: bool,
    error: ErrorLike | None,
    consumer: str | None,
) -> dict[str, Any]:
    """Return a release as an object of the HTTP API.

    Raises:
        ValueError: both a delay and a backoff are given.
    """
    if delay_s and backoff_s is not None:
        raise ValueError("pass either delay or backoff, not both")
    fields: dict[str, Any] = {"receipt": receipt}
    if delay_s:
        fields["delay"] = delay_s
    if backoff_s is not None:
        fields["backoff"] = backoff_s
    if uncounted:
        fields["uncounted"] = True
    return with_error(fields, error, consumer)


def bury(receipt: str, error: ErrorLike | None, consumer: str | None = None) -> Operation:
    """Set a message aside until it is kicked."""
    return Operation(with_error({"receipt": receipt, "bury": True}, error, consumer), ends_claim=True)


def dead(receipt: str, error: ErrorLike, consumer: str | None = None) -> Operation:
    """Make a message a dead letter."""
    return Operation(with_error({"receipt": receipt, "dead": True}, error, consumer), ends_claim=True)


def with_error(fields: dict[str, Any], error: ErrorLike | None, consumer: str | None) -> dict[str, Any]:
    """Return fields with an error, if there is one."""
    return fields if error is None else {**fields, "error": error_fields(error, consumer)}
