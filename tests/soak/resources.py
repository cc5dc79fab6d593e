"""Memory and file descriptors of a broker, sampled from outside, and whether they grow.

What is sampled: resident memory, and descriptors other than the segments' (there are as many of those as the log has
segments, which is the compaction's matter).

The criterion. A life of at least ``LONG_S`` seconds is judged. Its first ``WARM_S`` seconds are left out: stacks and pools
grow to their size then. Over the rest the slope is the median of the slopes between all pairs of samples (Theil and Sen),
which neither a peak nor a pause moves. A life grows if that slope is above the limit *and* the median of its last third is
above that of its first by more than noise. Lives are compared likewise, by the median of each at the same age, if there are
at least ``LIVES``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import median

LONG_S = 100.0
WARM_S = 55.0
LIVES = 12

#: Growth a minute that is none: of memory in MiB, and of descriptors.
LIMIT_MIB, LIMIT_FILES = 1.5, 2.0

#: From one third of a life to the last: so much is noise.
NOISE_MIB, NOISE_FILES = 1.0, 3.0

#: Lives are compared at this age, in seconds; and so much growth from life to life is none.
AGE_S = (2.0, 5.0)
LIMIT_MIB_A_LIFE, LIMIT_FILES_A_LIFE = 0.2, 0.5

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True, slots=True)
class Sample:
    age_s: float
    rss_mib: float
    files: int


@dataclass(slots=True)
class Life:
    """Resources that one broker process used during its life."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def warm(self) -> list[Sample]:
        return [each for each in self.samples if each.age_s >= WARM_S]

    @property
    def long(self) -> bool:
        return bool(self.samples) and self.samples[-1].age_s >= LONG_S

    def slope(self, name: str) -> float:
        """Return the growth of ``rss_mib`` or ``files`` a minute, once warm."""
        return 60 * slope([(each.age_s, getattr(each, name)) for each in self.warm])

    def growth(self, name: str) -> float:
        """Return by how much the median of its last third is above that of its first, once warm."""
        return growth([getattr(each, name) for each in self.warm])

    def at_age(self, name: str) -> float | None:
        values = [getattr(each, name) for each in self.samples if AGE_S[0] <= each.age_s <= AGE_S[1]]
        return median(values) if values else None


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points; 0 if there are too few to tell."""
    thinned = points[:: max(len(points) // 200, 1)]
    slopes = [(y - v) / (x - u) for (u, v), (x, y) in combinations(thinned, 2) if x > u]
    return median(slopes) if len(thinned) >= 5 else 0.0


def growth(values: Sequence[float]) -> float:
    """Return by how much the median of the last third is above that of the first."""
    third = max(len(values) // 3, 1)
    return median(values[-third:]) - median(values[:third])


class Sampler:
    """Samples the broker of a data folder each ``every_s`` seconds, until it ends or `stop`."""

    def __init__(self, pid: int, data: Path, every_s: float = 0.5) -> None:
        self.life = Life()
        self._data = data
        self._process = Path(f"/proc/{pid}")
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._done.wait(self._every_s):
            try:
                rss = int((self._process / "statm").read_text().split()[1]) * _PAGE_MIB
                files = len(os.listdir(self._process / "fd")) - sum(1 for _ in self._data.glob("*.wal"))
            except (OSError, IndexError):
                return
            self.life.samples.append(Sample(time.monotonic() - began_s, rss, files))

    def stop(self) -> Life:
        self._done.set()
        self._thread.join()
        return self.life


@dataclass(slots=True)
class Resources:
    """All lives of a run."""

    lives: list[Life] = field(default_factory=list)
    names = (
        ("rss_mib", "MiB", LIMIT_MIB, NOISE_MIB, LIMIT_MIB_A_LIFE),
        ("files", "descriptors", LIMIT_FILES, NOISE_FILES, LIMIT_FILES_A_LIFE),
    )

    @property
    def max_rss_mib(self) -> float:
        return max((each.rss_mib for life in self.lives for each in life.samples), default=0.0)

    @property
    def max_files(self) -> int:
        return max((each.files for life in self.lives for each in life.samples), default=0)

    def growing(self) -> list[str]:
        """Say what grows."""
        found = []
        for name, unit, limit, noise, a_life in self.names:
            for number, life in enumerate(self.lives, 1):
                if life.long and life.slope(name) > limit and life.growth(name) > noise:
                    found.append(
                        f"in life {number} {unit} grew by {life.slope(name):.2f} a minute, "
                        f"{life.growth(name):+.1f} in all, to {getattr(life.samples[-1], name):.1f}"
                    )
            over = self.over_lives(name)
            if over is not None and over > a_life and growth([at for _, at in self._ages(name)]) > noise:
                found.append(f"{unit} grew by {over:.2f} from life to life")
        return found

    def _ages(self, name: str) -> list[tuple[float, float]]:
        return [(float(n), at) for n, life in enumerate(self.lives) if (at := life.at_age(name)) is not None]

    def over_lives(self, name: str) -> float | None:
        """Return the growth from one life to the next, or None if there are too few."""
        points = self._ages(name)
        return slope(points) if len(points) >= LIVES else None

    def __str__(self) -> str:
        parts = [f"max RSS {self.max_rss_mib:.1f} MiB, max descriptors {self.max_files}"]
        for name, unit, *_ in self.names:
            slopes = [life.slope(name) for life in self.lives if life.long]
            said = f"{median(slopes):+.2f} (worst {max(slopes):+.2f})" if slopes else "too short to tell"
            over = self.over_lives(name)
            parts.append(f"{unit} a minute {said}, a life {'too few' if over is None else f'{over:+.3f}'}")
        return ", ".join(parts)
