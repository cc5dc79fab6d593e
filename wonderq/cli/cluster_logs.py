"""Verbs of the noun `cluster` for its logs: export-folder, backup, restore, import, check and replace."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wonderq.cli.arguments import (
    Parser,
    Run,
    UsageError,
    Verbs,
    add_json_option,
    add_verb,
    add_yes_option,
    fail,
    note,
    text_from,
)
from wonderq.cli.client_options import add_broker_verb, client_from, count_from, seconds_from
from wonderq.cli.confirmation import confirm
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.imports import import_line, import_object
from wonderq.cli.output import print_lines, write_json
from wonderq.cli.settings import add_settings, flags_of
from wonderq.config import NOT_IN_A_CLUSTER, ClusterSettings, Settings, load_cluster
from wonderq.terminal import Progress, counted, is_terminal, table

if TYPE_CHECKING:
    from wonderq.cluster_tools.check import ShardCheck
    from wonderq.cluster_tools.folders import ShardFolder
    from wonderq_storage.nats.address import Address

# Commands import what they need when they run, so that the other commands start faster.


def add_to(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    for add in (_add_export, _add_backup, _add_restore, _add_import, _add_check, _add_replace):
        add(verbs)


def _add_tool(verbs: Verbs, name: str, run: Run, summary: str, description: str) -> Parser:
    """Add a verb that reaches the logs over NATS."""
    command = add_verb(verbs, name, run, summary, description)
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", metavar="DIR", type=Path, help="folder of a node that runs on this machine")
    where.add_argument(
        "--nats-url",
        metavar="URL",
        help="the NATS servers, if the nodes run none: nats://user:password@host1:4222,host2:4222",
    )
    return command


def _servers(options: argparse.Namespace, *, system: bool = False) -> list[Address]:
    from wonderq.cluster_tools.logs import servers_of  # noqa: PLC0415
    from wonderq_storage.nats.address import parse_log_address  # noqa: PLC0415

    url = getattr(options, "nats_url", None)
    try:
        given = None if url is None else parse_log_address(url, default_stream="").servers
    except ValueError as error:
        raise UsageError(f"--nats-url: {error}") from error
    return servers_of(options.data, given, system=system)


def _add_export(verbs: Verbs) -> None:
    command = _add_tool(
        verbs,
        "export-folder",
        _export,
        "write the log of each shard as a folder",
        "Write the log of each shard into the new folder DIR, as DIR/shard-0, DIR/shard-1 and so on, and verify it. "
        "The nodes go on working. Each folder has all that its shard had acknowledged when the command began. 'wonderq "
        "folder' and 'wonderq serve' take these folders.",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="folder to create")
    add_json_option(command, "one JSON object per shard")


def _export(options: argparse.Namespace) -> int:
    from wonderq.cluster_tools.folders import export_folders, folder_of  # noqa: PLC0415
    from wonderq.cluster_tools.logs import open_logs  # noqa: PLC0415

    with Progress("records copied") as progress, open_logs(_servers(options)) as logs:
        found = export_folders(logs, options.folder, progress.add)
    if options.json:
        write_json({"folder": str(folder_of(options.folder, each.shard)), **_shard_object(each)} for each in found)
    else:
        print_lines([*_shard_lines(found), "", f"ok: the folders are in {options.folder}"])
    return OK


def _shard_object(found: ShardFolder) -> dict[str, Any]:
    from wonderq.model.times import iso_time  # noqa: PLC0415

    newest = iso_time(found.newest_ms) if found.newest_ms else None
    return {
        "shard": found.shard,
        "copied": found.copied,
        "records": found.records,
        "messages": found.messages,
        "newest_at": newest,
        "last_sequence": found.sequence,
    }


def _shard_lines(found: Iterable[ShardFolder]) -> list[str]:
    rows = [("shard", "copied", "records", "messages", "last group")]
    rows += [
        (str(each.shard), f"{each.copied:,}", f"{each.records:,}", f"{each.messages:,}", f"{each.sequence:,}")
        for each in found
    ]
    return table(rows, texts=1)


def _add_backup(verbs: Verbs) -> None:
    command = _add_tool(
        verbs,
        "backup",
        _backup,
        "copy the logs, the keys and the charter",
        "Make a dated backup in a new folder below DIR, and verify it. The nodes go on working. It has all that each "
        "shard had acknowledged when the command began, the API keys and the charter. It shares the files that do not "
        "change any more with the backup before, and reads only newer records. 'wonderq cluster restore' takes it.",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="folder of the backups; created if missing")
    command.add_argument(
        "--keep", metavar="N", type=count_from(1), help="remove all but the N newest backups afterwards (default: none)"
    )
    add_json_option(command)


def _backup(options: argparse.Namespace) -> int:
    from wonderq.cluster_tools.backup import backup  # noqa: PLC0415
    from wonderq.cluster_tools.logs import open_logs  # noqa: PLC0415

    with Progress("records copied") as progress, open_logs(_servers(options)) as logs:
        done = backup(logs, options.folder, keep=options.keep, progress=progress.add)
    if options.json:
        write_json(
            [
                {
                    "folder": str(done.folder),
                    "continues": None if done.continues is None else str(done.continues),
                    "keys": done.has_keys,
                    "removed": [str(each) for each in done.removed],
                    "shards": [_shard_object(each) for each in done.shards],
                }
            ]
        )
        return OK
    lines = [*_shard_lines(done.shards), ""]
    if done.continues is not None:
        lines.append(f"continues {done.continues}")
    lines += [f"removed   {each}" for each in done.removed]
    keys = "with the keys" if done.has_keys else "and there are no keys"
    print_lines([*lines, f"ok        {done.folder}, {keys}"])
    return OK


def _add_restore(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "restore",
        _restore,
        "make a new cluster with the contents of a backup",
        "Make a new cluster with the contents of BACKUP: queues, messages, claims, ids, receipts and keys are those of "
        "the backup. First start all nodes of the new cluster but one; they wait. Then run this command in place of "
        "the last one, with the options of that node, and start the node afterwards. With --nats-url, run it before "
        "any node. It is refused if there is a cluster already.",
    )
    command.add_argument(
        "backup",
        metavar="BACKUP",
        type=Path,
        help="folder that 'wonderq cluster backup' wrote, or the folder of several: then the newest one",
    )
    add_json_option(command)
    add_settings(command, ClusterSettings)
    add_settings(command, Settings, NOT_IN_A_CLUSTER)
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")


def _restore(options: argparse.Namespace) -> int:
    from wonderq.logs import set_up_logging  # noqa: PLC0415
    from wonderq.serve import StartError  # noqa: PLC0415
    from wonderq.serve_cluster.restoring import restore_cluster  # noqa: PLC0415

    flags = flags_of(options, {each.name for kind in (ClusterSettings, Settings) for each in fields(kind)})
    cluster, settings, _ = load_cluster(flags, os.environ, options.config)
    try:
        with closing(set_up_logging("warning", settings.log_format)), Progress("records restored") as progress:
            done = restore_cluster(cluster, settings, options.backup, progress.add)
    except StartError as error:
        return fail(str(error), REFUSED)
    charter = done.charter
    if options.json:
        shown = {"cluster_id": charter.cluster_id, "former_cluster_id": done.former_id, "backup": str(done.backup)}
        write_json([shown | {"shards": charter.shards, "records": done.records, "keys": done.has_keys}])
        return OK
    lines = [f"backup    {done.backup}, of the cluster {done.former_id}"]
    lines += [f"restored  {counted(done.records, 'record')} in {counted(charter.shards, 'shard')}"]
    print_lines(
        [*lines, f"ok        this is the cluster {charter.cluster_id}: start the node that this command stood for"]
    )
    return OK


def _add_import(verbs: Verbs) -> None:
    command = add_broker_verb(
        verbs,
        "import",
        _import,
        "produce the messages of a stopped broker's folder",
        "Produce the messages in FOLDER in the cluster, with the settings of their queues and topics, and create the "
        "schedules. FOLDER is that of a stopped broker, or a file that 'wonderq folder export' wrote. Messages get new "
        "ids; claims are not imported. After an interruption, run the command again within seven days: it goes through "
        "all lines, and no message is imported twice. An import that has ended marks its queues with a tag, and is not "
        "made again.",
    )
    command.add_argument("folder", metavar="FOLDER", type=Path, help="folder of a stopped broker, or an exported file")
    add_json_option(command)


def _import(options: argparse.Namespace) -> int:
    from wonderq.folder import import_  # noqa: PLC0415

    lines = _lines_of(options.folder)
    with Progress("messages") as progress, client_from(options, retries=_RETRIES) as client:
        importer = import_.Importer(import_.into_client(client), progress.add, is_repeatable=True)
        importer.run(lines)
    if options.json:
        write_json([import_object(importer) | {"passed_over": len(importer.passed_over)}])
        return OK
    report = [import_line(importer)]
    if importer.passed_over:
        were = f"{counted(len(importer.passed_over), 'queue')} {'was' if len(importer.passed_over) == 1 else 'were'}"
        report.append(f"{were} passed over: an earlier import of the same folder has ended there")
    print_lines(report)
    return OK


#: Repetitions of a request of an import, which may meet a shard that moves.
_RETRIES = 8


def _lines_of(folder: Path) -> Iterator[bytes]:
    """Yield the exported lines of a folder, or those in a file."""
    if folder.is_file():
        with folder.open("rb") as file:
            yield from file
        return
    from msgspec.json import encode  # noqa: PLC0415

    from wonderq.folder.export import export  # noqa: PLC0415

    yield from map(encode, export(folder))


def _add_check(verbs: Verbs) -> None:
    command = _add_tool(
        verbs,
        "check",
        _check,
        "read the logs and compare their copies",
        "Read the log of each shard, and the copy that each NATS server has of it, wherever the server is. Check all "
        "checksums, and that the copies are equal and whole. The nodes go on working. The exit code is 1 if a "
        "shard has a problem.",
    )
    add_json_option(command, "one JSON object per shard")


def _check(options: argparse.Namespace) -> int:
    from wonderq.cluster_tools.check import check  # noqa: PLC0415
    from wonderq.cluster_tools.logs import open_logs  # noqa: PLC0415

    servers = _servers(options)
    with Progress("records read", enabled=not options.json) as progress, open_logs(servers) as logs:
        found = list(check(logs, servers, progress.add))
    if options.json:
        write_json(map(_check_object, found))
    else:
        print_lines(_check_lines(found))
    bad = [each for each in found if not each.is_good]
    if not bad:
        return OK
    shards: dict[str, list[str]] = {}
    for each in bad:
        for problem in each.problems:
            shards.setdefault(problem, []).append(str(each.shard))
    for problem, where in shards.items():
        note(f"shard{'s' if len(where) > 1 else ''} {', '.join(where)}: {problem}")
    return fail(f"{counted(len(bad), 'shard')} of {len(found)} with problems. Nothing was changed", REFUSED)


def _check_object(found: ShardCheck) -> dict[str, Any]:
    return {
        "shard": found.shard,
        "ok": found.is_good,
        "epoch": found.epoch,
        "first_sequence": found.first,
        "last_sequence": found.last,
        "records": found.records,
        "messages": found.messages,
        "replicas": found.replicas,
        "replicas_current": found.current,
        "copies_read": found.read,
        "problems": found.problems,
    }


def _check_lines(found: Iterable[ShardCheck]) -> list[str]:
    rows = [("shard", "result", "copies read", "replicas", "epoch", "first group", "last group", "records", "messages")]
    rows += [
        (
            str(each.shard),
            "ok" if each.is_good else "damaged or incomplete",
            ", ".join(each.read) or "-",
            f"{each.current} of {each.replicas}",
            str(each.epoch),
            f"{each.first:,}",
            f"{each.last:,}",
            f"{each.records:,}",
            f"{each.messages:,}",
        )
        for each in found
    ]
    return table(rows, texts=3)


def _add_replace(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "replace",
        _replace,
        "let a node take the place of one that is gone",
        "Remove the NATS server of the node OLD, whose machine is gone for ever, so that the server of NEW gets "
        "its copies of the logs, and wait until it has them. Start NEW first. It is refused while OLD is there, or "
        "while any other server or copy is not whole. A machine that comes back with the same name does not need it.",
    )
    command.add_argument("old", metavar="OLD", type=text_from, help="name of the node that is gone")
    command.add_argument("new", metavar="NEW", type=text_from, help="name of the node that takes its place")
    command.add_argument(
        "--data", metavar="DIR", type=Path, required=True, help="folder of a node that runs on this machine"
    )
    command.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds_from(0, 86_400),
        default=600.0,
        help="longest time to wait until all copies are there (default 600)",
    )
    add_yes_option(command)
    add_json_option(command)


def _replace(options: argparse.Namespace) -> int:
    from wonderq.cluster_tools.logs import open_logs  # noqa: PLC0415
    from wonderq.cluster_tools.replace import Replacement  # noqa: PLC0415

    with open_logs(_servers(options)) as logs:
        replacement = Replacement(logs, _servers(options, system=True), options.old, options.new)
        is_there = replacement.check()
        if is_there:
            confirm(options, f"remove the NATS server {options.old} from the cluster for ever")
        done = replacement.carry_out(wait_s=options.wait, is_to_be_removed=is_there, tell=_tell)
    if options.json:
        write_json([{"old": options.old, "new": options.new, "removed": done.removed, "streams": done.streams}])
    else:
        print_lines([f"ok: {options.new} has taken the place of {options.old}, and all copies are there"])
    return OK


def _tell(complete: int, count: int) -> None:
    if is_terminal(sys.stderr):
        note(f"{complete} of {count} streams have all of their copies")
