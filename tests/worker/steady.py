"""A worker that nobody kills: its handlers keep their claims while they compute, and lose them when it is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.cutting_proxy import CuttingProxy
from tests.support.waiting import eventually
from tests.worker import kill_verdict
from tests.worker.kill_tasks import STEADY_LEASE_S, STEADY_QUEUE, STEADY_TASKS, Note, read_notes
from tests.worker.processes import WorkerProcess
from wonderq.client.sync import Client

#: Handlers at a time. One slot is left, so that there is a long poll.
_HANDLERS = 3


class SteadyWorker:
    """A worker behind a gate."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        (folder / "tasks.py").write_text(STEADY_TASKS)
        self._folder = folder
        self._gate = CuttingProxy(port, 0, most_bytes=None)
        self._gate.__enter__()
        self._worker = WorkerProcess(folder, self._gate.url, "--concurrency", str(_HANDLERS + 1))
        self._worker.ready()
        self._names = 0
        self._read_bytes = 0

    def close(self) -> None:
        self._worker.kill()
        self._gate.__exit__()

    def compute(self, client: Client) -> set[str]:
        """Send tasks that use the processor for longer than their lease; return their names."""
        names = {self._new_name() for _ in range(_HANDLERS)}
        for name in names:
            client.queue(STEADY_QUEUE).send({"task": "computes", "args": [1.5 * STEADY_LEASE_S, name]})
        return names

    def judge_computing(self, names: set[str]) -> Iterator[str]:
        """Wait for the ends of `compute`, and yield what is wrong."""
        eventually(lambda: self._ended(names) == names, "the ends of the handlers that compute")
        yield from kill_verdict.of_healthy_handlers(self._notes(names), self._new_log())

    def lose_claims(self, client: Client) -> Iterator[str]:
        """Cut the worker off for longer than a lease, and yield what is wrong.

        Meanwhile the queue is paused. So nobody else has the messages, and the broker would accept an acknowledgement.
        """
        queue = client.queue(STEADY_QUEUE)
        names = {self._new_name() for _ in range(_HANDLERS)}
        for name in names:
            queue.send({"task": "waits", "args": [name]})
        eventually(lambda: len(self._notes(names)) == len(names), "the handlers that wait")
        queue.configure(paused=True)
        self._gate.close_gate()
        eventually(lambda: queue.count("unprocessed") == len(names), "the end of the claims")
        eventually(lambda: self._worker.log().count("the lease was lost", self._read_bytes) == len(names), "a warning")
        lost = self._notes(names)
        for name in names:
            (self._folder / name).touch()
        eventually(lambda: self._ended(names) == names, "the ends of the handlers that lost their claims")
        self._gate.open_gate()
        eventually(lambda: self._is_polling(client), "the worker to be back, with all that it acknowledges")
        queue.configure(paused=False)
        self._handle_another(client)
        eventually(lambda: not any(queue.info().counts.values()), "the queue to be empty")
        self._new_log()
        yield from kill_verdict.of_lost_claims(lost, self._notes(names))

    def _is_polling(self, client: Client) -> bool:
        found = client.call("GET", f"/queues/{STEADY_QUEUE}?figures=true", dict[str, Any])
        return bool(found["figures"]["consumers"])

    def _handle_another(self, client: Client) -> None:
        """Wait until the worker has handled a message that is sent now, and has settled all before."""
        name = self._new_name()
        (self._folder / name).touch()
        client.queue(STEADY_QUEUE).send({"task": "waits", "args": [name]})
        eventually(lambda: self._ended({name}) == {name}, "the worker to go on")

    def _new_name(self) -> str:
        self._names += 1
        return f"steady-{self._names}"

    def _notes(self, names: set[str]) -> list[Note]:
        return [note for note in read_notes(self._folder) if note.name in names]

    def _ended(self, names: set[str]) -> set[str]:
        """Return the names whose handlers have ended, on whichever try."""
        return {note.name for note in self._notes(names) if note.what == "ended"}

    def _new_log(self) -> str:
        """Return what the worker has logged since the last call."""
        log = self._worker.log()
        new, self._read_bytes = log[self._read_bytes :], len(log)
        return new
