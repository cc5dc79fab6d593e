"""Commands for queues of a running broker: queue, peek, kick, purge."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, cast

from wonderq.cli.arguments import OK, Subparsers, text_from
from wonderq.cli.client_options import add_client_command, client_from, count_from, json_or_text, pair_from
from wonderq.cli.output import print_lines, print_object
from wonderq.model.status import STATUS_BY_NAME

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.fields import QueueSettings


def add_to(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    for add in (_add_queue, _add_peek, _add_kick, _add_purge):
        add(subparsers)


def _add_queue(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "queue",
        _queue,
        "show a queue, or change its settings",
        "Print a queue as a JSON object. With settings, create the queue if it is missing, and change the given "
        "settings: 'wonderq queue --queue mail max_receives=5 dead_letter_queue=mail-dead paused=true'. docs/API.md "
        "lists them.",
    )
    command.add_argument("settings", metavar="SETTING=VALUE", nargs="*", type=pair_from)
    command.add_argument("--delete", action="store_true", help="delete the queue and all its messages")


def _queue(options: argparse.Namespace) -> int:
    from wonderq.client.administration import configure, info  # noqa: PLC0415

    with client_from(options) as client:
        name: str = options.queue
        if options.delete:
            client.queue(name).drop()
            return OK
        # The broker checks names and types: a setting may be newer than this command.
        settings = cast("QueueSettings", {name: json_or_text(value) for name, value in options.settings})
        found = client.do((configure(name, settings) if settings else info(name)).as_json())
    print_object(found)
    return OK


def _add_peek(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "peek",
        _peek,
        "print messages without claiming them",
        "Print messages, oldest first, as ID<TAB>BODY. Use --json for bodies with line breaks.",
    )
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
    command.add_argument("--json", action="store_true", help="print one JSON object per message")


def _peek(options: argparse.Namespace) -> int:
    from wonderq.cli import streams  # noqa: PLC0415

    only = {name: getattr(options, name) for name in ("contains", "attribute", "group")}
    with client_from(options) as client:
        streams.peek(client, options.queue, limit=options.max, status=options.status, only=only, as_json=options.json)
    return OK


def _add_kick(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers,
        "kick",
        _kick,
        "make buried messages available again",
        "Make buried messages available again, oldest first, and print their number.",
    )
    command.add_argument(
        "--max", metavar="N", type=count_from(1), default=1000, help="most messages to kick (default 1000)"
    )


def _kick(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        print_lines([str(client.queue(options.queue).kick(options.max))])
    return OK


def _add_purge(subparsers: Subparsers) -> None:
    add_client_command(
        subparsers,
        "purge",
        _purge,
        "delete all messages of a queue",
        "Delete all messages of a queue, including claimed ones, and print their number.",
    )


def _purge(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        print_lines([str(client.queue(options.queue).purge())])
    return OK
