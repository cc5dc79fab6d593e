"""A task whose worker is killed runs again."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import dramatiq

from tests.dramatiq.conftest import LEASE_S
from tests.support.waiting import PATIENCE_S
from wonderq.client.sync_queue import Queue
from wonderq.dramatiq import WonderQBroker
from wonderq.testing import Broker

ROOT = Path(__file__).parents[2]


def test_a_task_whose_worker_is_killed_runs_again(tasks: WonderQBroker, running: Broker, queue: Queue) -> None:
    done = threading.Event()

    @dramatiq.actor
    def work() -> None:
        done.set()

    work.send()
    command = [sys.executable, "-m", "tests.dramatiq.killed_worker", running.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "begins\n"
        killed.kill()
    [message] = queue.look()
    assert message.status == "processing", "until the lease ends"
    running.advance(LEASE_S)

    worker = dramatiq.Worker(tasks, worker_timeout=50, worker_threads=1)
    worker.start()
    assert done.wait(PATIENCE_S)
    tasks.join("default", timeout=round(PATIENCE_S * 1000))
    worker.stop()
