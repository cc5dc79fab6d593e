"""The command `wonderq serve`."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from wonderq.cli.arguments import Parser, fail
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.settings import add_settings, flags_of
from wonderq.config import Settings, load_with_sources
from wonderq.runtime.signals import Signals


def serve(command: Parser) -> None:
    """Describe `wonderq serve`."""
    command.describe(
        "Run a broker until SIGTERM or Ctrl-C. SIGHUP lets it read its keys again. Each option is also a WONDERQ_* "
        "variable (--data: WONDERQ_DATA) and a key in the configuration file. An option overrides the variable, and "
        "the variable overrides the file.",
        run,
    )
    add_settings(command, Settings)
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")


def run(options: argparse.Namespace) -> int:
    """Run a broker."""
    with Signals() as signals:
        return _serve(options, signals)
    return OK  # stopped during the start


def _serve(options: argparse.Namespace, signals: Signals) -> int:
    # Not at the top: loading the server's libraries takes longer than sending a message.
    from wonderq.logs import set_up_logging  # noqa: PLC0415
    from wonderq.serve import StartError, validate  # noqa: PLC0415
    from wonderq.serve import serve as serve_broker  # noqa: PLC0415

    flags = flags_of(options, {each.name for each in fields(Settings)})
    try:
        settings, sources = load_with_sources(flags, os.environ, options.config)
        with closing(set_up_logging(settings.log_level, settings.log_format)):
            validate(settings)
            if settings.log is None:
                serve_broker(settings, signals, sources)
            else:
                from wonderq.serve_shared import serve_shared  # noqa: PLC0415 - loads the client of NATS

                serve_shared(settings, signals, sources)
    except StartError as error:
        return fail(str(error), REFUSED)
    return OK
