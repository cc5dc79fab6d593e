"""Evidence about the system's clock: whether a time service disciplines it, and how long the machine has been up."""

from __future__ import annotations

import ctypes
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wonderq_storage.disk import hand_to_owner

#: Name of the file of the last sighting, in the folder of the log.
CLOCK_FILE = "clock.json"

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")

#: Parameter of the kernel of macOS with the identity of the run of the machine, and more bytes than it has.
_BOOT_ID_PARAMETER = b"kern.bootsessionuuid"
_MAX_BOOT_ID_BYTES = 64

#: The clock that counts from the start of the machine, also while it is suspended: on macOS that is the monotonic one.
_SINCE_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Result of adjtimex and ntp_gettime while no time service disciplines the clock (TIME_ERROR in <sys/timex.h>).
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
        try:
            state, seconds = _kernel_clock(ctypes.CDLL(None))
        except (OSError, AttributeError):
            return False
        same_clock = abs(seconds - time.time()) < _SAME_CLOCK_S  # a library may show this process another time
        return 0 <= state < _UNSYNCHRONISED and same_clock

    def boot_id(self) -> str:
        """Return the identity of this run of the machine; empty if it is unknown."""
        try:
            return _BOOT_ID_FILE.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return _boot_id_parameter()

    def since_boot_ms(self) -> int:
        """Return the time since the machine was started, with the time for which it was suspended."""
        return time.clock_gettime_ns(_SINCE_BOOT_CLOCK) // 1_000_000

    def last_sighting(self) -> Sighting | None:
        """Return the last sighting that was stored, or None if there is none that can be read."""
        try:
            fields = json.loads(self._file.read_text(encoding="utf-8"))
            found = Sighting(int(fields["time_ms"]), str(fields["boot_id"]), int(fields["since_boot_ms"]))
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
            return None
        return found

    def save(self, sighting: Sighting) -> None:
        """Store a sighting. A failure is ignored: the next start then has less evidence."""
        unfinished = self._file.with_name(self._file.name + ".tmp")
        with suppress(OSError):
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                hand_to_owner(unfinished, self._file.parent, descriptor)
                json.dump(sighting._asdict(), file)
            os.replace(unfinished, self._file)


def _kernel_clock(library: ctypes.CDLL) -> tuple[int, int]:
    """Return the state of the kernel's clock, and its time in seconds since 1970.

    Raises:
        AttributeError: the system has neither adjtimex, as on Linux, nor ntp_gettime, as on BSD and macOS.
    """
    if hasattr(library, "adjtimex"):
        timex = _Timex()
        return library.adjtimex(ctypes.byref(timex)), timex.seconds
    ntptimeval = _NtpTimeval()
    return library.ntp_gettime(ctypes.byref(ntptimeval)), ntptimeval.seconds


def _boot_id_parameter() -> str:
    """Return the identity of this run of the machine from a parameter of the kernel; empty if it has none."""
    value = ctypes.create_string_buffer(_MAX_BOOT_ID_BYTES)
    size = ctypes.c_size_t(len(value))
    try:
        failed = ctypes.CDLL(None).sysctlbyname(_BOOT_ID_PARAMETER, value, ctypes.byref(size), None, ctypes.c_size_t(0))
        return "" if failed else value.value.decode("ascii")
    except (OSError, AttributeError, ValueError):
        return ""


class _NtpTimeval(ctypes.Structure):
    """The struct ntptimeval of <sys/timex.h>, of which only the beginning is the same on all systems."""

    _fields_ = (("seconds", ctypes.c_long), ("rest", ctypes.c_char * 128))
    seconds: int


class _Timex(ctypes.Structure):
    """The struct timex of <sys/timex.h> of Linux, with the fields after the time left unnamed."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        *((name, ctypes.c_long) for name in ("constant", "precision", "tolerance")),
        *((name, ctypes.c_long) for name in ("seconds", "fraction")),
        ("rest", ctypes.c_char * 256),
    )
    seconds: int
