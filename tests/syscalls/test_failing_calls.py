"""Clients of a whole broker when the kernel fails its calls; strace injects the errors."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.queue_client import QueueClient
from tests.syscalls.refusals import produce_until_refused
from tests.syscalls.tracing import attach, failing, why_not
from wonderq.client.errors import Refused

SEGMENT_BYTES = 64 << 10

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no system calls can be traced here: {why_not()}")


@contextmanager
def broker_on(folder: Path) -> Iterator[tuple[BrokerProcess, QueueClient]]:
    broker = BrokerProcess(folder, segment_bytes=SEGMENT_BYTES)
    try:
        with QueueClient(broker.ready()) as client:
            yield broker, client
    finally:
        broker.kill()


@contextmanager
def calls_failing(broker: BrokerProcess, call: str, error: str) -> Iterator[None]:
    """Every such call of any of the broker's threads fails meanwhile."""
    tracer: subprocess.Popen[bytes] = attach(broker.process.pid, *failing(call, error, "1+"))
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets go of the broker
        tracer.communicate()


def refusal(client: QueueClient, body: str) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        client.produce(body)
    return refused.value.status, refused.value.code


@pytest.mark.parametrize(("call", "error"), [("fdatasync", "EIO"), ("pwrite64", "ENOSPC")])
def test_a_log_that_cannot_be_written_is_503_until_a_restart(call: str, error: str, tmp_path: Path) -> None:
    with broker_on(tmp_path / "data") as (broker, client):
        kept = client.produce("kept")
        assert client.ready()
        with calls_failing(broker, call, error):
            assert refusal(client, "x") == (503, "log_failed")
            assert not client.ready()
        # The disk works again; but what it kept of the last write nobody knows, so that is no way back.
        assert refusal(client, "y") == (503, "log_failed")
        assert not client.ready()
    with broker_on(tmp_path / "data") as (_, client):
        assert [each["message"] for each in client.messages()] in (["kept"], ["kept", "x"])
        assert client.get(kept)["message"] == "kept"
        assert client.ready()


def test_no_room_for_a_segment_is_507_until_there_is(tmp_path: Path) -> None:
    with broker_on(tmp_path / "data") as (broker, client):
        with calls_failing(broker, "fallocate", "ENOSPC"):
            ids, refused = produce_until_refused(client, "x" * 5000)
            assert (refused.status, refused.code) == (507, "disk_full")
            assert len(ids) > 5
            assert client.ready()
            for message_id in ids[:3]:
                client.delete_batch(ids=[message_id])
            assert [each["id"] for each in client.messages()] == ids[3:]
        ids.append(client.produce("room"))
    with broker_on(tmp_path / "data") as (_, client):
        assert [each["id"] for each in client.messages()] == ids[3:]
