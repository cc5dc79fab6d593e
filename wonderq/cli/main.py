"""The `wonderq` command: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from wonderq import __version__
from wonderq.cli import copies, demo, folders, keys, messages, queues, serve, streams, tasks
from wonderq.cli.arguments import (
    EXIT_CODES,
    INTERRUPTED,
    PIPE_CLOSED,
    REFUSED,
    UNREACHABLE,
    USAGE,
    fail,
)
from wonderq.client import RefusedError, UnreachableError
from wonderq.config import ConfigError
from wonderq.folder.lock import FolderError
from wonderq_storage import StorageError


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
    for module in (serve, messages, queues, tasks, keys, folders, copies, demo):
        module.add_to(subparsers)
    options = parser.parse_args(arguments)
    if options.run is not serve.run:
        if sys.stdout is None:
            advice = "If nobody is to read it, send it to /dev/null"
            return fail(f"standard output is closed, so nothing was done. {advice}", REFUSED)
        # Only a broker logs. What a command has to say of a log that it works on, it says itself.
        logging.getLogger("wonderq").addHandler(logging.NullHandler())
    serve.raise_file_limit()
    try:
        result: int = options.run(options)
    except ConfigError as error:
        return fail(str(error), USAGE)
    except (RefusedError, streams.InputError, StorageError, FolderError) as error:
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
