"""Options shared by the commands that call a running broker: address, queue, key, numbers."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from wonderq.cli.arguments import Parser, Run, UsageError, Verbs, add_key_option, add_verb, key_from, text_from
from wonderq.client.endpoint import DEFAULT_URL, InvalidKeyError
from wonderq.model.queue_names import DEFAULT_QUEUE

if TYPE_CHECKING:  # commands that call no broker start without it
    from wonderq.client.sync import Client

#: Seconds that an answer may take. A command is not repeated: it tells at once what is wrong.
_TIMEOUT_S = 60


def add_broker_options(command: Parser) -> None:
    """Add the options of all commands that call a running broker."""
    command.set_defaults(is_client=True)
    command.add_argument("--url", metavar="URL", help=f"address of the broker (or WONDERQ_URL; default {DEFAULT_URL})")
    add_key_option(command)


def add_message_options(command: Parser) -> None:
    """Add the options of all commands for the messages of a queue."""
    add_broker_options(command)
    command.add_argument(
        "--queue",
        metavar="NAME",
        type=queue_name,
        default=DEFAULT_QUEUE,
        help=f"name of the queue (default: {DEFAULT_QUEUE})",
    )


def add_broker_verb(verbs: Verbs, name: str, run: Run, summary: str, description: str) -> Parser:
    """Add a verb that calls a running broker."""
    command = add_verb(verbs, name, run, summary, description)
    add_broker_options(command)
    return command


def client_from(options: argparse.Namespace, *, retries: int = 0) -> Client:
    """Return a client for the broker in ``--url`` or, without it, WONDERQ_URL.

    ``retries`` is the number of repetitions of a request, for commands that are not a person's single request.

    Raises:
        UsageError: the address or the key is invalid.
    """
    from wonderq.client.sync import Client  # noqa: PLC0415

    source, url = "--url", options.url
    if url is None:
        source, url = "WONDERQ_URL", os.environ.get("WONDERQ_URL") or DEFAULT_URL
    try:
        return Client(url, key=key_from(options), retries=retries, timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S)
    except InvalidKeyError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from error


def name_from(rule: str) -> Callable[[str], str]:
    """Return a parser of names. The broker checks them in full; those refused here would change the request's path."""

    def parse(text: str) -> str:
        text = text_from(text)
        if not text or "/" in text:
            raise argparse.ArgumentTypeError(rule)
        return text

    return parse


queue_name = name_from("a queue's name is 1 to 80 characters of A-Z a-z 0-9 _ and -, optionally ending in .fifo")


def json_or_text(text: str) -> Any:
    """Parse a value as JSON or, if it is not JSON, take it as text."""
    import msgspec  # noqa: PLC0415 - the parser of the command line starts without it

    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def count_from(low: int) -> Callable[[str], int]:
    """Return a parser of whole numbers that are at least ``low``."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return parse


def seconds_from(low: float, high: float = math.inf) -> Callable[[str], float]:
    """Return a parser of numbers of seconds from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            limits = f"from {low:g}" + ("" if math.isinf(high) else f" to {high:g}")
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds {limits}")
        return value

    return parse


def pair_from(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, separator, value = text_from(text).partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def add_fields(command: Parser, what: str, page: str) -> None:
    """Add the fields of what a verb sets."""
    command.add_argument(
        "fields",
        metavar="FIELD=VALUE",
        nargs="*",
        type=pair_from,
        help=f"{what}: JSON, or else text. {page} lists them",
    )


def fields_from(pairs: Sequence[tuple[str, str]], texts: Collection[str] = ()) -> dict[str, Any]:
    """Return fields of an object of the API. Those in ``texts`` are text even if they could be JSON.

    The broker checks names and types: a field may be newer than this command.
    """
    return {name: value if name in texts else json_or_text(value) for name, value in pairs}
