"""A program that sends tasks from several threads of one client, and notes what was acknowledged, until SIGTERM:

python -m tests.worker.sender URL FOLDER NAME SEED
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import clean_environment
from tests.support.waiting import PATIENCE_S, eventually
from tests.worker.kill_tasks import QUEUE, SHARES
from wonderq.client.errors import WonderQError
from wonderq.client.sync import Client

_ROOT = Path(__file__).parents[2]
_THREADS = 3


class Sent(NamedTuple):
    """A send that was acknowledged."""

    id: str
    task: str


def main(url: str, folder: str, name: str, seed: str) -> None:
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    notes = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def send(client: Client, thread: int) -> None:
        rng = random.Random(f"{seed} {thread}")
        number = 0
        while not done.wait(rng.uniform(0, 0.08)):
            number += 1
            unique = f"{name}-{thread}-{number}"
            seconds = rng.uniform(0, 0.1) if rng.random() < 0.85 else rng.uniform(0.5, 1.5)
            [task] = rng.choices(list(SHARES), list(SHARES.values()))
            os.write(notes, f"sends {unique}\n".encode())
            try:
                sent = client.queue(QUEUE).send({"task": task, "args": [seconds, unique]})
            except WonderQError:
                continue  # it may have arrived; nothing was promised
            os.write(notes, f"sent {unique} {sent.id} {task}\n".encode())

    with Client(url) as client:
        threads = [threading.Thread(target=send, args=(client, number)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class SenderProcess:
    """A sender in a process."""

    def __init__(self, url: str, folder: Path, name: str, seed: int) -> None:
        self._notes = folder / name
        command = [sys.executable, "-m", "tests.worker.sender", url, str(folder), name, str(seed)]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, env=clean_environment())

    def ready(self) -> None:
        """Wait until it sends, and handles signals."""
        eventually(self._notes.exists, "the first send")

    def stop(self) -> None:
        """Let it finish the sends under way, and wait for its end."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def sends(self) -> tuple[set[str], dict[str, Sent]]:
        """Return the names of all sends that were begun, and those that were acknowledged."""
        lines = [line.split() for line in self._notes.read_text().splitlines()] if self._notes.exists() else []
        begun = {rest[0] for what, *rest in lines if what == "sends"}
        return begun, {rest[0]: Sent(*rest[1:]) for what, *rest in lines if what == "sent"}


if __name__ == "__main__":
    main(*sys.argv[1:])
