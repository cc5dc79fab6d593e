"""`wonderq worker`: errors of its arguments, and processes with a real broker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import COMMAND, clean_environment
from tests.support.process_1 import as_process_1, pid_of_process_1
from tests.support.waiting import PATIENCE_S, eventually
from tests.worker.processes import WorkerProcess
from wonderq.cli.arguments import UsageError
from wonderq.cli.worker import _queues, load_app
from wonderq.client.messages import Sent
from wonderq.client.sync import Client

#: Its task notes its starts and ends, and ends when the test makes a file.
_TASKS = """
import os, time
from pathlib import Path
import wonderq

HERE = Path(__file__).parent
app = wonderq.App(queue={queue!r})

def note(text):
    with (HERE / "notes").open("a") as notes:
        notes.write(text + "\\n")

@app.task(lease=2)
def work(ctx: wonderq.Context, name: str) -> None:
    note(f"started {{name}} {{ctx.tries}} {{os.getpid()}}")
    while not (HERE / name).exists():
        time.sleep(0.01)
    note(f"ended {{name}} {{ctx.tries}} {{os.getpid()}}")
"""


class Scene:
    """A folder with an app, its queue, and what its tasks have noted."""

    def __init__(self, folder: Path, broker: RunningBroker, client: Client, queue: str) -> None:
        self.folder = folder
        self._broker = broker
        self.queue = client.queue(queue)
        (folder / "tasks.py").write_text(_TASKS.format(queue=queue))

    def worker(self, *options: str, **environment: str) -> WorkerProcess:
        return WorkerProcess(self.folder, self._broker.url, *options, environment=environment)

    def send(self, name: str) -> Sent:
        return self.queue.send({"task": "work", "args": [name]})

    def let_go(self, name: str) -> None:
        (self.folder / name).touch()

    def notes(self, what: str) -> list[tuple[str, int, int]]:
        """Return name, try and process of each note."""
        path = self.folder / "notes"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(name, int(tries), int(pid)) for kind, name, tries, pid in lines if kind == what]

    def wait_for(self, what: str, count: int) -> list[tuple[str, int, int]]:
        eventually(lambda: len(self.notes(what)) >= count, f"{count} times {what!r}")
        return self.notes(what)

    def is_empty(self) -> bool:
        return not any(self.queue.count(status) for status in ("unprocessed", "processing", "delayed", "buried"))


@pytest.fixture
def s(tmp_path: Path, broker: RunningBroker, client: Client, name: str) -> Scene:
    return Scene(tmp_path, broker, client, name)


# Errors


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "absent_module:app",
            "there is no module 'absent_module' in .*. Run the worker in the folder that contains it",
        ),
        ("absent_package.tasks:app", "there is no module 'absent_package' in "),
        ("one.py", "'one.py' is not MODULE:APP, such as tasks:app for the app in tasks.py"),
        ("folder/one:app", "'folder/one:app' is not MODULE:APP"),
        (":app", "':app' is not MODULE:APP"),
        ("none_of_apps", "'none_of_apps' does not name one app. Make one: app = wonderq.App()"),
        ("none_of_apps:x", "'x' of module 'none_of_apps' is not a wonderq.App. Make one: app = wonderq.App()"),
        ("two_apps", "'two_apps' does not name one app. It has two_apps:a, two_apps:b"),
        ("two_apps:c", "'c' of module 'two_apps' is not a wonderq.App. It has two_apps:a, two_apps:b"),
        ("fails_at_import:app", "'fails_at_import' cannot be imported: ModuleNotFoundError: No module named 'gone'"),
    ],
)
def test_a_wrong_app_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, sentence: str) -> None:
    modules = {
        "none_of_apps": "x = 1\n",
        "two_apps": "import wonderq\na = wonderq.App()\nb = wonderq.App()\n",
        "fails_at_import": "import gone\n",
    }
    for module, text in modules.items():
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UsageError, match=sentence):
        load_app(target)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--queue", "urgent=3", "--queue", "jobs"], "--queue: give each queue a weight (urgent=3), or none of them."),
        (["--queue", "jobs=often"], "--queue: 'often' is not a whole number of at least 1."),
        (["--metrics", "9100"], "argument --metrics: '9100' is not HOST:PORT, such as 127.0.0.1:9100"),
        (["--concurrency", "0"], "argument --concurrency: '0' is not a whole number of at least 1"),
        (["--grace", "-1"], "argument --grace: '-1' is not a number of seconds from 0"),
        ([], "'empty:app' has no task, so every message would fail."),
    ],
)
def test_wrong_options_are_explained(tmp_path: Path, options: list[str], sentence: str) -> None:
    (tmp_path / "empty.py").write_text("import wonderq\napp = wonderq.App()\n")
    code, error = _run(tmp_path, "http://127.0.0.1:1", "empty:app", *options)
    assert code == 2
    assert sentence in error
    assert "Traceback" not in error


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_address_in_use_is_explained(s: Scene, broker: RunningBroker, processes: str) -> None:
    address = f"{broker.host}:{broker.port}"
    code, error = _run(s.folder, broker.url, "tasks:app", "--metrics", address, "--processes", processes)
    assert code == 2
    assert f"cannot serve metrics on {address}: Address already in use. Choose another address with --metrics" in error


def test_a_wrong_schedule_is_explained_with_its_task(tmp_path: Path, broker: RunningBroker, name: str) -> None:
    (tmp_path / "tasks.py").write_text(
        f"import wonderq\napp = wonderq.App(queue={name!r})\n@app.every('61 0 * * *')\ndef nightly(): ...\n"
    )
    code, error = _run(tmp_path, broker.url, "tasks:app")
    assert code == 2
    assert "This is the schedule of task 'nightly'." in error


def _run(folder: Path, url: str, *arguments: str) -> tuple[int, str]:
    """Run a worker that ends by itself; return its exit code and what it wrote to stderr."""
    done = subprocess.run(
        [*COMMAND, "worker", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=clean_environment({"WONDERQ_URL": url}),
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("options", "queues"),
    [(None, None), (["urgent", "jobs"], ["urgent", "jobs"]), (["urgent=3", "jobs=1"], {"urgent": 3, "jobs": 1})],
)
def test_queues_have_an_order_or_weights(options: list[str] | None, queues: object) -> None:
    assert _queues(options) == queues


# Processes


#: An app whose module never comes to its end.
_SLOW_APP = """
import time
print("loading", flush=True)
while True:  # a signal that another thread gets wakes no long sleep
    time.sleep(0.05)
