"""The verb `reset-clock` of the noun `folder`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wonderq.cli.arguments import Verbs, add_json_option, add_verb
from wonderq.cli.exit_codes import OK
from wonderq.cli.output import print_lines, write_json
from wonderq.terminal import Progress

if TYPE_CHECKING:
    from wonderq.folder.reset_clock import Reset


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    command = add_verb(
        verbs,
        "reset-clock",
        _run,
        "take times of the future out of the folder of a stopped broker",
        "If the log in DIR was written while the system's clock was ahead, the broker stays ahead too. This command "
        "rewrites the log so that the broker continues at the time of the system's clock, which must be right now. All "
        "messages, ids and receipts stay. Claims and delays that began under the wrong clock keep the time that they "
        "had left, and schedules continue with their next time from now. You can interrupt the command at any moment. "
        "The disk needs free space for one new segment and the live messages of one old segment.",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="folder of the log")
    command.add_argument("--dry-run", action="store_true", help="only compare the times; change nothing")
    add_json_option(command)


def _run(options: argparse.Namespace) -> int:
    from wonderq.folder.reset_clock import examine, reset_clock  # noqa: PLC0415
    from wonderq.model.times import iso_time  # noqa: PLC0415

    if options.dry_run:
        done = examine(options.folder)
    else:
        with Progress("segments rewritten") as progress:
            done = reset_clock(options.folder, progress.add)
    if options.json:
        shown = {"dry_run": options.dry_run, "messages": done.messages}
        times = {"system_at": iso_time(done.now_ms), "log_at": iso_time(done.newest_ms)}
        write_json([{**shown, **times, "ahead_ms": max(done.ahead_ms, 0)}])
    else:
        print_lines(_lines(done, dry_run=options.dry_run))
    return OK


def _lines(done: Reset, *, dry_run: bool) -> Iterator[str]:
    from datetime import timedelta  # noqa: PLC0415

    from wonderq.model.times import iso_time  # noqa: PLC0415

    yield f"messages  {done.messages:,}"
    yield f"system    {iso_time(done.now_ms)}"
    ahead = f", which was {timedelta(seconds=done.ahead_ms // 1000)} ahead" if done.ahead_ms > 0 else ""
    yield f"log       {iso_time(done.newest_ms)}{ahead}"
    if not ahead:
        yield "nothing to reset: the log has no time of the future"
    yield "nothing was changed" if dry_run else "ok"
