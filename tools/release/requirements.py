"""`make requirements`: pin what the container image installs, with the hashes of every file that the index has.

The pins hold for all processors: a marker names a library that only some of them need.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from tools.release.commands import BIN, ROOT, run

DEPLOY = ROOT / "tools" / "deploy"

#: Extras that the image has: a node of a cluster in it runs a NATS server, and a broker signs notifications of topics.
EXTRAS = ("cluster", "sns")


def pin(folder: Path, *, upgrade: bool) -> None:
    """Write both files of pins. Without ``upgrade``, pins in the folder stay as far as pyproject.toml permits."""
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    options += ["--custom-compile-command", "make requirements", *(["--upgrade"] if upgrade else [])]
    extras = [word for each in EXTRAS for word in ("--extra", each)]
    compile_: list[str | Path] = [BIN / "uv", "pip", "compile", *options]
    run(*compile_, *extras, "pyproject.toml", "-o", folder / "requirements.txt")
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    run(*compile_, "-", "-o", folder / "build-requirements.txt", stdin="\n".join(backend))


if __name__ == "__main__":
    pin(DEPLOY, upgrade=True)
