"""The everyday commands, for the messages of one queue of a running broker: send, receive, delete, peek, tail."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wonderq.cli.arguments import Parser, add_json_option, text_from, time_from
from wonderq.cli.client_options import add_message_options, client_from, count_from, pair_from, seconds_from
from wonderq.cli.exit_codes import NOTHING, OK, REFUSED
from wonderq.model.status import STATUS_BY_NAME

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.fields import MessageOptions


def send(command: Parser) -> None:
    """Describe `wonderq send`."""
    command.describe(
        "Produce each MESSAGE or, without arguments, each line of standard input (UTF-8), and print one id per line. "
        "Input is sent as it arrives, up to 1000 lines at a time. Empty lines are messages too.",
        _send,
    )
    add_message_options(command)
    command.add_argument(
        "messages", metavar="MESSAGE", nargs="*", help="a message; put -- before one that begins with -"
    )
    command.add_argument(
        "--delay", metavar="S", type=seconds_from(0), help="seconds until the messages become available"
    )
    command.add_argument(
        "--deliver-at", metavar="TIME", type=time_from, help="time at which the messages become available (ISO 8601)"
    )
    command.add_argument(
        "--attribute",
        dest="attributes",
        metavar="NAME=TEXT",
        type=pair_from,
        action="append",
        help="attribute of each message; repeatable",
    )
    command.add_argument("--group", metavar="NAME", type=text_from, help="group of the messages")
    command.add_argument(
        "--priority", metavar="N", type=count_from(0), help="priority from 0 to 9; 9 is delivered first"
    )
    command.add_argument(
        "--idempotency-key",
        metavar="TEXT",
        type=text_from,
        help="prefix of the dedup keys; each message's key is the prefix and its number in the input. A message whose "
        "key was used within the queue's dedup window is not added again",
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object per message")
    form.add_argument("--quiet", action="store_true", help="print no ids")


def _send(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        queue = client.queue(options.queue)
        streams.send(queue, options.messages, _message_options(options), as_json=options.json, quiet=options.quiet)
    return OK


def _message_options(options: argparse.Namespace) -> MessageOptions:
    """Return the optional fields of each message."""
    from wonderq.client.fields import given_options  # noqa: PLC0415

    return given_options(
        delay=options.delay,
        deliver_at=options.deliver_at,
        attributes=dict(options.attributes) if options.attributes else None,
        group=options.group,
        priority=options.priority,
        key=options.idempotency_key,
    )


def receive(command: Parser) -> None:
    """Describe `wonderq receive`."""
    command.describe(
        "Claim messages and print each as RECEIPT<TAB>BODY, or with --delete as BODY alone. Use --json for bodies with "
        "line breaks. Exit code 4 means that there was no message.",
        _receive,
    )
    add_message_options(command)
    command.add_argument(
        "--max",
        metavar="N",
        type=count_from(1),
        help="most messages to receive (default 10; with --follow no limit)",
    )
    command.add_argument(
        "--wait", metavar="S", type=seconds_from(0), default=0, help="seconds to wait for the first message"
    )
    command.add_argument(
        "--visibility-timeout",
        metavar="S",
        type=seconds_from(0.001, 43_200),
        help="visibility timeout of the claims in seconds (default: the queue's setting)",
    )
    command.add_argument(
        "--delete", action="store_true", help="delete the messages after writing them to standard output"
    )
    command.add_argument("--follow", action="store_true", help="keep waiting for more messages until Ctrl-C")
    add_json_option(command, "one JSON object per message")


def _receive(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        received, failed = streams.receive(
            client,
            options.queue,
            limit=options.max or (None if options.follow else 10),
            wait=options.wait,
            visibility_timeout=options.visibility_timeout,
            delete=options.delete,
            follow=options.follow,
            as_json=options.json,
        )
    if failed:
        return REFUSED
    return OK if received else NOTHING


def delete(command: Parser) -> None:
    """Describe `wonderq delete`."""
    command.describe(
        "Delete messages by id, even if claimed, or by receipt, if its claim is still valid. Without arguments, read "
        "ids and receipts from standard input, one per line, and ignore everything after a TAB. Messages that could "
        "not be deleted are listed on standard error.",
        _delete,
    )
    add_message_options(command)
    command.add_argument("names", metavar="ID_OR_RECEIPT", nargs="*", help="id or receipt of a message")
    add_json_option(command, "one JSON object per message")


def _delete(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        failed = streams.delete(client.queue(options.queue), options.names, as_json=options.json)
    return REFUSED if failed else OK


def peek(command: Parser) -> None:
    """Describe `wonderq peek`."""
    command.describe("Print messages, oldest first, as ID<TAB>BODY. Use --json for bodies with line breaks.", _peek)
    add_message_options(command)
    command.add_argument("--status", choices=list(STATUS_BY_NAME), help="only messages with this status")
    command.add_argument(
        "--contains", metavar="TEXT", type=text_from, help="only messages whose body contains this text"
    )
    command.add_argument(
        "--attribute", metavar="NAME[=VALUE]", type=text_from, help="only messages with this attribute"
    )
    command.add_argument("--group", metavar="NAME", type=text_from, help="only messages of this group")
    command.add_argument(
        "--max", metavar="N", type=count_from(1), default=10, help="most messages to print (default 10)"
    )
    add_json_option(command, "one JSON object per message")


def _peek(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    only = {name: getattr(options, name) for name in ("contains", "attribute", "group")}
    with client_from(options) as client:
        streams.peek(client, options.queue, limit=options.max, status=options.status, only=only, as_json=options.json)
    return OK


def tail(command: Parser) -> None:
    """Describe `wonderq tail`."""
    command.describe("Print messages as they are produced, without claiming them, until Ctrl-C.", _tail)
    add_message_options(command)
    command.add_argument("--from-start", action="store_true", help="begin with the messages already in the queue")
    add_json_option(command, "one JSON object per message")


def _tail(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        streams.tail(client, options.queue, from_start=options.from_start, as_json=options.json)
    return OK
