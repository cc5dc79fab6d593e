"""Earlier versions of WonderQ: the last tagged one, and for each format of the log one that writes it."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.environments import make_environment, run
from tests.support.image import ROOT
from wonderq_storage import frame

#: Names for `commit_of`.
VERSIONS = ("last tag", *(f"format {version}" for version in range(frame.OLDEST_VERSION, frame.VERSION + 1)))


def commit_of(name: str) -> str | None:
    """Return the commit of an earlier version, or None if the history does not have it.

    That of a format is the one that wrote its golden folder: the promise to read the format begins there.
    """
    if name == "last tag":
        tags = _git("tag", "--list", "v*", "--sort=-version:refname").split()
        return tags[0] if tags else None
    if _git("rev-parse", "--is-shallow-repository").strip() != "false":
        return None  # the oldest commit that is there would pass for the one that wrote every folder
    folder = f"tests/golden/{name.replace(' ', '-')}/plain"
    return _git("log", "-1", "--format=%H", "--", folder).strip() or None


def _git(*arguments: str) -> str:
    """Return the output of git, or nothing where there is no repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def install(commit: str, folder: Path) -> Path:
    """Build the wheel of a commit, install it into an environment, and return the interpreter."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    source = folder / "source"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(source, filter="data")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", source)
    [wheel] = (folder / "dist").glob("*.whl")
    return make_environment(Path(sys.executable), folder / "environment", wheel)
