"""Pauses of Python's garbage collector, which examines all objects of the process at once to find unused cycles."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Growth in long-lived objects after which a full collection would take too long: a few milliseconds.
_STEP = 50_000

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
    """Keeps full collections short, however many objects live long.

    Objects that were there at the start, and those that live long, are *frozen*: full collections do not examine them.
    They are still freed when the last reference to them is deleted. Only unused cycles among frozen objects stay until
    the number of long-lived objects is small again, because then a full collection examines everything.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        """``count`` estimates how many objects live long. It must be quick, and safe to call at any moment."""
        self._count = count
        self._frozen = 0  # long-lived objects when objects were last frozen
        self._thawed = False

    def start(self) -> None:
        """Freeze all objects, and watch collections from now on."""
        self._freeze(self._count())
        gc.callbacks.append(self._watch)

    def stop(self) -> None:
        """End the effects of `start`."""
        gc.callbacks.remove(self._watch)
        gc.unfreeze()

    def _freeze(self, objects: int) -> None:
        gc.freeze()
        self._frozen = objects

    def _watch(self, phase: str, info: dict[str, Any]) -> None:
        """Decide about a full collection that begins or has ended."""
        if info["generation"] != _FULL:
            return
        if phase == "stop":
            if self._thawed:
                self._thawed = False
                self._freeze(self._count())
            return
        objects = self._count()
        if objects > self._frozen + _STEP:
            self._freeze(objects)  # so this collection finds nothing to examine
        elif self._frozen > _STEP > objects:
            gc.unfreeze()
            self._thawed = True
