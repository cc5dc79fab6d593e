"""`wonderq cluster import`: the messages of one broker's folder, each once, however often the command is interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.tools.folders import broker_on
from wonderq.client.errors import Unreachable
from wonderq.client.sync import Client
from wonderq.folder import import_
from wonderq.model.messages import NewMessage

BODIES = [f"order {number}" for number in range(250)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    with broker_on(folder, segment_bytes=1 << 16) as (broker, _):
        broker.put_queue("orders", deduplication_window_ms=2000)
        broker.send("orders", [NewMessage(each) for each in BODIES])
        broker.produce("default", ["x"])
    return folder


def bodies_in(folder: Path) -> dict[str, list[str]]:
    lines = [json.loads(line) for line in run("folder", "export", str(folder)).lines]
    found: dict[str, list[str]] = {each["queue"]: [] for each in lines if each["type"] == "queue"}
    for each in lines:
        if each["type"] == "message":
            found[each["queue"]].append(each["message"])
    return found


@pytest.mark.slow
def test_an_import_that_was_interrupted_is_repeated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce = import_._ClientTarget.produce
    calls = []

    def lose_the_answer(target: Any, queue: str, messages: Sequence[dict[str, Any]]) -> None:
        produce(target, queue, messages)
        calls.append(queue)
        if len(calls) == 2:
            raise Unreachable("by the test", outcome_unknown=True)

    with RunningBroker(tmp_path / "new") as broker:
        with monkeypatch.context() as patch:
            patch.setattr(import_._ClientTarget, "produce", lose_the_answer)
            done = run("cluster", "import", str(folder), "--url", broker.url)
        assert done.code == 3
        assert "It is unknown whether" in done.error
        shown = json.loads(run("queue", "show", "orders", "--url", broker.url, "--json").out)
        assert shown["settings"]["deduplication_window"] == 7 * 86_400, "keys are remembered until the import has ended"
        done = run("cluster", "import", str(folder), "--url", broker.url)
        assert (done.code, done.error) == (0, "")
        assert done.lines == ["251 messages and 2 queues imported"]
        shown = json.loads(run("queue", "show", "orders", "--url", broker.url, "--json").out)
        assert shown["settings"]["deduplication_window"] == 2
        assert broker.terminate() == 0
    assert bodies_in(tmp_path / "new") == {"default": ["x"], "orders": BODIES}


def test_an_exported_file_is_imported(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "exported"
    file.write_bytes(run("folder", "export", str(folder)).out)
    with RunningBroker(tmp_path / "new") as broker:
        done = run("cluster", "import", str(file), "--url", broker.url, "--json")
        assert json.loads(done.out) == {"messages": 251, "queues": 2, "topics": 0, "schedules": 0, "passed_over": 0}
        assert broker.terminate() == 0
    assert bodies_in(tmp_path / "new") == {"default": ["x"], "orders": BODIES}


def produced_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each produced batch adds its queue."""
    produce = import_._ClientTarget.produce
    queues: list[str] = []

    def note(target: Any, queue: str, messages: Sequence[dict[str, Any]]) -> None:
        queues.append(queue)
        produce(target, queue, messages)

    monkeypatch.setattr(import_._ClientTarget, "produce", note)
    return queues


def test_an_import_that_has_ended_is_recognized(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues remember keys for seven days only, and the mark of an import for ever."""
    with RunningBroker(tmp_path / "new") as broker:
        assert run("cluster", "import", str(folder), "--url", broker.url).code == 0
        with Client(broker.url) as client:
            client.call("PUT", "/queues/orders", dict, {"retention": 600})
        produced = produced_by(monkeypatch)
        done = run("cluster", "import", str(folder), "--url", broker.url)
        assert (done.code, produced) == (0, [])
        assert done.lines == [
            "0 messages and 0 queues imported",
            "2 queues were passed over: an earlier import of the same folder has ended there",
        ]
        shown = json.loads(run("queue", "show", "orders", "--url", broker.url, "--json").out)
        assert shown["settings"]["retention"] == 600, "settings that were changed since stay"
        assert broker.terminate() == 0


@pytest.mark.slow
def test_another_folder_with_the_same_queues_is_imported_besides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broker_on(tmp_path / "other") as (broker, _):
        broker.put_queue("orders", tags={"team": "b"})
        broker.produce("orders", ["another"])
    with RunningBroker(tmp_path / "new") as running:
        for each in (folder, tmp_path / "other"):
            assert run("cluster", "import", str(each), "--url", running.url).code == 0
        produced = produced_by(monkeypatch)
        for each in (folder, tmp_path / "other"):
            assert run("cluster", "import", str(each), "--url", running.url).code == 0
        assert produced == []
        shown = json.loads(run("queue", "show", "orders", "--url", running.url, "--json").out)
        assert shown["settings"]["tags"]["team"] == "b"
        assert running.terminate() == 0
    assert bodies_in(tmp_path / "new") == {"default": ["x"], "orders": [*BODIES, "another"]}


@pytest.mark.slow
def test_an_import_that_was_interrupted_at_its_end_is_repeated_for_the_rest(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = import_._ClientTarget.put_queue
    calls = []

    def fail_last(target: Any, queue: str, line: Any) -> None:
        calls.append(queue)
        if len(calls) == 4:
            raise Unreachable("by the test", outcome_unknown=True)
        put(target, queue, line)

    with RunningBroker(tmp_path / "new") as broker:
        with monkeypatch.context() as patch:
            patch.setattr(import_._ClientTarget, "put_queue", fail_last)
            assert run("cluster", "import", str(folder), "--url", broker.url).code == 3
        assert calls == ["default", "orders", "default", "orders"]
        produced = produced_by(monkeypatch)
        assert run("cluster", "import", str(folder), "--url", broker.url).code == 0
        assert set(produced) == {"orders"}
        shown = json.loads(run("queue", "show", "orders", "--url", broker.url, "--json").out)
        assert shown["settings"]["deduplication_window"] == 2
        assert broker.terminate() == 0
    assert bodies_in(tmp_path / "new") == {"default": ["x"], "orders": BODIES}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cluster", "folder"])
def test_schedules_are_imported_with_their_next_time(tmp_path: Path, target: str) -> None:
    with broker_on(tmp_path / "source") as (broker, _):
        broker.schedules.put("early", cron="0 4 * * *", timezone="Europe/Berlin", queue="orders", body="go", priority=3)
        fields: dict[str, Any] = {
            "attributes": {"kind": ("String", "é")},
            "delay_ms": 1500,
            "missed": "all",
            "paused": True,
        }
        broker.schedules.put("held", cron="*/5 * * * *", queue="line.fifo", body="x", group="g", **fields)
        expected = broker.schedules.list()
    if target == "cluster":
        with RunningBroker(tmp_path / "new") as running:
            done = run("cluster", "import", str(tmp_path / "source"), "--url", running.url)
            assert (done.code, done.error) == (0, "")
            assert running.terminate() == 0
    else:
        lines = run("folder", "export", str(tmp_path / "source")).out
        done = run("folder", "import", str(tmp_path / "new"), stdin=lines)
        assert (done.code, done.error) == (0, "")
    assert done.lines == ["0 messages and 1 queue imported, and 2 schedules"]
    with broker_on(tmp_path / "new") as (broker, _):
        found = [replace(each, created_ms=0) for each in broker.schedules.list()]
    assert found == [replace(each, created_ms=0) for each in expected]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("cluster", "import", str(tmp_path / "nothing"), "--url", "http://127.0.0.1:1")
    assert done.code == 1
    assert "there is no folder" in done.error
