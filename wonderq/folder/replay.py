"""Replaying a log for the tools, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wonderq.folder.lock import FolderError
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import CorruptLogError


class UnusableLogError(FolderError):
    """The log's records contradict each other, or are not all there."""


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Say what to do about a log that cannot be read."""
    advice = f"Nothing was changed. 'wonderq repair {folder} NEW' salvages what verifies into a new folder"
    try:
        yield
    except CorruptLogError as error:
        error.add_note(f"({advice})")
        raise
    except UnreadableRecordError as error:
        raise UnusableLogError(f"{error}. {advice}") from error
