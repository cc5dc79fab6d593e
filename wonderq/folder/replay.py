"""Replay errors, with advice for the user of a folder tool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wonderq.folder.lock import FolderError
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import CorruptLogError


class UnusableLogError(FolderError):
    """The log's records contradict each other, or some are missing."""


@contextmanager
def explain_unreadable(folder: Path) -> Iterator[None]:
    """Add the way out, ``wonderq folder repair``, to errors about a log that cannot be replayed.

    Raises:
        CorruptLogError: the original error, with a note.
        UnusableLogError: replaces an `UnreadableRecordError`.
    """
    advice = f"Nothing was changed. 'wonderq folder repair {folder} NEW' salvages the intact records into a new folder"
    try:
        yield
    except CorruptLogError as error:
        error.add_note(f"({advice})")
        raise
    except UnreadableRecordError as error:
        raise UnusableLogError(f"{error}. {advice}") from error
