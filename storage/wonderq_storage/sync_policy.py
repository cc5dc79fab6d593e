"""When a record counts as written: what an acknowledgement promises, and what it risks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SyncPolicy:
    """When a record counts as written.

    ``always``
        after `fdatasync`. An acknowledged record survives a power cut. The default.
    ``interval``
        after `write`; a sync follows within ``interval_ms``. Survives a crash or kill of the process; a power cut or
        kernel crash loses what was acknowledged in the last ``interval_ms``.
    ``os``
        after `write`; the kernel syncs when it likes (commonly within 30 s). Survives a crash or kill of the process; a
        power cut or kernel crash loses what the kernel had not written yet.

    Under each, what is lost is always the newest end of the log, and a sealed segment is synced.
    """

    name: str = "always"
    interval_ms: int = 0

    @classmethod
    def parse(cls, text: str) -> SyncPolicy:
        """Read ``always``, ``os`` or ``interval:MS``.

        Raises:
            ValueError: it is none of these; the message says what is accepted.
        """
        name, _, interval = text.partition(":")
        if text in ("always", "os"):
            return cls(text)
        if name == "interval" and interval.isascii() and interval.isdigit() and 1 <= int(interval) <= 60_000:
            return cls(name, int(interval))
        raise ValueError(f"{text!r} is not a sync policy: use always, os, or interval:MS with MS from 1 to 60000")

    def __str__(self) -> str:
        return f"interval:{self.interval_ms}" if self.name == "interval" else self.name
