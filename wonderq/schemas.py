"""What requests may hold, as types: they validate JSON and msgpack alike, and name the field that is wrong.

What they say of themselves is what `wonderq.openapi` tells clients.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from wonderq.model import STATUSES

EXAMPLE_ID = "a7f5325c-e413-8fbc-ada0-759277567d55"
EXAMPLE_RECEIPT = "029fd4c973904fef2da0759277567d5539924d0e"

VisibilityTimeout = Annotated[float, Meta(ge=0, le=43_200, description="How long a claim lasts, in seconds.")]
Delay = Annotated[float, Meta(ge=0, le=10 * 366 * 86_400, description="How long a message is hidden, in seconds.")]
Wait = Annotated[float, Meta(ge=0, le=20, description="How long to wait for the first message, in seconds.")]
Max = Annotated[
    int,
    # What may be set; the broker asks for what is set.
    Meta(
        ge=1, le=10_000, description="How many messages to claim at most. Over 1000 only if `batch_messages` is set so."
    ),
]
Limit = Annotated[int, Meta(ge=1, description="How many messages to list at most; all, if it is not given.")]
Text = Annotated[str, Meta(description="The message itself: any text, of at most 1 MiB in UTF-8.")]
MessageId = Annotated[str, Meta(description="The id of a message.", examples=[EXAMPLE_ID])]
After = Annotated[str, Meta(description="The id of a message: only those produced after it.", examples=[EXAMPLE_ID])]
Receipt = Annotated[
    str,
    Meta(
        description="The receipt of a claim: the call then acts only if that claim is still the newest.",
        examples=[EXAMPLE_RECEIPT],
    ),
]
Status = Annotated[
    str,
    Meta(
        description="`unprocessed` can be consumed now, `processing` is claimed, `delayed` is hidden until later.",
        extra_json_schema={"enum": list(STATUSES)},
    ),
]


class Body(Struct, forbid_unknown_fields=True):
    """Base of all request bodies."""


class NewMessage(Body):
    message: Text
    delay: Delay | UnsetType = UNSET


class Produce(Body):
    message: Text | UnsetType = UNSET
    messages: (
        Annotated[list[Text | NewMessage], Meta(min_length=1, description="At most 1000 messages.")] | UnsetType
    ) = UNSET
    delay: Delay | UnsetType = UNSET


class Consume(Body):
    max: Max = 10
    wait: Wait = 0
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET


class Delete(Body):
    receipt: Receipt | UnsetType = UNSET


class Update(Body):
    receipt: Receipt | UnsetType = UNSET
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    message: Text | UnsetType = UNSET


class DeleteBatch(Body):
    ids: Annotated[list[MessageId], Meta(min_length=1, description="At most 1000 ids.")] | UnsetType = UNSET
    receipts: Annotated[list[Receipt], Meta(min_length=1, description="At most 1000 receipts.")] | UnsetType = UNSET


class UpdateEntry(Update):
    id: MessageId | UnsetType = UNSET


class UpdateBatch(Body):
    entries: Annotated[list[UpdateEntry], Meta(min_length=1, description="At most 1000 entries.")]


class PutQueue(Body):
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET


class Listing(Body):
    limit: Limit | UnsetType = UNSET
    after: After | UnsetType = UNSET


class StatusListing(Listing, kw_only=True):
    status: Status


class Count(Body, kw_only=True):
    status: Status
