"""The wheel installs into an empty environment of each Python, and works there: the client alone, and a whole broker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.environments import clean_environment, find_python, make_environment, run, serving
from tests.support.waiting import PATIENCE_S
from wonderq import __version__

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

#: Names that users give to their own modules, and that this repository uses for folders.
THEIR_MODULES = ("storage", "tests", "benchmarks", "tools")

#: Prints the modules that a client, which sends and receives a message, has loaded.
CLIENT = """
import sys
from wonderq import Client
with Client(sys.argv[1]) as client:
    queue = client.queue("mail")
    queue.send({"to": "a@example.org"})
    [message] = queue.receive()
    assert message.body == {"to": "a@example.org"}, message.body
    message.delete()
    assert queue.receive() == []
print(*sorted(sys.modules))
"""

#: Uses each public name that needs no extra, and runs a task.
TASKS = """
import sys, wonderq
for name in wonderq.__all__:
    if not name.startswith("Async"):
        getattr(wonderq, name)
app = wonderq.App(sys.argv[1], queue="jobs")

@app.task()
def work(text):
    print(text)

work.send("done by a worker")
app.run_until_empty()
"""


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and the libraries that it needs."""
    found = find_python(request.param)
    if found is None:
        pytest.skip(f"Python {request.param} is not installed")
    return make_environment(found, tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A folder with modules of a user, each of which fails when somebody imports it."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in THEIR_MODULES:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name}.py belongs to the user')\n")
    return folder


def wonderq(python: Path, url: str, *arguments: str, cwd: Path) -> str:
    """Run the command of the environment, and return its output."""
    return run(python.with_name("wonderq"), *arguments, "--url", url, cwd=cwd)


def test_a_message_survives_the_kill_of_its_broker(python: Path, users_folder: Path) -> None:
    data = users_folder / "data"
    assert run(python.with_name("wonderq"), "--version", cwd=users_folder).split()[1] == __version__
    with serving(python, data) as (url, process):
        wonderq(python, url, "send", "from a wheel", cwd=users_folder)
        process.kill()
    with serving(python, data) as (url, process):
        assert "from a wheel" in wonderq(python, url, "receive", "--delete", cwd=users_folder)
        assert wonderq(python, url, "peek", cwd=users_folder) == ""
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in data.with_name("data.stderr").read_text()
    assert list(data.glob("*.wal"))


def test_a_client_works_without_the_modules_of_a_broker(python: Path, users_folder: Path) -> None:
    with RunningBroker(users_folder / "data") as broker:
        loaded = run(python, "-c", CLIENT, broker.url, cwd=users_folder).split()
    assert "wonderq.client.sync" in loaded
    of_a_broker = ("falcon", "waitress", "greenlet", "prometheus_client", "wonderq_storage", "wonderq.broker")
    assert [name for name in loaded if name.startswith(of_a_broker)] == []


def test_tasks_run_without_extras(python: Path, users_folder: Path) -> None:
    with RunningBroker(users_folder / "data") as broker:
        assert run(python, "-c", TASKS, broker.url, cwd=users_folder) == "done by a worker\n"


def test_each_command_explains_itself_without_extras(python: Path, users_folder: Path) -> None:
    command = python.with_name("wonderq")
    commands = re.findall(r"^ {2,4}([a-z][a-z-]*)  ", run(command, "--help", cwd=users_folder), re.MULTILINE)
    assert {"serve", "send", "worker", "demo"} <= {*commands}
    for each in commands:
        assert each in run(command, each, "--help", cwd=users_folder)


def test_the_source_distribution_installs_too(sdist: Path, tmp_path: Path) -> None:
    python = make_environment(Path(sys.executable), tmp_path / "environment", sdist)
    assert run(python.with_name("wonderq"), "--version", cwd=tmp_path).split()[1] == __version__


def test_each_extra_installs(wheel: Path, tmp_path: Path) -> None:
    """Together with all others, so none excludes another."""
    python = make_environment(
        Path(sys.executable), tmp_path / "environment", f"{wheel}[asyncio,cluster,dramatiq,otel,sns]"
    )
    script = "import aiohttp, cryptography, dramatiq, opentelemetry.trace; from wonderq import AsyncClient"
    done = subprocess.run(
        [python, "-c", script], env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert python.with_name("nats-server").exists()
