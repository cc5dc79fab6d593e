"""Metrics of one worker, and their sums over several processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from tests.support.waiting import eventually
from tests.worker.script import message, scene
from wonderq.worker.metrics import FOLDER_VARIABLE, WorkerMetrics, forget_process, served, sums_of
from wonderq.worker.reports import Reports

_COUNT = """
from wonderq.worker.metrics import WorkerMetrics
metrics = WorkerMetrics(4)
for _ in range(3):
    metrics.started()
metrics.ended("resize", "done", 0.5)
print("counted", flush=True)
input()
"""


def test_a_process_that_has_no_counters_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is made in two steps, and a reader may come between them."""
    (tmp_path / "counter_7.db").touch()

    def pass_time(_seconds: float) -> None:
        (tmp_path / "counter_7.db").write_bytes(bytes(1 << 20))

    monkeypatch.setattr("wonderq.worker.metrics.time.sleep", pass_time)
    assert generate_latest(sums_of(str(tmp_path))) == b""


def samples(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(wonderq_\S+) (\S+)$", text, re.MULTILINE)}


def test_messages_are_counted_by_outcome_and_time() -> None:
    metrics = WorkerMetrics(4)
    with scene(reports=Reports(metrics)) as s:
        s.script.give(message("good"), message("bad"), message("slow"))
        s.handler.wait_for("good", "bad", "slow")
        s.handler.let_go("good")
        s.handler.let_go("bad", ValueError("no"))
        eventually(lambda: s.engine.running == 1)
        s.time.advance(0)

        def found() -> dict[str, float]:
            return samples(generate_latest(metrics.registry).decode())

        eventually(lambda: found().get("wonderq_worker_running") == 1)
        assert found()["wonderq_worker_slots"] == 4
        assert found()['wonderq_worker_messages_total{outcome="done",task="job"}'] == 1
        assert found()['wonderq_worker_messages_total{outcome="retried",task="job"}'] == 1
        assert found()['wonderq_worker_seconds_count{task="job"}'] == 2


def test_they_are_served_over_http() -> None:
    metrics = WorkerMetrics(7)
    with (
        served(metrics.registry, "127.0.0.1", 0) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        assert "wonderq_worker_slots 7.0" in response.read().decode()


def test_processes_are_summed_and_gauges_of_ended_ones_forgotten(tmp_path: Path) -> None:
    environment = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _COUNT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
    sums = sums_of(str(tmp_path))

    found = samples(generate_latest(sums).decode())
    assert found["wonderq_worker_slots"] == 8
    assert found["wonderq_worker_running"] == 4
    assert found['wonderq_worker_messages_total{outcome="done",task="resize"}'] == 2

    processes[0].communicate("\n")
    forget_process(str(tmp_path), processes[0].pid)
    found = samples(generate_latest(sums).decode())
    assert found["wonderq_worker_slots"] == 4
    assert found['wonderq_worker_messages_total{outcome="done",task="resize"}'] == 2
    processes[1].communicate("\n")
