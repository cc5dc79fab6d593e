"""Kill any node of a cluster, again and again, under the load of boto3, Celery and WonderQ's own worker:

    python -m tests.clients.cluster_kills --kills 30 [--seed S]

Three nodes own the shards. Each client sends to queues of all shards, and handles what it receives. boto3 and Celery
reach the nodes through a TCP load balancer; the WonderQ client knows all addresses. All have the repetitions that they make by
default. A promise is broken if a call of a client raises, if a worker ends or logs an error, if an acknowledged message is
not handled, or if WonderQ's client stores one twice. Messages may be handled again. Exit code 1 if a promise is broken; the
folder is then kept. Exit code 3 if one of the mechanisms was never at work.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import boto3

from tests.support.cluster_processes import SHARDS, ClusterProcesses, NodeProcess
from tests.support.cutting_proxy import Balancer
from tests.support.mechanisms import NOT_WHOLE, Mechanisms
from tests.support.sqs_clients import REGION
from tests.support.waiting import PATIENCE_S, eventually
from wonderq import Client
from wonderq.cluster.shard_map import shard_of
from wonderq.worker.worker import Worker

ROOT = Path(__file__).parents[2]

#: Time after which a message comes again whose claim got lost with a node.
LEASE_S = 10

#: Messages that each client has to send and to handle between two kills, and after each.
MESSAGES = 20

_PAUSE_S = 0.01

KILLS_OF_OWNERS = "kills of nodes with shards"
CUTS = "connections that ended with their node"
REDELIVERIES = "messages handled again"


def queues_of(stem: str) -> list[str]:
    """Return the name of a queue of each shard."""
    return [
        next(name for at in count() if shard_of(name := f"{stem}-{at}", SHARDS) == shard) for shard in range(SHARDS)
    ]


class Load(Protocol):
    """A client that sends, and a worker that handles, with one library."""

    name: str
    queues: list[str]

    def acknowledged(self) -> set[str]:
        """Return the bodies whose sending was acknowledged."""

    def handled(self) -> list[str]:
        """Return the bodies that were handled, as often as they were."""

    def errors(self) -> list[str]:
        """Return the exceptions that reached the code of the user, and what else must not be."""

    def end_sending(self) -> None: ...

    def close(self) -> None: ...


def lost(load: Load) -> set[str]:
    """Return the messages that were acknowledged, and not handled until now."""
    return load.acknowledged() - set(load.handled())


class ThreadLoad:
    """Base of a load in threads of this process. A call that raises is noted, and the next one follows."""

    name = ""

    def __init__(self) -> None:
        self.queues = queues_of(self.name)
        self._acknowledged: set[str] = set()
        self._handled: list[str] = []
        self._errors: list[str] = []
        self._sent = threading.Event()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, end: threading.Event, act: Callable[[int], object]) -> None:
        """Repeat something with the number of the call, in a thread, until an event."""

        def repeat() -> None:
            for number in count():
                if end.wait(_PAUSE_S):
                    return
                try:
                    act(number)
                except Exception as error:
                    self._errors.append(f"{act.__name__}: {error!r}")

        self._threads.append(threading.Thread(target=repeat, daemon=True))
        self._threads[-1].start()

    def acknowledged(self) -> set[str]:
        return set(self._acknowledged)

    def handled(self) -> list[str]:
        return list(self._handled)

    def errors(self) -> list[str]:
        return list(self._errors)

    def end_sending(self) -> None:
        self._sent.set()
        self._threads[0].join(PATIENCE_S)

    def close(self) -> None:
        self._sent.set()
        self._ended.set()
        for each in self._threads:
            each.join(PATIENCE_S)


class WonderQLoad(ThreadLoad):
    """WonderQ's client, and one worker for the queues of all shards."""

    name = "wonderq"

    def __init__(self, urls: Sequence[str]) -> None:
        super().__init__()
        self._sender, self._receiver = Client(urls), Client(urls)
        self._ids: dict[str, str] = {}  # by body
        self._log = _Errors()
        logging.getLogger("wonderq").addHandler(self._log)
        self._worker = Worker(self._receiver, dict.fromkeys(self.queues, self._handle), concurrency=4, lease=LEASE_S)
        self.run(self._sent, self._send)
        self._threads.append(threading.Thread(target=self._work, daemon=True))
        self._threads[-1].start()

    def _send(self, number: int) -> None:
        self._sender.queue(self.queues[number % SHARDS]).send(f"m{number}")
        self._acknowledged.add(f"m{number}")

    def _work(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:
            self._errors.append(f"the worker ended: {error!r}")
            raise

    def _handle(self, message: Any) -> None:
        if self._ids.setdefault(message.body, message.id) != message.id:
            self._errors.append(f"{message.body} was stored twice")
        self._handled.append(message.body)

    def errors(self) -> list[str]:
        return [*self._errors, *self._log.texts]

    def close(self) -> None:
        self._worker.stop()
        super().close()
        self._sender.close()
        self._receiver.close()
        logging.getLogger("wonderq").removeHandler(self._log)


class _Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class BotoLoad(ThreadLoad):
    """boto3: one thread sends, two receive and delete."""

    name = "boto3"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        sender = self._client()
        self._urls = [sender.create_queue(QueueName=queue)["QueueUrl"] for queue in self.queues]

        def send(number: int) -> None:
            sender.send_message(QueueUrl=self._urls[number % SHARDS], MessageBody=f"m{number}")
            self._acknowledged.add(f"m{number}")

        self.run(self._sent, send)
        for _ in range(2):
            self.run(self._ended, self._receiver())

    def _client(self) -> Any:
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        return boto3.client("sqs", endpoint_url=self._url, region_name=REGION, **keys)

    def _receiver(self) -> Callable[[int], None]:
        client = self._client()

        def receive(number: int) -> None:
            queue = {"QueueUrl": self._urls[number % SHARDS]}
            found = client.receive_message(
                **queue, MaxNumberOfMessages=10, VisibilityTimeout=LEASE_S, WaitTimeSeconds=1
            )
            for message in found.get("Messages", []):
                self._handled.append(message["Body"])
                client.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])

        return receive


