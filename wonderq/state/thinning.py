"""Thinning: keep the memory of pages with few messages in proportion to their messages."""

from __future__ import annotations

from wonderq.state.state import State

#: Work of one step (see `Columns.thin`), which takes one or two milliseconds.
_STEP_WORK = 1000


class Thinning:
    """Passes over the queues of a state, which thin their pages (`Columns.thin`) in bounded steps."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._queues: list[int] = []  # numbers of the queues that this pass has yet to visit
        self._page = 0  # index of the next page in the last of them

    def step(self) -> bool:
        """Do a bounded portion of a pass; return whether more of the pass is left."""
        work = _STEP_WORK
        if not self._queues:
            self._queues = self._state.queue_numbers()
        while work > 0 and self._queues:
            queue = self._state.find(self._queues[-1])
            page = None
            if queue is not None:
                page, work = queue.messages.thin(self._page, work)
            if page is None:
                self._queues.pop()
            self._page = page or 0
        return bool(self._queues)
