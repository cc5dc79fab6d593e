"""Receiving messages, and finishing the last ones with the same request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from wonderq.client.calls import Call, update
from wonderq.client.changes import release_fields, update_of, with_error
from wonderq.client.errors import Refused, refused_claim
from wonderq.client.failures import ErrorLike
from wonderq.client.messages import Contents, ReceivedContents
from wonderq.client.requests import Answer, ErrorObject, Request, queue_path, read_answer
from wonderq.client.results import Result, errors_of
from wonderq.client.retries import Retries, Steps

M = TypeVar("M", bound=ReceivedContents)

#: Longest time of each of the two requests that give back the messages of an interrupted call, in seconds.
_GIVE_BACK_S = 2.0

Received: TypeAlias = Contents | str
"""A message that was received, or its receipt."""

Queues: TypeAlias = Sequence[str] | Mapping[str, int]
"""Names of queues: a sequence, of which the first one with messages comes first, or the weight of each."""


class Release(msgspec.Struct, frozen=True):
    """A message to give back with `next`."""

    message: Received
    delay: float = 0
    """Seconds until others may receive it."""
    backoff: float | None = None
    """As ``delay``, doubled for each receive after the first."""
    uncounted: bool = False
    """Whether this receive does not count as a try."""
    error: ErrorLike | None = None


class ToDeadLetters(msgspec.Struct, frozen=True):
    """A message to make a dead letter with `next`."""

    message: Received
    error: ErrorLike


class Finished(msgspec.Struct, frozen=True):
    """Results of the messages that a `next` was to finish: None, or the error of each, in the order given."""

    delete: list[Refused | None]
    release: list[Refused | None]
    dead: list[Refused | None]

    @property
    def errors(self) -> list[Refused]:
        """The errors of all that were not finished."""
        return [each for each in (*self.delete, *self.release, *self.dead) if each is not None]


class Next(msgspec.Struct, Generic[M], frozen=True):
    """Answer to a `next`."""

    messages: list[M]
    results: Finished
    claim_error: Refused | None = None
    """Error of the claim, such as `TooMany`, although the others were finished. Wait before you ask again."""


class Finish(msgspec.Struct, frozen=True):
    """The messages that a `next` finishes, as objects of the HTTP API."""

    delete: list[str]
    release: list[dict[str, Any]]
    dead: list[dict[str, Any]]

    @classmethod
    def of(
        cls, delete: Iterable[Received], release: Iterable[Release | Received], dead: Iterable[ToDeadLetters]
    ) -> Finish:
        """Return what messages and receipts stand for."""
        return cls(
            [receipt_of(each) for each in delete],
            [release_entry(each) for each in release],
            [
                with_error({"receipt": receipt_of(each.message)}, each.error, _consumer_of(each.message))
                for each in dead
            ],
        )


class _Results(msgspec.Struct):
    delete: list[Result] | None = None
    release: list[Result] | None = None
    dead: list[Result] | None = None


class _NextAnswer(msgspec.Struct, Generic[M]):
    messages: list[M]
    results: _Results | None = None
    claim_error: ErrorObject | None = None


class Claim(msgspec.Struct, frozen=True):
    """Parameters of a request for messages."""

    limit: int = 10
    wait_s: float = 0.0
    lease_s: float | None = None
    queues: Queues | None = None
    consumer: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the request, without the wait. Repeated, they get the same messages."""
        fields: dict[str, Any] = {"max": self.limit, "attempt_id": os.urandom(8).hex()}
        if self.lease_s is not None:
            fields["visibility_timeout"] = self.lease_s
        if isinstance(self.queues, Mapping):
            fields["queues"] = [{"queue": name, "weight": weight} for name, weight in self.queues.items()]
        elif self.queues is not None:
            fields["queues"] = list(self.queues)
        if self.consumer is not None:
            fields["consumer"] = self.consumer
        return fields


def receive(queue: str | None, kind: type[M], claim: Claim, engine: Any = None) -> Call[list[M]]:
    """Claim messages of one queue, or of several, and return them as a type whose calls an engine carries out."""

    def read(answer: Answer) -> list[M]:
        return _bound(read_answer(answer, list[kind]), engine)  # type: ignore[valid-type]

    return _claiming_call(queue_path(queue, "/messages/consume"), claim, claim.fields(), read, read)


