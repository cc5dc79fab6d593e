"""The `wonderq` command: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from storage import StorageError
from wonderq import __version__, commands, copy_commands, folder_commands, key_commands, queue_commands, task_commands
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
    fail,
    time_from,
)
from wonderq.client import RefusedError, UnreachableError
from wonderq.client_options import add_client_command, client_from, count_from, pair_from, seconds_from
from wonderq.config import ConfigError, Settings, load
from wonderq.folder import FolderError
from wonderq.model import UNLIMITED


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
        queue_commands.add_to,
        task_commands.add_to,
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
            return fail(f"standard output is closed, so nothing was done. {advice}", REFUSED)
        # Only a broker logs. What a command has to say of a log that it works on, it says itself.
        logging.getLogger("wonderq").addHandler(logging.NullHandler())
    _raise_file_limit()
    try:
        result: int = options.run(options)
    except ConfigError as error:
        return fail(str(error), USAGE)
    except (RefusedError, commands.InputError, StorageError, FolderError) as error:
        return fail(_with_notes(error), REFUSED)
    except UnreachableError as error:
        hint = "Is a broker running there? Start one with 'wonderq serve'"
        return fail(f"{_with_notes(error)}. {hint}", UNREACHABLE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        _drop_output()
        about = f"{error.filename}: " if error.filename else ""
        return fail(f"{about}{error.strerror or error}", REFUSED)
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
    from wonderq.serve import StartError, validate, serve  # noqa: PLC0415

    names = {each.name for each in fields(Settings)}
    flags = {name: value for name, value in vars(options).items() if name in names}
    try:
        settings = load(flags, os.environ, options.config)
        set_up_logging(settings.log_level, settings.log_format)
        validate(settings)
        serve(settings)
    except StartError as error:
        return fail(str(error), REFUSED)
    return OK


# Commands that talk to a running broker


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
        commands.send(client, options.messages, _fields(options), as_json=options.json, quiet=options.quiet)
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
        return REFUSED if commands.delete(client, options.names) else OK


def _add_stats(subparsers: Subparsers) -> None:
    command = add_client_command(
        subparsers, "stats", _stats, "show the queues", "Show how many messages each queue holds.", queue_default=None
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a queue")


def _stats(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        commands.stats(client, only=options.queue, as_json=options.json)
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
        "--files", metavar="N", type=count_from(100), help="take so many of the files, at least 100 (default: all)"
    )
    command.add_argument(
        "--consumers", metavar="N", type=count_from(2), default=3, help="consumer processes, at least 2 (default 3)"
    )
    command.add_argument("--keep", action="store_true", help="keep the broker's folder, to look at it")


def _demo(options: argparse.Namespace) -> int:
    from wonderq.demo import run  # noqa: PLC0415 - only this command needs it

    return OK if run(files=options.files, consumers=options.consumers, keep=options.keep) else REFUSED
