"""The commands that stream messages between standard input or output and a running broker.

Standard output contains the results for programs, in UTF-8 under every locale. It is flushed before a command acts on
what it has written. Notes to people are printed on standard error.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from wonderq.cli.arguments import bytes_from, note
from wonderq.cli.line_batches import Batch, InputError, read_batches, split_batches
from wonderq.cli.output import write_lines
from wonderq.client import administration, calls, claims
from wonderq.client.claims import Claim
from wonderq.client.errors import Refused, Unreachable, WonderQError
from wonderq.client.fields import MessageOptions
from wonderq.client.messages import ReceivedContents
from wonderq.model.bounds import MAX_MESSAGE_BYTES
from wonderq.terminal import Progress, is_terminal

if TYPE_CHECKING:
    from wonderq.client.sync import Client
    from wonderq.client.sync_queue import Queue

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


def send(queue: Queue, messages: Sequence[str], options: MessageOptions, *, as_json: bool, quiet: bool) -> None:
    """Send the messages or, without any, each line of standard input, and print their ids.

    ``options`` are those of each message. The key is the prefix of their keys.
    """
    if messages:
        noun, batches = "message", split_batches([bytes_from(each) for each in messages])
    else:
        noun, batches = "line", _input_batches("Type messages, one per line; Ctrl-D ends.")
    counting = not messages and not is_terminal(sys.stdin) and (quiet or not is_terminal(sys.stdout))
    with Progress("sent", enabled=counting) as progress:
        for batch in batches:
            bodies = _decode(batch, noun)
            try:
                sent = queue.send_together(_with_options(bodies, options, batch.first))
            except (Refused, Unreachable) as error:
                _add_sent_note(error, batch, noun)
                raise
            ids = [each.id for each in sent]
            if as_json:
                write_lines(
                    _encode({"id": message_id, "queue": queue.name, "message": body})
                    for message_id, body in zip(ids, bodies, strict=True)
                )
            elif not quiet:
                write_lines(message_id.encode() for message_id in ids)
            progress.add(len(ids))


def _with_options(bodies: Sequence[str], options: MessageOptions, first: int) -> list[tuple[str, MessageOptions]]:
    if "key" not in options:
        return [(body, options) for body in bodies]
    prefix = options["key"]
    return [(body, {**options, "key": f"{prefix}/{number}"}) for number, body in enumerate(bodies, first)]


def _decode(batch: Batch, noun: str) -> list[str]:
    bodies = []
    for number, line in enumerate(batch.lines, batch.first):
        problem = None
        if len(line) > MAX_MESSAGE_BYTES:
            problem = (
                f"{noun} {number} has more than {MAX_MESSAGE_BYTES} bytes. Store it elsewhere and send a reference"
            )
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


def _add_sent_note(error: Refused | Unreachable, batch: Batch, noun: str) -> None:
    if isinstance(error, Unreachable) or error.outcome_unknown:
        if batch.first > 1:
            sent = _range_text(noun, 1, batch.first - 1).capitalize()
            error.add_note(f"{sent} sent, and it is unknown whether {_range_text(noun, batch.first, batch.last)}.")
    else:
        error.add_note(f"{_sent_before_text(batch, noun)}.")


def receive(
    client: Client,
    queue: str,
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
                claim = Claim(asked, left, visibility_timeout)
                messages = client.do(claims.receive(queue, ReceivedContents, claim).as_json())
            except Refused as error:
                if not follow or error.code != _NO_QUEUE:
                    raise
                waiting = waiting or _report_waiting(queue)
                time.sleep(_QUEUE_POLL_S)
                continue
            if messages:
                receipts = [message["receipt"] for message in messages]
                try:
                    _write_messages(messages, as_json, with_receipt=not delete)
                except BaseException:
                    _release(client.queue(queue), receipts)
                    raise
                received += len(messages)
                progress.add(len(messages))
                wait_until = 0
                if delete:
                    failed += _report_failures(receipts, client.queue(queue).delete(receipts))
            elif not follow and time.monotonic() >= wait_until:
                break
    return received, failed


def _report_waiting(queue: str) -> bool:
    note(f"there is no queue {queue} yet. Waiting for it; Ctrl-C ends")
    return True


def _write_messages(messages: Iterable[dict[str, Any]], as_json: bool, *, with_receipt: bool) -> None:
    if as_json:
        write_lines(map(_encode, messages))
    elif with_receipt:
        write_lines(f"{message['receipt']}\t{message['message']}".encode() for message in messages)
    else:
        write_lines(message["message"].encode() for message in messages)


def _release(queue: Queue, receipts: Sequence[str]) -> None:
    with contextlib.suppress(WonderQError):  # the messages become available anyway when the claims expire
        queue.release(receipts)


def delete(queue: Queue, names: Sequence[str], *, as_json: bool) -> int:
    """Delete messages by id or receipt, read from standard input if ``names`` is empty.

    With ``as_json``, print an object for each: ``name``, ``deleted`` and ``error``, which is null or has a code and a
    message. Returns the number of messages that could not be deleted.
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
            for group, errors in (
                (receipts, queue.delete(receipts) if receipts else []),
                (ids, queue.delete(ids=ids) if ids else []),
            ):
                if as_json:
                    write_lines(map(_encode, map(_outcome, group, errors)))
                failed += _report_failures(group, errors)
            progress.add(len(batch.lines))
    return failed


