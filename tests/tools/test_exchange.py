from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.support.folders import snapshot
from tests.tools.folders import broker_on
from wonderq.model.messages import Change, NewMessage, Target

BODIES = ["plain", "", "line\nbreak \t \u2028 \0", "\U0001f389 ünïcode", '{"json": true}', "x" * 3000]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    with broker_on(folder, segment_bytes=1 << 16) as (broker, _):
        broker.put_queue("orders", visibility_timeout_ms=1500, delay_ms=250)
        broker.put_queue("empty", delay_ms=60_000)
        broker.produce("default", ["gone", *BODIES])
        broker.produce("orders", [f"order {n}" for n in range(1500 // 2)], [0] * 750)
        broker.produce("orders", [f"order {n}" for n in range(750, 1500)], [0] * 750)
        broker.produce("orders", ["later", "now"], [3_600_000, 0])
        [gone, held] = broker.claim("default", limit=2, visibility_timeout_ms=3_600_000)
        broker.delete("default", Target(receipt=gone.receipt))
        assert held.body == "plain"
    return folder


def lines_of(folder: Path) -> list[dict[str, Any]]:
    done = run("folder", "export", str(folder))
    assert (done.code, done.error) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def test_export(folder: Path) -> None:
    before = snapshot(folder)
    lines = lines_of(folder)
    assert snapshot(folder) == before
    queues = {each["queue"]: each for each in lines if each["type"] == "queue"}
    assert [(name, each["visibility_timeout"], each["delay"]) for name, each in queues.items()] == [
        ("default", 30, 0), ("empty", 30, 60), ("orders", 1.5, 0.25),
    ]  # fmt: skip
    messages = [each for each in lines if each["type"] == "message"]
    assert [each["message"] for each in messages if each["queue"] == "default"] == BODIES
    assert [(each["status"], each["receive_count"]) for each in messages[:2]] == [("processing", 1), ("unprocessed", 0)]
    assert messages[0]["claimed_until"] > messages[0]["produced_at"]
    assert [each["message"] for each in messages if each["status"] == "delayed"] == ["later"]


def check_imported(lines: list[dict[str, Any]], source: list[dict[str, Any]]) -> None:
    def queues(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        names = ("queue", "visibility_timeout", "delay")
        return [tuple(each[name] for name in names) for each in found if each["type"] == "queue"]

    def messages(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
        return [(each["queue"], each["message"]) for each in found if each["type"] == "message"]

    assert queues(lines) == queues(source)
    assert messages(lines) == messages(source)
    [due] = [each["delayed_until"] for each in source if "delayed_until" in each]
    [late] = [each["delayed_until"] for each in lines if "delayed_until" in each]
    assert abs(datetime.fromisoformat(late) - datetime.fromisoformat(due)) < timedelta(seconds=30)
    for each in lines:
        if each["type"] == "message":
            assert each["status"] == ("delayed" if each["message"] == "later" else "unprocessed")
            assert each["receive_count"] == 0


def test_import_into_a_new_folder(folder: Path, tmp_path: Path) -> None:
    exported = run("folder", "export", str(folder)).out
    done = run("folder", "import", str(tmp_path / "new"), stdin=exported)
    assert (done.code, done.error) == (0, "")
    assert done.lines == ["1,508 messages and 3 queues imported"]
    check_imported(lines_of(tmp_path / "new"), lines_of(folder))


def test_reports_have_no_plural_of_one(tmp_path: Path) -> None:
    with broker_on(tmp_path / "data") as (broker, _):
        broker.produce("default", ["only"])
    exported = run("folder", "export", str(tmp_path / "data")).out
    topic = b'{"type":"topic","topic":"orders"}\n'
    done = run("folder", "import", str(tmp_path / "new"), stdin=exported + topic)
    assert (done.lines, done.error) == (["1 message and 1 queue imported, and 1 topic"], "")
    done = run("folder", "repair", str(tmp_path / "data"), str(tmp_path / "mended"))
    assert "messages  1 in 1 queue, 0 known to be lost" in done.lines


def test_import_into_a_running_broker(folder: Path, tmp_path: Path) -> None:
    exported = run("folder", "export", str(folder)).out
    with RunningBroker(tmp_path / "new") as broker:
        done = run("folder", "import", "--url", broker.url, stdin=exported)
        assert (done.code, done.error) == (0, "")
        assert broker.terminate() == 0
    check_imported(lines_of(tmp_path / "new"), lines_of(folder))


@pytest.mark.parametrize("running", [False, True])
def test_what_queues_and_messages_have_besides(running: bool, tmp_path: Path) -> None:
    folder, new = tmp_path / "source", tmp_path / "new"
    settings = {
        "max_messages": 3,
        "max_receives": 4,
        "dead_letter_queue": "dead",
        "tags": {"team": "é"},
        "paused": True,
    }
    with broker_on(folder) as (broker, _):
        broker.put_queue("q", content_deduplication=True, sqs={"Policy": "{}"}, deduplication_window_ms=1000)
        attributes: dict[str, tuple[str, str | bytes]]
        attributes = {"text": ("String", "é"), "number": ("Number", "1.50"), "bytes": ("Binary.x", bytes(range(9)))}
        trace = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
        broker.send("q", [NewMessage("same", attributes=attributes, system=trace, group="g", priority=7, key="1")])
        broker.send("q", [NewMessage("same", key="2"), NewMessage("other", group="h")])
        [buried] = broker.claim("q", limit=1)
        broker.update("q", Target(id=buried.id), Change(bury=True))
        broker.put_queue("q", draining=True, **settings)
    exported = run("folder", "export", str(folder)).out
    if running:
        with RunningBroker(new) as started:
            assert run("folder", "import", "--url", started.url, stdin=exported).code == 0
            assert started.terminate() == 0
    else:
        assert run("folder", "import", str(new), stdin=exported).code == 0
    queue, *messages = [each for each in lines_of(new) if each["queue"] == "q"]
    old_queue, *old = [each for each in lines_of(folder) if each["queue"] == "q"]
    sqs = queue.pop("sqs")
    assert sqs == ({} if running else old_queue["sqs"])
    for each in (queue, old_queue):
        each.pop("created_at"), each.pop("sqs", None)
    assert queue == old_queue
    first = old[0]
    assert first["attributes"]["text"] == "é"
    assert set(first["attributes"]) == set(attributes)
    assert (first["traceparent"], first["group"], first["priority"]) == (trace["traceparent"], "g", 7)
    names = ("message", "attributes", "traceparent", "group", "priority")
    assert [[each.get(name) for name in names] for each in messages] == [
        [each.get(name) for name in names] for each in old
    ]
    assert [each["status"] for each in messages] == ["unprocessed"] * 3


def test_a_line_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    good = b'{"type":"queue","queue":"q"}\n{"type":"message","queue":"q","message":"1"}\n'
    for bad, says in (
        (b"{nonsense\n", "line 3 cannot be imported: JSON is malformed"),
        (b'{"type":"message","queue":"q"}\n', "line 3 cannot be imported: Object missing required field `message`"),
        (b'{"type":"message","queue":"q","message":"2","delayed_until":"noon"}\n', "line 3 cannot be imported"),
        (b'{"type":"queue","queue":"no/name"}\n', "line 3 cannot be imported: The queue name"),
    ):
        new = tmp_path / str(len(list(tmp_path.iterdir())))
        done = run("folder", "import", str(new), stdin=good + bad + good)
        assert done.code == 1
        assert says in done.error
        assert "Lines 1 to 2 were imported, and nothing after" in done.error
        assert [each["message"] for each in lines_of(new) if each["type"] == "message"] == ["1"]


@pytest.mark.parametrize(
    "line", [b"{nonsense\n", b'{"type":"queue","queue":"no/name"}\n', b'{"type":"message","queue":"q"}\n']
)
def test_a_bad_first_line_leaves_no_new_log(tmp_path: Path, line: bytes) -> None:
    for name in ("none", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        done = run("folder", "import", str(tmp_path / name), stdin=line)
        assert done.code == 1
        assert "Nothing was imported" in done.error
    assert [each.name for each in tmp_path.rglob("*")] == ["empty"]
    assert run("folder", "import", str(tmp_path / "full"), stdin=b'{"type":"queue","queue":"q"}\n').code == 0
    before = snapshot(tmp_path / "full").keys()
    assert run("folder", "import", str(tmp_path / "full"), stdin=line).code == 1
    assert snapshot(tmp_path / "full").keys() == before, "a log that was there stays"


def test_a_file_is_no_folder_to_import_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = run("folder", "import", str(tmp_path / "file"))
    assert (done.code, done.error) == (1, f"wonderq: {tmp_path}/file is not a folder.\n")


def test_a_broker_that_is_not_there_got_nothing() -> None:
    done = run("folder", "import", "--url", "http://127.0.0.1:9", stdin=b'{"type":"queue","queue":"q"}\n')
    assert done.code == 3
    assert "Nothing was imported. " in done.error
    assert "unknown" not in done.error


def test_import_says_where_to() -> None:
    assert run("folder", "import").code == 2
    assert run("folder", "import", "--url", "ftp://x").code == 2
    assert run("folder", "import", "--url", "http://127.0.0.1:9", stdin=b'{"type":"queue","queue":"q"}\n').code == 3
