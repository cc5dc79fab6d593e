"""An imitation of `select.kqueue` for sockets and pipes, on Linux.

It follows the manual pages of FreeBSD and macOS: a filter is identified by descriptor and kind; adding one that exists
keeps its flags; closing a descriptor removes its filters; an error in a list of changes is an event if there is room for
events, and is raised otherwise. A test lets the selector of Python's library, which was written for real ones, use it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

READ, WRITE = -1, -2
ADD, DELETE, CLEAR, EOF, ERROR = 0x1, 0x2, 0x20, 0x8000, 0x4000

#: States of a TCP connection of Linux in which this side has ended its output (<netinet/tcp.h>).
_OUTPUT_ENDED = {4, 5, 6, 7, 9, 11}

_epoll, _EPOLLIN, _EPOLLOUT, _EPOLLET = select.epoll, select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
_ENDED = select.EPOLLHUP | select.EPOLLERR
_EPOLLRDHUP, _TCP_INFO = select.EPOLLRDHUP, socket.TCP_INFO


class Kevent(NamedTuple):
    """One change, or one event."""

    ident: Any
    filter: int = READ
    flags: int = ADD
    fflags: int = 0
    data: int = 0
    udata: int = 0


class Kqueue:
    """The filters of one queue: an epoll for each kind."""

    def __init__(self) -> None:
        self._kinds = {READ: _epoll(), WRITE: _epoll()}
        self._poll = select.poll()
        for each in self._kinds.values():
            self._poll.register(each.fileno(), select.POLLIN)
        self.closed = False

    def fileno(self) -> int:
        return self._kinds[READ].fileno()

    def close(self) -> None:
        self.closed = True
        for each in self._kinds.values():
            each.close()

    def control(self, changes: Iterable[Kevent] | None, max_events: int, timeout: float | None = None) -> list[Kevent]:
        events: list[Kevent] = []
        for change in changes or ():
            try:
                self._change(change)
            except OSError as error:
                if len(events) == max_events:
                    raise
                events.append(change._replace(flags=ERROR, data=error.errno or 0))
        if events or not max_events:
            return events
        until_s = None if timeout is None else time.monotonic() + timeout
        while True:
            left_s = None if until_s is None else max(until_s - time.monotonic(), 0)
            self._poll.poll(None if left_s is None else left_s * 1000)
            events = self._ready(max_events)
            if events or left_s == 0:
                return events

    def _change(self, change: Kevent) -> None:
        fd = change.ident if isinstance(change.ident, int) else change.ident.fileno()
        assert not change.flags & ~(ADD | DELETE | CLEAR), "the imitation has no such flag"
        if change.flags & DELETE:
            self._kinds[change.filter].unregister(fd)  # raises ENOENT or EBADF, as a kqueue does
            return
        events = (_EPOLLIN | _EPOLLRDHUP) if change.filter == READ else _EPOLLOUT
        with suppress(FileExistsError):
            self._kinds[change.filter].register(fd, events | (_EPOLLET if change.flags & CLEAR else 0))

    def _ready(self, max_events: int) -> list[Kevent]:
        events: list[Kevent] = []
        for kind, kernel in self._kinds.items():
            room = max_events - len(events)
            if room > 0:
                for fd, found in kernel.poll(0, room):
                    ended = found & (_ENDED | (_EPOLLRDHUP if kind == READ else 0))
                    if not ended and kind == WRITE:
                        ended = _has_ended_output(fd)
                    events.append(Kevent(fd, kind, EOF if ended else 0, 0, _waiting(fd) if kind == READ else 1))
        return events


def _has_ended_output(fd: int) -> bool:
    """Return whether a socket has shut down its own output, which is the end of writing for a kqueue."""
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            return struct.unpack_from("B", copy.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104))[0] in _OUTPUT_ENDED
    except OSError:
        return False


def _waiting(fd: int) -> int:
    """Return the number of bytes that can be read."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):  # those of a socket that listens
            raise
        return 1


#: Names that it has in the module `select`.
NAMES: dict[str, Any] = {
    "kqueue": Kqueue,
    "kevent": Kevent,
    "KQ_FILTER_READ": READ,
    "KQ_FILTER_WRITE": WRITE,
    "KQ_EV_ADD": ADD,
    "KQ_EV_DELETE": DELETE,
    "KQ_EV_CLEAR": CLEAR,
    "KQ_EV_EOF": EOF,
    "KQ_EV_ERROR": ERROR,
}


def install() -> None:
    """Add it to the module `select`."""
    for name, value in NAMES.items():
        setattr(select, name, value)
