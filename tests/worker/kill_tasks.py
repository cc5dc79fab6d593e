"""The tasks of `tests.worker.kill_cycles`, and the notes that they leave in files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

QUEUE, DEAD_LETTERS, STEADY_QUEUE = "jobs", "dead", "steady"

#: Lease of the tasks that are killed, in seconds: long beside any pause of a busy machine, so that only a kill ends a claim.
LEASE_S = 4

#: Lease of the steady tasks, in seconds, as long for the same reason. A handler that runs for longer keeps it only by renewals.
STEADY_LEASE_S = 4

_BEGIN = """
import asyncio, os, time
from pathlib import Path
import wonderq

HERE = Path(__file__).parent
notes = os.open(HERE / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(what, ctx, name):
    os.write(notes, f"{what} {ctx.id} {ctx.tries} {name}\\n".encode())
"""

#: No try is the last one.
TASKS = (
    _BEGIN
    + f"""
app = wonderq.App(queue="{QUEUE}")
options = {{"lease": {LEASE_S}, "retries": 1000, "dead_letters": "{DEAD_LETTERS}"}}

@app.task(**options)
def in_thread(seconds: float, name: str, ctx: wonderq.Context) -> None:
    note("began", ctx, name)
    time.sleep(seconds)
    note("ended", ctx, name)

@app.task(**options)
async def in_loop(seconds: float, name: str, ctx: wonderq.Context) -> None:
    note("began", ctx, name)
    await asyncio.sleep(seconds)
    note("ended", ctx, name)

@app.task(backoff=(0.05, 0.05), **options)
def fails(seconds: float, name: str, ctx: wonderq.Context) -> None:
    note("failed", ctx, name)
    time.sleep(seconds)
    if ctx.tries < 2:
        raise OSError("no route")
    note("ended", ctx, name)

@app.task(**options)
def hopeless(seconds: float, name: str, ctx: wonderq.Context) -> None:
    note("began", ctx, name)
    time.sleep(seconds)
    note("ended", ctx, name)
    raise wonderq.Dead(f"{{ctx.id}} is hopeless")
"""
)

#: Relative frequency of each task among the sends.
SHARES = {"in_thread": 9, "in_loop": 9, "fails": 2, "hopeless": 2}

STEADY_TASKS = (
    _BEGIN
    + f"""
app = wonderq.App(queue="{STEADY_QUEUE}")

@app.task(lease={STEADY_LEASE_S}, retries=1000)
def computes(seconds: float, name: str, ctx: wonderq.Context) -> None:
    note("began", ctx, name)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        sum(range(1000))
    note("ended", ctx, name)

@app.task(lease={STEADY_LEASE_S}, retries=1000)
def waits(name: str, ctx: wonderq.Context) -> None:
    note("began", ctx, name)
    while not (HERE / name).exists():
        time.sleep(0.01)
    note("ended", ctx, name)
"""
)


class Note(NamedTuple):
    """A line that a handler wrote."""

    what: str
    """``began`` and ``ended``, or for the task that fails ``failed`` at its begin."""
    id: str
    tries: int
    name: str
    """Unique argument of the send."""


def read_notes(folder: Path) -> list[Note]:
    """Return all notes of the tasks in a folder."""
    path = folder / "notes"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Note(what, message_id, int(tries), name) for what, message_id, tries, name in lines]


def begins(notes: Iterable[Note]) -> list[Note]:
    """Return the notes of handlers that began."""
    return [note for note in notes if note.what in ("began", "failed")]
