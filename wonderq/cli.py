"""The `wonderq` command: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import logging
import math
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from storage import StorageError
from wonderq import __version__, commands, copy_commands, folder_commands, key_commands
from wonderq.arguments import (
    EXIT_CODES,
    INTERRUPTED,
    NOTHING,
    OK,
    PIPE_CLOSED,
    REFUSED,
    UNREACHABLE,
    USAGE,
    Subparsers,
    add_command,
    add_key_option,
    complain,
    key_from,
)
from wonderq.client import Client, InvalidKeyError, RefusedError, UnreachableError
from wonderq.config import ConfigError, Settings, load
from wonderq.folder import FolderError
from wonderq.model import DEFAULT_QUEUE, UNLIMITED

DEFAULT_URL = "http://127.0.0.1:7979"


def _raise_file_limit() -> None:
    """Each segment and each connection holds a file descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="wonderq",
        description="A durable message broker.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wonderq {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for add in (
        _add_serve,
        _add_send,
        _add_receive,
        _add_delete,
        _add_stats,
        _add_tail,
        key_commands.add_to,
        folder_commands.add_to,
        copy_commands.add_to,
        _add_demo,
    ):
        add(subparsers)
    options = parser.parse_args(arguments)
    if options.run is not _serve:
        if sys.stdout is None:
            advice = "If nobody is to read it, send it to /dev/null"
            return complain(f"standard output is closed, so nothing was done. {advice}", REFUSED)
        # Only a broker logs. What a command has to say of a log that it works on, it says itself.
        logging.getLogger("wonderq").addHandler(logging.NullHandler())
    _raise_file_limit()
    try:
        result: int = options.run(options)
    except ConfigError as error:
        return complain(str(error), USAGE)
    except (RefusedError, commands.InputError, StorageError, FolderError) as error:
        return complain(_with_notes(error), REFUSED)
    except UnreachableError as error:
        hint = "Is a broker running there? Start one with 'wonderq serve'"
        return complain(f"{_with_notes(error)}. {hint}", UNREACHABLE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        _drop_output()
        about = f"{error.filename}: " if error.filename else ""
        return complain(f"{about}{error.strerror or error}", REFUSED)
    return result


def _with_notes(error: Exception) -> str:
    sentences = [str(error), *getattr(error, "__notes__", ())]
    return " ".join(f"{sentence.removesuffix('.')}." for sentence in sentences).removesuffix(".")


def _drop_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not fail to write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# serve


def _add_serve(subparsers: Subparsers) -> None:
    command = add_command(
        subparsers,
        "serve",
        _serve,
        "run a broker",
        "Run a broker until SIGTERM or Ctrl-C. Each option is also a WONDERQ_* variable (--data: WONDERQ_DATA) and a key "
        "in the configuration file; the option wins over the variable, and that over the file.",
    )
    for each in fields(Settings):
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(each.default, bool) else {}
        command.add_argument(
            "--" + each.name.replace("_", "-"),
            metavar=each.metadata["metavar"],
            default=argparse.SUPPRESS,
            help=f"{each.metadata['help']} (default {_shown(each.default)})",
            **switch,
        )
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")


def _shown(default: Any) -> str:
    """Write a setting's default as one would give it."""
    if default is None or default == ():
        return "none"
    if default == UNLIMITED:
        return "unlimited"
    if isinstance(default, tuple):
        return ":".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def _serve(options: argparse.Namespace) -> int:
    # The server's libraries take longer to load than a message takes to send.
    from wonderq.logs import set_up_logging  # noqa: PLC0415
    from wonderq.serve import StartError, check_together, serve  # noqa: PLC0415

    names = {each.name for each in fields(Settings)}
    flags = {name: value for name, value in vars(options).items() if name in names}
    try:
        settings = load(flags, os.environ, options.config)
        set_up_logging(settings.log_level, settings.log_format)
        check_together(settings)
        serve(settings)
    except StartError as error:
        return complain(str(error), REFUSED)
    return OK


# Commands that talk to a running broker


def _add_send(subparsers: Subparsers) -> None:
    command = _add_client_command(
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
    command.add_argument("--delay", metavar="S", type=_seconds(0), help="hide the messages for so many seconds")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a message")
    form.add_argument("--quiet", action="store_true", help="print no ids")


def _send(options: argparse.Namespace) -> int:
    with _client(options) as client:
        commands.send(client, options.messages, delay=options.delay, as_json=options.json, quiet=options.quiet)
    return OK


def _add_receive(subparsers: Subparsers) -> None:
    command = _add_client_command(
        subparsers,
        "receive",
        _receive,
        "claim messages and print them",
        "Claim messages and print each as RECEIPT<TAB>BODY; with --delete as BODY alone. A body may hold line breaks: "
        "--json is the form for those. Exit code 4 says that there was nothing.",
    )
    command.add_argument(
        "--max", metavar="N", type=_count(1), help="stop after so many messages (default 10; with --follow no limit)"
    )
    command.add_argument("--wait", metavar="S", type=_seconds(0), default=0, help="wait so long for the first one")
    command.add_argument(
        "--visibility-timeout",
        metavar="S",
        type=_seconds(0.001, 43_200),
        help="how long the claims last (default: as the queue is set)",
    )
    command.add_argument(
        "--delete", action="store_true", help="delete the messages, once they are written to standard output"
    )
    command.add_argument("--follow", action="store_true", help="go on for ever, waiting for more")
    command.add_argument("--json", action="store_true", help="print one JSON object a message")


def _receive(options: argparse.Namespace) -> int:
    with _client(options) as client:
        received, failed = commands.receive(
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
    command = _add_client_command(
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
    with _client(options) as client:
        return REFUSED if commands.delete(client, options.names) else OK


def _add_stats(subparsers: Subparsers) -> None:
    command = _add_client_command(
        subparsers, "stats", _stats, "show the queues", "Show how many messages each queue holds.", queue_default=None
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a queue")


def _stats(options: argparse.Namespace) -> int:
    with _client(options) as client:
        commands.stats(client, only=options.queue, as_json=options.json)
    return OK


def _add_tail(subparsers: Subparsers) -> None:
    command = _add_client_command(
        subparsers,
        "tail",
        _tail,
        "watch messages being produced",
        "Print messages as they are produced, without touching them, until Ctrl-C.",
    )
    command.add_argument("--from-start", action="store_true", help="begin with what the queue holds already")
    command.add_argument("--json", action="store_true", help="print one JSON object a message")


def _tail(options: argparse.Namespace) -> int:
    with _client(options) as client:
        commands.tail(client, from_start=options.from_start, as_json=options.json)
    return OK


# Commands of their own


def _add_demo(subparsers: Subparsers) -> None:
    command = add_command(
        subparsers,
        "demo",
        _demo,
        "watch a broker work, be killed, and lose nothing",
        "Start a broker, let several consumer processes hash every source file of Python's standard library, kill one of "
        "them and then the broker itself, and compare the totals with a direct count. Exit code 0 means that they are equal.",
    )
    command.add_argument(
        "--files", metavar="N", type=_count(100), help="take so many of the files, at least 100 (default: all)"
    )
    command.add_argument(
        "--consumers", metavar="N", type=_count(2), default=3, help="consumer processes, at least 2 (default 3)"
    )
    command.add_argument("--keep", action="store_true", help="keep the broker's folder, to look at it")


def _demo(options: argparse.Namespace) -> int:
    from wonderq.demo import run  # noqa: PLC0415 - only this command needs it

    return OK if run(files=options.files, consumers=options.consumers, keep=options.keep) else REFUSED


# Shared pieces


def _add_client_command(
    subparsers: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    *,
    queue_default: str | None = DEFAULT_QUEUE,
) -> argparse.ArgumentParser:
    command = add_command(subparsers, name, run, summary, description)
    command.add_argument("--url", metavar="URL", help=f"the broker's address (or WONDERQ_URL; default {DEFAULT_URL})")
    command.add_argument(
        "--queue",
        metavar="NAME",
        type=_queue_name,
        default=queue_default,
        help=f"which queue (default: {queue_default or 'all'})",
    )
    add_key_option(command)
    return command


def _client(options: argparse.Namespace) -> Client:
    """Connect to the broker that the flag, or else the variable, names.

    Raises:
        ConfigError: the address, or the key, cannot be used.
    """
    source, url = "--url", options.url
    if url is None:
        source, url = "WONDERQ_URL", os.environ.get("WONDERQ_URL") or DEFAULT_URL
    try:
        return Client(url, queue=options.queue or DEFAULT_QUEUE, key=key_from(options))
    except InvalidKeyError as error:
        raise ConfigError(str(error)) from error
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def _queue_name(text: str) -> str:
    if not text or "/" in text:  # the broker knows the rest of the rule, but would not see these as a name at all
        raise argparse.ArgumentTypeError(
            "a queue's name is 1 to 80 of A-Z a-z 0-9 _ and -, with .fifo allowed at the end"
        )
    return text


def _count(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} on")
        return int(text)

    return parse


def _seconds(low: float, high: float = math.inf) -> Callable[[str], float]:
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
