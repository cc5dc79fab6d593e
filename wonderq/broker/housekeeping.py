"""What a broker does for its messages by itself: those leave that are too old, moves go on, schedules fire."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from wonderq.broker.broker import Broker
from wonderq_storage import CorruptLogError, DiskFullError, LogClosedError, LogFailedError

logger = logging.getLogger("wonderq.housekeeping")

#: How often it is looked whether something is due that nobody can foretell.
TICK_S = 0.5

#: For so many ticks it rests when there was no room, or the disk failed.
_REST_TICKS = 10


class Housekeeper:
    """Does it in a thread of its own, when it is due."""

    def __init__(self, broker: Broker, *, tick_s: float = TICK_S) -> None:
        self._broker = broker
        self._tick_s = tick_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wonderq-keeper", daemon=True)

    def start(self) -> None:
        self._broker.counters.housekeeper_runs = True
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = self._tick_s
            for work in (self._expire, self._broker.redrives.run, self._broker.schedules.fire_due):
                wait_s = min(wait_s, self._try(work))
        self._broker.counters.housekeeper_runs = False

    def _expire(self) -> float:
        self._broker.enforce_retention()
        return self._tick_s

    def _try(self, work: Callable[[], float]) -> float:
        """Do something; returns after how many seconds there is more to do."""
        try:
            return work()
        except (CorruptLogError, LogClosedError):
            self._stop.set()  # whoever came upon the damage has said so
        except (DiskFullError, LogFailedError, OSError) as error:
            if self._broker.unready is not None:
                self._stop.set()
            else:
                logger.warning("the keeper puts something off: %s", error)
                self._stop.wait(_REST_TICKS * self._tick_s)
        except Exception:
            logger.critical("the keeper ends until the broker is restarted", exc_info=True)
            self._stop.set()
        return self._tick_s
