"""The commands for what a running broker does by and by: redrives and schedules."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from wonderq.cli.arguments import OK, REFUSED, Subparsers, add_command, fail
from wonderq.cli.client_options import add_broker_command, client_from, count_from, pair_from, queue_name, seconds_from
from wonderq.client import Client
from wonderq.terminal import Progress, table

#: How often one looks how far a redrive is.
_LOOK_S = 0.25

_MISSED = ("skip", "once", "all")

_Object = dict[str, Any]


def add_to(subparsers: Subparsers) -> None:
    _add_redrive(subparsers)
    command = add_command(
        subparsers,
        "schedule",
        None,
        "list, set and delete schedules",
        "List, set and delete the schedules of a running broker: messages that are produced again and again.",
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
        "bring dead letters back, or move messages elsewhere",
        "Move the messages of QUEUE that wait or are buried back to where each came from, or to another queue, and wait until "
        "that is done. It is the broker that does it: it goes on if this command is interrupted, and after a restart.",
    )
    command.add_argument("queue", metavar="QUEUE", type=queue_name, help="the queue that they are in")
    command.add_argument("--to", metavar="QUEUE", type=queue_name, help="move them all there")
    command.add_argument("--per-second", metavar="N", type=count_from(1), help="how many to move in a second at most")
    command.add_argument("--limit", metavar="N", type=count_from(1), help="how many to move at most")
    command.add_argument("--contains", metavar="TEXT", type=_text, help="only those with this in their text")
    command.add_argument("--attribute", metavar="NAME[=VALUE]", type=_text, help="only those with this attribute")
    command.add_argument("--dry-run", action="store_true", help="only count what would be moved")
    command.add_argument("--no-wait", action="store_true", help="begin it, print its id, and do not wait")
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the redrives of QUEUE instead")
    instead.add_argument("--cancel", metavar="ID", type=_text, help="cancel one instead")
    command.add_argument("--json", action="store_true", help="print one JSON object a redrive")


def _redrive(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        if options.list:
            found = client.redrives()
        elif options.cancel is not None:
            found = [client.cancel_redrive(options.cancel)]
        else:
            names = ("per_second", "limit", "contains", "attribute")
            given = {name: getattr(options, name) for name in names} | {"destination": options.to}
            fields = {name: value for name, value in given.items() if value is not None}
            begun = client.redrive(**fields, dry_run=options.dry_run)
            if options.no_wait:
                print(begun["id"], flush=True)
                return OK
            return _say_how_it_ended(_follow(client, begun), as_json=options.json)
    if options.json:
        _print_json(found)
    else:
        _print_redrives(found)
    return OK


def _follow(client: Client, redrive: _Object) -> _Object:
    with Progress("messages looked at") as progress:
        looked_at = 0
        try:
            while redrive["status"] == "running":
                time.sleep(_LOOK_S)
                redrive = client.get_redrive(redrive["id"])
                progress.add(redrive["moved"] + redrive["skipped"] - looked_at)
                looked_at = redrive["moved"] + redrive["skipped"]
        except KeyboardInterrupt:
            queue = redrive["queue"]
            advice = f"'wonderq redrive {queue} --cancel {redrive['id']}' ends it"
            print(f"wonderq: the redrive goes on. {advice}.", file=sys.stderr)
            raise
    return redrive


def _say_how_it_ended(redrive: _Object, *, as_json: bool) -> int:
    if as_json:
        _print_json([redrive])
    else:
        verb = "would be moved" if redrive["dry_run"] else "moved"
        print(f"{redrive['moved']:,} {verb}, {redrive['skipped']:,} skipped", flush=True)
    if redrive["status"] == "completed":
        return OK
    return fail(f"the redrive has {redrive['status']}: {redrive['failure'] or 'somebody ended it'}", REFUSED)


def _print_redrives(redrives: Sequence[_Object]) -> None:
    rows = [("ID", "STARTED", "STATUS", "TO", "MOVED", "SKIPPED", "TOTAL")]
    for each in redrives:
        status = f"{each['status']} (dry run)" if each["dry_run"] else each["status"]
        counts = (f"{each[name]:,}" for name in ("moved", "skipped", "total"))
        rows.append((each["id"], each["started_at"], status, each["destination"] or "-", *counts))
    print("\n".join(table(rows, texts=4)), flush=True)


# schedule


def _add_list(subparsers: Subparsers) -> None:
    command = add_broker_command(subparsers, "list", _list, "list schedules", "List all schedules that the key opens.")
    command.add_argument("--json", action="store_true", help="print one JSON object a schedule")


def _list(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        found = client.schedules()
    if options.json:
        _print_json(found)
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
    print("\n".join(table(rows, texts=len(rows[0]))), flush=True)
    return OK


def _add_set(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers,
        "set",
        _set,
        "make a schedule, or change one",
        "Make a schedule, or change what is given of one, and print it as a JSON object. A new one needs --cron, --queue and "
        "--message: wonderq schedule set nightly --cron '30 4 * * *' --timezone Europe/Vienna --queue mail --message report.",
    )
    command.add_argument("name", metavar="NAME", type=_text, help="the schedule's name")
    command.add_argument(
        "--cron", metavar="EXPRESSION", type=_text, help="minute, hour, day of month, month, day of week"
    )
    command.add_argument(
        "--timezone", metavar="ZONE", type=_text, help="the IANA time zone of these times (at first UTC)"
    )
    command.add_argument("--queue", metavar="QUEUE", type=queue_name, help="where the messages go")
    command.add_argument("--message", metavar="TEXT", type=_text, help="the message")
    command.add_argument("--delay", metavar="S", type=seconds_from(0), help="hide the messages for so many seconds")
    command.add_argument("--group", metavar="NAME", type=_text, help="the group of the messages")
    command.add_argument("--priority", metavar="N", type=count_from(0), help="their priority, 0 to 9")
    command.add_argument(
        "--attribute",
        metavar="NAME=VALUE",
        type=_pair,
        action="append",
        help="an attribute of theirs; may be given several times, and replaces all that there are",
    )
    command.add_argument("--missed", choices=_MISSED, help="what becomes of times at which the broker is down")
    paused = command.add_mutually_exclusive_group()
    paused.add_argument("--pause", dest="paused", action="store_const", const=True, help="produce nothing for now")
    paused.add_argument("--resume", dest="paused", action="store_const", const=False, help="go on")


def _set(options: argparse.Namespace) -> int:
    names = ("cron", "timezone", "queue", "message", "delay", "group", "priority", "missed", "paused")
    fields = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.attribute:
        fields["attributes"] = dict(options.attribute)
    with client_from(options) as client:
        _print_json([client.put_schedule(options.name, **fields)])
    return OK


def _add_delete(subparsers: Subparsers) -> None:
    command = add_broker_command(
        subparsers, "delete", _delete, "delete a schedule", "Delete a schedule. The messages that it has produced stay."
    )
    command.add_argument("name", metavar="NAME", type=_text, help="the schedule's name")


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        client.delete_schedule(options.name)
    return OK


def _print_json(values: Sequence[_Object]) -> None:
    sys.stdout.buffer.write(b"".join(msgspec.json.encode(value) + b"\n" for value in values))  # in UTF-8 in any locale
    sys.stdout.buffer.flush()


def _text(text: str) -> str:
    """Read an argument that is to be sent as it is."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError("it is not UTF-8: send it as text") from error
    return text


def _pair(text: str) -> tuple[str, str]:
    return pair_from(_text(text))
