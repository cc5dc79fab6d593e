"""Values that the nodes of a cluster share, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from wonderq_storage import StorageError


class Stored(NamedTuple):
    data: bytes
    revision: int


class MemoryValues:
    """Values in memory. ``before_put`` plays another node, which is faster. ``error`` is that of each call, if any."""

    def __init__(self) -> None:
        self.values: dict[str, Stored] = {}
        self.replicas: int | None = None
        self.before_put: Callable[[], None] = lambda: None
        self.error: StorageError | None = None
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        return self.replicas is not None

    def make(self, replicas: int) -> None:
        self.replicas = replicas

    def get(self, name: str) -> Stored | None:
        if self.error is not None:
            raise self.error
        return self.values.get(name)

    def put(self, name: str, data: bytes, *, revision: int) -> None:
        if self.error is not None:
            raise self.error
        self.before_put()
        with self._lock:
            found = self.values.get(name)
            if revision != (0 if found is None else found.revision):
                raise StorageError("changed meanwhile")
            self.values[name] = Stored(data, revision + 1)
