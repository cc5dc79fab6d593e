"""epoll, kqueue and poll report the same events to the server. The kqueue is an imitation: see `other_system.kqueue`."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.portability.other_system import kqueue
from wonderq.httpd import polling
from wonderq.httpd.polling import HANG_UP, READ, WRITE, Poll

RESET = struct.pack("ii", 1, 0)

#: A poll that reports events returns at once; one that reports none is given this time.
MOMENT_S = 0.02
PATIENCE_S = 20


class Side:
    """The sockets of a server by number, and a poll of them."""

    def __init__(self, poll: Poll, descriptors: dict[int, Any]) -> None:
        self.poll = poll
        self.descriptors = descriptors

    def add(self, added: Any, events: int) -> int:
        number: int = added.fileno()
        self.descriptors[number] = added
        self.poll.register(number, events)
        return number

    def close(self, number: int) -> None:
        self.descriptors.pop(number).close()

    def events(self) -> dict[int, int]:
        """Return the events that are there, or come soon; none of an earlier call is repeated if it is over."""
        return dict(self.poll.poll(PATIENCE_S))

    def quiet(self) -> bool:
        return self.poll.poll(MOMENT_S) == []


@pytest.fixture(params=["epoll", "kqueue", "poll"])
def side(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    if request.param == "epoll" and not hasattr(select, "epoll"):
        pytest.skip("this system has no select.epoll")
    if request.param != "epoll":
        monkeypatch.delattr(select, "epoll", raising=False)
    if request.param == "poll":
        monkeypatch.delattr(select, "kqueue", raising=False)
    if request.param == "kqueue" and not hasattr(select, "kqueue"):
        with monkeypatch.context() as patch:
            for name, value in kqueue.NAMES.items():
                patch.setattr(select, name, value, raising=False)
            yield from _sides()
        return
    yield from _sides()


def _sides() -> Iterator[Side]:
    descriptors: dict[int, Any] = {}
    poll = polling.new_poll(descriptors)
    yield Side(poll, descriptors)
    poll.close()
    for each in descriptors.values():
        each.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of TCP: the server's end, which does not block, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    server.setblocking(False)
    with server, client:
        yield server, client


Pair = tuple[socket.socket, socket.socket]


def test_what_arrives_is_reported_until_it_is_read(side: Side, pair: Pair) -> None:
    server, client = pair
    number = side.add(server, READ)
    assert side.quiet()
    client.send(b"x")
    for _ in range(2):
        assert side.events() == {number: select.POLLIN}
    server.recv(10)
    assert side.quiet()


def test_room_to_write_is_reported_while_it_is_there(side: Side, pair: Pair) -> None:
    server, client = pair
    number = side.add(server, READ | WRITE)
    for _ in range(2):
        assert side.events() == {number: select.POLLOUT}
    client.send(b"x")
    while (events := side.events()) == {number: select.POLLOUT}:
        pass
    assert events == {number: select.POLLIN | select.POLLOUT}, "both in one report"
    fill(server)
    side.poll.modify(number, WRITE)
    assert side.quiet()
    drain(client, server)
    assert side.events() == {number: select.POLLOUT}


def fill(sending: socket.socket) -> None:
    try:
        while True:
            sending.send(bytes(1 << 16))
    except BlockingIOError:
        pass


def drain(receiving: socket.socket, sending: socket.socket) -> None:
    """Read until the other end has room again."""
    while not select.select([], [sending], [], 0)[1]:
        if select.select([receiving], [], [], MOMENT_S)[0]:
            receiving.recv(1 << 20)


def test_a_listening_socket_is_ready_when_a_client_connects(side: Side) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    number = side.add(listening, READ)
    assert side.quiet()
    with socket.create_connection(listening.getsockname()):
        assert side.events() == {number: select.POLLIN}


def test_a_pipe_wakes_it(side: Side) -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as reading, os.fdopen(theirs, "wb", buffering=0) as writing:
        side.add(reading, READ)
        assert side.quiet()
        writing.write(b"x")
        assert side.events() == {ours: select.POLLIN}
        reading.read(1)
        assert side.quiet()


def test_events_change_and_end(side: Side, pair: Pair) -> None:
    server, client = pair
    number = side.add(server, WRITE)
    client.send(b"x")
    assert side.events() == {number: select.POLLOUT}
    side.poll.modify(number, READ)
    assert side.events() == {number: select.POLLIN}
    side.poll.unregister(number)
    assert side.quiet()
    side.poll.register(number, READ | WRITE)
    assert side.events() == {number: select.POLLIN | select.POLLOUT}
    side.poll.modify(number, WRITE)
    assert side.events() == {number: select.POLLOUT}


def test_the_end_of_the_clients_output_is_read(side: Side, pair: Pair) -> None:
    server, client = pair
    number = side.add(server, READ)
    client.shutdown(socket.SHUT_WR)
    assert side.events()[number] == select.POLLIN
    assert server.recv(10) == b""


def test_a_client_that_ended_its_output_is_no_hang_up(side: Side, pair: Pair) -> None:
    """It may still wait for its response. Nothing is read meanwhile, and the loop must not spin."""
    server, client = pair
    number = side.add(server, READ)
    client.shutdown(socket.SHUT_WR)
    assert side.events()[number] == select.POLLIN
    side.poll.modify(number, HANG_UP)
    for _ in range(3):
        if side.quiet():
            break
    assert side.quiet()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    assert side.events()[number] & select.POLLHUP


@pytest.mark.parametrize("first", [0, READ, WRITE, READ | WRITE])
def test_a_reset_is_a_hang_up_and_nothing_else_is(side: Side, pair: Pair, first: int) -> None:
    server, client = pair
    number = server.fileno()
    if first:
        side.add(server, first)
        side.quiet()
        side.poll.modify(number, HANG_UP)
    else:
        side.add(server, HANG_UP)
    client.send(b"this is not read")
    assert side.quiet()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    assert side.events()[number] & select.POLLHUP
    side.poll.modify(number, READ | WRITE)
    events = side.events()[number]
    assert events & select.POLLIN
    assert events & select.POLLHUP


def test_reading_and_writing_go_on_after_a_watch_for_hang_ups(side: Side, pair: Pair) -> None:
    server, client = pair
    number = side.add(server, HANG_UP)
    side.quiet()
    side.poll.modify(number, READ | WRITE)
    for _ in range(3):
        assert side.events() == {number: select.POLLOUT}, "at every call, not once"
    side.poll.modify(number, READ)
    assert side.quiet()
    client.send(b"x")
    assert side.events() == {number: select.POLLIN}


def pair_at(number: int) -> Pair:
    """Return a pair of connected sockets, of which the first has this number, which is free."""
    first, second = socket.socketpair()
    if second.fileno() == number:
        first, second = second, first
    elif first.fileno() != number:
        os.dup2(first.fileno(), number)
        first.close()
        first = socket.socket(fileno=number)
    return first, second


@pytest.mark.parametrize("events", [READ, WRITE, HANG_UP])
def test_a_closed_connection_leaves_and_its_number_may_return(side: Side, pair: Pair, events: int) -> None:
    server, client = pair
    number = side.add(server, events)
    client.send(b"x")
    side.close(number)
    side.poll.poll(0)  # poll itself says once that it was closed
    assert side.quiet()
    again, theirs = pair_at(number)
    with theirs:
        theirs.send(b"y")
        assert side.quiet(), "the number alone is not watched"
        assert side.add(again, READ) == number
        assert side.events() == {number: select.POLLIN}


def test_a_closed_connection_whose_number_another_file_got_is_not_reported_again(side: Side, pair: Pair) -> None:
    server, _ = pair
    number = side.add(server, WRITE)
    side.close(number)
    another, theirs = pair_at(number)
    with another, theirs:
        side.poll.poll(0)
        for _ in range(3):
            assert side.quiet(), "always writable, and not the server's"


def test_many_events_come_in_several_reports(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_MAX_EVENTS", 3)
    numbers, ends = set(), []
    for _ in range(8):
        ours, theirs = socket.socketpair()
        ends.append(theirs)
        numbers.add(side.add(ours, READ))
        theirs.send(b"x")
    seen: set[int] = set()
    while seen != numbers:
        events = side.events()
        seen |= set(events)
        for number in events:
            side.descriptors[number].recv(1)
    assert side.quiet()
    for each in ends:
        each.close()


# The imitation


def test_pythons_own_selector_works_with_the_imitation(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    """`selectors.KqueueSelector` was written for real ones."""
    import importlib.util  # noqa: PLC0415

    for name, value in kqueue.NAMES.items():
        monkeypatch.setattr(select, name, value, raising=False)
    found = importlib.util.find_spec("selectors")
    assert found is not None
    assert found.loader is not None
    selectors: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(selectors)
    server, client = pair
    with selectors.KqueueSelector() as selector:
        selector.register(server, selectors.EVENT_READ | selectors.EVENT_WRITE, "mine")
        [(key, events)] = selector.select(PATIENCE_S)
        assert (key.data, events) == ("mine", selectors.EVENT_WRITE)
        client.send(b"x")
        selector.modify(server, selectors.EVENT_READ, "mine")
        [(key, events)] = selector.select(PATIENCE_S)
        assert events == selectors.EVENT_READ
        selector.unregister(server)
        assert selector.select(0) == []
        selector.register(server, selectors.EVENT_READ)
        server.close()
        selector.unregister(server)


def test_the_imitation_refuses_what_a_kqueue_refuses() -> None:
    queue = kqueue.Kqueue()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = ours.fileno()
        with pytest.raises(FileNotFoundError):
            queue.control([kqueue.Kevent(number, kqueue.WRITE, kqueue.DELETE)], 0, 0)
        [event] = queue.control([kqueue.Kevent(number, kqueue.WRITE, kqueue.DELETE)], 1, 0)
        assert event.flags & kqueue.ERROR
        queue.control([kqueue.Kevent(number, kqueue.WRITE, kqueue.ADD)], 0, 0)
        queue.control([kqueue.Kevent(number, kqueue.WRITE, kqueue.ADD | kqueue.CLEAR)], 0, 0)
        for _ in range(2):
            assert len(queue.control(None, 9, 0)) == 1, "a filter that exists keeps its flags"
        queue.control([kqueue.Kevent(number, kqueue.WRITE, kqueue.DELETE)], 0, 0)
        queue.control([kqueue.Kevent(number, kqueue.WRITE, kqueue.ADD | kqueue.CLEAR)], 0, 0)
        assert [len(queue.control(None, 9, 0)) for _ in range(2)] == [1, 0]
    with pytest.raises(OSError, match="Bad file descriptor"):
        queue.control([kqueue.Kevent(number, kqueue.READ, kqueue.ADD)], 0, 0)
    queue.close()


def test_the_imitation_ends_the_output_as_a_kqueue_does(pair: Pair) -> None:
    server, _ = pair
    queue = kqueue.Kqueue()
    queue.control([kqueue.Kevent(server.fileno(), kqueue.WRITE, kqueue.ADD)], 0, 0)
    [event] = queue.control(None, 9, PATIENCE_S)
    assert not event.flags & kqueue.EOF
    server.shutdown(socket.SHUT_WR)
    [event] = queue.control(None, 9, PATIENCE_S)
    assert event.flags & kqueue.EOF
    queue.close()
