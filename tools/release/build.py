"""`make dist`: build the wheel and the source distribution into dist/, and check them as the package index would."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from tools.release.commands import BIN, DIST, run


def build() -> list[Path]:
    """Build both into an empty dist/ and return their paths. The wheel is built from the source distribution.

    Raises:
        CommandError: a build fails, or `twine check --strict` finds a fault.
    """
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, ".")
    made = sorted(DIST.iterdir())
    run(BIN / "twine", "check", "--strict", *made)
    return made


def main() -> None:
    """Build, and print a line for each file."""
    for path in build():
        content = path.read_bytes()
        print(f"{path.relative_to(DIST.parent)}  {len(content):,} bytes  sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
