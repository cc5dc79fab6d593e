"""Commands that produce, claim and delete messages of a running broker."""

from __future__ import annotations

import argparse
from typing import Any

from wonderq.cli import streams
from wonderq.cli.arguments import (
    NOTHING,
    OK,
    REFUSED,
    Subparsers,
    time_from,
)
from wonderq.cli.client_options import add_client_command, client_from, count_from, pair_from, seconds_from


def add_to(subparsers: Subparsers) -> None:
    for add in (_add_send, _add_receive, _add_delete, _add_stats, _add_tail):
        add(subparsers)


def _add_send(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "send",
        _send,
        "produce messages",
        "Produce each MESSAGE, or else each line of standard input (UTF-8), and print the ids, one a line. Input is sent "
        "as it comes, up to 1000 lines at once; empty lines are messages too.",
    )
    command.add_argument(
        "messages", metavar="MESSAGE", nargs="*", help="a message; put -- before one that begins with -"
    )
    command.add_argument("--delay", metavar="S", type=seconds_from(0), help="hide the messages for so many seconds")
    command.add_argument("--deliver-at", metavar="TIME", type=time_from, help="hide them until then (ISO 8601)")
    command.add_argument(
        "--attribute",
        dest="attributes",
        metavar="NAME=TEXT",
        type=pair_from,
        action="append",
        help="what goes with each message; may be given several times",
    )
    command.add_argument("--group", metavar="NAME", help="the group that they belong to")
    command.add_argument("--priority", metavar="N", type=count_from(0), help="0 to 9; 9 is given out first")
    command.add_argument(
        "--idempotency-key",
        metavar="TEXT",
        help="what was sent with it before, within the queue's window, is not added again; each message has its place in the "
        "input behind it",
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a message")
    form.add_argument("--quiet", action="store_true", help="print no ids")


def _send(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        streams.send(client, options.messages, _fields(options), as_json=options.json, quiet=options.quiet)
    return OK


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return what each message is to have besides its text."""
    given = {name: getattr(options, name) for name in ("delay", "group", "priority", "idempotency_key")}
    if options.deliver_at is not None:
        given["deliver_at"] = options.deliver_at.isoformat()
    if options.attributes:
        given["attributes"] = dict(options.attributes)
    return {name: value for name, value in given.items() if value is not None}


def _add_receive(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "receive",
        _receive,
        "claim messages and print them",
        "Claim messages and print each as RECEIPT<TAB>BODY; with --delete as BODY alone. A body may hold line breaks: "
        "--json is the form for those. Exit code 4 says that there was nothing.",
    )
    command.add_argument(
        "--max",
        metavar="N",
        type=count_from(1),
        help="stop after so many messages (default 10; with --follow no limit)",
    )
    command.add_argument("--wait", metavar="S", type=seconds_from(0), default=0, help="wait so long for the first one")
    command.add_argument(
        "--visibility-timeout",
        metavar="S",
        type=seconds_from(0.001, 43_200),
        help="how long the claims last (default: as the queue is set)",
    )
    command.add_argument(
        "--delete", action="store_true", help="delete the messages, once they are written to standard output"
    )
    command.add_argument("--follow", action="store_true", help="go on for ever, waiting for more")
    command.add_argument("--json", action="store_true", help="print one JSON object a message")


def _receive(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        received, failed = streams.receive(
            client,
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
        "Delete messages by id, whoever holds them, or by receipt, if its claim still counts; without arguments those "
        "named by the lines of standard input, of which only what stands before a TAB is read. Those that were not "
        "deleted are named on standard error.",
    )
    command.add_argument("names", metavar="ID_OR_RECEIPT", nargs="*")


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        return REFUSED if streams.delete(client, options.names) else OK


def _add_stats(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers, "stats", _stats, "show the queues", "Show how many messages each queue holds.", queue_default=None
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a queue")


def _stats(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        streams.stats(client, only=options.queue, as_json=options.json)
    return OK


def _add_tail(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "tail",
        _tail,
        "watch messages being produced",
        "Print messages as they are produced, without touching them, until Ctrl-C.",
    )
    command.add_argument("--from-start", action="store_true", help="begin with what the queue holds already")
    command.add_argument("--json", action="store_true", help="print one JSON object a message")


def _tail(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        streams.tail(client, from_start=options.from_start, as_json=options.json)
    return OK
