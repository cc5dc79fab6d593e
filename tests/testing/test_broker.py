"""The broker of `wonderq.testing`: its clock follows the test, and it is a real one otherwise."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.needs import needs_path
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.errors import NotFound, StaleReceipt, Unreachable
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue
from wonderq.testing import Broker, BrokerEndedError, broker

#: The longest wait that a broker grants.
WAIT_S = 20


@pytest.fixture
def running(wonderq_broker: Broker) -> Broker:
    return wonderq_broker


@pytest.fixture
def jobs(running: Broker) -> Queue:
    return running.client().queue("jobs")


def bodies(queue: Queue, **options: Any) -> list[Any]:
    return [message.body for message in queue.receive(**options)]


def await_bodies(queue: Queue) -> list[Any]:
    """Return the bodies of the next messages, by long polls."""
    while not (found := bodies(queue, wait=WAIT_S)):
        pass
    return found


def waiting(running: Broker) -> bool:
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=PATIENCE_S) as answer:
        return b"\nwonderq_waiting_consumers 1.0\n" in answer.read()


# The clock


def test_a_delay_ends(running: Broker, jobs: Queue) -> None:
    jobs.send("later", delay=3600)
    assert bodies(jobs) == []
    running.advance(3600)
    assert bodies(jobs) == ["later"]


def test_a_claim_ends(running: Broker, jobs: Queue) -> None:
    jobs.send("work")
    [first] = jobs.receive(lease=3600)
    assert bodies(jobs) == []
    running.advance(3600)
    [second] = jobs.receive()
    assert second.tries == 2
    with pytest.raises(StaleReceipt):
        first.delete()


def test_a_consumer_that_waits_receives_what_becomes_due(running: Broker, jobs: Queue) -> None:
    jobs.send("later", delay=3600)
    with ThreadPoolExecutor() as threads:
        received = threads.submit(await_bodies, jobs)
        eventually(lambda: waiting(running), "the consumer waits")
        running.advance(3600)
        assert received.result(PATIENCE_S) == ["later"]


def test_a_schedule_has_produced_when_the_clock_has_moved(running: Broker, jobs: Queue) -> None:
    schedule = running.client().put_schedule("nightly", cron="0 4 * * *", queue="jobs", body="nightly")
    assert schedule.next_at is not None
    running.advance((schedule.next_at - running.now).total_seconds() + 3600)
    assert jobs.info().counts["unprocessed"] == 1
    running.advance(3 * 24 * 3600)
    assert jobs.info().counts["unprocessed"] == 4, "no due time was passed over"


def test_messages_past_their_retention_are_gone_when_the_clock_has_moved(running: Broker, jobs: Queue) -> None:
    jobs.configure(retention=3600)
    sent = jobs.send("old")
    running.advance(3600)
    with pytest.raises(NotFound):
        jobs.get(sent.id)
    assert sum(jobs.info().counts.values()) == 0


def test_dead_letters_have_moved_when_the_clock_has_moved(running: Broker, jobs: Queue) -> None:
    jobs.configure(max_receives=1, dead_letter_queue="dead")
    jobs.send("hopeless")
    jobs.receive(lease=60)
    running.advance(60)
    [dead] = running.client().queue("dead").look()
    assert dead.body == "hopeless"


def test_the_clock_goes_on_by_itself_too(jobs: Queue) -> None:
    jobs.send("soon", delay=0.01)
    assert await_bodies(jobs) == ["soon"]


def test_the_broker_tells_its_time(running: Broker, jobs: Queue) -> None:
    running.advance(24 * 3600)
    sent = jobs.send("now")
    assert abs(running.now - jobs.get(sent.id).produced_at) < timedelta(hours=1)


def test_the_clock_does_not_go_back(running: Broker) -> None:
    with pytest.raises(ValueError, match="forward only"):
        running.advance(-1)


# Its end


def restart_stopped(running: Broker) -> None:
    running.stop()
    running.restart()


def restart_killed(running: Broker) -> None:
    running.kill()
    running.restart()


@pytest.mark.parametrize("restart", [Broker.restart, restart_stopped, restart_killed])
def test_a_restart_changes_nothing(running: Broker, jobs: Queue, restart: Any) -> None:
    url = running.url
    running.advance(3600)
    jobs.send("kept")
    jobs.send("delayed", delay=60)
    restart(running)
    assert running.url == url
    assert bodies(jobs, lease=3600) == ["kept"], "the same client and address"
    running.advance(60)
    assert bodies(jobs) == ["delayed"], "the moved clock did not go back"


def test_a_stopped_or_killed_broker_answers_nobody(running: Broker) -> None:
    with Client(running.url, retries=0) as client:
        for end in (running.stop, running.kill):
            end()
            end()  # the second time does nothing
            with pytest.raises(Unreachable):
                client.queues()
            with pytest.raises(BrokerEndedError, match="call restart"):
                running.advance(1)
            running.restart()


def test_a_stop_answers_consumers_that_wait(running: Broker, jobs: Queue) -> None:
    jobs.configure()
    with ThreadPoolExecutor() as threads:
        received = threads.submit(bodies, jobs, wait=WAIT_S)
        eventually(lambda: waiting(running), "the consumer waits")
        running.stop()
        running.restart()  # an answer that was cut off would be asked for again, and wait
        assert received.result(PATIENCE_S) == []


def test_a_start_that_fails_says_why(running: Broker) -> None:
    running.stop()
    port = int(running.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(BrokerEndedError, match="cannot listen on"):
        running.restart()
    running.restart()


@needs_path("/proc/self/fd")
def test_a_broker_that_ended_by_itself_is_reported(running: Broker) -> None:
    [pid] = [line for line in os.listdir("/proc") if line.isdigit() and holds(int(line), running.folder)]
    os.kill(int(pid), signal.SIGKILL)
    with pytest.raises(BrokerEndedError):
        running.advance(1)
    running.restart()
    running.advance(1)


def holds(pid: int, folder: Path) -> bool:
    """Return whether a process has the folder open."""
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == str(folder) for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def test_nothing_is_left_at_the_end() -> None:
    with broker() as running:
        client = Client(running.url, retries=0)
        folder = running.folder
        assert folder.exists()
        eventually(lambda: "ready after" in running.log(), "a thread of the broker writes its log")
    assert not folder.parent.exists()
    with client, pytest.raises(Unreachable):
        client.queues()


def test_two_brokers_know_nothing_of_each_other() -> None:
    with broker() as one, broker() as other:
        one.client().queue().send("mine")
        one.advance(3600)
        assert other.client().queue().receive() == []
        assert other.now < one.now


def test_a_broker_ends_with_the_process_that_started_it() -> None:
    code = "from wonderq.testing import broker; b = broker(); print(b.url, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        port = int(user.stdout.readline().rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port)).close()
        user.kill()
        user.wait()
        eventually(lambda: is_refused(port), "the broker ends")


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # the process has just ended
        return False
    return False
