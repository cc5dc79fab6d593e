"""beanstalkd with its binlog. The Python clients send one command at a time, so this module pipelines over a socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port, missing_program


class Beanstalkd:
    name = "beanstalkd"
    durability = "binlog, fsync at every write"
    share = 1

    def __init__(self) -> None:
        self._server: Server | None = None

    def installed(self) -> str | None:
        return missing_program("beanstalkd", "apt-get install beanstalkd")

    def start(self, folder: Path) -> str:
        port = free_port()
        binlog = folder / "binlog"
        binlog.mkdir()
        command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(binlog), "-f", "0"]
        self._server = Server(command, folder)
        self._server.wait_until(lambda: accepts(port))
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def connect(self, address: str) -> Connection:
        return _Pipelined(int(address.rpartition(":")[2]))


class _Pipelined:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=CALL_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def produce(self, bodies: list[str]) -> None:
        puts = (b"put 0 0 3600 %d\r\n%s\r\n" % (len(data), data) for data in (body.encode() for body in bodies))
        self._socket.sendall(b"".join(puts))
        self._expect(b"INSERTED ", len(bodies))

    def consume(self, limit: int) -> Claimed:
        self._socket.sendall(b"reserve-with-timeout 0\r\n" * limit)
        bodies, handles = [], []
        for _ in range(limit):
            words = self._answers.readline().split()
            if words == [b"TIMED_OUT"]:
                continue
            word, job_id, size = words
            assert word == b"RESERVED", words
            bodies.append(self._answers.read(int(size) + 2)[:-2])
            handles.append(job_id)
        return Claimed(bodies, handles)

    def delete(self, handles: list[Any]) -> None:
        self._socket.sendall(b"".join(b"delete %s\r\n" % job_id for job_id in handles))
        self._expect(b"DELETED", len(handles))

    def _expect(self, word: bytes, answers: int) -> None:
        for _ in range(answers):
            line = self._answers.readline()
            assert line.startswith(word), line

    def left(self) -> int:
        self._socket.sendall(b"stats-tube default\r\n")
        size = int(self._answers.readline().split()[1])
        lines = self._answers.read(size + 2).decode().splitlines()
        stats = dict(line.split(": ", 1) for line in lines if ": " in line)
        return sum(int(stats[f"current-jobs-{state}"]) for state in ("ready", "reserved", "delayed", "buried"))

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
