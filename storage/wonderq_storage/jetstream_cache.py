"""The newest messages of a stream in memory, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict

#: Bytes that Python needs for an entry besides the message: its key, its place in the table, and both headers.
ENTRY_BYTES = 200

#: Messages that are dropped in one hold of the lock. Consumers wait for it, and need some microseconds for a message.
DROPPED_AT_ONCE = 500


class MessageCache:
    """Messages by sequence. The one that was not used for the longest time is dropped first.

    Threads: any number may call any method.
    """

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes`` is the memory for all messages, with what Python needs for each."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._messages: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, sequence: int) -> bytes | None:
        with self._lock:
            found = self._messages.get(sequence)
            if found is not None:
                self._messages.move_to_end(sequence)
            return found

    def put(self, sequence: int, message: bytes) -> None:
        with self._lock:
            self._remove(sequence)
            self._bytes += ENTRY_BYTES + len(message)
            self._messages[sequence] = message
            while self._bytes > self._max_bytes:
                self._remove(next(iter(self._messages)))

    def drop_before(self, sequence: int) -> None:
        """Drop the messages before a sequence, some at a time. Those that are put meanwhile may stay."""
        with self._lock:
            known = list(self._messages)
        old = [each for each in known if each < sequence]
        for at in range(0, len(old), DROPPED_AT_ONCE):
            with self._lock:
                for each in old[at : at + DROPPED_AT_ONCE]:
                    self._remove(each)

    def _remove(self, sequence: int) -> None:
        """Drop a message, if it is there. The caller holds the lock."""
        message = self._messages.pop(sequence, None)
        if message is not None:
            self._bytes -= ENTRY_BYTES + len(message)
