"""Pauses of Python's garbage collector, which examines all objects of a generation at once to find unused cycles."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Most objects that a collection examines. More would take longer than a few milliseconds.
_MOST = 25_000

#: Fewer long-lived objects than this are examined once, if there were more before.
_FEW = 50_000

_FULL = 2


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect nothing in a block that makes many objects and no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class CollectorPauses:
    """Keeps collections short, however many objects live long.

    Objects that were there at the start are *frozen*: no collection examines them. When a collection would examine very
    many others, these are frozen instead. That is so when the state grows, and when as many objects are made as are
    freed: then even the youngest generation becomes large, because Python starts a collection after a number of objects
    made, *less* those freed.

    Frozen objects are still freed when the last reference to them is deleted. Only unused cycles among them stay: for
    ever, or, if many objects lived long when they were frozen, until few do. A full collection then examines all.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        """``count`` estimates how many objects live long. It must be quick, and safe to call at any moment."""
        self._count = count
        self._frozen = 0  # long-lived objects when objects were last frozen
        self._thawed = False

    def start(self) -> None:
        """Freeze all objects, and watch collections from now on."""
        self._freeze()
        gc.callbacks.append(self._watch)

    def stop(self) -> None:
        """End the effects of `start`."""
        gc.callbacks.remove(self._watch)
        gc.unfreeze()

    def _freeze(self) -> None:
        gc.freeze()
        self._frozen = self._count()

    def _watch(self, phase: str, info: dict[str, Any]) -> None:
        """Decide about a collection that begins or has ended."""
        generation = info["generation"]
        if phase == "start":
            if sum(len(gc.get_objects(each)) for each in range(generation + 1)) > _MOST:
                self._freeze()  # so this collection finds nothing to examine
            elif generation == _FULL and self._frozen > _FEW > self._count():
                gc.unfreeze()
                self._thawed = True
        elif generation == _FULL and self._thawed:
            self._thawed = False
            self._freeze()
