"""The commands that talk to a running broker: lines in, calls of a `Client`, lines out.

Standard output carries what a program may want to read, in UTF-8 whatever the locale says, and is flushed before
anything depends on it. What only people read goes to standard error.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from wonderq.cli.line_batches import Batch, cut_batches, read_batches
from wonderq.client import Client, RefusedError, UnreachableError
from wonderq.terminal import Progress, human_bytes, human_seconds, is_terminal, table

MESSAGE_BYTES = 1 << 20
LONGEST_POLL_S = 20

_CLAIM_BATCH = 1000
#: With --follow, no more is claimed at once than a slow reader of the pipe can take before the claims run out.
_FOLLOW_BATCH = 100
_LIST_BATCH = 100
_TAIL_PAUSE_S = 0.25

#: How often one looks whether a queue is there that was not.
_QUEUE_PAUSE_S = 0.5
_NO_QUEUE = "queue_not_found"

_encode = msgspec.json.Encoder().encode


class InputError(Exception):
    """Input that cannot be used; the message says where it is and what was done before."""


def send(client: Client, messages: Sequence[str], fields: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Produce the messages, or else each line of standard input, and print their ids.

    ``fields`` are what each has besides its text.
    """
    key = fields.pop("idempotency_key", None)
    if messages:
        noun, batches = "message", cut_batches([each.encode(errors="surrogateescape") for each in messages])
    else:
        noun, batches = "line", _input_batches("Type messages, one a line; Ctrl-D ends.")
    counting = not messages and not is_terminal(sys.stdin) and (quiet or not is_terminal(sys.stdout))
    with Progress("sent", enabled=counting) as progress:
        for batch in batches:
            bodies = _decode(batch, noun)
            try:
                ids = client.produce_batch(_with_fields(bodies, fields, key, batch.first))
            except (RefusedError, UnreachableError) as error:
                _note_what_was_sent(error, batch, noun)
                raise
            if as_json:
                _print(
                    _encode({"id": message_id, "queue": client.queue, "message": body})
                    for message_id, body in zip(ids, bodies, strict=True)
                )
            elif not quiet:
                _print(message_id.encode() for message_id in ids)
            progress.add(len(ids))


def _with_fields(
    bodies: Sequence[str], fields: dict[str, Any], key: str | None, first: int
) -> Sequence[str | dict[str, Any]]:
    if key is None:
        return [{"message": body, **fields} for body in bodies] if fields else bodies
    return [
        {"message": body, **fields, "idempotency_key": f"{key}/{number}"} for number, body in enumerate(bodies, first)
    ]


def _decode(batch: Batch, noun: str) -> list[str]:
    bodies = []
    for number, line in enumerate(batch.lines, batch.first):
        problem = None
        if len(line) > MESSAGE_BYTES:
            problem = f"{noun} {number} has more than {MESSAGE_BYTES} bytes: store it elsewhere and send a reference"
        try:
            bodies.append(line.decode())
        except UnicodeDecodeError as error:
            problem = problem or f"{noun} {number} is not UTF-8 (byte {error.start + 1} of it): send it as text"
        if problem:
            raise InputError(f"{problem}. {_sent_before(batch, noun)}.")
    return bodies


def _sent_before(batch: Batch, noun: str) -> str:
    if batch.first == 1:
        return "Nothing was sent"
    return f"{_name_lines(noun, 1, batch.first - 1).capitalize()} sent, and nothing after that"


def _name_lines(noun: str, first: int, last: int) -> str:
    return f"{noun} {first} was" if first == last else f"{noun}s {first} to {last} were"


def _note_what_was_sent(error: RefusedError | UnreachableError, batch: Batch, noun: str) -> None:
    if isinstance(error, UnreachableError) or error.outcome_unknown:
        if batch.first > 1:
            sent = _name_lines(noun, 1, batch.first - 1).capitalize()
            error.add_note(f"{sent} sent, and it is unknown whether {_name_lines(noun, batch.first, batch.last)}.")
    else:
        error.add_note(f"{_sent_before(batch, noun)}.")


def receive(
    client: Client,
    *,
    limit: int | None,
    wait: float,
    visibility_timeout: float | None,
    delete: bool,
    follow: bool,
    as_json: bool,
) -> tuple[int, int]:
    """Print messages that this claims, and delete them if told to, once they are printed.

    Returns how many were printed, and how many of them should have been deleted and were not. Messages that could not
    be printed are released.
    """
    received = failed = 0
    waiting = False
    wait_until = time.monotonic() + wait
    with Progress("received", enabled=not is_terminal(sys.stdout)) as progress:
        while limit is None or received < limit:
            most = _FOLLOW_BATCH if follow else _CLAIM_BATCH
            asked = most if limit is None else min(limit - received, most)
            left = LONGEST_POLL_S if follow else min(max(wait_until - time.monotonic(), 0), LONGEST_POLL_S)
            try:
                messages = client.consume(limit=asked, wait=left, visibility_timeout=visibility_timeout)
            except RefusedError as error:
                if not follow or error.code != _NO_QUEUE:
                    raise
                waiting = waiting or _say_that_it_waits(client)
                time.sleep(_QUEUE_PAUSE_S)
                continue
            if messages:
                receipts = [message["receipt"] for message in messages]
                try:
                    _print_messages(messages, as_json, with_receipt=not delete)
                except BaseException:
                    _give_back(client, receipts)
                    raise
                received += len(messages)
                progress.add(len(messages))
                wait_until = 0
                if delete:
                    failed += _report(client.delete_batch(receipts=receipts))
            elif not follow and time.monotonic() >= wait_until:
                break
    return received, failed


