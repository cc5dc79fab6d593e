"""Who is told what a log does."""

from __future__ import annotations


class Observer:
    """Is told by whoever leads, between one group and the next: it must be quick, and not raise. This one does nothing."""

    def group(self, records: int, size: int) -> None:
        """A group was written: so many records, and bytes in all."""

    def sync(self, seconds: float) -> None:
        """A sync was done, and took so long."""
