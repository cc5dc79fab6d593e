"""Exceptions as a sentence and an exit code. `main` imports this module only after an exception."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from wonderq.cli.arguments import fail
from wonderq.cli.exit_codes import INTERRUPTED, PIPE_CLOSED, REFUSED, UNREACHABLE, USAGE

#: Exit codes of exceptions that are a sentence for people. By name: an import of their modules would take longer than
#: the rest of a command that failed.
CODES = {
    "wonderq.cli.arguments.UsageError": USAGE,
    "wonderq.config.ConfigError": USAGE,
    "wonderq.cli.confirmation.DeclinedError": REFUSED,
    "wonderq.cli.line_batches.InputError": REFUSED,
    "wonderq.client.errors.Refused": REFUSED,
    "wonderq.client.errors.Unreachable": UNREACHABLE,
    "wonderq.cluster.charter.CharterError": REFUSED,
    "wonderq.cluster_tools.logs.ClusterToolError": REFUSED,
    "wonderq.folder.lock.FolderError": REFUSED,
    "wonderq_storage.errors.StorageError": REFUSED,
}


def report(error: BaseException, arguments: Sequence[str]) -> int | None:
    """Print an error of a command with these arguments and return the exit code; return None for one that is a bug."""
    for each in type(error).__mro__:
        code = CODES.get(f"{each.__module__}.{each.__qualname__}")
        if code is not None:
            hint = ". Is a broker running there? Start one with 'wonderq serve'" if code == UNREACHABLE else ""
            return fail(_with_notes(error) + hint, code)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UnicodeEncodeError) and not all(map(_is_text, arguments)):
        advice = "Pass text in the locale's encoding, or set LC_ALL=C.UTF-8"
        return fail(f"an argument is not text in the encoding of this locale. {advice}", USAGE)
    if isinstance(error, BrokenPipeError):
        _discard_output()
        return PIPE_CLOSED
    return _report_os_error(error) if isinstance(error, OSError) else None


def _is_text(argument: str) -> bool:
    """Return whether the encoding of the locale has all characters of an argument."""
    try:
        argument.encode(sys.getfilesystemencoding())
    except UnicodeEncodeError:
        return False
    return True


def _report_os_error(error: OSError) -> int:
    from wonderq_storage.errors import remedy  # noqa: PLC0415

    reason = error.strerror or str(error)
    if not isinstance(error, FileNotFoundError):
        reason += f". {remedy(error)}"
    if error.filename is None:  # every other error names its file
        _discard_output()
        return fail(f"standard output cannot be written: {reason}", REFUSED)
    return fail(f"{error.filename}: {reason}", REFUSED)


def _with_notes(error: BaseException) -> str:
    sentences = [str(error), *getattr(error, "__notes__", ())]
    return " ".join(f"{sentence.removesuffix('.')}." for sentence in sentences).removesuffix(".")


def _discard_output() -> None:
    """Redirect buffered output to /dev/null, so that the interpreter's final flush does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