def _say_that_it_waits(client: Client) -> bool:
    print(f"wonderq: there is no queue {client.queue} yet: waiting for it. Ctrl-C ends.", file=sys.stderr)
    return True


def _print_messages(messages: Iterable[dict[str, Any]], as_json: bool, *, with_receipt: bool) -> None:
    if as_json:
        _print(map(_encode, messages))
    elif with_receipt:
        _print(f"{message['receipt']}\t{message['message']}".encode() for message in messages)
    else:
        _print(message["message"].encode() for message in messages)


def _give_back(client: Client, receipts: list[str]) -> None:
    with contextlib.suppress(RefusedError, UnreachableError):  # they come back by themselves when the claims expire
        client.release(receipts)


def delete(client: Client, names: Sequence[str]) -> int:
    """Delete messages by id or receipt, from standard input if none are given; returns how many were not deleted."""
    batches = (
        cut_batches([name.encode(errors="replace") for name in names])
        if names
        else _input_batches("Type ids or receipts, one a line; Ctrl-D ends.")
    )
    failed = 0
    with Progress("looked at", enabled=not names and not is_terminal(sys.stdin)) as progress:
        for batch in batches:
            # A receipt may have its message behind it, as `receive` prints them.
            wanted = [line.split(b"\t")[0].strip().decode(errors="replace") for line in batch.lines]
            receipts = [name for name in wanted if name and "-" not in name]
            ids = [name for name in wanted if "-" in name]
            if receipts:
                failed += _report(client.delete_batch(receipts=receipts))
            if ids:
                failed += _report(client.delete_batch(ids=ids))
            progress.add(len(batch.lines))
    return failed


def _report(results: Iterable[dict[str, Any]]) -> int:
    """Say on stderr which messages were not deleted, and return how many."""
    failed = [result for result in results if not result["success"]]
    for result in failed:
        name = result.get("receipt") or result.get("id")
        print(f"wonderq: not deleted: {name}: {result['error']['message']}", file=sys.stderr)
    return len(failed)


def stats(client: Client, *, only: str | None, as_json: bool) -> None:
    """Print the figures of all queues, or of one."""
    queues = client.queues() if only is None else [client.queue_info()]
    if as_json:
        _print(map(_encode, queues))
        return
    rows = [("QUEUE", "UNPROCESSED", "PROCESSING", "DELAYED", "BURIED", "SIZE", "OLDEST")]
    for queue in queues:
        counts, age = queue["counts"], queue["oldest_age"]
        rows.append(
            (
                queue["queue"],
                *(f"{counts[name]:,}" for name in ("unprocessed", "processing", "delayed", "buried")),
                human_bytes(queue["bytes"]),
                "-" if age is None else human_seconds(age),
            )
        )
    _print(line.encode() for line in table(rows))


def tail(
    client: Client, *, from_start: bool, as_json: bool, pause: Callable[[], None] = lambda: time.sleep(_TAIL_PAUSE_S)
) -> None:
    """Print messages as they are produced, without touching them, until interrupted.

    It looks a few times a second, so a message that is deleted within that time may not be seen. A queue that is not there
    yet is waited for.
    """
    waiting = False
    while True:
        try:
            newest = client.queue_info()["newest_id"]
            break
        except RefusedError as error:
            if error.code != _NO_QUEUE:
                raise
            waiting = waiting or _say_that_it_waits(client)
        pause()
    after = None if from_start or waiting else newest
    while True:
        page: list[dict[str, Any]] = []
        for message in client.messages(after=after, page=_LIST_BATCH):
            page.append(message)
            if len(page) == _LIST_BATCH:
                after = _print_page(page, as_json)
                page = []
        if page:
            after = _print_page(page, as_json)
        pause()


def peek(client: Client, *, limit: int, status: str | None, only: dict[str, str], as_json: bool) -> None:
    """Print up to ``limit`` messages, without touching them."""
    found = client.messages(status=status, page=min(limit, _LIST_BATCH), **only)
    for message in itertools.islice(found, limit):
        _print([_encode(message) if as_json else f"{message['id']}\t{message['message']}".encode()])


def _print_page(page: list[dict[str, Any]], as_json: bool) -> str:
    _print_messages(page, as_json, with_receipt=False)
    newest: str = page[-1]["id"]
    return newest


def _input_batches(hint: str) -> Iterator[Batch]:
    if sys.stdin is None:
        raise InputError("standard input is closed: give arguments, or something to read.")
    if is_terminal(sys.stdin):
        print(hint, file=sys.stderr)
    return read_batches(sys.stdin.fileno(), longest=MESSAGE_BYTES)


def _print(lines: Iterable[bytes]) -> None:
    """Write lines to standard output, and return once they have left this process."""
    out = sys.stdout.buffer
    data = memoryview(b"".join(line + b"\n" for line in lines))
    while data:
        data = data[out.write(data) :]  # with PYTHONUNBUFFERED it may take a part
    out.flush()
