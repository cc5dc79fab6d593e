"""The wheel holds the product and nothing else, and works beside a user's modules whatever these are called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker_process import read_address
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq import __version__

ROOT = Path(__file__).parents[2]

#: Names that users give to their own modules, and that this repository uses for folders.
THEIR_MODULES = ("storage", "tests", "benchmarks", "tools")

#: The build downloads its backend, and the environment the dependencies.
INSTALL_PATIENCE_S = 5 * PATIENCE_S


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command, and return what it printed."""
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


def clean_environment() -> dict[str, str]:
    """Return the environment without what could lead Python to this repository."""
    ours = ("WONDERQ_", "PYTHON", "COVERAGE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and what it depends on."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return python


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A folder with modules of a user, each of which fails when somebody imports it."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in THEIR_MODULES:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name}.py belongs to the user')\n")
    return folder


@contextmanager
def serving(python: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a broker as a user does, in a folder of theirs; yield its address and the process."""
    command = [str(python), "-m", "wonderq", "serve", "--data", "data", "--listen", "127.0.0.1:0"]
    with (
        (folder / "stderr").open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = read_address(process.stdout)
            assert address is not None, (folder / "stderr").read_text()
            yield address, process
        finally:
            process.kill()


def test_it_installs_the_product_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl"), "for every system"
    with zipfile.ZipFile(wheel) as archive:
        files, infos = archive.namelist(), archive.infolist()
    assert {name.partition("/")[0] for name in files} == {
        "wonderq",
        "wonderq_storage",
        f"wonderq-{__version__}.dist-info",
    }
    assert "wonderq/py.typed" in files
    assert sum(each.compress_size for each in infos if each.filename.startswith("wonderq/ui/")) < 100_000
    assert {"wonderq/ui/index.html", "wonderq/ui/app/main.js", "wonderq/ui/vendor/LICENSE-uplot.txt"} <= set(files)
    for_users = ("wonderq/testing/", "wonderq/pytest_plugin.py")
    assert not [name for name in files if "test" in name.lower() and not name.startswith(for_users)]


def test_a_broker_runs_beside_modules_with_the_names_of_our_folders(python: Path, users_folder: Path) -> None:
    assert run(python, "-m", "wonderq", "--version", cwd=users_folder).split()[-1] == __version__
    with serving(python, users_folder) as (address, process):
        with QueueClient(address) as client:
            message_id = client.produce("from a wheel")
            [message] = client.consume()
            assert (message["id"], message["message"]) == (message_id, "from a wheel")
            client.delete(message["receipt"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in (users_folder / "stderr").read_text()
    assert list((users_folder / "data").glob("*.wal"))
