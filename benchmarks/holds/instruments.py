"""Run `wonderq` with instruments: `python -m benchmarks.holds.instruments serve ...`.

Each line on standard input is a command: ``begin`` forgets all figures, and ``end`` prints them as a line of JSON. The
figures are those of the longest turn of the serving thread, which is the time between two polls of its connections, of
the longest hold of the broker's lock by any thread, and of the longest garbage collection.

All of them are in CPU time of the thread, because other programs may have the processors meanwhile. A thread that waits
for a lock, for the disk or for the interpreter uses none: the gap that a client sees includes such waits.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections import Counter
from types import FrameType, SimpleNamespace
from typing import Any

from benchmarks.holds.delay import delay_s
from wonderq.broker import core
from wonderq.cli.main import main
from wonderq.httpd.server import Server

#: Interval at which stacks are sampled, and the age of a turn or hold from which they are.
_SAMPLE_S = 0.003

#: Functions of the product in the description of a stack, from the innermost one.
_FRAMES = 3


class Meter:
    """Measures spans of one kind, which do not overlap, and keeps the longest one."""

    def __init__(self) -> None:
        self.began_s = 0.0
        """Start of the current span on the wall clock, or 0 between two spans."""
        self.thread = 0
        """Thread of the current span."""
        self.samples: Counter[str] = Counter()
        """Descriptions of the stacks that were seen in the current span."""
        self._began_cpu_s = 0.0
        self.reset()

    def reset(self) -> None:
        self.longest_s = 0.0
        self.place = ""

    def begin(self) -> None:
        self.thread = threading.get_ident()
        self._began_cpu_s = time.thread_time()
        self.began_s = time.perf_counter()

    def end(self) -> None:
        took_s = time.thread_time() - self._began_cpu_s
        self.began_s = 0.0
        if took_s > self.longest_s:
            self.longest_s = took_s
            self.place = self.samples.most_common(1)[0][0] if self.samples else ""
        if self.samples:
            self.samples = Counter()


class MeteredLock:
    """A lock that measures how long it is held."""

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()
        self._meter = meter

    def acquire(self, *arguments: Any, **options: Any) -> bool:
        acquired = self._lock.acquire(*arguments, **options)
        if acquired:
            self._meter.begin()
        return acquired

    def release(self) -> None:
        self._meter.end()
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    __enter__ = acquire

    def __exit__(self, *_error: object) -> None:
        self.release()


class MeteredPoll:
    """The serving thread's poll. A turn lasts from the end of one poll to the beginning of the next."""

    def __init__(self, poll: Any, meter: Meter) -> None:
        self._poll = poll
        self._meter = meter
        meter.begin()

    def poll(self, *arguments: Any) -> Any:
        self._meter.end()
        try:
            return self._poll.poll(*arguments)
        finally:
            self._meter.begin()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)


class Instruments:
    """All meters of this process."""

    def __init__(self) -> None:
        self.turn, self.lock, self.collection = Meter(), Meter(), Meter()
        self._delayed_s = 0.0

    def install(self) -> None:
        """Measure everything that is made from now on."""
        # The broker's lock is the only one that this module makes.
        vars(core)["threading"] = SimpleNamespace(Lock=lambda: MeteredLock(self.lock))
        run = Server.run

        def run_metered(server: Any, *arguments: Any, **options: Any) -> None:
            server._poll = MeteredPoll(server._poll, self.turn)  # noqa: SLF001
            run(server, *arguments, **options)

        Server.run = run_metered  # type: ignore[assignment, method-assign]
        gc.callbacks.append(self._on_collection)
        for work in (self._sample, self._obey):
            threading.Thread(target=work, daemon=True).start()

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self.collection.begin()
        else:
            self.collection.end()

    def _sample(self) -> None:
        """Describe the stack of each thread that holds something for long, again and again."""
        while True:
            time.sleep(_SAMPLE_S)
            for meter in (self.turn, self.lock):
                began_s = meter.began_s
                if began_s and time.perf_counter() - began_s > _SAMPLE_S:
                    frame = sys._current_frames().get(meter.thread)  # noqa: SLF001
                    place = describe(frame)
                    if place and meter.began_s == began_s:
                        meter.samples[place] += 1

    def _obey(self) -> None:
        for command in sys.stdin:
            if command == "begin\n":
                for meter in (self.turn, self.lock, self.collection):
                    meter.reset()
                self._delayed_s = delay_s()
            else:
                print(json.dumps(self.figures()), flush=True)

    def figures(self) -> dict[str, Any]:
        longest = max(self.turn, self.lock, key=lambda meter: meter.longest_s)
        return {
            "turn_ms": 1000 * self.turn.longest_s,
            "lock_ms": 1000 * self.lock.longest_s,
            "collection_ms": 1000 * self.collection.longest_s,
            "delay_ms": 1000 * (delay_s() - self._delayed_s),
            "place": longest.place,
        }


def describe(frame: FrameType | None) -> str:
    """Name the innermost functions of the product in a stack, such as ``after < _some < _walk``."""
    names: list[str] = []
    while frame is not None and len(names) < _FRAMES:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("wonderq") or names:
            name = frame.f_code.co_qualname
            names.append(f"{module.rpartition('.')[2]}.{name}" if not names else name)
        frame = frame.f_back
    if names[-1:] in (["Server._run_turn"], ["Server.run"]) and len(names) == 1:
        return ""
    return " < ".join(names)


if __name__ == "__main__":
    Instruments().install()
    sys.exit(main())
