"""Back-pressure: the bytes of calls that wait in a client are bounded, and further calls wait for room in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Admit = Callable[[], None]
"""Function that tells a waiting call that it is in."""


class Room:
    """Room for calls, without any waiting. The clients for threads and asyncio add that, and lock it if they must.

    A call that is larger than the whole room is let in when nothing else is there.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._used_bytes = 0
        self._waiting: deque[tuple[int, Admit]] = deque()

    def enter(self, size: int) -> bool:
        """Take room and return true, or return false. The call then has to `wait`."""
        if self._waiting or not self._fits(size):
            return False
        self._used_bytes += size
        return True

    def wait(self, size: int, admit: Admit) -> None:
        """Note a call, whose ``admit`` is called once it has room."""
        self._waiting.append((size, admit))

    def leave(self, size: int) -> None:
        """Give room back."""
        self._used_bytes -= size
        self._let_in()

    def give_up(self, size: int, admit: Admit) -> None:
        """Forget a call that waits no longer, or give its room back if it was let in meanwhile."""
        try:
            self._waiting.remove((size, admit))
        except ValueError:
            self.leave(size)
        else:
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, admit = self._waiting.popleft()
            self._used_bytes += size
            admit()

    def _fits(self, size: int) -> bool:
        return not self._used_bytes or self._used_bytes + size <= self._most_bytes
