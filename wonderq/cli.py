"""The `wonderq` command."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from wonderq import __version__
from wonderq.config import ConfigError, Settings, load
from wonderq.serve import StartError, serve, set_up_logging

#: Exit codes.
OK, REFUSED, USAGE, UNREACHABLE, NOTHING = 0, 1, 2, 3, 4


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="wonderq", description="A durable message broker.")
    parser.add_argument("--version", action="version", version=f"wonderq {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    options = parser.parse_args(arguments)
    result: int = options.run(options)
    return result


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "serve",
        help="run a broker",
        description="Run a broker until SIGTERM or Ctrl-C. Each option is also a WONDERQ_* variable and a key in the "
        "configuration file; the option wins over the variable, and that over the file.",
    )
    for each in fields(Settings):
        command.add_argument(
            "--" + each.name.replace("_", "-"),
            metavar=each.metadata["metavar"],
            default=argparse.SUPPRESS,
            help=each.metadata["help"],
        )
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")
    command.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    command.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    set_up_logging(options.log_level)
    names = {each.name for each in fields(Settings)}
    flags = {name: value for name, value in vars(options).items() if name in names}
    try:
        serve(load(flags, os.environ, options.config))
    except ConfigError as error:
        print(f"wonderq: {error}", file=sys.stderr)
        return USAGE
    except StartError as error:
        print(f"wonderq: {error}", file=sys.stderr)
        return REFUSED
    return OK
