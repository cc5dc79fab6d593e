"""Kill workers and their broker at random under a stream of tasks, and check that every task is handled:

    python -m tests.worker.kill_cycles --cycles 10 [--seed S]

A cycle has two parts. In the first one, workers and the broker are killed and stopped. In the second one, workers are only
stopped, so every message has to be at the first try that its handler leaves it. Some handlers fail once. Others raise `Dead`,
and each of their messages has to be a dead letter, once, with that error. Each part ends when the queue is empty. Exit code 1
if a promise is broken, or if one of the mechanisms was never at work; the folder is then kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.broker_process import BrokerProcess
from tests.support.mechanisms import answered
from tests.support.waiting import eventually
from tests.worker.processes import WorkerProcess
from wonderq.client.errors import WonderQError
from wonderq.client.sync import Client

QUEUE, DEAD_LETTERS = "jobs", "dead"
WORKERS = 3
SENDERS = 3

#: Mechanisms that a run has to exercise.
MECHANISMS = (
    "acknowledged sends",
    "kills of workers",
    "clean stops of workers",
    "clean stops without a broker",
    "kills of the broker",
    "stops of the broker",
    "redeliveries",
    "messages given back",
    "failed tries",
    "dead letters",
    "dead letters with the name of their worker",
    "claims ended and made in one request",
)

#: The lease is long beside any pause of a busy machine, so that only a kill ends a claim. No try is the last one.
_TASKS = """
import asyncio, os, time
from pathlib import Path
import wonderq

