"""The container image without a container: the instructions of the Dockerfile's build stage, carried out in a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "tools" / "deploy" / "Dockerfile"

#: The build downloads the libraries.
BUILD_PATIENCE_S = 5 * PATIENCE_S

#: Makes every mount read-only but the folder $1, takes all capabilities away, and runs the rest of the arguments.
_READ_ONLY = """
set -e
mount --bind "$1" "$1"
awk '{print $2}' /proc/self/mounts | while read -r place; do
  [ "$place" = "$1" ] || mount -o remount,bind,ro "$place" 2> /dev/null || true
done
shift
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage of the Dockerfile, as pairs of name and arguments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for name, rest in re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE):
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


class Image:
    """The files that the build stage makes, with its absolute paths below ``folder``.

    Raises:
        AssertionError: an instruction fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = folder / "programs" / "python"
        self._program.parent.mkdir(parents=True)
        self._program.write_text(f'#!/bin/sh\nexec {Path(sys.executable).resolve()} "$@"\n')
        self._program.chmod(0o755)
        self._workdir = folder
        for name, rest in stages()[0]:
            if name == "WORKDIR":
                self._workdir = folder / rest.strip("/")
                self._workdir.mkdir(parents=True)
            elif name == "COPY":
                *sources, target = rest.split()
                self._copy(sources, self._workdir / target)
            elif name == "RUN":
                self._run(re.sub(r"(?<=[ =])/(opt|src|dist)\b", rf"{folder}/\1", f" {rest}"))

    def _copy(self, sources: Sequence[str], target: Path) -> None:
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def _run(self, script: str) -> None:
        ours = ("WONDERQ_", "PYTHON", "COVERAGE", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment["PATH"] = f"{self._program.parent}:{environment['PATH']}"
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=self._workdir,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of the program in the image."""
        return [str(self.folder / "opt" / "wonderq" / "bin" / "wonderq"), *arguments]

    def environment(self, **settings: str) -> Mapping[str, str]:
        """Return the variables of the image, and ``settings``."""
        [text] = [rest for name, rest in stages()[-1] if name == "ENV"]
        of_image = dict(each.split("=", 1) for each in text.split())
        of_image["PATH"] = f"{self.folder}/opt/wonderq/bin:{os.environ['PATH']}"
        return {**of_image, **settings}


def read_only(writable: Path, *command: str) -> list[str]:
    """Return a command line that runs ``command`` where nothing but one folder can be written, without capabilities."""
    return ["unshare", "--mount", "sh", "-c", _READ_ONLY, "sh", str(writable), *command]


def can_be_read_only(writable: Path) -> bool:
    """Return whether this user may make mounts of a process read-only."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    script = f"! touch {writable.parent}/elsewhere 2> /dev/null && touch {writable}/here"
    done = subprocess.run(read_only(writable, "sh", "-c", script), capture_output=True, check=False)
    return done.returncode == 0
