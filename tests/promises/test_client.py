"""The client writes down what it knows, and no more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.promises.client import Client
from tests.promises.journal import Journal
from tests.promises.lives import Lives

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"counts":{}}  '


class FixedLives(Lives):
    """One life at a fixed address, which has ended when the connection is cut, or lives on."""

    def __init__(self, port: int, *, is_dead: bool) -> None:
        self._port, self._is_dead = port, is_dead

    def current(self) -> tuple[str, int, int]:
        return "127.0.0.1", self._port, 1

    def wait_for_end(self, life: int) -> bool:
        return self._is_dead and life == 1


@contextmanager
def server(*answers: bytes) -> Iterator[int]:
    """Serve one connection after another: read a request, send these bytes, and close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("cut", [b"", ANSWER[:30], ANSWER[:-3]])
def test_an_answer_that_is_cut_leaves_the_outcome_open(cut: bytes) -> None:
    journal = Journal()
    with server(cut, ANSWER) as port:
        client = Client(FixedLives(port, is_dead=True), journal, "actor")
        lost, answered = client.queue("jobs"), client.queue("jobs")
        client.close()
    assert (lost.status, lost.is_unknown, lost.is_possible, lost.is_done) == (None, True, True, False)
    assert (answered.status, answered.answer) == (200, {"counts": {}})
    assert lost.began_s <= lost.ended_s <= answered.began_s <= answered.ended_s
    assert list(journal) == [lost, answered]


def test_a_broker_that_cuts_a_connection_and_lives_on_fails_the_run() -> None:
    with server(b"") as port:
        client = Client(FixedLives(port, is_dead=False), Journal(), "actor")
        with pytest.raises(AssertionError, match="cut by a broker that lives on"):
            client.queue("jobs")
