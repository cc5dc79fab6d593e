"""The noun `key`: the API keys of a broker. Its verbs edit the keys file, whether or not the broker runs."""

from __future__ import annotations

import argparse
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wonderq.auth.roles import MAX_REQUESTS_PER_SECOND, ROLES
from wonderq.cli.arguments import (
    Parser,
    Verbs,
    add_json_option,
    add_verb,
    add_verbs,
    add_yes_option,
    fail,
    note,
    text_from,
    time_from,
)
from wonderq.cli.confirmation import confirm
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.output import print_lines, write_json
from wonderq.terminal import table

if TYPE_CHECKING:
    from wonderq.auth.keys import Key

# Commands import what they need when they run, so that the other commands start faster.


def key(noun: Parser) -> None:
    """Describe `wonderq key`."""
    verbs = add_verbs(
        noun,
        "Create, list and revoke the API keys of a broker. A running broker applies changes within about a second.",
    )
    for add in (_add_create, _add_list, _add_revoke):
        add(verbs)


def _add_create(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "create",
        _create,
        "create a key",
        "Create a key and print it. It is shown only this once: the file stores a hash of it. As soon as one key "
        "exists, the broker refuses requests without a key.",
    )
    command.add_argument("name", metavar="NAME", type=_name, help="label for people, such as the key's purpose")
    command.add_argument(
        "--role",
        dest="roles",
        metavar="ROLE",
        action="append",
        choices=ROLES,
        required=True,
        help="a role of the key: produce, consume, look, inspect, metrics, or admin, which permits all; repeatable",
    )
    command.add_argument(
        "--queue",
        dest="queues",
        metavar="PATTERN",
        type=_pattern,
        action="append",
        help="queues that the key may use, such as 'orders-*'; repeatable (default: all)",
    )
    command.add_argument(
        "--expires",
        metavar="TIME",
        type=_later,
        help="time at which the key expires (ISO 8601: 2026-03-29T14:05:06+02:00; UTC without a zone; default: never)",
    )
    command.add_argument(
        "--rate",
        dest="requests_per_second",
        metavar="N",
        type=_rate,
        help="most requests per second with the key (default: the broker's limit per key)",
    )
    command.add_argument(
        "--sqs",
        action="store_true",
        help="also create an access key for SQS clients; the keys file contains its secret in plain text, because the "
        "broker needs it to check signatures",
    )
    add_json_option(command)
    _add_place(command)


def _add_list(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "list",
        _list,
        "list the keys",
        "List the keys with their permissions. The keys themselves are not stored.",
    )
    add_json_option(command, "one JSON object per key")
    _add_place(command)


def _add_revoke(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "revoke",
        _revoke,
        "revoke keys",
        "Remove all the given keys, or none if one does not exist. Requests in progress are completed.",
    )
    command.add_argument(
        "ids", metavar="ID", type=text_from, nargs="+", help="id of a key, as 'wonderq key list' shows it"
    )
    add_json_option(command, "one JSON object per key")
    add_yes_option(command)
    _add_place(command)


def _add_place(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", metavar="DIR", default=argparse.SUPPRESS, help="folder of the broker (or WONDERQ_DATA)"
    )
    command.add_argument(
        "--keys",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="keys file (or WONDERQ_KEYS; default: keys.json in the broker's folder)",
    )
    command.add_argument("--config", metavar="FILE", type=Path, help="configuration file of the broker")


def _path(options: argparse.Namespace, *, creating: bool = False) -> Path:
    """Return the keys file of a broker with these settings.

    Raises:
        FolderError: there is no such file, and with ``creating`` also no folder in which a broker would look for it.
    """
    from wonderq.cluster.charter import CHARTER_FILE  # noqa: PLC0415
    from wonderq.config import load  # noqa: PLC0415
    from wonderq.folder.lock import FolderError, NoLogError, segment_numbers  # noqa: PLC0415

    given = {name: value for name, value in vars(options).items() if name in ("data", "keys")}
    settings = load(given, os.environ, options.config)
    path = settings.keys_file
    if settings.keys is not None:
        needed = path.parent if creating else path
        if not needed.exists():
            raise FolderError(f"{needed} does not exist. Pass the --keys of 'wonderq serve'.")
        return path
    folder = settings.data
    names = os.listdir(folder) if folder.is_dir() else None
    # A new broker on an address that others reach needs a key before its first start, so its folder may be empty.
    is_empty = creating and not names
    if names is None or not (path.name in names or CHARTER_FILE in names or segment_numbers(folder) or is_empty):
        raise NoLogError(folder, "For the first key of a new broker, create the folder first." if creating else "")
    return path


