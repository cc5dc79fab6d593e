"""The command `wonderq reset-clock`."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

from wonderq.cli.arguments import OK, Subparsers, add_command
from wonderq.terminal import Progress


def add_to(subparsers: Subparsers) -> None:
    """Add the command."""
    command = add_command(
        subparsers,
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


def _run(options: argparse.Namespace) -> int:
    from wonderq.folder.reset_clock import examine, reset_clock  # noqa: PLC0415
    from wonderq.model.times import iso_time  # noqa: PLC0415

    if options.dry_run:
        done = examine(options.folder)
    else:
        with Progress("segments rewritten") as progress:
            done = reset_clock(options.folder, progress.add)
    print(f"messages  {done.messages:,}")
    print(f"system    {iso_time(done.now_ms)}")
    print(f"log       {iso_time(done.newest_ms)}", end="")
    if done.ahead_ms <= 0:
        print("\nnothing to reset: the log has no time of the future")
    else:
        print(f", which was {timedelta(seconds=done.ahead_ms // 1000)} ahead")
    print("nothing was changed" if options.dry_run else "ok", flush=True)
    return OK
