"""Commands for the background tasks of a running broker: redrives and schedules."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wonderq.cli.arguments import OK, REFUSED, Subparsers, add_command, fail, text_from
from wonderq.cli.client_options import add_broker_command, client_from, count_from, pair_from, queue_name, seconds_from
from wonderq.cli.output import print_lines, write_json
from wonderq.terminal import Progress, table

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.sync import Client

#: Polling interval for the progress of a redrive.
_POLL_S = 0.25

_MISSED = ("skip", "once", "all")

_Object = dict[str, Any]


def add_to(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    _add_redrive(subparsers)
    command = add_command(
        subparsers,
        "schedule",
        None,
        "list, set and delete schedules",
        "List, set and delete the schedules of a running broker. A schedule produces a message at recurring times.",
    )
    subcommands = command.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for add in (_add_list, _add_set, _add_delete):
        add(subcommands)


# redrive


def _add_redrive(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "redrive",
        _redrive,
        "move dead letters back, or messages to another queue",
        "Move the available and buried messages of QUEUE back to their source queues, or to another queue, and wait "
        "until all are moved. The broker does the work: it continues if you interrupt this command, and after a "
        "restart.",
    )
    command.add_argument("queue", metavar="QUEUE", type=queue_name, help="queue to move the messages from")
    command.add_argument(
        "--to",
        metavar="QUEUE",
        type=queue_name,
        help="queue to move all messages to (default: the source queue of each)",
    )
    command.add_argument("--per-second", metavar="N", type=count_from(1), help="most messages to move per second")
    command.add_argument("--limit", metavar="N", type=count_from(1), help="most messages to move")
    command.add_argument(
        "--contains", metavar="TEXT", type=text_from, help="only messages whose body contains this text"
    )
    command.add_argument(
        "--attribute", metavar="NAME[=VALUE]", type=text_from, help="only messages with this attribute"
    )
    command.add_argument("--dry-run", action="store_true", help="only count the messages to move")
    command.add_argument("--no-wait", action="store_true", help="start the redrive, print its id, and do not wait")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the redrives of QUEUE instead")
    instead.add_argument("--cancel", metavar="ID", type=text_from, help="cancel a redrive instead")
    command.add_argument("--json", action="store_true", help="print one JSON object per redrive")


def _redrive(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        name = options.queue
        if options.list:
            found = client.do(administration.redrives(name).as_json())
        elif options.cancel is not None:
            found = [client.do(administration.redrive("DELETE", name, options.cancel).as_json())]
        else:
            names = ("per_second", "limit", "contains", "attribute", "dry_run")
            fields = {name: getattr(options, name) for name in names} | {"destination": options.to}
            begun = client.do(administration.start_redrive(name, fields).as_json())
            if options.no_wait:
                print_lines([begun["id"]])
                return OK
            return _report_outcome(_wait_until_ended(client, begun), as_json=options.json)
    if options.json:
        write_json(found)
    else:
        _print_redrives(found)
    return OK


def _wait_until_ended(client: Client, redrive: _Object) -> _Object:
    from wonderq.client import administration  # noqa: PLC0415

    with Progress("messages processed") as progress:
        processed = 0
        try:
            while redrive["status"] == "running":
                time.sleep(_POLL_S)
                redrive = client.do(administration.redrive("GET", redrive["queue"], redrive["id"]).as_json())
                progress.add(redrive["moved"] + redrive["skipped"] - processed)
                processed = redrive["moved"] + redrive["skipped"]
        except KeyboardInterrupt:
            queue = redrive["queue"]
            advice = f"'wonderq redrive {queue} --cancel {redrive['id']}' cancels it"
            print(f"wonderq: the redrive continues. {advice}.", file=sys.stderr)
            raise
    return redrive


def _report_outcome(redrive: _Object, *, as_json: bool) -> int:
    if as_json:
        write_json([redrive])
    else:
        verb = "would be moved" if redrive["dry_run"] else "moved"
        print_lines([f"{redrive['moved']:,} {verb}, {redrive['skipped']:,} skipped"])
    if redrive["status"] == "completed":
        return OK
    return fail(f"the redrive has {redrive['status']}: {redrive['failure'] or 'a client cancelled it'}", REFUSED)


def _print_redrives(redrives: Sequence[_Object]) -> None:
    rows = [("ID", "STARTED", "STATUS", "TO", "MOVED", "SKIPPED", "TOTAL")]
    for each in redrives:
        status = f"{each['status']} (dry run)" if each["dry_run"] else each["status"]
        counts = (f"{each[name]:,}" for name in ("moved", "skipped", "total"))
        rows.append((each["id"], each["started_at"], status, each["destination"] or "-", *counts))
    print_lines(table(rows, texts=4))


# schedule


def _add_list(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers, "list", _list, "list schedules", "List all schedules that the key may see."
    )
    command.add_argument("--json", action="store_true", help="print one JSON object per schedule")


def _list(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        found = client.do(administration.schedules().as_json())
    if options.json:
        write_json(found)
        return OK
    rows = [("NAME", "CRON", "TIMEZONE", "QUEUE", "NEXT", "LAST", "FAILURE")]
    rows += [
        (
            *(each[name] for name in ("name", "cron", "timezone", "queue")),
            "paused" if each["paused"] else each["next_at"] or "never",
            each["last_at"] or "-",
            each["failure"] or "-",
        )
        for each in found
    ]
    print_lines(table(rows, texts=len(rows[0])))
    return OK


def _add_set(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "set",
        _set,
        "create or change a schedule",
        "Create a schedule, or change the given fields of one, and print it as a JSON object. A new one needs --cron, "
        "--queue and --message: "
        "wonderq schedule set nightly --cron '30 4 * * *' --timezone Europe/Vienna --queue mail --message report.",
    )
    command.add_argument("name", metavar="NAME", type=text_from, help="the schedule's name")
    command.add_argument(
        "--cron", metavar="EXPRESSION", type=text_from, help="minute, hour, day of month, month, day of week"
    )
    command.add_argument(
        "--timezone", metavar="ZONE", type=text_from, help="IANA time zone of the cron expression (default: UTC)"
    )
    command.add_argument("--queue", metavar="QUEUE", type=queue_name, help="queue of the messages")
    command.add_argument("--message", metavar="TEXT", type=text_from, help="body of the message")
    command.add_argument("--delay", metavar="S", type=seconds_from(0), help="seconds until a message becomes available")
    command.add_argument("--group", metavar="NAME", type=text_from, help="group of the messages")
    command.add_argument("--priority", metavar="N", type=count_from(0), help="priority of the messages, 0 to 9")
    command.add_argument(
        "--attribute",
        metavar="NAME=VALUE",
        type=pair_from,
        action="append",
        help="attribute of the messages; repeatable; replaces all existing attributes",
    )
    command.add_argument("--missed", choices=_MISSED, help="handling of times missed while the broker was down")
    paused = command.add_mutually_exclusive_group()
    paused.add_argument("--pause", dest="paused", action="store_const", const=True, help="stop producing messages")
    paused.add_argument("--resume", dest="paused", action="store_const", const=False, help="produce messages again")


def _set(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    names = ("cron", "timezone", "queue", "delay", "group", "priority", "missed", "paused")
    fields = {name: getattr(options, name) for name in names}
    attributes = dict(options.attribute) if options.attribute else None
    with client_from(options) as client:
        put = administration.put_schedule(options.name, options.message, attributes, fields)
        write_json([client.do(put.as_json())])
    return OK


def _add_delete(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers, "delete", _delete, "delete a schedule", "Delete a schedule. The messages it has produced remain."
    )
    command.add_argument("name", metavar="NAME", type=text_from, help="the schedule's name")


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        client.delete_schedule(options.name)
    return OK
