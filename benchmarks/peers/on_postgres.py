"""PostgreSQL as a queue, with the table and statements of pgmq: SKIP LOCKED claims with a visibility timeout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "autovacuum_naptime": "5s",  # the table of a queue soon consists of dead rows
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}

# Columns and statements of pgmq, without its index on vt: no statement here uses it, and updates are cheaper without.
# The body is text, which costs less than the jsonb of pgmq.
_TABLE = """
    CREATE TABLE queue (
        msg_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        read_ct integer NOT NULL DEFAULT 0,
        enqueued_at timestamptz NOT NULL DEFAULT now(),
        vt timestamptz NOT NULL,
        message text NOT NULL
    )"""
_SEND = "INSERT INTO queue (vt, message) SELECT clock_timestamp(), unnest(%b::text[])"
_READ = """
    WITH claimed AS (
        SELECT msg_id FROM queue WHERE vt <= clock_timestamp() ORDER BY msg_id LIMIT %b FOR UPDATE SKIP LOCKED
    )
    UPDATE queue SET vt = clock_timestamp() + interval '30 seconds', read_ct = read_ct + 1
    FROM claimed WHERE queue.msg_id = claimed.msg_id
    RETURNING queue.msg_id, queue.read_ct, queue.enqueued_at, queue.vt, queue.message"""
_DELETE = "DELETE FROM queue WHERE msg_id = ANY(%b::bigint[])"


class Postgres:
    name = "postgres"
    durability = "write-ahead log, fsync at every commit"
    share = 1

    def __init__(self) -> None:
        self._server: Server | None = None
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        on_path = shutil.which("initdb")
        self._programs = Path(on_path).parent if on_path else found[-1] if found else None

    def installed(self) -> str | None:
        return None if self._programs else "no initdb: apt-get install postgresql"

    def start(self, folder: Path) -> str:
        assert self._programs is not None
        user = None
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            user = "postgres"
            shutil.chown(folder, user, user)
        data, port = folder / "data", free_port()
        subprocess.run(
            [str(self._programs / "initdb"), "-D", str(data), "-U", "queue", "--auth=trust", "--encoding=UTF8"],
            check=True,
            capture_output=True,
            timeout=120,
            cwd=folder,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        options = [
            word for name, value in (_SETTINGS | {"port": str(port)}).items() for word in ("-c", f"{name}={value}")
        ]
        command = [str(self._programs / "postgres"), "-D", str(data), *options]
        self._server = Server(command, folder, user=user, stop_signal=signal.SIGINT)
        self._server.wait_until(lambda: accepts(port) and _answers(port))
        with psycopg.connect(_address(port), autocommit=True) as connection:
            connection.execute(_TABLE)
        return _address(port)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def connect(self, address: str) -> Connection:
        return _Table(address)


def _address(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=queue dbname=postgres connect_timeout={CALL_TIMEOUT_S}"


def _answers(port: int) -> bool:
    try:
        psycopg.connect(_address(port)).close()
    except psycopg.OperationalError:
        return False
    return True


class _Table:
    def __init__(self, address: str) -> None:
        timeout = f"-c statement_timeout={CALL_TIMEOUT_S * 1000}"
        self._connection = psycopg.connect(address, autocommit=True, prepare_threshold=0, options=timeout)
        self._cursor = self._connection.cursor(binary=True)

    def produce(self, bodies: list[str]) -> None:
        self._cursor.execute(_SEND, (bodies,))
        assert self._cursor.rowcount == len(bodies)

    def consume(self, limit: int) -> Claimed:
        rows = self._cursor.execute(_READ, (limit,)).fetchall()
        return Claimed([row[4] for row in rows], [row[0] for row in rows])

    def delete(self, handles: list[Any]) -> None:
        self._cursor.execute(_DELETE, (handles,))
        assert self._cursor.rowcount == len(handles)

    def left(self) -> int:
        row = self._cursor.execute("SELECT count(*) FROM queue").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._connection.close()
