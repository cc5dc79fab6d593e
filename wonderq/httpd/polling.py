"""Waiting for events of many connections, with the best call that the system has.

The events are those of `select.poll`, which waitress understands too.
"""

from __future__ import annotations

import select
from collections.abc import Container
from math import ceil
from operator import attrgetter
from typing import Any, Protocol

READ = select.POLLIN | select.POLLPRI
WRITE = select.POLLOUT

#: The names that select has on this system. A type checker knows those of one system.
_system: Any = select

#: The client has reset the connection. All other events report this too.
HANG_UP = select.POLLHUP

#: The parts of an event of a kqueue: descriptor, filter, flags.
_parts = attrgetter("ident", "filter", "flags")

#: Events that one call returns; the next call returns the others.
_MAX_EVENTS = 1024


class Poll(Protocol):
    """The events that are watched for each descriptor. A closed descriptor leaves by itself, at the next event."""

    def register(self, fileno: int, events: int, /) -> Any:
        """Watch a descriptor that is not watched."""

    def modify(self, fileno: int, events: int, /) -> Any:
        """Watch a descriptor for other events."""

    def unregister(self, fileno: int, /) -> Any:
        """Watch a descriptor no more."""

    def poll(self, timeout_s: float, /) -> list[tuple[int, int]]:
        """Wait for events; return them by descriptor."""

    def close(self) -> None:
        """End the watching."""


def new_poll(descriptors: Container[int]) -> Poll:
    """Return epoll on Linux, kqueue on macOS and BSD, and poll elsewhere.

    ``descriptors`` are the open ones, at any time. With poll, an idle connection costs time at every call.
    """
    if hasattr(select, "epoll"):
        epoll: Poll = _system.epoll()
        return epoll
    if hasattr(select, "kqueue"):
        return _Kqueue()
    return _PlainPoll(descriptors)


class _PlainPoll:
    """The poll of POSIX, which goes on watching the number of a closed descriptor."""

    def __init__(self, descriptors: Container[int]) -> None:
        self._descriptors = descriptors
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        found = self._poll.poll(ceil(timeout_s * 1000))
        for fileno, _ in found:
            if fileno not in self._descriptors:
                self._poll.unregister(fileno)
        return found

    def close(self) -> None:
        pass


class _Kqueue:
    """A kqueue, whose filters are for one event each."""

    def __init__(self) -> None:
        self._kqueue = _system.kqueue()
        self._filters: dict[int, dict[int, int]] = {}
        """Filters by descriptor, with their flags. Those of a closed descriptor stay until its number is registered."""

    def register(self, fileno: int, events: int) -> None:
        self._filters[fileno] = {}
        self.modify(fileno, events)

    def modify(self, fileno: int, events: int) -> None:
        before, after = self._filters[fileno], _filters_of(events)
        changes = [
            _system.kevent(fileno, each, _system.KQ_EV_DELETE)
            for each, flags in before.items()
            if after.get(each) != flags
        ]
        changes += [
            _system.kevent(fileno, each, _system.KQ_EV_ADD | flags)
            for each, flags in after.items()
            if before.get(each) != flags
        ]
        if changes:
            self._kqueue.control(changes, 0, 0)
        self._filters[fileno] = after

    def unregister(self, fileno: int) -> None:
        self.modify(fileno, 0)
        del self._filters[fileno]

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for fileno, kind, flags in map(_parts, self._kqueue.control(None, _MAX_EVENTS, timeout_s)):
            events = select.POLLIN if kind == _system.KQ_FILTER_READ else 0
            if kind == _system.KQ_FILTER_WRITE:
                # The end of what can be written is a reset; the end of what can be read is found by reading.
                events = select.POLLHUP if flags & _system.KQ_EV_EOF else 0
                if not self._filters[fileno][kind]:
                    events |= select.POLLOUT
            if events:
                found[fileno] = found.get(fileno, 0) | events
        return list(found.items())

    def close(self) -> None:
        self._kqueue.close()


def _filters_of(events: int) -> dict[int, int]:
    """Return the filters for events, with their flags.

    A hang-up is the end of what can be written. A connection that can be written is reported once, not at every call.
    """
    filters = {}
    if events & READ:
        filters[_system.KQ_FILTER_READ] = 0
    if events & WRITE:
        filters[_system.KQ_FILTER_WRITE] = 0
    elif events == HANG_UP:
        filters[_system.KQ_FILTER_WRITE] = _system.KQ_EV_CLEAR
    return filters
