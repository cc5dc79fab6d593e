"""Forks, further event loops, and the end of the interpreter. Each program runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.waiting import PATIENCE_S
from wonderq.client.sync_queue import Queue

FORK = """
from wonderq import Client

client = Client(URL)
queue = client.queue(QUEUE)
for number in range(3):
    queue.send(f"before {number}")
holding = client._engine._lock  # as if another thread held it
holding.acquire()
child = os.fork()
if child:
    holding.release()
for number in range(20):
    queue.send(f"{'child' if child == 0 else 'parent'} {number}")
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
queue.send("after")
"""

FORK_OF_A_LOOP = """
import asyncio
from wonderq import AsyncClient

client = AsyncClient(URL, retries=0, read_timeout=30)

async def send(who):
    for number in range(20):
        await client.queue(QUEUE).send(f"{who} {number}")

async def parent():
    await send("before")
    child = os.fork()
    if child == 0:
        asyncio.run(send("child"))
        os._exit(0)
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    await send("parent")
    await client.close()

asyncio.run(parent())
"""

LOOPS = """
import asyncio
from wonderq import AsyncClient

client = AsyncClient(URL)
for number in range(3):
    asyncio.run(client.queue(QUEUE).send(f"loop {number}"))

async def last():
    await client.close()
    try:
        await client.queue(QUEUE).send("closed")
    except RuntimeError as error:
        assert "closed" in str(error)

asyncio.run(last())
"""

OPEN_AT_THE_END = """
import threading
from wonderq import Client

client = Client(URL)
queue = client.queue(QUEUE)
queue.send("a")
threading.Thread(target=lambda: client.queue("default").receive(wait=20), daemon=True).start()
queue.send("b")
"""


def run(program: str, broker: RunningBroker, queue: Queue) -> str:
    """Run a program, and return what it printed and logged."""
    source = f"import os\nURL, QUEUE = {broker.url!r}, {queue.name!r}\n{program}"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def texts(queue: Queue) -> list[str]:
    return sorted(each.text for each in queue.look())


@pytest.mark.parametrize("program", [FORK, FORK_OF_A_LOOP], ids=["threads", "event loop"])
def test_a_forked_child_and_its_parent_go_on(program: str, broker: RunningBroker, queue: Queue) -> None:
    assert run(program, broker, queue) == ""
    sent = texts(queue)
    assert len(set(sent)) == len(sent)
    for who in ("child", "parent"):
        assert sum(each.startswith(who) for each in sent) == 20


def test_a_client_starts_anew_in_another_event_loop(broker: RunningBroker, queue: Queue) -> None:
    assert run(LOOPS, broker, queue) == ""
    assert texts(queue) == ["loop 0", "loop 1", "loop 2"]


def test_an_open_client_does_not_disturb_the_end_of_the_interpreter(broker: RunningBroker, queue: Queue) -> None:
    assert run(OPEN_AT_THE_END, broker, queue) == ""
    assert texts(queue) == ["a", "b"]
