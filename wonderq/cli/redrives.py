"""The noun `redrive`: background tasks of a running broker that move messages of a queue."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wonderq.cli.arguments import Parser, Run, Verbs, add_json_option, add_verbs, fail, note, text_from
from wonderq.cli.client_options import add_broker_verb, client_from, count_from, queue_name
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.output import print_lines, write_json
from wonderq.terminal import Progress, table

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.sync import Client

#: Polling interval for the progress of a redrive.
_POLL_S = 0.25

_Object = dict[str, Any]


def redrive(noun: Parser) -> None:
    """Describe `wonderq redrive`."""
    verbs = add_verbs(noun, "Move dead letters back to their source queues, or messages to another queue.")
    _add_start(verbs)
    _add_verb(
        verbs,
        "list",
        _list,
        "list the redrives of a queue",
        "List the running redrive of a queue, and the last ten that have ended.",
    )
    for name, run, summary, description in (
        ("show", _show, "show a redrive", "Show a redrive and its progress."),
        ("cancel", _cancel, "cancel a redrive", "Cancel a redrive. Messages that it has moved stay where they are."),
    ):
        command = _add_verb(verbs, name, run, summary, description)
        command.add_argument("id", metavar="ID", type=text_from, help="id of the redrive")


def _add_verb(verbs: Verbs, name: str, run: Run, summary: str, description: str) -> Parser:
    command = add_broker_verb(verbs, name, run, summary, description)
    command.add_argument("queue", metavar="NAME", type=queue_name, help="queue that the messages leave")
    add_json_option(command, "one JSON object per redrive")
    return command


def _add_start(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "start",
        _start,
        "start a redrive, and wait for its end",
        "Move the available and buried messages of a queue back to their source queues, or to another queue, and wait "
        "until all are moved. The broker does the work: it continues if you interrupt this command, and after a "
        "restart.",
    )
    command.add_argument(
        "--to",
        metavar="NAME",
        type=queue_name,
        help="queue to move all messages to (default: the source queue of each)",
    )
    command.add_argument("--per-second", metavar="N", type=count_from(1), help="most messages to move per second")
    command.add_argument("--max", metavar="N", type=count_from(1), help="most messages to move (default: all)")
    command.add_argument(
        "--contains", metavar="TEXT", type=text_from, help="only messages whose body contains this text"
    )
    command.add_argument(
        "--attribute", metavar="NAME[=VALUE]", type=text_from, help="only messages with this attribute"
    )
    command.add_argument("--dry-run", action="store_true", help="only count the messages to move")
    command.add_argument("--no-wait", action="store_true", help="start the redrive, print its id, and do not wait")


def _start(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    names = ("per_second", "contains", "attribute", "dry_run")
    fields = {name: getattr(options, name) for name in names} | {"destination": options.to, "limit": options.max}
    with client_from(options) as client:
        begun = client.do(administration.start_redrive(options.queue, fields).as_json())
        if options.no_wait:
            if options.json:
                write_json([begun])
            else:
                print_lines([begun["id"]])
            return OK
        return _report_outcome(_wait_until_ended(client, begun), as_json=options.json)


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
            advice = f"'wonderq redrive cancel {redrive['queue']} {redrive['id']}' cancels it"
            note(f"the redrive continues. {advice}")
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


def _list(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        found = client.do(administration.redrives(options.queue).as_json())
    return _report(options, found)


def _show(options: argparse.Namespace) -> int:
    return _call(options, "GET")


def _cancel(options: argparse.Namespace) -> int:
    return _call(options, "DELETE")


def _call(options: argparse.Namespace, method: str) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        found = client.do(administration.redrive(method, options.queue, options.id).as_json())
    return _report(options, [found])


def _report(options: argparse.Namespace, redrives: Sequence[_Object]) -> int:
    if options.json:
        write_json(redrives)
        return OK
    rows = [("ID", "STARTED", "STATUS", "TO", "MOVED", "SKIPPED", "TOTAL")]
    for each in redrives:
        status = f"{each['status']} (dry run)" if each["dry_run"] else each["status"]
        counts = (f"{each[name]:,}" for name in ("moved", "skipped", "total"))
        rows.append((each["id"], each["started_at"], status, each["destination"] or "-", *counts))
    failures = (f"{each['id']} failed: {each['failure']}" for each in redrives if each["failure"])
    print_lines([*table(rows, texts=4), *failures])
    return OK
