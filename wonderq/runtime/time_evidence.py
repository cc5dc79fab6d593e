"""Evidence about the system's clock: whether a time service disciplines it, and how long the machine has been up."""

from __future__ import annotations

import ctypes
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: Name of the file of the last sighting, in the folder of the log.
CLOCK_FILE = "clock.json"

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")

#: Result of adjtimex while no time service disciplines the kernel's clock (TIME_ERROR in <sys/timex.h>).
_UNSYNCHRONISED = 5

#: Largest difference between the kernel's clock and that of this process which is not a library's doing.
_SAME_CLOCK_S = 5


class Sighting(NamedTuple):
    """A moment at which a broker ran."""

    time_ms: int
    """The broker's time, in ms since 1970."""
    boot_id: str
    """Identity of the run of the machine; empty if unknown."""
    since_boot_ms: int
    """Time since the machine was started, with the time for which it was suspended."""


class TimeEvidence:
    """Evidence about the time, for the broker of one folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CLOCK_FILE

    def is_synchronised(self) -> bool:
        """Return whether the kernel states that a time service, such as NTP, disciplines the system's clock."""
        timex = _Timex()
        try:
            state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
        except (OSError, AttributeError):
            return False
        same_clock = abs(timex.seconds - time.time()) < _SAME_CLOCK_S  # a library may show this process another time
        return 0 <= state < _UNSYNCHRONISED and same_clock

    def boot_id(self) -> str:
        """Return the identity of this run of the machine; empty if it is unknown."""
        try:
            return _BOOT_ID_FILE.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def since_boot_ms(self) -> int:
        """Return the time since the machine was started, with the time for which it was suspended."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def last_sighting(self) -> Sighting | None:
        """Return the last sighting that was stored, or None if there is none that can be read."""
        try:
            fields = json.loads(self._file.read_text(encoding="utf-8"))
            found = Sighting(int(fields["time_ms"]), str(fields["boot_id"]), int(fields["since_boot_ms"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return found

    def save(self, sighting: Sighting) -> None:
        """Store a sighting. A failure is ignored: the next start then has less evidence."""
        unfinished = self._file.with_name(self._file.name + ".tmp")
        with suppress(OSError):
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(sighting._asdict(), file)
            os.replace(unfinished, self._file)


class _Timex(ctypes.Structure):
    """The struct timex of <sys/timex.h>, with the fields after the time left unnamed."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        *((name, ctypes.c_long) for name in ("constant", "precision", "tolerance")),
        *((name, ctypes.c_long) for name in ("seconds", "fraction")),
        ("rest", ctypes.c_char * 256),
    )
    seconds: int
