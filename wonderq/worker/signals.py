"""The signals that stop workers and supervisors."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals(handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call a function for each SIGTERM and SIGINT while the block runs, which must be in the main thread.

    The function runs on a thread of its own. A handler of Python runs in the main thread, between two steps of it.
    If that thread is about to wait, or the system gives the signal to another one, it runs at the end of the wait.
    """
    numbers, written = os.pipe()
    os.set_blocking(written, False)
    thread = threading.Thread(target=_read, args=(numbers, handler), name="wonderq-signals", daemon=True)
    thread.start()
    before_fd = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    before = {each: signal.signal(each, lambda _number, _frame: None) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)
        signal.set_wakeup_fd(before_fd)
        os.close(written)
        thread.join()


def _read(numbers: int, handler: Callable[[signal.Signals], None]) -> None:
    """Call a handler for each signal whose number is read from a pipe, until its other end is closed."""
    with os.fdopen(numbers, "rb", buffering=0) as pipe:
        while found := pipe.read(1):
            number = signal.Signals(found[0])
            if number in (signal.SIGTERM, signal.SIGINT):
                handler(number)
