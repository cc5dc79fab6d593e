"""The fixtures for pytest, as a user's tests get them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S

#: A test in a user's words, and one that finds nothing of the other.
TESTS = """
import wonderq

def test_a_delayed_message(wonderq_broker, wonderq_client):
    wonderq.Client().queue("jobs").send({"number": 1}, delay=60)  # finds the broker by WONDERQ_URL
    jobs = wonderq_client.queue("jobs")
    assert jobs.receive() == []
    wonderq_broker.advance(60)
    [message] = jobs.receive()
    assert message.body == {"number": 1}

def test_another_test_begins_with_an_empty_broker(wonderq_client):
    assert [queue.name for queue in wonderq_client.queues()] == ["default"]
"""


def run_pytest(folder: Path, *options: str) -> str:
    """Run pytest with this plugin alone and with every warning as an error; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "wonderq.pytest_plugin", *options],
        cwd=folder,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "WONDERQ_URL": "http://127.0.0.1:1",
            "WONDERQ_KEY": "k",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="alone"),
        pytest.param(("-p", "xdist.plugin", "-n", "2"), id="xdist", marks=pytest.mark.slow),
    ],
)
def test_each_test_has_a_broker_of_its_own(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "test_jobs.py").write_text(TESTS)
    assert "2 passed" in run_pytest(tmp_path, *options)


def test_who_does_not_use_the_fixtures_loads_nothing_for_them(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other():\n"
        "    assert {name for name in sys.modules if name.startswith('wonderq')} == {'wonderq', 'wonderq.pytest_plugin'}\n"
    )
    run_pytest(tmp_path)
