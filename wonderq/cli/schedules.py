"""The noun `schedule`: rules by which a running broker produces messages at recurring times."""

from __future__ import annotations

import argparse
from typing import Any

from wonderq.cli.arguments import (
    Parser,
    Run,
    UsageError,
    Verbs,
    add_json_option,
    add_verbs,
    add_yes_option,
    text_from,
)
from wonderq.cli.client_options import add_broker_verb, add_fields, client_from, fields_from
from wonderq.cli.confirmation import confirm
from wonderq.cli.exit_codes import OK
from wonderq.cli.listings import listed
from wonderq.cli.output import print_lines, print_result, write_json
from wonderq.terminal import table

#: Fields that are text even if they could be JSON: `message=5` is the message "5".
_TEXTS = ("cron", "timezone", "queue", "message", "group", "missed")


def schedule(noun: Parser) -> None:
    """Describe `wonderq schedule`."""
    verbs = add_verbs(noun, "List, set up, pause and delete schedules, which produce messages at recurring times.")
    command = add_broker_verb(verbs, "list", _list, "list schedules", "List all schedules that the key may see.")
    add_json_option(command, "one JSON object per schedule")
    _add_verb(verbs, "show", _show, "show a schedule", "Print a schedule.")
    command = _add_verb(
        verbs,
        "set",
        _set,
        "create or change a schedule",
        "Create a schedule, or change the given fields of one, and print it. A new one needs cron, queue and message: "
        "wonderq schedule set nightly cron='30 4 * * *' timezone=Europe/Vienna queue=mail message=report.",
    )
    add_fields(command, "fields", "docs/API.md")
    _add_verb(
        verbs, "pause", _pause, "produce no messages", "Pause a schedule, and print it. Times in the pause are skipped."
    )
    _add_verb(verbs, "resume", _resume, "produce messages again", "End a pause, and print the schedule.")
    command = _add_verb(
        verbs, "delete", _delete, "delete a schedule", "Delete a schedule. The messages it has produced remain."
    )
    add_yes_option(command)


def _add_verb(verbs: Verbs, name: str, run: Run, summary: str, description: str) -> Parser:
    command = add_broker_verb(verbs, name, run, summary, description)
    command.add_argument("name", metavar="NAME", type=text_from, help="name of the schedule")
    add_json_option(command)
    return command


def _list(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        found = list(listed(client, administration.schedules, "name"))
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


def _show(options: argparse.Namespace) -> int:
    from wonderq.client import administration  # noqa: PLC0415

    with client_from(options) as client:
        found = client.do(administration.get_schedule(options.name).as_json())
    print_result(found, as_json=options.json)
    return OK


def _set(options: argparse.Namespace) -> int:
    fields = fields_from(options.fields, _TEXTS)
    attributes = fields.get("attributes")
    if attributes is not None and not isinstance(attributes, dict):
        raise UsageError('attributes are a JSON object, such as attributes=\'{"kind": "report"}\'')
    return _put(options, fields)


def _pause(options: argparse.Namespace) -> int:
    return _put(options, {"paused": True}, is_there=True)


def _resume(options: argparse.Namespace) -> int:
    return _put(options, {"paused": False}, is_there=True)


def _put(options: argparse.Namespace, fields: dict[str, Any], *, is_there: bool = False) -> int:
    """Create or change a schedule; with ``is_there``, one that does not exist is refused."""
    from wonderq.client import administration  # noqa: PLC0415

    message, attributes = fields.pop("message", None), fields.pop("attributes", None)
    with client_from(options) as client:
        if is_there:
            client.do(administration.get_schedule(options.name).as_json())  # or 404, not the field that a new one lacks
        found = client.do(administration.put_schedule(options.name, message, attributes, fields).as_json())
    print_result(found, as_json=options.json)
    return OK


def _delete(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        confirm(options, f"delete the schedule {options.name}")
        client.delete_schedule(options.name)
    if options.json:
        write_json([{"schedule": options.name, "deleted": True}])
    return OK
