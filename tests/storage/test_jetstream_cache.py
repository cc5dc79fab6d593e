"""The messages of a stream in memory stay within their bound, and reads do not wait for what is dropped."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from wonderq_storage import jetstream_cache
from wonderq_storage.jetstream_cache import ENTRY_BYTES, MessageCache


def filled(count: int, size: int = 10) -> MessageCache:
    cache = MessageCache(1 << 30)
    for sequence in range(count):
        cache.put(sequence, bytes(size))
    return cache


def test_the_message_that_was_not_used_for_longest_goes_first() -> None:
    cache = MessageCache(3 * (ENTRY_BYTES + 10))
    for sequence in range(3):
        cache.put(sequence, bytes(10))
    assert cache.get(0) is not None
    cache.put(3, bytes(10))
    assert [cache.get(sequence) is not None for sequence in range(4)] == [True, False, True, True]
    cache.put(3, bytes(11))
    assert cache.get(0) is None, "a larger one in its place needs more room"
    assert cache.get(3) == bytes(11)


def test_what_python_needs_for_a_message_counts() -> None:
    cache = MessageCache(10 * ENTRY_BYTES)
    for sequence in range(100):
        cache.put(sequence, b"")
    assert sum(cache.get(sequence) is not None for sequence in range(100)) == 10


def test_what_is_before_a_message_is_dropped() -> None:
    cache = filled(2000)
    assert cache.get(7) is not None
    cache.drop_before(1500)
    assert [cache.get(sequence) is None for sequence in (0, 7, 1499, 1500, 1999)] == [True, True, True, False, False]
    cache.drop_before(5000)
    assert cache.get(1999) is None
    assert cache._bytes == 0


class CountingLock:
    """A lock that lets others do something whenever it was released."""

    def __init__(self, cache: MessageCache) -> None:
        self.dropped: list[int] = []
        self.meanwhile: list[Any] = []
        self._lock = threading.RLock()
        self._cache = cache
        self._before = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = len(self._cache._messages)

    def __exit__(self, *_: object) -> None:
        self.dropped.append(self._before - len(self._cache._messages))
        self._lock.release()
        if self.meanwhile:
            self.meanwhile.pop(0)()


def test_each_hold_drops_few_messages_and_others_use_the_cache_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = filled(5000)
    lock = cache._lock = CountingLock(cache)  # type: ignore[assignment]
    lock.meanwhile = [lambda: None, lambda: cache.drop_before(2000), lambda: cache.put(1, b"again")]
    cache.drop_before(4000)
    assert max(lock.dropped) <= jetstream_cache.DROPPED_AT_ONCE <= 500
    assert cache.get(3999) is None
    assert cache.get(4000) is not None
    sizes = [ENTRY_BYTES + len(message) for message in cache._messages.values()]
    assert cache._bytes == sum(sizes), "whoever dropped a message has counted it, once"