def _outcome(name: str, error: Refused | None) -> dict[str, Any]:
    problem = None if error is None else {"code": error.code, "message": str(error)}
    return {"name": name, "deleted": error is None, "error": problem}


def _report_failures(names: Sequence[str], errors: Sequence[Refused | None]) -> int:
    """List the messages that were not deleted on stderr, and return their number."""
    failed = [(name, error) for name, error in zip(names, errors, strict=True) if error is not None]
    for name, error in failed:
        note(f"not deleted: {name}: {error}")
    return len(failed)


def tail(
    client: Client,
    queue: str,
    *,
    from_start: bool,
    as_json: bool,
    pause: Callable[[], None] = lambda: time.sleep(_TAIL_POLL_S),
) -> None:
    """Print messages as they are produced, without claiming them, until interrupted.

    The queue is polled a few times per second, so a message deleted within that time may be missed. A missing queue is
    waited for.
    """
    waiting = False
    while True:
        try:
            newest = client.do(administration.info(queue).as_json())["newest_id"]
            break
        except Refused as error:
            if error.code != _NO_QUEUE:
                raise
            waiting = waiting or _report_waiting(queue)
        pause()
    after = None if from_start or waiting else newest
    while True:
        page: list[dict[str, Any]] = []
        for message in _look(client, queue, after=after):
            page.append(message)
            if len(page) == _PAGE_MESSAGES:
                after = _write_page(page, as_json)
                page = []
        if page:
            after = _write_page(page, as_json)
        pause()


def peek(
    client: Client, queue: str, *, limit: int, status: str | None, only: Mapping[str, str | None], as_json: bool
) -> None:
    """Print up to ``limit`` messages without claiming them."""
    found = _look(client, queue, status=status, only=only, page=min(limit, _PAGE_MESSAGES))
    for message in itertools.islice(found, limit):
        write_lines([_encode(message) if as_json else f"{message['id']}\t{message['message']}".encode()])


def _look(
    client: Client,
    queue: str,
    *,
    status: str | None = None,
    after: str | None = None,
    only: Mapping[str, str | None] | None = None,
    page: int = _PAGE_MESSAGES,
) -> Iterator[dict[str, Any]]:
    """Yield messages as objects of the API, oldest first, without claiming them."""
    while True:
        found = client.do(calls.look(queue, status, after, only or {}, page).as_json())
        yield from found
        if len(found) < page:
            return
        after = found[-1]["id"]


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
