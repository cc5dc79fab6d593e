"""The noun `folder`: the folder of a log. This module has inspect, verify, repair, export and import."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wonderq.cli import clock, copies
from wonderq.cli.arguments import (
    Parser,
    Run,
    UsageError,
    Verbs,
    add_json_option,
    add_key_option,
    add_verb,
    add_verbs,
    fail,
    key_from,
    text_from,
)
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.imports import import_line, import_object
from wonderq.cli.output import print_lines, write_json
from wonderq.terminal import Progress, is_terminal

# Commands import what they need when they run, so that the other commands start faster.


def folder(noun: Parser) -> None:
    """Describe `wonderq folder`."""
    verbs = add_verbs(
        noun,
        "Check, repair, copy and shrink the folder of a log. The broker must be stopped, except for a backup. "
        "docs/TOOLS.md shows the verbs in use.",
    )
    for add in (_add_inspect, _add_verify, _add_repair, _add_export, _add_import):
        add(verbs)
    copies.add_to(verbs)
    clock.add_to(verbs)


def _add_verb(verbs: Verbs, name: str, run: Run, summary: str, description: str, *, metavar: str = "DIR") -> Parser:
    command = add_verb(verbs, name, run, summary, description)
    command.add_argument("folder", metavar=metavar, type=Path, help="folder of the log")
    return command


def _add_inspect(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "inspect",
        _inspect,
        "show the contents of a stopped broker's folder",
        "Show the contents of DIR: segments with their live and dead bytes, records by kind, queues, checkpoints, torn "
        "tails. Nothing is changed. Damage is skipped, and the exit code is then 1.",
    )
    what = command.add_mutually_exclusive_group()
    what.add_argument(
        "--message",
        metavar="ID",
        type=_not_empty,
        help="show the history of this message instead",
    )
    what.add_argument("--records", action="store_true", help="print every record as a line of JSON instead")
    command.add_argument("--bodies", action="store_true", help="with --records, print the messages' bodies too")
    add_json_option(command, "one JSON object, or with --message one per event")


def _not_empty(text: str) -> str:
    if not text:  # such as an unset shell variable
        raise argparse.ArgumentTypeError("is empty: give an id or a receipt")
    return text_from(text)


def _inspect(options: argparse.Namespace) -> int:
    from wonderq.cli.reports import event_lines, overview_lines  # noqa: PLC0415
    from wonderq.folder import inspect  # noqa: PLC0415

    if options.bodies and not options.records:
        raise UsageError("--bodies requires --records")
    problems: list[Any] = []
    with Progress("records read", enabled=not (options.records and is_terminal(sys.stdout))) as progress:
        if options.records:
            write_json(inspect.record_objects(options.folder, problems, bodies=options.bodies, progress=progress.add))
        elif options.message:
            events, problems = inspect.history(options.folder, options.message, progress.add)
            progress.close()
            if options.json:
                write_json(map(inspect.event_object, events))
            else:
                print_lines(event_lines(events))
        else:
            found = inspect.survey(options.folder, progress.add)
            problems = found.problems
            progress.close()
            if options.json:
                write_json([inspect.overview_object(found)])
            else:
                print_lines(overview_lines(found))
    if problems:
        skipped = "was skipped" if len(problems) == 1 else "were skipped"
        hint = f"'wonderq folder verify {options.folder}' lists all damage"
        return fail(f"{_damage(len(problems), 'the log')} and {skipped}. {hint}", REFUSED)
    return OK


def _damage(count: int, of: Path | str) -> str:
    return f"1 place of {of} does not verify" if count == 1 else f"{count:,} places of {of} do not verify"


def _add_verify(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "verify",
        _verify,
        "check the folder of a stopped broker",
        "Read everything in DIR: the whole log, each message's checksum, and the checkpoints. Check that a start from "
        "a checkpoint yields the same state as the whole log. Print a summary and list all damage. Nothing is changed.",
    )
    add_json_option(command)


def _verify(options: argparse.Namespace) -> int:
    from wonderq.cli.reports import verify_lines, verify_object  # noqa: PLC0415
    from wonderq.folder import verify  # noqa: PLC0415

    with Progress("records read") as progress:
        findings = verify.verify(options.folder, progress.add)
    if options.json:
        write_json([verify_object(findings)])
    else:
        end = "damaged: the figures include only what verifies" if findings.problems else "ok"
        print_lines([*verify_lines(findings), end])
    if not findings.problems:
        return OK
    for problem in findings.problems:
        fail(str(problem), REFUSED)
    return fail(
        f"{_damage(len(findings.problems), options.folder)}. Nothing was changed. Restore the damaged files from a "
        f"backup if you have one. 'wonderq folder repair {options.folder} NEW' salvages the rest into a new folder",
        REFUSED,
    )


def _add_repair(verbs: Verbs) -> None:
    command = _add_verb(
        verbs,
        "repair",
        _repair,
        "salvage a damaged folder into a new one",
        "Copy all records in SOURCE that verify into the new folder NEW. List the damage with file, offset and length, "
        "and the messages known to be lost. SOURCE is only read.",
        metavar="SOURCE",
    )
    command.add_argument("target", metavar="NEW", type=Path, help="folder to create")
    add_json_option(command)


def _repair(options: argparse.Namespace) -> int:
    from wonderq.cli.reports import repair_lines, repair_object  # noqa: PLC0415
    from wonderq.folder import repair  # noqa: PLC0415

    with Progress("records read") as progress:
        done = repair.repair(options.folder, options.target, progress.add)
    if options.json:
        write_json([repair_object(done)])
        return OK
    print_lines(repair_lines(done))
    print_lines([f"ok        start a broker on it: wonderq serve --data {options.target}"])
    return OK


def _add_export(verbs: Verbs) -> None:
    _add_verb(
        verbs,
        "export",
        _export,
        "write the messages of a stopped broker's folder as JSON",
        "Write a line of JSON for each queue in DIR, followed by a line for each of its messages, oldest first. "
        "Nothing is changed.",
    )


def _export(options: argparse.Namespace) -> int:
    from wonderq.folder.export import export  # noqa: PLC0415

    with Progress("lines written", enabled=not is_terminal(sys.stdout)) as progress:
        write_json(_counted(export(options.folder), progress))
    return OK


def _counted(lines: Iterable[Any], progress: Progress) -> Iterator[Any]:
    for line in lines:
        yield line
        progress.add()


def _add_import(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "import",
        _import,
        "produce the messages that export wrote",
        "Read the output of 'wonderq folder export' from standard input and produce its messages, in order and with "
        "the rest of their delays. The target is the folder DIR of a stopped broker, which is created if missing, or a "
        "running broker. Queues get the exported settings. Messages get new ids; claims are not imported.",
    )
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("folder", metavar="DIR", type=Path, nargs="?", help="folder to import into")
    where.add_argument("--url", metavar="URL", help="address of the running broker to import into")
    command.add_argument(
        "--accept-clock",
        action="store_true",
        help="believe the system's clock, however far ahead of the log in DIR it is",
    )
    add_key_option(command)
    add_json_option(command)


def _import(options: argparse.Namespace) -> int:
    from wonderq.client.endpoint import InvalidKeyError  # noqa: PLC0415
    from wonderq.folder import import_  # noqa: PLC0415

    if options.url and options.accept_clock:
        raise UsageError("--accept-clock is for a folder: a running broker has judged its clock")
    try:
        key = key_from(options)
        if options.url:
            target = import_.into_broker(options.url, key)
        else:
            target = import_.into_folder(options.folder, accept_clock=options.accept_clock)
        with Progress("messages", enabled=not is_terminal(sys.stdin)) as progress, target as into:
            importer = import_.Importer(into, progress.add)
            importer.run(_input_lines(import_.LONGEST_LINE_BYTES))
    except InvalidKeyError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"--url: {error}") from error
    if options.json:
        write_json([import_object(importer)])
        return OK
    print_lines([import_line(importer)])
    return OK


def _input_lines(longest: int) -> Iterator[bytes]:
    """Yield the lines of standard input. Of a line with more than ``longest`` bytes, only one more is read."""
    if sys.stdin is None:
        return
    try:
        yield from iter(lambda: sys.stdin.buffer.readline(longest + 1), b"")
    except OSError as error:
        error.filename = error.filename or "standard input"
        raise
