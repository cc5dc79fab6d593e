"""The `wonderq` command: parse arguments, run a command, turn its outcome into an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from wonderq import __version__
from wonderq.cli import (
    clock,
    cluster,
    copies,
    demo,
    folders,
    keys,
    messages,
    nats,
    queues,
    serve,
    tasks,
    top,
    topics,
    worker,
)
from wonderq.cli.arguments import (
    EXIT_CODES,
    INTERRUPTED,
    PIPE_CLOSED,
    REFUSED,
    UNREACHABLE,
    USAGE,
    Parser,
    fail,
)
from wonderq.cli.line_batches import InputError
from wonderq.cli.output import set_up_output
from wonderq.client.errors import Refused, Unreachable
from wonderq.config import ConfigError
from wonderq.folder.lock import FolderError
from wonderq_storage import StorageError
from wonderq_storage.errors import remedy

_COMMAND_MODULES = (
    serve,
    messages,
    queues,
    topics,
    top,
    tasks,
    worker,
    keys,
    folders,
    copies,
    clock,
    nats,
    cluster,
    demo,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    set_up_output()
    options = build_parser().parse(arguments)
    if options.run not in (serve.run, cluster.start):
        if sys.stdout is None:
            advice = "To discard the output, redirect it to /dev/null"
            return fail(f"standard output is closed, so nothing was done. {advice}", REFUSED)
        # Only a broker logs. A command reports what it finds in a log through its own output.
        logging.getLogger("wonderq").addHandler(logging.NullHandler())
    serve.raise_file_limit()
    return _run(options)


def build_parser() -> Parser:
    """Return the parser of the command line, with all commands."""
    parser = Parser(
        prog="wonderq",
        description="A durable message broker.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wonderq {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in _COMMAND_MODULES:
        module.add_to(subparsers)
    return parser


def _run(options: argparse.Namespace) -> int:
    """Run the chosen command; print its error, if any, and return the exit code."""
    try:
        code: int = options.run(options)
    except ConfigError as error:
        return fail(str(error), USAGE)
    except (Refused, InputError, StorageError, FolderError) as error:
        return fail(_with_notes(error), REFUSED)
    except Unreachable as error:
        hint = "Is a broker running there? Start one with 'wonderq serve'"
        return fail(f"{_with_notes(error)}. {hint}", UNREACHABLE)
    except UnicodeEncodeError:  # of a path or a message in the arguments
        advice = "Pass text in the locale's encoding, or set LC_ALL=C.UTF-8"
        return fail(f"an argument is not text in the encoding of this locale. {advice}", USAGE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:
        reason = error.strerror or str(error)
        if not isinstance(error, FileNotFoundError):
            reason += f". {remedy(error)}"
        if error.filename is None:  # every other error names its file
            _discard_output()
            return fail(f"standard output cannot be written: {reason}", REFUSED)
        return fail(f"{error.filename}: {reason}", REFUSED)
    return code


def _with_notes(error: Exception) -> str:
    sentences = [str(error), *getattr(error, "__notes__", ())]
    return " ".join(f"{sentence.removesuffix('.')}." for sentence in sentences).removesuffix(".")


def _discard_output() -> None:
    """Redirect buffered output to /dev/null, so that the interpreter's final flush does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
