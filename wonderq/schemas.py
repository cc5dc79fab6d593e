"""What requests may hold, as types: they validate JSON and msgpack alike, and name the field that is wrong."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

VisibilityTimeout = Annotated[float, Meta(ge=0, le=43_200, description="Seconds")]
Delay = Annotated[float, Meta(ge=0, le=10 * 366 * 86_400, description="Seconds")]
Wait = Annotated[float, Meta(ge=0, le=20, description="Seconds")]
Max = Annotated[int, Meta(ge=1, le=1000)]


class Body(Struct, forbid_unknown_fields=True):
    """Base of all request bodies."""


class NewMessage(Body):
    message: str
    delay: Delay | UnsetType = UNSET


class Produce(Body):
    message: str | UnsetType = UNSET
    messages: Annotated[list[str | NewMessage], Meta(min_length=1)] | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET


class Consume(Body):
    max: Max = 10
    wait: Wait = 0
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET


class Delete(Body):
    receipt: str | UnsetType = UNSET


class Update(Body):
    receipt: str | UnsetType = UNSET
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET
    message: str | UnsetType = UNSET


class DeleteBatch(Body):
    ids: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET
    receipts: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET


class UpdateEntry(Update):
    id: str | UnsetType = UNSET


class UpdateBatch(Body):
    entries: Annotated[list[UpdateEntry], Meta(min_length=1)]


class PutQueue(Body):
    visibility_timeout: VisibilityTimeout | UnsetType = UNSET
    delay: Delay | UnsetType = UNSET


class Listing(Body):
    limit: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    after: str | UnsetType = UNSET


class StatusListing(Listing, kw_only=True):
    status: str


class Count(Body, kw_only=True):
    status: str
