"""Sync policies: the durability that an acknowledgement promises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SyncPolicy:
    """The moment at which a record counts as written.

    ``always``
        after `fdatasync`. An acknowledged record survives a power cut. The default.
    ``interval``
        after `write`. A sync follows within ``interval_ms``. An acknowledged record survives a crash or kill of the
        process. A power cut or kernel crash loses the records acknowledged in the last ``interval_ms``.
    ``os``
        after `write`. The kernel decides when to sync, usually within 30 s. An acknowledged record survives a crash or
        kill of the process. A power cut or kernel crash loses the records that the kernel had not written yet.

    Under every policy a sealed segment is synced, and a loss affects only the newest end of the log.
    """

    name: str = "always"
    interval_ms: int = 0

    @classmethod
    def parse(cls, text: str) -> SyncPolicy:
        """Parse ``always``, ``os`` or ``interval:MS``.

        Raises:
            ValueError: the text is none of these. The message lists the accepted values.
        """
        name, _, interval = text.partition(":")
        if text in ("always", "os"):
            return cls(text)
        if name == "interval" and interval.isascii() and interval.isdigit() and 1 <= int(interval) <= 60_000:
            return cls(name, int(interval))
        raise ValueError(f"{text!r} is not a sync policy: use always, os, or interval:MS with MS from 1 to 60000")

    def __str__(self) -> str:
        return f"interval:{self.interval_ms}" if self.name == "interval" else self.name
