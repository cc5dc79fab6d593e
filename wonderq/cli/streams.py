"""The commands that stream messages between standard input or output and a running broker.

Standard output contains the results for programs, in UTF-8 under every locale. It is flushed before a command acts on
what it has written. Notes to people are printed on standard error.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from wonderq.cli.arguments import bytes_from
from wonderq.cli.line_batches import Batch, read_batches, split_batches
from wonderq.cli.output import write_lines
from wonderq.client.simple import Client, RefusedError, UnreachableError
from wonderq.model.limits import MAX_MESSAGE_BYTES
from wonderq.terminal import Progress, human_bytes, human_seconds, is_terminal, table

LONGEST_POLL_S = 20

_CLAIM_MESSAGES = 1000
#: With --follow, messages claimed at a time: few, so that a slow reader can take them before the claims expire.
_FOLLOW_CLAIM_MESSAGES = 100
_PAGE_MESSAGES = 100
_TAIL_POLL_S = 0.25

#: Polling interval for a queue that does not exist yet.
_QUEUE_POLL_S = 0.5
_NO_QUEUE = "queue_not_found"

_encode = msgspec.json.Encoder().encode


class InputError(Exception):
    """Input cannot be used. The message names its place and the lines sent before it."""


def send(client: Client, messages: Sequence[str], fields: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Produce the messages or, without any, each line of standard input, and print their ids.

    ``fields`` are the optional fields of each message.
    """
    key = fields.pop("idempotency_key", None)
    if messages:
        noun, batches = "message", split_batches([bytes_from(each) for each in messages])
    else:
        noun, batches = "line", _input_batches("Type messages, one per line; Ctrl-D ends.")
    counting = not messages and not is_terminal(sys.stdin) and (quiet or not is_terminal(sys.stdout))
    with Progress("sent", enabled=counting) as progress:
        for batch in batches:
            bodies = _decode(batch, noun)
            try:
                ids = client.produce_batch(_with_fields(bodies, fields, key, batch.first))
            except (RefusedError, UnreachableError) as error:
                _add_sent_note(error, batch, noun)
                raise
            if as_json:
                write_lines(
                    _encode({"id": message_id, "queue": client.queue, "message": body})
                    for message_id, body in zip(ids, bodies, strict=True)
                )
            elif not quiet:
                write_lines(message_id.encode() for message_id in ids)
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
        if len(line) > MAX_MESSAGE_BYTES:
            most = f"{MAX_MESSAGE_BYTES} bytes"
            problem = f"{noun} {number} has more than {most}. Store it elsewhere and send a reference"
        try:
            bodies.append(line.decode())
        except UnicodeDecodeError as error:
            problem = problem or f"{noun} {number} is not UTF-8 (at byte {error.start + 1}). Send it as text"
        if problem:
            raise InputError(f"{problem}. {_sent_before_text(batch, noun)}.")
    return bodies


def _sent_before_text(batch: Batch, noun: str) -> str:
    if batch.first == 1:
        return "Nothing was sent"
    return f"{_range_text(noun, 1, batch.first - 1).capitalize()} sent, and nothing after that"


def _range_text(noun: str, first: int, last: int) -> str:
    return f"{noun} {first} was" if first == last else f"{noun}s {first} to {last} were"


def _add_sent_note(error: RefusedError | UnreachableError, batch: Batch, noun: str) -> None:
    if isinstance(error, UnreachableError) or error.outcome_unknown:
        if batch.first > 1:
            sent = _range_text(noun, 1, batch.first - 1).capitalize()
            error.add_note(f"{sent} sent, and it is unknown whether {_range_text(noun, batch.first, batch.last)}.")
    else:
        error.add_note(f"{_sent_before_text(batch, noun)}.")


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
    """Claim messages and print them. With ``delete``, delete them after printing.

    Returns the number of printed messages, and the number of those that could not be deleted. Messages that could not
    be printed are released.
    """
    received = failed = 0
    waiting = False
    wait_until = time.monotonic() + wait
    with Progress("received", enabled=not is_terminal(sys.stdout)) as progress:
        while limit is None or received < limit:
            most = _FOLLOW_CLAIM_MESSAGES if follow else _CLAIM_MESSAGES
            asked = most if limit is None else min(limit - received, most)
            left = LONGEST_POLL_S if follow else min(max(wait_until - time.monotonic(), 0), LONGEST_POLL_S)
            try:
                messages = client.consume(limit=asked, wait=left, visibility_timeout=visibility_timeout)
            except RefusedError as error:
                if not follow or error.code != _NO_QUEUE:
                    raise
                waiting = waiting or _report_waiting(client)
                time.sleep(_QUEUE_POLL_S)
                continue
            if messages:
                receipts = [message["receipt"] for message in messages]
                try:
                    _write_messages(messages, as_json, with_receipt=not delete)
                except BaseException:
                    _release(client, receipts)
                    raise
                received += len(messages)
                progress.add(len(messages))
                wait_until = 0
                if delete:
                    failed += _report_failures(client.delete_batch(receipts=receipts))
            elif not follow and time.monotonic() >= wait_until:
                break
    return received, failed


