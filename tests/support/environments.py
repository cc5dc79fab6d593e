"""Empty environments of any Python, and a broker that runs in one of them as a user would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker_process import read_address
from tests.support.waiting import PATIENCE_S

#: A build downloads its backend, and an environment the libraries.
INSTALL_PATIENCE_S = 5 * PATIENCE_S


def clean_environment() -> dict[str, str]:
    """Return the variables without those that could lead Python to this repository."""
    ours = ("WONDERQ_", "PYTHON", "COVERAGE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return its output.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_PATIENCE_S,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def find_python(version: str) -> Path | None:
    """Return an interpreter of a version, such as ``3.12``: of the path, or one that pyenv or uv has installed."""
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    homes.append(Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local" / "share" / "uv" / "python")))
    candidates = [shutil.which(f"python{version}"), f"/usr/bin/python{version}"]
    candidates += [str(path) for home in homes for path in sorted(home.glob(f"*/bin/python{version}"), reverse=True)]
    for each in filter(None, candidates):
        script = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([each, "-c", script], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if done.stdout.strip() == version:
            return Path(each)
    return None


def make_environment(python: Path, folder: Path, *packages: str | Path) -> Path:
    """Make an environment, install packages into it, and return its interpreter."""
    run(python, "-m", "venv", folder)
    inside = folder / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return inside


def serve_command(python: Path, data: Path) -> list[str]:
    """Return the command line of a broker in an environment, on a free port."""
    return [str(python), "-m", "wonderq", "serve", "--data", str(data), "--listen", "127.0.0.1:0"]


@contextmanager
def serving(python: Path, data: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a broker in an environment, beside its folder; yield its address and the process, which is killed at the end.

    Raises:
        AssertionError: it does not start.
    """
    log = data.with_name(data.name + ".stderr")
    with (
        log.open("a") as errors,
        subprocess.Popen(
            serve_command(python, data),
            cwd=data.parent,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = read_address(process.stdout)
            assert address is not None, log.read_text()
            yield address, process
        finally:
            process.kill()