app = wonderq.App(queue="jobs")
notes = os.open(Path(__file__).with_name("notes"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(what, ctx):
    os.write(notes, f"{what} {ctx.id} {ctx.tries}\\n".encode())

@app.task(lease=8, retries=1000, dead_letters="dead")
def in_thread(ctx: wonderq.Context, seconds: float) -> None:
    note("began", ctx)
    time.sleep(seconds)
    note("ended", ctx)

@app.task(lease=8, retries=1000, dead_letters="dead")
async def in_loop(ctx: wonderq.Context, seconds: float) -> None:
    note("began", ctx)
    await asyncio.sleep(seconds)
    note("ended", ctx)

@app.task(lease=8, retries=1000, backoff=(0.05, 0.05), dead_letters="dead")
def fails(ctx: wonderq.Context, seconds: float) -> None:
    note("failed", ctx)
    time.sleep(seconds)
    if ctx.tries < 2:
        raise OSError("no route")
    note("ended", ctx)

@app.task(lease=8, retries=1000, dead_letters="dead")
def hopeless(ctx: wonderq.Context, seconds: float) -> None:
    note("began", ctx)
    time.sleep(seconds)
    note("ended", ctx)
    raise wonderq.Dead(f"{ctx.id} is hopeless")
"""

#: How often each task is sent.
_SHARES = {"in_thread": 9, "in_loop": 9, "fails": 2, "hopeless": 2}


class Note(NamedTuple):
    """A line that a handler wrote."""

    what: str
    id: str
    tries: int


class Senders:
    """Threads that send tasks, and keep the ids of those that were acknowledged."""

    def __init__(self, url: str, rng: random.Random) -> None:
        self._url = url
        self._done = threading.Event()
        self.acknowledged: dict[str, str] = {}
        """The task of each message that was acknowledged, by its id."""
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(rng.random()),), daemon=True)
            for _ in range(SENDERS)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, rng: random.Random) -> None:
        with Client(self._url) as client:
            while not self._done.wait(rng.uniform(0, 0.08)):
                seconds = rng.uniform(0, 0.1) if rng.random() < 0.85 else rng.uniform(0.5, 1.5)
                [task] = rng.choices(list(_SHARES), list(_SHARES.values()))
                call = {"task": task, "args": [seconds]}
                try:
                    sent = client.queue(QUEUE).send(call)
                except WonderQError:
                    continue  # it may have arrived; nothing was promised
                with self._lock:
                    self.acknowledged[sent.id] = task

    def stop(self) -> dict[str, str]:
        """End the stream, and return the task of each acknowledged message."""
        self._done.set()
        for thread in self._threads:
            thread.join()
        return self.acknowledged


class Run:
    """All cycles, on one folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.figures: Counter[str] = Counter()
        self.violations: list[str] = []
        (folder / "tasks.py").write_text(_TASKS)
        self._broker = BrokerProcess(folder / "data")
        self.url = self._broker.ready()
        with Client(self.url) as client:
            client.queue(QUEUE).configure(dead_letter_queue=DEAD_LETTERS)
            client.queue(DEAD_LETTERS).configure()
        self._workers = [self._new_worker() for _ in range(WORKERS)]

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._broker.kill()

    def cycle(self) -> None:
        """Run both parts, and judge them."""
        disturbances: list[Callable[[], None]] = [
            self._kill_worker,
            self._kill_worker,
            self._stop_worker,
            self._kill_broker,
            self._stop_broker,
            self._stop_worker_without_a_broker,
        ]
        self.random.shuffle(disturbances)
        self._part(disturbances, only_first_tries=False)
        self._part([self._stop_worker] * 4, only_first_tries=True)
        self.figures["cycles"] += 1

    def _part(self, disturbances: Sequence[Callable[[], None]], *, only_first_tries: bool) -> None:
        before = len(self._notes())
        senders = Senders(self.url, self.random)
        for disturb in disturbances:
            time.sleep(self.random.uniform(0.1, 1.0))
            disturb()
        acknowledged = senders.stop()
        with Client(self.url) as client:
            try:
                eventually(lambda: self._left(client) == 0, "the queue to be empty")
            except AssertionError:
                self._violate(f"{self._left(client)} messages are left in the queue")
            notes = self._notes()[before:]
            self._judge(set(acknowledged), notes, only_first_tries)
            hopeless = {message_id for message_id, task in acknowledged.items() if task == "hopeless"}
            self._judge_dead_letters(client, hopeless, {note.id for note in notes})
        self.figures["claims ended and made in one request"] += answered(self.url, "/messages/next")

    def _left(self, client: Client) -> int:
        return sum(client.queue(QUEUE).count(each) for each in ("unprocessed", "processing", "delayed", "buried"))

    def _judge(self, acknowledged: set[str], notes: Sequence[Note], only_first_tries: bool) -> None:
        began = [note for note in notes if note.what == "began"]
        unhandled = acknowledged - {note.id for note in notes if note.what == "ended"}
        if unhandled:
            self._violate(f"{len(unhandled)} acknowledged messages were not handled: {sorted(unhandled)[:5]}")
        failed = [note for note in notes if note.what == "failed"]
        burnt = [note for note in began if note.tries > 1] + [note for note in failed if note.tries > 2]
        if only_first_tries and burnt:
            self._violate(f"clean stops counted {len(burnt)} tries: {burnt[:5]}")
        self.figures["acknowledged sends"] += len(acknowledged)
        self.figures["handlers"] += len(began) + len(failed)
        self.figures["failed tries"] += sum(note.tries == 1 for note in failed)
        self.figures["redeliveries"] += len(began) - len({note.id for note in began})

    def _judge_dead_letters(self, client: Client, hopeless: set[str], handled: set[str]) -> None:
        """Require one dead letter of each hopeless message, with its error; and remove them."""
        letters = list(client.queue(DEAD_LETTERS).look())
        sources = Counter(each.dead_letter.id for each in letters if each.dead_letter is not None)
        lost, twice = hopeless - sources.keys(), [source for source, count in sources.items() if count > 1]
        if lost or twice or sources.keys() - handled:
            self._violate(f"lost dead letters {lost}, doubled {twice}, never handled {sources.keys() - handled}")
        for each in letters:
            source, error = each.dead_letter, each.last_error
            expected = None if source is None else (f"{source.id} is hopeless", source.receive_count)
            if error is None or (error.message, error.attempt) != expected:
                self._violate(f"a dead letter has another error than was raised: {each}")
            # The claim, and the name with it, may have ended while there was no broker.
            self.figures["dead letters with the name of their worker"] += error is not None and bool(error.consumer)
        self.figures["dead letters"] += len(letters)
        client.queue(DEAD_LETTERS).purge()

    def _notes(self) -> list[Note]:
        path = self.folder / "notes"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [Note(what, message_id, int(tries)) for what, message_id, tries in lines]

    def _violate(self, text: str) -> None:
        self.violations.append(f"cycle {self.figures['cycles'] + 1}: {text}")

    # Events of workers and the broker

    def _new_worker(self) -> WorkerProcess:
        return WorkerProcess(self.folder, self.url, "--grace", "0.2")

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
            self._violate(f"a worker stopped with exit code {code}: {worker.log()[-2000:]}")

    def _kill_broker(self) -> None:
        self._broker.kill()
        self._start_broker()
        self.figures["kills of the broker"] += 1

    def _stop_broker(self) -> None:
        code = self._broker.terminate()
        if code != 0:
            self._violate(f"the broker stopped with exit code {code}: {self._broker.log()[-2000:]}")
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
