"""Answers to clients when the disk fails or is full."""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from falcon.testing import Result

from tests.support import disks as storage_disks
from tests.support.http_client import Client, check_refused, request, serving
from wonderq.broker.broker import Broker
from wonderq_storage import FileLog
from wonderq_storage.disk import Disk, DiskFile

SEGMENT_BYTES = 4 << 20


class FaultyDisk(Disk):
    """A disk that works until a test makes it fail."""

    def __init__(self) -> None:
        self.broken = False
        self.full = False

    def create(self, path: Path) -> DiskFile:
        return _FaultyFile(self, path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        return _FaultyFile(self, path, os.O_RDWR if write else os.O_RDONLY)


class _FaultyFile(DiskFile):
    def __init__(self, disk: FaultyDisk, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        self._disk = disk

    def sync(self) -> None:
        if self._disk.broken:
            raise OSError(errno.EIO, "Input/output error")
        super().sync()

    def allocate(self, size: int) -> None:
        if self._disk.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().allocate(size)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def broker(tmp_path: Path, disk: FaultyDisk) -> Iterator[Broker]:
    broker = Broker(FileLog(tmp_path / "log", disk=disk, segment_bytes=SEGMENT_BYTES))
    yield broker
    broker.close()


def check_unavailable(reply: Result, status: int, code: str) -> None:
    check_refused(reply, status, code)
    assert int(reply.headers["retry-after"]) > 0


def test_a_log_that_cannot_be_written(client: Client, disk: FaultyDisk, tmp_path: Path) -> None:
    first, second = client.produce("first", "second")
    [message] = client.get("/messages/consume?max=1")
    disk.broken = True
    check_unavailable(client("POST", "/messages/produce", json={"message": "x"}), 503, "log_failed")

    disk.broken = False  # it does not come back by itself: nobody knows what the disk kept
    for method, target, body in [
        ("POST", "/messages/produce", {"message": "x"}),
        ("POST", "/messages/produce", {"messages": ["x"]}),
        ("POST", "/queues/new/messages/produce", {"message": "x"}),
        ("GET", "/messages/consume", None),
        ("GET", "/messages/consume?wait=20", None),
        ("POST", "/messages/consume", {"max": 1}),
        ("UPDATE", f"/messages/{first}?receipt={message['receipt']}", None),
        ("DELETE", f"/messages/{second}", None),
        ("POST", "/messages/delete", {"ids": [second]}),
        ("POST", "/messages/update", {"entries": [{"id": second, "delay": 1}]}),
        ("PUT", "/queues/new", {"delay": 1}),
        ("POST", "/queues/default/purge", None),
        ("GET", f"/messages/{first}", None),  # nothing is shown either that may be gone after a restart
        ("GET", "/dev/messages", None),
        ("GET", "/dev/messages/status?status=unprocessed", None),
        ("GET", "/dev/messages/count?status=unprocessed", None),
        ("GET", "/queues", None),
        ("GET", "/queues/default", None),
    ]:
        check_unavailable(client(method, target, json=body), 503, "log_failed")
    check_unavailable(client("GET", "/readyz"), 503, "not_ready")
    assert client.get("/healthz") == {"status": "ok"}

    client.broker.close()
    restarted = Broker(FileLog(tmp_path / "log", segment_bytes=SEGMENT_BYTES))
    ids = [each["id"] for each in Client(restarted).get("/dev/messages")]
    assert ids[:2] == [first, second]  # the last one of the refused may be there or not
    assert len(ids) <= 3
    restarted.close()


def test_over_the_wire(broker: Broker, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    # An idle log writes a group without records. If that fails first, the message is refused before it is appended, and
    # all that is shown is durable.
    monkeypatch.setattr(FileLog, "_put_closing_group", lambda *_, **__: None)
    with serving(broker) as served:
        disk.broken = True
        reply = served("POST", "/messages/produce", json={"message": "x"})
        assert (reply.status, reply.json["error"]["code"]) == (503, "log_failed")
        assert int(reply.headers["retry-after"]) > 0
        reply = served("GET", "/dev/messages")
        assert (reply.status, reply.json["error"]["code"]) == (503, "log_failed")
        assert [served("GET", path).status for path in ("/readyz", "/healthz")] == [503, 200]


def test_a_listing_that_fails_half_way_does_not_look_complete(broker: Broker, disk: FaultyDisk) -> None:
    with serving(broker) as served:
        for _ in range(12):  # more than the buffers of two sockets hold
            served("POST", "/messages/produce", json={"messages": ["x" * 10_000] * 100})
        with served.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            connection.sendall(request("GET", "/dev/messages"))
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            disk.broken = True
            assert served("POST", "/messages/produce", json={"message": "x"}).status == 503
            with pytest.raises(http.client.IncompleteRead):
                response.read()


def test_a_full_disk(client: Client, disk: FaultyDisk) -> None:
    disk.full = True
    ids = []
    for _ in range(10 * SEGMENT_BYTES // 100_000):
        reply = client("POST", "/messages/produce", json={"message": "x" * 100_000})
        if reply.status_code != 201:
            break
        ids.append(reply.json["id"])
    check_unavailable(reply, 507, "disk_full")
    assert len(ids) > 10

    # Nothing was half added, and all but producing goes on.
    assert client.counts() == {"unprocessed": len(ids), "processing": 0, "delayed": 0, "buried": 0}
    check_unavailable(client("POST", "/messages/produce", json={"messages": ["x" * 10_000] * 100}), 507, "disk_full")
    check_unavailable(client("UPDATE", f"/messages/{ids[0]}", json={"message": "y" * 100_000}), 507, "disk_full")
    messages = client.get("/messages/consume?max=5")
    assert [each["id"] for each in messages] == ids[:5]
    assert client("UPDATE", f"/messages/{ids[0]}?receipt={messages[0]['receipt']}").status_code == 200
    assert client("UPDATE", f"/messages/{ids[1]}?visibility_timeout=0").status_code == 200
    assert client("DELETE", f"/messages/{ids[0]}?receipt={messages[0]['receipt']}").status_code == 200
    assert client("POST", "/messages/delete", json={"ids": ids[1:]}).json["success"] is True
    assert client.get("/dev/messages") == []
    assert client.get("/readyz") == {"status": "ready"}

    disk.full = False
    [after] = client.produce("z" * 100_000)
    assert [each["id"] for each in client.get("/messages/consume")] == [after]


def test_a_folder_of_an_older_version_on_a_full_disk(tmp_path: Path) -> None:
    older = Path(__file__).parents[1] / "golden" / "format-1" / "plain"
    disk = storage_disks.FaultyDisk()
    disk.fail("allocate", errno.ENOSPC, on=".tmp")
    log = FileLog(Path(shutil.copytree(older, tmp_path / "older")), disk=disk, segment_bytes=4096)
    with closing(Broker(log)) as broker:
        client = Client(broker)
        before = client.get("/dev/messages")
        assert before
        for method, target, body in [
            ("POST", "/messages/produce", {"message": "x"}),
            ("GET", "/messages/consume", None),
            ("DELETE", f"/messages/{before[0]['id']}", None),
            ("POST", "/queues/default/purge", None),
            ("PUT", "/queues/new", {"delay": 1}),
        ]:
            check_unavailable(client(method, target, json=body), 507, "disk_full")
        assert client.get("/dev/messages") == before
        disk.mend()
        client.produce("x")
        assert [each["message"] for each in client.get("/dev/messages")] == [each["message"] for each in before] + ["x"]


@pytest.mark.parametrize(("offset", "rot"), [(-3, b"\xc1\xc1\xc1"), (0, b"T")], ids=["header", "one letter"])
def test_a_message_that_is_damaged_on_disk(
    client: Client, broker: Broker, tmp_path: Path, offset: int, rot: bytes
) -> None:
    ids = client.produce("intact", "to be damaged" * 100)
    [segment] = [path for path in (tmp_path / "log").iterdir() if b"to be damaged" in path.read_bytes()]
    with segment.open("r+b") as file:
        at = file.read().index(b"to be damaged")
        file.seek(at + offset)
        file.write(rot)
    check_unavailable(client("GET", f"/messages/{ids[1]}"), 503, "log_damaged")
    for method, target in [("GET", "/dev/messages"), ("GET", "/messages/consume"), ("DELETE", f"/messages/{ids[0]}")]:
        check_unavailable(client(method, target), 503, "log_damaged")
    check_unavailable(client("GET", "/readyz"), 503, "not_ready")
    assert client.get("/healthz") == {"status": "ok"}
