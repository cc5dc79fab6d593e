"""Kill workers, senders and their broker at random under a stream of tasks, and check that every task is handled:

    python -m tests.worker.kill_cycles --cycles 10 [--seed S]

Workers and senders reach the broker through a proxy that cuts their connections in the middle of requests and answers. A
cycle has three parts, each of which ends when its queue is empty:

1. Workers, senders and the broker are killed and stopped. Each send is there at most once, and each acknowledged one is
   handled to its end.
2. Workers are only stopped. So every message has to be at the first try that its handler leaves it, and a worker that has
   ended holds none. Meanwhile the handlers of a worker that nobody stops compute for longer than their lease, and keep it.
3. That worker is cut off for longer than the lease of its handlers. None of them may be acknowledged.

Some handlers fail once. Others raise `Dead`, and each of their messages has to be a dead letter, once, with that error and
the name of its worker. Exit code 1 if a promise is broken, or if one of the mechanisms was never at work; the folder is
then kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker_process import BrokerProcess
from tests.support.cutting_proxy import CuttingProxy
from tests.support.mechanisms import answered
from tests.support.waiting import eventually
from tests.worker import kill_verdict
from tests.worker.kill_tasks import DEAD_LETTERS, QUEUE, TASKS, Note, begins, read_notes
from tests.worker.processes import WorkerProcess
from tests.worker.sender import SenderProcess, Sent
from tests.worker.steady import SteadyWorker
from wonderq.client.sync import Client

WORKERS = 3
SENDERS = 2

#: Most bytes of a connection in one direction until it is cut.
_MOST_BYTES = 20_000

#: Mechanisms that a run has to exercise.
MECHANISMS = (
    "acknowledged sends",
    "kills of workers",
    "kills of senders",
    "clean stops of workers",
    "clean stops without a broker",
    "kills of the broker",
    "stops of the broker",
    "cut connections",
    "redeliveries",
    "messages given back",
    "failed tries",
    "dead letters",
    "claims ended and made in one request",
    "handlers that kept their claims",
    "handlers that lost their claims",
)


class Run:
    """All cycles, on one folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.figures: Counter[str] = Counter()
        self.violations: list[str] = []
        (folder / "tasks.py").write_text(TASKS)
        self._broker = BrokerProcess(folder / "data")
        self.url = self._broker.ready()
        port = int(self.url.rpartition(":")[2])
        with Client(self.url) as client:
            client.queue(QUEUE).configure(dead_letter_queue=DEAD_LETTERS)
            client.queue(DEAD_LETTERS).configure()
        self._proxy = CuttingProxy(port, seed, most_bytes=_MOST_BYTES)
        self._proxy.__enter__()
        self._senders: list[SenderProcess] = []
        self._begun: set[str] = set()
        self._acknowledged: dict[str, Sent] = {}
        self._workers = [self._new_worker() for _ in range(WORKERS)]
        self._steady = SteadyWorker(folder / "steady", port)
        self._stopped: set[int] = set()

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        for sender in self._senders:
            sender.kill()
        self._steady.close()
        self._proxy.__exit__()
        self._broker.kill()

    def cycle(self) -> None:
        """Run all parts, and judge them."""
        disturbances: list[Callable[[], None]] = [
            self._kill_worker,
            self._kill_worker,
            self._kill_sender,
            self._stop_worker,
            self._kill_broker,
            self._stop_broker,
            self._stop_worker_without_a_broker,
        ]
        self.random.shuffle(disturbances)
        with Client(self.url) as client:
            self._part(client, disturbances, only_first_tries=False)
            names = self._steady.compute(client)
            self._part(client, [self._stop_worker] * 4, only_first_tries=True)
            self._violate(self._steady.judge_computing(names))
            self.figures["handlers that kept their claims"] += len(names)
            self._violate(self._steady.lose_claims(client))
            self.figures["handlers that lost their claims"] += len(names)
        self.figures["cycles"] += 1

    def _part(self, client: Client, disturbances: Sequence[Callable[[], None]], *, only_first_tries: bool) -> None:
        before, connections = len(read_notes(self.folder)), self._proxy.connections
        self._stopped = set()
        self._senders = [self._new_sender() for _ in range(SENDERS)]
        for sender in self._senders:
            sender.ready()
        for disturb in disturbances:
            time.sleep(self.random.uniform(0.05, 0.5))
            disturb()
        acknowledged: dict[str, Sent] = {}
        for sender in self._senders:
            sender.stop()
            acknowledged |= self._count(sender)
        if only_first_tries:
            self._violate(kill_verdict.of_stopped_workers(self._stopped, client.queue(QUEUE).look(status="processing")))
        try:
            eventually(lambda: self._left(client) == 0, "the queue to be empty")
        except AssertionError:
            self._violate([f"{self._left(client)} messages are left in the queue"])
        notes = read_notes(self.folder)
        self._violate(kill_verdict.of_sends(self._begun, self._acknowledged, notes))
        if only_first_tries:
            self._violate(kill_verdict.of_first_tries(notes[before:]))
        self._judge_dead_letters(client, acknowledged, notes[before:])
        self._add_figures(notes[before:])
        self.figures["acknowledged sends"] += len(acknowledged)
        self.figures["cut connections"] += self._proxy.connections - connections
        self.figures["claims ended and made in one request"] += answered(self.url, "/messages/next")

    def _left(self, client: Client) -> int:
        return sum(client.queue(QUEUE).info().counts.values())

    def _add_figures(self, notes: Sequence[Note]) -> None:
        began = [note for note in notes if note.what == "began"]
        self.figures["handlers"] += len(begins(notes))
        self.figures["failed tries"] += sum(note.what == "failed" and note.tries == 1 for note in notes)
        self.figures["redeliveries"] += len(began) - len({note.id for note in began})

    def _judge_dead_letters(self, client: Client, acknowledged: dict[str, Sent], notes: Sequence[Note]) -> None:
        """Judge the dead letters, and remove them."""
        hopeless = {sent.id for sent in acknowledged.values() if sent.task == "hopeless"}
        letters = list(client.queue(DEAD_LETTERS).look())
        self._violate(kill_verdict.of_dead_letters(hopeless, letters, {note.id for note in notes}))
        self.figures["dead letters"] += len(letters)
        client.queue(DEAD_LETTERS).purge()

    def _violate(self, texts: Iterable[str]) -> None:
        self.violations += [f"cycle {self.figures['cycles'] + 1}: {text}" for text in texts]

    # Events of senders, workers and the broker

    def _new_sender(self) -> SenderProcess:
        self.figures["senders"] += 1
        name = f"sender-{self.figures['senders']}"
        return SenderProcess(self._proxy.url, self.folder, name, self.random.randrange(1 << 32))

    def _count(self, sender: SenderProcess) -> dict[str, Sent]:
        """Note the sends of a sender that has ended, and return those that were acknowledged."""
        begun, acknowledged = sender.sends()
        self._begun |= begun
        self._acknowledged |= acknowledged
        return acknowledged

    def _kill_sender(self) -> None:
        number = self.random.randrange(SENDERS)
        self._senders[number].kill()
        self._count(self._senders[number])
        self._senders[number] = self._new_sender()
        self._senders[number].ready()
        self.figures["kills of senders"] += 1

    def _new_worker(self) -> WorkerProcess:
        return WorkerProcess(self.folder, self._proxy.url, "--grace", "0.2")

    @contextmanager
    def _replaced_worker(self) -> Iterator[WorkerProcess]:
        """Yield a worker that ends in the block; another one takes its place."""
        number = self.random.randrange(WORKERS)
        worker = self._workers[number]
        yield worker
        self.figures["messages given back"] += worker.log().count(" given back after ")
        self._workers[number] = self._new_worker()

    def _kill_worker(self) -> None:
        with self._replaced_worker() as worker:
            worker.kill()
        self.figures["kills of workers"] += 1

    def _stop_worker(self) -> None:
        with self._replaced_worker() as worker:
            worker.ready()
            self._stop(worker)
        self._stopped.add(worker.process.pid)
        self.figures["clean stops of workers"] += 1

    def _stop_worker_without_a_broker(self) -> None:
        with self._replaced_worker() as worker:
            worker.ready()
            self._broker.kill()
            self._stop(worker)
            self._start_broker()
        self.figures["clean stops without a broker"] += 1

    def _stop(self, worker: WorkerProcess) -> None:
        worker.stop()
        code = worker.wait()
        if code != 0:
            self._violate([f"a worker stopped with exit code {code}: {worker.log()[-2000:]}"])

    def _kill_broker(self) -> None:
        self._broker.kill()
        self._start_broker()
        self.figures["kills of the broker"] += 1

    def _stop_broker(self) -> None:
        code = self._broker.terminate()
        if code != 0:
            self._violate([f"the broker stopped with exit code {code}: {self._broker.log()[-2000:]}"])
        self._start_broker()
        self.figures["stops of the broker"] += 1

    def _start_broker(self) -> None:
        time.sleep(self.random.uniform(0, 0.5))
        self._broker = BrokerProcess(self.folder / "data", "--listen", self.url.removeprefix("http://"))
        self._broker.ready()


def run_cycles(folder: Path, cycles: int, seed: int, say: Callable[[str], None]) -> list[str]:
    """Run cycles until a promise is broken; return what was broken, and the mechanisms that were never at work."""
    run = Run(folder, seed)
    try:
        while run.figures["cycles"] < cycles and not run.violations:
            run.cycle()
            say(", ".join(f"{name} {run.figures[name]}" for name in ("cycles", "handlers", *MECHANISMS)))
    finally:
        run.close()
    return run.violations or [f"the run has no {name}" for name in MECHANISMS if not run.figures[name]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.worker.kill_cycles", description=__doc__)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are ended too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-worker-kills-"))
    began_s = time.monotonic()
    violations = run_cycles(folder, given.cycles, seed, lambda text: print(text, flush=True))
    print(f"{len(violations)} violations, {time.monotonic() - began_s:.0f} s")
    if violations:
        for violation in violations:
            print(violation)
        print(f"the folder with all logs is kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