"""


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("is_process_1", [False, True])
def test_a_stop_while_the_app_is_loaded_ends_the_worker(tmp_path: Path, processes: str, is_process_1: bool) -> None:
    (tmp_path / "tasks.py").write_text(_SLOW_APP)
    command = [*COMMAND, "worker", "tasks:app", "--processes", processes]
    if is_process_1:
        command = as_process_1(command)
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        for _ in range(int(processes)):
            assert process.stdout.readline() == "loading\n"
        os.kill(pid_of_process_1(process.pid) if is_process_1 else process.pid, signal.SIGTERM)
        try:
            _, error = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "SIGTERM: ending" in error


@pytest.mark.slow
def test_a_handler_finishes_within_the_grace(s: Scene) -> None:
    s.send("a")
    with s.worker("--grace", "600") as worker:
        s.wait_for("started", 1)
        worker.stop()
        s.let_go("a")
        assert worker.wait() == 0
    assert [(name, tries) for name, tries, _ in s.notes("ended")] == [("a", 1)]
    assert s.is_empty()


@pytest.mark.slow
def test_a_worker_holds_as_many_messages_as_it_runs_tasks(s: Scene) -> None:
    for name in "abc":
        s.send(name)
    with s.worker("--concurrency", "2"):
        assert {name for name, _, _ in s.wait_for("started", 2)} == {"a", "b"}
        counts = s.queue.info().counts
        assert (counts["processing"], counts["unprocessed"]) == (2, 1)
        s.let_go("a")
        assert [name for name, _, _ in s.wait_for("started", 3)][2] == "c"
        s.let_go("b")
        s.let_go("c")
        eventually(s.is_empty, "all tasks to be done")


@pytest.mark.slow
def test_a_handler_that_takes_longer_than_the_grace_is_given_back_uncounted(s: Scene) -> None:
    sent = s.send("a")
    with s.worker("--grace", "0.1") as worker:
        s.wait_for("started", 1)
        worker.stop()
        assert worker.wait() == 0
    found = s.queue.get(sent.id)
    assert (found.status, found.tries) == ("unprocessed", 0)
    assert s.notes("ended") == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_signal_gives_back_at_once(s: Scene, processes: str) -> None:
    sent = s.send("a")
    with s.worker("--grace", "600", "--processes", processes) as worker:
        s.wait_for("started", 1)
        worker.stop()
        worker.hurry()
        assert worker.wait() == 0
    found = s.queue.get(sent.id)
    assert (found.status, found.tries) == ("unprocessed", 0)


@pytest.mark.slow
def test_a_signal_to_the_whole_service_leaves_the_grace(s: Scene) -> None:
    """systemd signals the supervisor and its processes, and the supervisor passes its own signal on."""
    s.send("a")
    with s.worker("--grace", "600", "--processes", "2") as worker:
        [(_, _, pid)] = s.wait_for("started", 1)
        worker.stop()
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGTERM)
        s.let_go("a")
        assert worker.wait() == 0
        assert "giving all messages back" not in worker.log()
    assert [(name, tries) for name, tries, _ in s.notes("ended")] == [("a", 1)]
    assert s.is_empty()


@pytest.mark.slow
def test_the_message_of_a_killed_process_is_handled_again(s: Scene) -> None:
    s.send("a")
    with s.worker("--grace", "1", "--processes", "2") as worker:
        [(_, _, killed)] = s.wait_for("started", 1)
        os.kill(killed, signal.SIGKILL)
        (_, tries, other) = s.wait_for("started", 2)[1]
        assert (tries, other != killed) == (2, True)
        s.let_go("a")
        s.wait_for("ended", 1)
        eventually(lambda: len(re.findall(r"process \d started", worker.log())) == 3)
        eventually(s.is_empty)
        worker.stop()
        assert worker.wait() == 0
        assert f"({killed}) was killed by SIGKILL; another one starts" in worker.log()


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_metrics_are_served(s: Scene, processes: str) -> None:
    for name in ("a", "b", "c"):
        s.let_go(name)
        s.send(name)
    s.send("d")
    expected = ['wonderq_worker_messages_total{outcome="done",task="work"} 3.0', "wonderq_worker_running 1.0"]
    with s.worker("--metrics", "127.0.0.1:0", "--grace", "1", "--processes", processes) as worker:
        address = worker.wait_for_line("metrics at ").rpartition(" ")[2]

        def metrics() -> list[str]:
            with urlopen(address, timeout=PATIENCE_S) as answer:
                return answer.read().decode().splitlines()  # type: ignore[no-any-return]

        eventually(lambda: set(expected) <= set(metrics()), f"{expected} at {address}")


@pytest.mark.slow
def test_changed_code_restarts_the_worker(s: Scene) -> None:
    """Also if size and second of the change are those of the file before, by which Python knows its bytecode."""
    program, changed = s.folder / "tasks.py", s.folder / "changed.txt"
    changed.write_text(program.read_text().replace('note(f"started', 'note(f"changed'))
    for number, file in enumerate((program, changed)):
        os.utime(file, ns=(number, number))
    s.let_go("a")
    with s.worker("--reload", "--grace", "1", PYTHONDONTWRITEBYTECODE="") as worker:
        worker.ready()
        changed.replace(program)
        eventually(lambda: worker.log().count("receiving from") == 2)
        s.send("a")
        s.wait_for("changed", 1)


@pytest.mark.slow
def test_only_the_given_queues_are_received_from_and_logs_may_be_json(s: Scene) -> None:
    with s.worker("--queue", f"{s.queue.name}=3", "--queue", "other=1", "--log-format", "json") as worker:
        worker.ready()
        [line] = worker.log().splitlines()
        assert f"receiving from {s.queue.name}, other at " in json.loads(line)["message"]
