"""Calls in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tests.support.waiting import PATIENCE_S

T = TypeVar("T")


class Call(threading.Thread, Generic[T]):
    """A call in a thread of its own, which starts at once."""

    def __init__(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call = (function, args, kwargs)
        self._value: T | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Make the call, and keep its result or its error."""
        function, args, kwargs = self._call
        try:
            self._value = function(*args, **kwargs)
        except BaseException as error:
            self.error = error

    @property
    def done(self) -> bool:
        """Return whether the call has ended."""
        return not self.is_alive()

    def result(self) -> T:
        """Wait for the end, and return what the call returned or raise what it raised."""
        self.join(PATIENCE_S)
        assert not self.is_alive(), "the call did not end"
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]
