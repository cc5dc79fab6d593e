"""Commands for messages of a running broker: send, receive, delete, stats, tail."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wonderq.cli.arguments import (
    NOTHING,
    OK,
    REFUSED,
    Subparsers,
    text_from,
    time_from,
)
from wonderq.cli.client_options import add_client_command, client_from, count_from, pair_from, seconds_from

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.fields import MessageOptions


def add_to(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    for add in (_add_send, _add_receive, _add_delete, _add_stats, _add_tail):
        add(subparsers)


def _add_send(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "send",
        _send,
        "produce messages",
        "Produce each MESSAGE or, without arguments, each line of standard input (UTF-8), and print one id per line. "
        "Input is sent as it arrives, up to 1000 lines at a time. Empty lines are messages too.",
    )
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


def _add_receive(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "receive",
        _receive,
        "claim messages and print them",
        "Claim messages and print each as RECEIPT<TAB>BODY, or with --delete as BODY alone. Use --json for bodies with "
        "line breaks. Exit code 4 means that there was no message.",
    )
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
    command.add_argument("--json", action="store_true", help="print one JSON object per message")


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


def _add_delete(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "delete",
        _delete,
        "delete messages",
        "Delete messages by id, even if claimed, or by receipt, if its claim is still valid. Without arguments, read "
        "ids and receipts from standard input, one per line, and ignore everything after a TAB. Messages that could "
        "not be deleted are listed on standard error.",
    )
    command.add_argument("names", metavar="ID_OR_RECEIPT", nargs="*")


def _delete(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        return REFUSED if streams.delete(client.queue(options.queue), options.names) else OK


def _add_stats(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers, "stats", _stats, "show the queues", "Show how many messages each queue holds.", queue_default=None
    )
    command.add_argument("--prefix", default="", help="only the queues whose names begin with this")
    command.add_argument("--json", action="store_true", help="print one JSON object per queue")


def _stats(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        streams.stats(client, only=options.queue, prefix=options.prefix, as_json=options.json)
    return OK


def _add_tail(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "tail",
        _tail,
        "print messages as they are produced",
        "Print messages as they are produced, without claiming them, until Ctrl-C.",
    )
    command.add_argument("--from-start", action="store_true", help="begin with the messages already in the queue")
    command.add_argument("--json", action="store_true", help="print one JSON object per message")


def _tail(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    with client_from(options) as client:
        streams.tail(client, options.queue, from_start=options.from_start, as_json=options.json)
    return OK
