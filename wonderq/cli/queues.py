"""The noun `queue`: the queues of a running broker."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, cast

from wonderq.cli.arguments import Parser, Run, Verbs, add_json_option, add_verbs, add_yes_option, text_from
from wonderq.cli.client_options import (
    add_broker_verb,
    add_fields,
    client_from,
    count_from,
    fields_from,
    queue_name,
)
from wonderq.cli.confirmation import confirm
from wonderq.cli.exit_codes import OK
from wonderq.cli.listings import listed
from wonderq.cli.output import print_lines, print_result, write_json
from wonderq.terminal import human_bytes, human_seconds, table

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.fields import QueueSettings

_Object = dict[str, Any]


def queue(noun: Parser) -> None:
    """Describe `wonderq queue`."""
    verbs = add_verbs(noun, "List, set up, pause, purge and delete the queues of a running broker.")
    _add_list(verbs)
    _add_verb(verbs, "show", _show, "show a queue", "Print the settings and figures of a queue.")
    _add_set(verbs)
    _add_verb(
        verbs,
        "pause",
        _pause,
        "stop deliveries",
        "Stop deliveries of a queue. Producers can go on, and claims stay valid. Print the queue.",
    )
    _add_verb(verbs, "resume", _resume, "deliver again", "End a pause, and print the queue.")
    _add_kick(verbs)
    purge = _add_verb(
        verbs,
        "purge",
        _purge,
        "delete all messages",
        "Delete all messages of a queue, including claimed ones, and print their number. The queue stays.",
    )
    add_yes_option(purge)
    delete = _add_verb(verbs, "delete", _delete, "delete a queue", "Delete a queue and all its messages.")
    add_yes_option(delete)


def _add_verb(verbs: Verbs, name: str, run: Run, summary: str, description: str) -> Parser:
    """Add a verb for one queue."""
    command = add_broker_verb(verbs, name, run, summary, description)
    command.add_argument("queue", metavar="NAME", type=queue_name, help="name of the queue")
    add_json_option(command)
    return command


def _add_list(verbs: Verbs) -> None:
    command = add_broker_verb(verbs, "list", _list, "list the queues", "Show how many messages each queue holds.")
    command.add_argument(
        "--prefix", metavar="TEXT", type=text_from, default="", help="only queues whose names begin with this"
    )
    add_json_option(command, "one JSON object per queue")


def _list(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        found = listed(client, lambda after: administration.queues(options.prefix, after), "queue")
        if options.json:
            write_json(found)
            return OK
        rows = [("QUEUE", "UNPROCESSED", "PROCESSING", "DELAYED", "BURIED", "SIZE", "OLDEST"), *map(_row, found)]
    print_lines(table(rows))
    return OK


def _row(found: _Object) -> tuple[str, ...]:
    counts, age = found["counts"], found["oldest_age"]
    return (
        found["queue"],
        *(f"{counts[name]:,}" for name in ("unprocessed", "processing", "delayed", "buried")),
        human_bytes(found["bytes"]),
        "-" if age is None else human_seconds(age),
    )


def _show(options: argparse.Namespace) -> int:
    from wonderq.client.administration import info  # noqa: PLC0415

    with client_from(options) as client:
        found = client.do(info(options.queue).as_json())
    print_result(found, as_json=options.json)
    return OK


def _add_set(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "set",
        _set,
        "create a queue, or change its settings",
        "Create a queue if it is missing, change the given settings, and print it: 'wonderq queue set mail "
        "max_receives=5 dead_letter_queue=mail-dead'.",
    )
    add_fields(command, "settings", "docs/API.md")


def _set(options: argparse.Namespace) -> int:
    return _configure(options, fields_from(options.fields))


def _pause(options: argparse.Namespace) -> int:
    return _configure(options, {"paused": True}, is_there=True)


def _resume(options: argparse.Namespace) -> int:
    return _configure(options, {"paused": False}, is_there=True)


def _configure(options: argparse.Namespace, settings: _Object, *, is_there: bool = False) -> int:
    """Create or change a queue; with ``is_there``, one that does not exist is refused."""
    from wonderq.client.administration import configure, info  # noqa: PLC0415

    with client_from(options) as client:
        if is_there:
            client.do(info(options.queue).as_json())  # or 404: the call that pauses a queue would create it
        found = client.do(configure(options.queue, cast("QueueSettings", settings)).as_json())
    print_result(found, as_json=options.json)
    return OK


def _add_kick(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
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
        kicked = client.queue(options.queue).kick(options.max)
    return _report_count(options, "kicked", kicked)


def _purge(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        confirm(options, f"delete all messages of the queue {options.queue}")
        purged = client.queue(options.queue).purge()
    return _report_count(options, "purged", purged)


def _report_count(options: argparse.Namespace, verb: str, count: int) -> int:
    if options.json:
        write_json([{"queue": options.queue, verb: count}])
    else:
        print_lines([str(count)])
    return OK


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        confirm(options, f"delete the queue {options.queue} and all its messages")
        client.queue(options.queue).drop()
    if options.json:
        write_json([{"queue": options.queue, "deleted": True}])
    return OK