def errors_in(log: Sequence[str]) -> list[str]:
    """Return the lines of a Celery worker's log that report an error."""
    return [line for line in log if ": ERROR/" in line or ": CRITICAL/" in line]


class CeleryLoad:
    """Celery: a program that sends tasks, and a worker."""

    name = "celery"

    def __init__(self, url: str, folder: Path) -> None:
        self.queues = queues_of(self.name)
        self._folder = folder / self.name
        self._folder.mkdir()
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TASKS_ADDRESS": url.removeprefix("http://"),
            "TASKS_FOLDER": str(self._folder),
        }
        module = f"{__package__}.cluster_kills_celery"
        options = ("--pool", "solo", "--queues", ",".join(self.queues))
        self._worker = self._start("worker", "celery", "-A", module, "worker", *options)
        self._sender = self._start("sender", module, *self.queues)

    def _start(self, log: str, *module: str) -> subprocess.Popen[bytes]:
        with (self._folder / log).open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def acknowledged(self) -> set[str]:
        return set(self._lines("acknowledged"))

    def handled(self) -> list[str]:
        return self._lines("handled")

    def errors(self) -> list[str]:
        ended = [f"the {name} ended: {process.poll()}" for name, process in self._processes() if process.poll()]
        return [*ended, *errors_in(self._lines("worker")), *self._lines("errors")]

    @property
    def reconnections(self) -> int:
        """Number of times that the worker has lost its broker and connected again."""
        return sum("onnection to broker lost" in line for line in self._lines("worker"))

    def _processes(self) -> list[tuple[str, subprocess.Popen[bytes]]]:
        return [("worker", self._worker), ("sender", self._sender)]

    def end_sending(self) -> None:
        self._sender.terminate()
        self._sender.wait(PATIENCE_S)

    def close(self) -> None:
        for _, process in self._processes():
            process.kill()
            process.wait()


