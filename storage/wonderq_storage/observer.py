"""Callbacks for log metrics."""

from __future__ import annotations


class Observer:
    """Called by the group-commit leader between groups: implementations must be fast and must not raise.

    This implementation does nothing.
    """

    def group(self, records: int, size: int) -> None:
        """Count a written group of ``records`` records and ``size`` bytes."""

    def sync(self, seconds: float) -> None:
        """Count a sync that took ``seconds``."""
