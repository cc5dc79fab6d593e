"""Masks on messages that the dashboard shows; see `wonderq.model.masks`.

The application puts the mask of the dashboard's requests into their environment. The other requests have none.
"""

from __future__ import annotations

from collections.abc import Mapping

import falcon

from wonderq.httpd.errors import RequestError
from wonderq.model.attributes import Attribute
from wonderq.model.envelope import Envelope
from wonderq.model.failures import Failure, ReportedError
from wonderq.model.masks import SIGN, Mask
from wonderq.model.messages import Message
from wonderq.rest.objects import MessageObject, message_object
from wonderq.runtime.fibers import took

MASK = "wonderq.mask"
"""Key of the `Mask` in the environment of a request of the dashboard."""


#: A character of the sign as JSON can also have it.
_ESCAPED = b"\\u2022"


def mask_of(req: falcon.Request) -> Mask | None:
    """Return the mask of the texts that a request may see, or None."""
    mask: Mask | None = req.env.get(MASK)
    return mask


def check_written(req: falcon.Request, written: bytes) -> None:
    """Refuse to write the sign of a mask: it would replace the text that it stands for.

    Raises:
        RequestError: a request of the dashboard contains it.
    """
    if MASK in req.env and SIGN.encode() in written.replace(_ESCAPED, SIGN[0].encode()):
        raise RequestError(
            400,
            "masked_text",
            f"The request contains {SIGN}, which stands for text that the dashboard hides (--ui-mask). Send the whole "
            "text with the API instead.",
        )


def hide(mask: Mask, text: str, most: int | None = None) -> str:
    """Return a text, or its beginning, without what the mask hides. Other requests have their turn meanwhile."""
    return mask.hide(text, most, took)


def shown_object(message: Message, mask: Mask | None, most: int | None = None) -> MessageObject:
    """Return a message as a client sees it: without what the mask hides, and with at most ``most`` characters."""
    shown = message if mask is None else hide_message(mask, message, most)
    value = message_object(shown)
    if mask is not None and (shown.body != message.body[:most] or shown.envelope != message.envelope):
        value.masked = True
    if most is not None and len(message.body) > most:
        value.full_length = len(message.body)
        value.message = value.message[:most]
    return value


def hide_message(mask: Mask, message: Message, most: int | None = None) -> Message:
    """Return a message without what the mask hides, and with at most about ``most`` characters of its body."""
    envelope = message.envelope
    return message._replace(
        body=hide(mask, message.body, most),
        envelope=None if envelope is None else _hide_envelope(mask, envelope),
    )


def _hide_envelope(mask: Mask, envelope: Envelope) -> Envelope:
    source, failure = envelope.dead_letter_source, envelope.last_failure
    return envelope._replace(
        attributes=hide_attributes(mask, envelope.attributes),
        group=hide(mask, envelope.group),
        key=hide(mask, envelope.key),
        dead_letter_source=None if source is None else source._replace(reason=hide(mask, source.reason)),
        last_failure=None if failure is None else _hide_failure(mask, failure),
    )


def _hide_failure(mask: Mask, failure: Failure) -> Failure:
    return failure._replace(error=ReportedError(*(hide(mask, text) for text in failure.error)))


def hide_attributes(mask: Mask, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Return attributes without what the mask hides in their values."""
    return {name: (kind, _hide_value(mask, value)) for name, (kind, value) in attributes.items()}


def _hide_value(mask: Mask, value: str | bytes) -> str | bytes:
    if isinstance(value, str):
        return hide(mask, value)
    return hide(mask, value.decode(errors="surrogateescape")).encode(errors="surrogateescape")
