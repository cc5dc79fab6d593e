"""A planted bug: an exact piece of source, what stands there instead, and the tests that have to notice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """A planted bug."""

    name: str
    """Name of the bug, an identifier that the runner accepts."""
    harm: str
    """Effect on a user, in one sentence."""
    file: str
    """The module it is planted in, from the root of the repository."""
    old: str
    """Source that occurs exactly once, to be replaced by ``new``."""
    new: str
    tests: tuple[str, ...]
    """Node ids of which one has to fail, the first to be expected first."""
    hangs: bool = False
    """Whether the bug makes a call wait for ever, so that a test notices it only at its timeout."""

    def planted(self, source: str) -> str:
        """Return the module with the bug in it.

        Raises:
            ValueError: the source that it replaces is not there exactly once.
        """
        found = source.count(self.old)
        if found != 1:
            raise ValueError(
                f"mutant {self.name}: this stands {found} times in {self.file}, and has to stand there once; "
                f"if the code was changed, plant the bug in what took its place:\n{self.old}"
            )
        return source.replace(self.old, self.new)