class Run:
    """A cluster, its clients, and the kills."""

    def __init__(self, folder: Path, seed: int, stack: ExitStack) -> None:
        self.random = random.Random(seed)
        self.mechanisms = Mechanisms((KILLS_OF_OWNERS, CUTS, REDELIVERIES))
        self._cluster = stack.enter_context(ClusterProcesses(folder, "abc", "--shards", str(SHARDS)))
        self._cluster.await_owners("a", "b", "c")
        for queue in queues_of(
            CeleryLoad.name
        ):  # before Celery makes them with its timeout, after which tasks come again
            reply = self._cluster["a"]("PUT", f"/queues/{queue}", {"visibility_timeout": LEASE_S})
            assert reply.status == 201, reply
        self.balancer = stack.enter_context(Balancer([each.port for each in self._cluster.nodes], seed))
        self.loads: list[Load] = []
        for make in (
            lambda: WonderQLoad([each.url for each in self._cluster.nodes]),
            lambda: BotoLoad(self.balancer.url),
            lambda: CeleryLoad(self.balancer.url, folder),
        ):
            self.loads.append(make())
            stack.callback(self.loads[-1].close)
        self.await_more()

    def await_more(self) -> None:
        """Wait until each client has sent and handled more, or failed."""
        for load in self.loads:
            sent, handled = len(load.acknowledged()) + MESSAGES, len(load.handled()) + MESSAGES

            def is_more(load: Load = load, sent: int = sent, handled: int = handled) -> bool:
                return bool(load.errors()) or (len(load.acknowledged()) >= sent and len(load.handled()) >= handled)

            eventually(is_more, f"{load.name} to send and handle more")

    def kill(self) -> None:
        """Kill a node, wait until the others serve everything and the clients go on, and start it again."""
        time.sleep(self.random.uniform(0, 0.5))
        node = self.random.choice(self._cluster.nodes)
        self.mechanisms.counts[KILLS_OF_OWNERS] += node.name in node.owners()
        ended = self.balancer.ended_connections
        node.kill()
        eventually(lambda: self._is_served_without(node), f"others than {node.name} to own all shards")
        self.mechanisms.counts[CUTS] += self.balancer.ended_connections - ended
        self.await_more()
        node.start()
        eventually(lambda: node.is_ready, f"{node.name} to be ready")
        self.await_more()

    def _is_served_without(self, node: NodeProcess) -> bool:
        views = [each.owners() for each in self._cluster.running]
        return all(view == views[0] and {*view}.isdisjoint((None, node.name)) and view for view in views)

    def violations(self) -> list[str]:
        """Return what was broken until now."""
        return [f"{load.name}: {error}" for load in self.loads for error in load.errors()]

    def end(self) -> list[str]:
        """End the senders, wait until everything is handled, and return what was broken."""
        for load in self.loads:
            load.end_sending()
        found = []
        for load in self.loads:
            try:
                eventually(partial(self._is_done, load), f"all messages of {load.name} to be handled")
            except AssertionError as error:
                found.append(f"{load.name}: {error}. Acknowledged and not handled: {sorted(lost(load))[:20]}")
            self.mechanisms.counts[REDELIVERIES] += len(load.handled()) - len(set(load.handled()))
        traces = [f"{each.name}: {each.stderr}" for each in self._cluster.nodes if "Traceback" in each.log()]
        return [*found, *self.violations(), *traces]

    def _is_done(self, load: Load) -> bool:
        if lost(load):
            return False
        counts = [self._cluster["a"]("GET", f"/queues/{queue}").json["counts"] for queue in load.queues]
        return not any(sum(each.values()) for each in counts)

    def figures(self) -> str:
        """Return what each client did."""
        again = sum(each.reconnections for each in self.loads if isinstance(each, CeleryLoad))
        each_load = "; ".join(
            f"{load.name} {len(load.acknowledged()):,} acknowledged, {len(set(load.handled())):,} handled, "
            f"{len(load.handled()) - len(set(load.handled())):,} again, {len(load.errors())} errors"
            for load in self.loads
        )
        return f"{each_load}, {again} reconnections of its worker"


def run(folder: Path, kills: int, seed: int, say: Callable[[str], None], *, is_slice: bool = False) -> list[str]:
    """Kill nodes until a promise is broken; return what was broken, and the mechanisms that were never at work."""
    with ExitStack() as stack:
        cluster = Run(folder, seed, stack)
        for number in range(kills):
            cluster.kill()
            say(f"kill {number + 1}: {cluster.figures()}")
            if cluster.violations():
                break
        violations = cluster.end()
        say(cluster.figures())
        text, is_whole = cluster.mechanisms.verdict(is_slice=is_slice)
        say(text)
    return violations if violations or is_whole else ["NEVER RAN"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.cluster_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}, load average {os.getloadavg()[0]:.1f}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are ended too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-cluster-kills-"))
    began_s = time.monotonic()
    violations = run(folder, given.kills, seed, lambda text: print(text, flush=True))
    print(f"{time.monotonic() - began_s:.0f} s, {len(violations)} violations", flush=True)
    if violations == ["NEVER RAN"]:
        return NOT_WHOLE
    if violations:
        print("\n".join(violations))
        print(f"the files of the nodes and of the clients are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
