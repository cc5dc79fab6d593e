"""The command `top`: the overview in a terminal, drawn anew every few seconds."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wonderq.cli.arguments import Parser, add_json_option, text_from
from wonderq.cli.client_options import add_broker_options, client_from, seconds_from
from wonderq.cli.exit_codes import OK
from wonderq.cli.output import print_lines, write_json
from wonderq.model.queue_orders import QUEUE_ORDERS
from wonderq.terminal import counted, human_seconds, is_terminal, table

if TYPE_CHECKING:
    from wonderq.client.sync import Client

_Object = dict[str, Any]

#: Moves the cursor to the upper left corner and clears the screen (ECMA-48).
_CLEAR = "\x1b[H\x1b[2J"

#: Lines besides those of the queues and the problems: sums, rates, blank lines, the heading.
_OTHER_LINES = 7

_MOST_PROBLEMS = 5

#: Queues where the size of the terminal is not known.
_QUEUES = 20


def top(command: Parser) -> None:
    """Describe `wonderq top`."""
    command.describe(
        "Show what needs somebody, the sums and rates of all queues, and the queues with the largest figures, until "
        "Ctrl-C. Without a terminal, print this once.",
        _top,
    )
    add_broker_options(command)
    command.add_argument(
        "--sort", choices=QUEUE_ORDERS, default="unprocessed", help="figure that decides (default unprocessed)"
    )
    command.add_argument(
        "--prefix", metavar="TEXT", type=text_from, default="", help="only queues whose names begin with this"
    )
    command.add_argument(
        "--every", metavar="S", type=seconds_from(0.1), default=2.0, help="seconds between two pictures (default 2)"
    )
    command.add_argument("--once", action="store_true", help="print one picture and end")
    add_json_option(command, "one picture as a JSON object, and end")


def _top(options: argparse.Namespace) -> int:
    repeats = is_terminal(sys.stdout) and not options.once
    with client_from(options) as client:
        if options.json:
            overview, queues = _figures(client, options.sort, options.prefix, _QUEUES)
            write_json([{"overview": overview, "queues": queues}])
            return OK
        while True:
            rows = shutil.get_terminal_size().lines - _OTHER_LINES if repeats else _QUEUES
            lines = list(_picture(client, options.sort, options.prefix, max(rows, 5)))
            if repeats:
                sys.stdout.write(_CLEAR)
            print_lines(lines)
            if not repeats:
                return OK
            time.sleep(options.every)


def _figures(client: Client, sort: str, prefix: str, rows: int) -> tuple[_Object, list[_Object]]:
    """Return the overview, and as many queues as leave room for its problems in ``rows`` lines."""
    from wonderq.client import administration  # noqa: PLC0415 - the client is not loaded for other commands

    overview = client.do(administration.overview())
    shown = min(len(overview["problems"]), _MOST_PROBLEMS)
    return overview, client.do(administration.largest_queues(sort, prefix, max(rows - shown, 1)))


def _picture(client: Client, sort: str, prefix: str, rows: int) -> Iterator[str]:
    """Yield the lines of one picture, whose queues and problems have at most ``rows`` lines."""
    overview, queues = _figures(client, sort, prefix, rows)
    problems = overview["problems"]
    shown = problems[:_MOST_PROBLEMS]
    counts, rates = overview["counts"], overview["per_second"]["10s"]
    yield (
        f"{counts['unprocessed']:,} waiting, {counts['processing']:,} in flight, {counts['delayed']:,} delayed, "
        f"{counted(overview['dead_letters'], 'dead letter')} in {counted(overview['queues'], 'queue')}"
    )
    yield (
        f"{_rate(rates['produced'])} in/s, {_rate(rates['claimed'])} claimed/s, {_rate(rates['deleted'])} done/s; "
        f"{counted(overview['consumers'], 'waiting consumer')}"
    )
    yield ""
    yield from (f"{each['severity'].upper():8} {each['message']}" for each in shown)
    more = len(problems) - len(shown) + overview.get("more_problems", 0)  # an older broker does not tell
    if more:
        yield f"and {more:,} more"
    if not problems:
        yield "Nothing needs you."
    yield ""
    yield from table([_HEADING, *map(_row, queues)])


_HEADING = ("QUEUE", "WAITING", "IN FLIGHT", "DELAYED", "BURIED", "OLDEST", "IN/S", "DONE/S")


def _row(queue: _Object) -> tuple[str, ...]:
    counts, figures = queue["counts"], queue["figures"]
    age, rates = figures["oldest_waiting_age"], figures["per_second"]
    return (
        queue["queue"] + (" (paused)" if queue["settings"]["paused"] else ""),
        *(f"{counts[name]:,}" for name in ("unprocessed", "processing", "delayed", "buried")),
        "-" if age is None else human_seconds(age),
        *("-" if rates is None else _rate(rates[name]) for name in ("produced", "deleted")),
    )


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 or not per_second else f"{per_second:.1f}"
