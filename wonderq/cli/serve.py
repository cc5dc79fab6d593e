"""The command `wonderq serve`."""

from __future__ import annotations

import argparse
import os
import resource
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from wonderq.cli.arguments import (
    OK,
    REFUSED,
    Subparsers,
    add_command,
    fail,
)
from wonderq.config import Settings, as_text, load_with_sources
from wonderq.runtime.signals import Signals, StopRequested

#: Limits on open files to try where the system refuses to lift its own. macOS accepts the last one (OPEN_MAX).
_FILE_LIMITS = (1 << 20, 1 << 16, 10240)


def raise_file_limit() -> None:
    """Raise the limit on open files: each segment and each connection needs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (hard, resource.RLIM_INFINITY):
        return
    lower = (each for each in _FILE_LIMITS if each > soft and (hard == resource.RLIM_INFINITY or each < hard))
    for limit in (hard, *lower):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return


def add_to(subparsers: Subparsers) -> None:
    """Add the command."""
    command = add_command(
        subparsers,
        "serve",
        run,
        "run a broker",
        "Run a broker until SIGTERM or Ctrl-C. SIGHUP lets it read its keys again. Each option is also a WONDERQ_* "
        "variable (--data: WONDERQ_DATA) and a key in the configuration file. An option overrides the variable, and "
        "the variable overrides the file.",
    )
    for each in fields(Settings):
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(each.default, bool) else {}
        if each.metadata["separator"] == "\n":
            switch["action"] = "append"
        command.add_argument(
            "--" + each.name.replace("_", "-"),
            metavar=each.metadata["metavar"],
            default=argparse.SUPPRESS,
            help=f"{each.metadata['help']} (default {as_text(each.default)})",
            **switch,
        )
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")


def run(options: argparse.Namespace) -> int:
    """Run a broker."""
    with Signals() as signals:
        try:
            return _serve(options, signals)
        except StopRequested:
            return OK


def _serve(options: argparse.Namespace, signals: Signals) -> int:
    # Not at the top: loading the server's libraries takes longer than sending a message.
    from wonderq.logs import set_up_logging  # noqa: PLC0415
    from wonderq.serve import StartError, serve, validate  # noqa: PLC0415

    names = {each.name for each in fields(Settings)}
    flags = {
        name: "\n".join(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name in names
    }
    try:
        settings, sources = load_with_sources(flags, os.environ, options.config)
        with closing(set_up_logging(settings.log_level, settings.log_format)):
            validate(settings)
            if settings.log is None:
                serve(settings, signals, sources)
            else:
                from wonderq.serve_shared import serve_shared  # noqa: PLC0415 - loads the client of NATS

                serve_shared(settings, signals, sources)
    except StartError as error:
        return fail(str(error), REFUSED)
    return OK
