"""`wonderq cluster import`: the messages of one broker's folder, each once, however often the command is interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.tools.folders import broker_on
from wonderq.client.errors import Unreachable
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
        assert json.loads(done.out) == {"messages": 251, "queues": 2, "topics": 0}
        assert broker.terminate() == 0
    assert bodies_in(tmp_path / "new") == {"default": ["x"], "orders": BODIES}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("cluster", "import", str(tmp_path / "nothing"), "--url", "http://127.0.0.1:1")
    assert done.code == 1
    assert "there is no folder" in done.error
