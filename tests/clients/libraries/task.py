"""The task of all workers. It notes its beginning and its end in the file that WORKER_NOTES names."""

from __future__ import annotations

import os
import time
from pathlib import Path

QUEUE = "work"


class TaskError(Exception):
    """A task failed, as its word asks for."""


def do(word: str) -> None:
    """Do the task of a word.

    A word that begins with ``bad`` always fails, one with ``once`` fails the first time, and one with ``slow`` takes an
    hour the first time.
    """
    notes = Path(os.environ["WORKER_NOTES"])
    with notes.open("a") as file:
        print("begins", word, file=file, flush=True)
    is_first = notes.read_text().splitlines().count(f"begins {word}") == 1
    if word.startswith("bad") or (word.startswith("once") and is_first):
        raise TaskError(word)
    if word.startswith("slow") and is_first:
        time.sleep(3600)
    with notes.open("a") as file:
        print("ends", word, file=file, flush=True)
