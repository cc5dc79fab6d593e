"""Waiting for what another thread or process does, without a guess at how long that takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Longest wait for anything that is to happen, in seconds. A test that passes never waits as long, on a busy machine either.
#: A caller that expects tests to fail, such as the runner of planted bugs, sets a shorter one.
PATIENCE_S = float(os.environ.get("TESTS_PATIENCE_S", "120"))

_PAUSE_S = 0.005


def eventually(condition: Callable[[], T], what: str = "the condition to come true") -> T:
    """Wait until the condition returns something true, and return that.

    Raises:
        AssertionError: it did not within `PATIENCE_S`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s in vain for {what}"
        time.sleep(_PAUSE_S)
    return found