def _name(argument: str) -> str:
    from wonderq.auth.keys import NAME  # noqa: PLC0415

    text = text_from(argument)
    if not re.search(NAME, text):
        raise argparse.ArgumentTypeError("expected 1 to 80 characters, without control characters")
    return text


def _pattern(argument: str) -> str:
    from wonderq.auth.keys import PATTERN  # noqa: PLC0415

    text = text_from(argument)
    if not re.search(PATTERN, text):
        raise argparse.ArgumentTypeError("expected 1 to 100 of the characters A-Z a-z 0-9 _ . * ? ! [ ] and -")
    return text


def _later(text: str) -> datetime:
    moment = time_from(text)
    if moment.timestamp() <= time.time():
        raise argparse.ArgumentTypeError(f"{text} is in the past")
    return moment


def _rate(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_REQUESTS_PER_SECOND):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MAX_REQUESTS_PER_SECOND}")
    return int(text)


def _create(options: argparse.Namespace) -> int:
    from wonderq.auth import keys  # noqa: PLC0415

    path = _path(options, creating=True)
    try:
        key, text = keys.create(
            path,
            name=options.name,
            roles=options.roles,
            queues=options.queues or ["*"],
            expires_at=options.expires,
            requests_per_second=options.requests_per_second,
            for_sqs=options.sqs,
        )
    except keys.KeysError as error:
        return fail(str(error), REFUSED)
    sqs = {} if key.sqs_secret is None else {"access_key_id": key.access_key_id, "secret_access_key": key.sqs_secret}
    if options.json:
        write_json([_object(key) | {"key": text, "sqs": sqs or None}])
    else:
        print_lines([text, *(f"AWS_{name.upper()}={value}" for name, value in sqs.items())])
    note(f"key {key.id} is in {path}. It is not shown again")
    return OK


def _list(options: argparse.Namespace) -> int:
    from wonderq.auth import keys  # noqa: PLC0415

    try:
        found, _ = keys.read(_path(options))
    except keys.KeysError as error:
        return fail(str(error), REFUSED)
    if options.json:
        write_json(map(_object, found))
    else:
        rows = [("ID", "NAME", "ROLES", "QUEUES", "RATE", "CREATED", "EXPIRES")]
        for each in found:
            expires = "never" if each.expires_at is None else _time(each.expires_at)
            if each.expired(time.time()):
                expires += " (expired)"
            rate = "-" if each.requests_per_second is None else f"{each.requests_per_second}/s"
            roles, queues = ",".join(each.roles), ",".join(each.queues)
            rows.append((each.id, each.name, roles, queues, rate, _time(each.created_at), expires))
        print_lines(table(rows, texts=len(rows[0])))
    return OK


def _object(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "roles": key.roles,
        "queues": key.queues,
        "created_at": _time(key.created_at),
        "expires_at": None if key.expires_at is None else _time(key.expires_at),
        "requests_per_second": key.requests_per_second,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _revoke(options: argparse.Namespace) -> int:
    from wonderq.auth import keys  # noqa: PLC0415

    path = _path(options)
    confirm(options, f"revoke {'the key' if len(options.ids) == 1 else 'the keys'} {', '.join(options.ids)}")
    try:
        left = keys.revoke(path, options.ids)
    except keys.KeysError as error:
        return fail(str(error), REFUSED)
    if options.json:
        write_json({"id": each, "revoked": True} for each in options.ids)
    if not left:
        note(f"no key is left in {path}. A running broker refuses all requests; a restarted one accepts all")
    return OK
