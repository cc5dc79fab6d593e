"""The repository, its version, and commands that run in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"

#: Folder with the programs of the environment that runs this.
BIN = Path(sys.executable).parent


class CommandError(Exception):
    """A command failed. The message has its last lines."""


def run(*command: str | Path, cwd: Path = ROOT, stdin: str = "") -> str:
    """Run a command in the repository and return its output.

    Raises:
        CommandError: it failed.
    """
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise CommandError(f"{' '.join(map(str, command))} ended with exit code {done.returncode}:\n{last}")
    return done.stdout


def version() -> str:
    """Return the version in the source. The package is not imported: this environment does not have its libraries."""
    text = (ROOT / "wonderq" / "__init__.py").read_text(encoding="utf-8")
    [found] = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)