def _report_waiting(client: Client) -> bool:
    print(f"wonderq: there is no queue {client.queue} yet. Waiting for it; Ctrl-C ends.", file=sys.stderr)
    return True


def _write_messages(messages: Iterable[dict[str, Any]], as_json: bool, *, with_receipt: bool) -> None:
    if as_json:
        write_lines(map(_encode, messages))
    elif with_receipt:
        write_lines(f"{message['receipt']}\t{message['message']}".encode() for message in messages)
    else:
        write_lines(message["message"].encode() for message in messages)


def _release(client: Client, receipts: list[str]) -> None:
    with contextlib.suppress(
        RefusedError, UnreachableError
    ):  # the messages become available anyway when the claims expire
        client.release(receipts)


def delete(client: Client, names: Sequence[str]) -> int:
    """Delete messages by id or receipt, read from standard input if ``names`` is empty.

    Returns the number of messages that could not be deleted.
    """
    batches = (
        split_batches([name.encode(errors="replace") for name in names])
        if names
        else _input_batches("Type ids or receipts, one per line; Ctrl-D ends.")
    )
    failed = 0
    with Progress("processed", enabled=not names and not is_terminal(sys.stdin)) as progress:
        for batch in batches:
            # `receive` prints a message after each receipt.
            wanted = [line.split(b"\t")[0].strip().decode(errors="replace") for line in batch.lines]
            receipts = [name for name in wanted if name and "-" not in name]
            ids = [name for name in wanted if "-" in name]
            if receipts:
                failed += _report_failures(client.delete_batch(receipts=receipts))
            if ids:
                failed += _report_failures(client.delete_batch(ids=ids))
            progress.add(len(batch.lines))
    return failed


def _report_failures(results: Iterable[dict[str, Any]]) -> int:
    """List the messages that were not deleted on stderr, and return their number."""
    failed = [result for result in results if not result["success"]]
    for result in failed:
        name = result.get("receipt") or result.get("id")
        print(f"wonderq: not deleted: {name}: {result['error']['message']}", file=sys.stderr)
    return len(failed)


def stats(client: Client, *, only: str | None, prefix: str, as_json: bool) -> None:
    """Print the message counts of all queues whose names begin with ``prefix``, or of one queue."""
    queues = client.queues(prefix=prefix) if only is None else [client.queue_info()]
    if as_json:
        write_lines(map(_encode, queues))
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
    write_lines(line.encode() for line in table(rows))


def tail(
    client: Client, *, from_start: bool, as_json: bool, pause: Callable[[], None] = lambda: time.sleep(_TAIL_POLL_S)
) -> None:
    """Print messages as they are produced, without claiming them, until interrupted.

    The queue is polled a few times per second, so a message deleted within that time may be missed. A missing queue is
    waited for.
    """
    waiting = False
    while True:
        try:
            newest = client.queue_info()["newest_id"]
            break
        except RefusedError as error:
            if error.code != _NO_QUEUE:
                raise
            waiting = waiting or _report_waiting(client)
        pause()
    after = None if from_start or waiting else newest
    while True:
        page: list[dict[str, Any]] = []
        for message in client.messages(after=after, page=_PAGE_MESSAGES):
            page.append(message)
            if len(page) == _PAGE_MESSAGES:
                after = _write_page(page, as_json)
                page = []
        if page:
            after = _write_page(page, as_json)
        pause()


def peek(client: Client, *, limit: int, status: str | None, only: dict[str, str], as_json: bool) -> None:
    """Print up to ``limit`` messages without claiming them."""
    found = client.messages(status=status, page=min(limit, _PAGE_MESSAGES), **only)
    for message in itertools.islice(found, limit):
        write_lines([_encode(message) if as_json else f"{message['id']}\t{message['message']}".encode()])


def _write_page(page: list[dict[str, Any]], as_json: bool) -> str:
    _write_messages(page, as_json, with_receipt=False)
    newest: str = page[-1]["id"]
    return newest


def _input_batches(hint: str) -> Iterator[Batch]:
    if sys.stdin is None:
        raise InputError("standard input is closed. Pass arguments, or open standard input.")
    if is_terminal(sys.stdin):
        print(hint, file=sys.stderr)
    return read_batches(sys.stdin.fileno(), longest=MAX_MESSAGE_BYTES)