def next_(queue: str | None, kind: type[M], claim: Claim, finish: Finish, engine: Any) -> Call[Next[M]]:
    """Finish messages, and claim the next ones as `receive` does."""
    given = {"delete": finish.delete, "release": finish.release, "dead": finish.dead}
    fields = {name: entries for name, entries in given.items() if entries} | claim.fields()

    def read(answer: Answer) -> Next[M]:
        found = read_answer(answer, _NextAnswer[kind])  # type: ignore[valid-type]
        results = found.results or _Results()

        def errors(entries: Sequence[Any], results: list[Result] | None) -> list[Refused | None]:
            if results is None:
                return [None] * len(entries)
            return errors_of(results, is_repeated=answer.is_repeated)

        finished = Finished(
            errors(finish.delete, results.delete),
            errors(finish.release, results.release),
            errors(finish.dead, results.dead),
        )
        refusal = found.claim_error
        claim_error = None if refusal is None else refused_claim(refusal.code, refusal.message)
        return Next(_bound(found.messages, engine), finished, claim_error)

    return _claiming_call(
        queue_path(queue, "/messages/next"), claim, fields, read, lambda answer: read(answer).messages
    )


def give_back(call: Call[Any], retries: Retries) -> Steps[None]:
    """Ask for the messages of a call whose caller was interrupted, and give them back without counting a try.

    If there is no answer soon, their claims end by themselves.
    """
    if call.messages is None or call.at_cancel is None:
        return
    brief = msgspec.structs.replace(retries, most=1, total_s=min(retries.total_s, _GIVE_BACK_S))
    answer = yield from brief.repeat(call.at_cancel)
    for queue, receipts in receipts_by_queue(call.messages(answer)).items():
        entries = [release_update(Release(receipt, uncounted=True)) for receipt in receipts]
        yield from brief.attempt(update(queue, entries).request)


def receipt_of(message: Received) -> str:
    """Return the receipt of a message, or the receipt itself.

    Raises:
        ValueError: the message was not received, but only looked at.
    """
    return message if isinstance(message, str) else message.claim_receipt


def _consumer_of(message: Received) -> str | None:
    return None if isinstance(message, str) else message.consumer


def receipts_by_queue(messages: Iterable[Contents]) -> dict[str, list[str]]:
    """Return the receipts of messages by their queues, each once."""
    found: dict[str, dict[str, None]] = {}
    for each in messages:
        found.setdefault(each.queue, {})[each.claim_receipt] = None
    return {queue: list(receipts) for queue, receipts in found.items()}


def release_entry(release: Release | Received) -> dict[str, Any]:
    """Return a message to give back as an object of the HTTP API."""
    each = release if isinstance(release, Release) else Release(release)
    receipt = receipt_of(each.message)
    consumer = _consumer_of(each.message)
    return release_fields(
        receipt, each.delay, each.backoff, uncounted=each.uncounted, error=each.error, consumer=consumer
    )


def release_update(release: Release | Received) -> dict[str, Any]:
    """Return a message to give back as an entry of a batch of updates."""
    return update_of(release_entry(release))


def names_to_delete(messages: Iterable[Received], ids: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the field of a delete and its values: receipts or ids.

    Raises:
        ValueError: there are both.
    """
    receipts = [receipt_of(each) for each in messages]
    if ids and receipts:
        raise ValueError("pass either messages or ids, not both")
    return ("ids", ids) if ids else ("receipts", receipts)


def _bound(messages: list[M], engine: Any) -> list[M]:
    for message in messages:
        msgspec.structs.force_setattr(message, "engine", engine)
    return messages


def _claiming_call(target: str, claim: Claim, fields: dict[str, Any], read: Any, messages: Any) -> Call[Any]:
    first = None if claim.queues is None else next(iter(claim.queues), None)
    request = Request.of("POST", target, fields, queue=first)
    at_cancel = msgspec.structs.replace(request, follows_wait=True)
    if claim.wait_s:
        request = Request.of("POST", target, {**fields, "wait": claim.wait_s}, wait_s=claim.wait_s, queue=first)
    return Call(request, read, at_cancel, messages)
