"""Cut the power of three machines right after a drop: does the stream have a leader afterwards?

The last message of the Raft snapshot is in a file that is dropped, and nothing has synced the file after it, unless
``--synced`` is given. Prints the name of the leader, or nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.log_faults.machines import Machine, Machines
from tests.support.filesystem import sync_all
from tests.support.nats_servers import wait_until_ready
from tests.support.networks import enter_own_network
from tests.support.waiting import eventually
from wonderq_storage.nats import Connection, JetStream, NatsError

_STREAM, _MAX_BYTES = "DROPS", 24 << 20
_CALL_S = 5.0

#: The servers begin a file of messages after 4 MB. The newest one has too few for them to rewrite it.
_LARGE_BYTES, _LARGE_MESSAGES = 300_000, 44

#: All servers have mostly applied a purge after this time.
_APPLIED_S = 0.1

#: Without a leader after this time, there never is one: an election takes a few seconds.
_LEADERLESS_S = 20.0


def main() -> None:
    enter_own_network()
    with tempfile.TemporaryDirectory(prefix="wonderq-drops-") as folder, Machines(Path(folder), apart=True) as machines:
        with closing(Connection(machines.urls(machines.all[0]))) as connection:
            jetstream = JetStream(connection)
            config = {"name": _STREAM, "subjects": [_STREAM], "storage": "file", "num_replicas": len(machines.all)}
            jetstream.create_stream({**config, "max_bytes": _MAX_BYTES, "discard": "new"}, timeout_s=_CALL_S)
            _write(connection, 1000)
            _restart(machines)  # servers that end in order install a snapshot
            for _ in range(_LARGE_MESSAGES):
                _write(connection, _LARGE_BYTES)
            if "--synced" in sys.argv:
                _sync(machines)
            _keep_newest_file(jetstream, machines.all)
            for each in machines.all:
                _commit_the_removal_of_files(each)
        for each in machines.all:
            each.kill()
        for each in machines.all:
            each.cut_power()
        for each in machines.all:
            each.regain_power()
        print(_leader(machines))


def _write(connection: Connection, size: int) -> None:
    def is_stored() -> bool:
        try:
            return b'"seq"' in connection.request(_STREAM, bytes(size), timeout_s=_CALL_S).payload
        except NatsError:
            return False  # no leader yet

    eventually(is_stored, "a message to be stored")


def _restart(machines: Machines) -> None:
    for each in machines.all:
        each.server.stop()
    for each in machines.all:
        each.start()
    wait_until_ready([each.server for each in machines.all])


def _sync(machines: Machines) -> None:
    for each in machines.all:
        assert each.medium is not None
        sync_all(each.medium.root)


def _keep_newest_file(jetstream: JetStream, machines: Sequence[Machine]) -> None:
    """Drop one message after the other, until each server has only its newest file of messages."""
    sequence = jetstream.call(f"STREAM.INFO.{_STREAM}", timeout_s=_CALL_S)["state"]["first_seq"]

    def files() -> int:
        return max(len(list(each.server.store.glob(f"**/{_STREAM}/msgs/*.blk"))) for each in machines)

    assert files() > 1
    while files() > 1:
        sequence += 1
        jetstream.purge(_STREAM, sequence, timeout_s=_CALL_S)
        time.sleep(_APPLIED_S)


def _commit_the_removal_of_files(machine: Machine) -> None:
    """Sync another file: ext4 commits its journal with it, as it does every 5 s, and no contents of new files."""
    assert machine.medium is not None
    with (machine.medium.root / "other").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())


def _leader(machines: Machines) -> str:
    """Return the leader of the stream as soon as it has one; without one, an empty text."""
    deadline_s = time.monotonic() + _LEADERLESS_S
    with closing(Connection(machines.urls(machines.all[0]))) as connection:
        jetstream = JetStream(connection)
        while time.monotonic() < deadline_s:
            try:
                found = jetstream.call(f"STREAM.INFO.{_STREAM}", timeout_s=_CALL_S)["cluster"].get("leader")
            except NatsError:
                found = None
            if found:
                return str(found)
            time.sleep(0.2)
    return ""


if __name__ == "__main__":
    main()
