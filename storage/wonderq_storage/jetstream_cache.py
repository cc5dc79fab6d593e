"""The newest messages of a stream in memory, within a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict


class MessageCache:
    """Messages by sequence. The one that was not used for the longest time is dropped first.

    Threads: any number may call any method.
    """

    def __init__(self, max_bytes: int) -> None:
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
            self._bytes += len(message) - len(self._messages.pop(sequence, b""))
            self._messages[sequence] = message
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._messages.popitem(last=False)[1])

    def drop_before(self, sequence: int) -> None:
        with self._lock:
            for each in [known for known in self._messages if known < sequence]:
                self._bytes -= len(self._messages.pop(each))
