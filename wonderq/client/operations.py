"""Calls that batch by themselves: each is one entry of a request that many callers share.

An `Operation` waits in a `Batcher`, one for each queue and kind of call. While a request of a batcher is under way,
further operations gather in it, and go together in the next request.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Any, Protocol

import msgspec

from wonderq.client.errors import Refused, WonderQError
from wonderq.client.requests import Request, queue_path, read_answer
from wonderq.client.results import Produced, Results
from wonderq.client.retries import Retries, Steps

#: Most entries of a request, which is the broker's default limit, and most bytes of them, which is a quarter of it.
MOST_ENTRIES = 1000
MOST_BYTES = 4 << 20

#: Statuses of a refusal that may concern only one entry of a batch.
_OF_AN_ENTRY = (400, 413, 422)
_FULL = 507

#: Prefix of a field's name in the refusal of a batch of one message.
_ONLY_ENTRY = "messages[0]."


class Operation:
    """One call that waits until its entry is carried out."""

    __slots__ = ("done", "ends_claim", "entry", "error", "result", "size")

    def __init__(self, entry: Any, *, ends_claim: bool = False) -> None:
        """``ends_claim`` tells that a repetition finds the claim ended, which is then no error."""
        data = msgspec.json.encode(entry)
        self.entry = msgspec.Raw(data)
        self.size = len(data)
        self.ends_claim = ends_claim
        self.result: Any = None
        self.error: Exception | None = None
        self.done = False

    def succeed(self, result: Any = None) -> None:
        self.result, self.done = result, True

    def fail(self, error: Exception) -> None:
        self.error, self.done = error, True


class Kind(Protocol):
    """A kind of call that takes many entries."""

    most_entries: int
    """Most operations of one request."""
    goes_alone: bool
    """Whether each operation is a request of its own, so that several may be under way."""

    def steps(self, batcher: Batcher, operations: Sequence[Operation], retries: Retries) -> Steps[None]:
        """Carry out operations. At the end, each is done."""


class Batcher:
    """Operations of one kind on one queue that wait for their request. It does no I/O and knows no threads."""

    def __init__(self, queue: str, kind: Kind) -> None:
        self.queue = queue
        self.kind = kind
        self._waiting: deque[Operation] = deque()
        # The broker recognizes a repeated request by its number, so each batcher sends one request at a time.
        self._producer_id = os.urandom(8).hex()
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, operation: Operation) -> None:
        self._waiting.append(operation)

    def withdraw(self, operation: Operation) -> bool:
        """Remove an operation that still waits; return whether it did."""
        try:
            self._waiting.remove(operation)
        except ValueError:
            return False
        return True

    def take(self) -> list[Operation]:
        """Remove and return the operations of the next request: the oldest, up to the limits of a batch."""
        taken: list[Operation] = []
        size = 0
        while self._waiting and len(taken) < self.kind.most_entries:
            size += self._waiting[0].size
            if taken and size > MOST_BYTES:
                break
            taken.append(self._waiting.popleft())
        return taken

    def send_request(self, messages: Any) -> Request:
        """Return a new request to send messages, with the next number of this producer."""
        self._last_number += 1
        number = {"producer_id": self._producer_id, "request_number": self._last_number}
        return Request.of("POST", queue_path(self.queue, "/messages/produce"), {"messages": messages, **number})


def carry_out(batcher: Batcher, operations: Sequence[Operation], retries: Retries) -> Steps[None]:
    """Carry out operations of a batcher. At the end, each is done, whatever happened."""
    try:
        yield from batcher.kind.steps(batcher, operations, retries.for_one_call())
    except Exception as error:  # noqa: BLE001 - each caller raises it
        for operation in operations:
            if not operation.done:
                operation.fail(_copy_of(error))


class Sends:
    """Sends of messages. The result of each is a `Sent`."""

    most_entries = MOST_ENTRIES
    goes_alone = False

    def steps(self, batcher: Batcher, operations: Sequence[Operation], retries: Retries) -> Steps[None]:
        answer = yield from retries.attempt(batcher.send_request([operation.entry for operation in operations]))
        try:
            sent = read_answer(answer, Produced).sent()
        except Refused as error:
            yield from self._refused(batcher, operations, retries, error)
            return
        for operation, each in zip(operations, sent, strict=True):
            operation.succeed(each)

    def _refused(
        self, batcher: Batcher, operations: Sequence[Operation], retries: Retries, error: Refused
    ) -> Steps[None]:
        """Find out whom a refusal concerns. The broker refuses a batch as a whole, and adds none of it."""
        if len(operations) == 1:
            operations[0].fail(_of_the_only_entry(error))
            return
        if error.status not in (*_OF_AN_ENTRY, _FULL):
            for operation in operations:
                operation.fail(_copy_of(error))
            return
        half = len(operations) // 2
        yield from self.steps(batcher, operations[:half], retries)
        full = operations[half - 1].error
        if isinstance(full, Refused) and full.status == _FULL:  # no later message may overtake one that found no room
            for operation in operations[half:]:
                operation.fail(_copy_of(full))
            return
        yield from self.steps(batcher, operations[half:], retries)


class SendsTogether:
    """Batches that callers made: each is one operation and one request, and all of it is added or none.

    The entry of an operation is a list of messages. Its result is a list with a `Sent` for each.
    """

    most_entries = 1
    goes_alone = True

    def steps(self, batcher: Batcher, operations: Sequence[Operation], retries: Retries) -> Steps[None]:
        for operation in operations:
            answer = yield from retries.attempt(batcher.send_request(operation.entry))
            operation.succeed(read_answer(answer, Produced).sent())


class _Changes:
    """Entries that each have a result of their own."""

    most_entries = MOST_ENTRIES
    goes_alone = False
    path = ""
    field = ""

    def steps(self, batcher: Batcher, operations: Sequence[Operation], retries: Retries) -> Steps[None]:
        fields = {self.field: [operation.entry for operation in operations]}
        answer = yield from retries.attempt(Request.of("POST", queue_path(batcher.queue, self.path), fields))
        results = read_answer(answer, Results).results
        for operation, result in zip(operations, results, strict=True):
            error = result.to_error(is_repeated=answer.is_repeated and operation.ends_claim)
            if error is None:
                operation.succeed()
            else:
                operation.fail(error)


class Deletes(_Changes):
    """Deletes by receipt."""

    path = "/messages/delete"
    field = "receipts"


class Updates(_Changes):
    """Renewals, releases and other changes."""

    path = "/messages/update"
    field = "entries"


def _copy_of(error: Exception) -> Exception:
    """Return an error for one caller of several: each raises an exception of its own, with its own traceback."""
    return copy(error) if isinstance(error, WonderQError) else error


def _of_the_only_entry(error: Refused) -> Refused:
    """Return the refusal of a batch of one message as that of the message: its caller knows no batch."""
    if error.field is None or not error.field.startswith(_ONLY_ENTRY):
        return error
    text = str(error).replace(_ONLY_ENTRY, "")
    return type(error)(text, status=error.status, code=error.code, field=error.field.removeprefix(_ONLY_ENTRY))


SENDS, SENDS_TOGETHER, DELETES, UPDATES = Sends(), SendsTogether(), Deletes(), Updates()
