"""Every tool handles whatever a broker accepts: the largest and the oddest messages, queues and schedules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.broker_process import MIN_SEGMENT_BYTES, RunningBroker
from tests.support.commands import Outcome, run
from tests.support.queue_client import QueueClient
from tests.tools.folders import broker_on
from wonderq.broker.admission import Admission
from wonderq.broker.broker import Broker
from wonderq.folder.compact import compact
from wonderq.folder.export import export
from wonderq.folder.import_ import Importer, ImportLineError, into_folder
from wonderq.folder.verify import verify
from wonderq.model.bounds import MAX_MESSAGE_BYTES
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, NewMessage, Target
from wonderq_storage import FileLog

HOUR_MS = 3_600_000
ODD = [
    "",
    "\0",
    "\n\r\t",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b2J\u202etxt\u2066",
    "\ufeff\uffff\U0010ffff",
    '"\\',
    "{}",
    "\u2028",
]


def large(size: int) -> list[NewMessage]:
    """Messages of that many bytes which take most room in one way each: as JSON, in memory, as attributes, as base64."""
    names = [f"{number:02}." + "n" * 253 for number in range(62)]
    attributes: dict[str, tuple[str, str | bytes]] = dict.fromkeys(names, ("String." + "l" * 240, "\x01" * 1000))
    used = sum(len(name) + len(kind) + len(value) for name, (kind, value) in attributes.items())
    rest = size - used - len("bytes") - len("Binary")
    return [
        NewMessage("\1" * size),
        NewMessage("\U0001f389" * (size // 4)),
        NewMessage("", attributes={**attributes, "bytes": ("Binary", b"\xff" * rest)}, group="g" * 128, priority=9),
    ]


def fill(folder: Path, size: int) -> None:
    """Give a folder's queues what is largest and oddest, in each state, and much that is deleted again."""
    log = FileLog(folder, segment_bytes=MIN_SEGMENT_BYTES)
    try:
        broker = Broker(log, limits=Limits.widest())
        name = "q" * 80
        tags = {f"{number:02}" + "k" * 126: "\u202e" * 256 for number in range(15)}
        broker.put_queue(name, tags=tags, sqs={"Policy": "\1" * 2000}, max_receives=1, dead_letter_queue="dead")
        ids = [broker.send(name, [each])[0].id for each in [*large(size), *map(NewMessage, ODD)]]
        broker.update(name, Target(id=ids[0]), Change(bury=True))
        broker.claim(name, limit=1, visibility_timeout_ms=12 * HOUR_MS)
        broker.send("delayed", [NewMessage("\2" * size, delay_ms=10 * 365 * 24 * HOUR_MS)])
        for _ in range(3):
            broker.delete("default", Target(id=broker.send("default", [NewMessage("x" * size)])[0].id))
        broker.schedules.put("s" * 80, cron="0 0 1 1 *", queue=name, body="\1" * 16_000)
    finally:
        log.close()


def command(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
    done = run(*map(str, arguments), stdin=stdin)
    assert (done.code, done.error) == (0, ""), arguments
    return done


def contents(exported: bytes) -> list[tuple[str, str, Any, Any, Any]]:
    """Return the parts of each message that an import carries over."""
    lines = [json.loads(line) for line in exported.splitlines()]
    names = ("queue", "message", "attributes", "group", "priority")
    return [tuple(each.get(name) for name in names) for each in lines if each["type"] == "message"]


def test_a_message_that_needs_six_times_its_size_as_json(tmp_path: Path) -> None:
    size = (4 << 20) + 4
    with broker_on(tmp_path / "d", segment_bytes=MIN_SEGMENT_BYTES) as (broker, _):
        broker.core.admission = Admission(Limits.widest(), broker.core.state)
        for each in ("kept", "deleted", "deleted too"):
            ids = broker.produce("default", ["\1" * size], [0])
            if each != "kept":
                broker.delete("default", Target(id=ids[0]))
    lines = [msgspec.json.encode(each) for each in export(tmp_path / "d")]
    assert len(lines[1]) > 6 * size
    with into_folder(tmp_path / "copy") as target:
        Importer(target).run(lines)
    compact(tmp_path / "d")
    for each in ("d", "copy"):
        assert verify(tmp_path / each).problems == []
        assert [len(line["message"]) for line in export(tmp_path / each) if "message" in line] == [size]


def test_a_line_that_no_export_writes_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wonderq.folder.import_.LONGEST_LINE_BYTES", 1000)
    refused = pytest.raises(ImportLineError, match="line 2 cannot be imported: it has more than 1000 bytes")
    with refused, into_folder(tmp_path / "d") as target:
        Importer(target).run([b'{"type":"queue","queue":"q"}\n', b"x" * 1001])


def test_batches_of_an_import_fit_into_any_broker() -> None:
    """The smallest limit of a batch that `serve` takes is 1 MiB of entries, and attributes count."""
    produced: list[int] = []

    class Counting:
        def put_queue(self, queue: str, line: object) -> None: ...

        def put_topic(self, line: object) -> None: ...

        def subscribe(self, line: object) -> None: ...

        def put_schedule(self, line: object) -> None: ...

        def tags_of(self, queue: str) -> dict[str, str]:
            return {}

        def produce(self, queue: str, messages: Sequence[dict[str, Any]]) -> None:
            produced.append(len(msgspec.json.encode(messages)))

    line = msgspec.json.encode(
        {"type": "message", "queue": "q", "message": "", "attributes": {"a": "\U0001f389" * 50_000}}
    )
    Importer(Counting()).run([line] * 12)
    assert produced
    assert max(produced) <= 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("size", [(4 << 20) + 4, MAX_MESSAGE_BYTES])
def test_all_tools(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "d"
    fill(folder, size)
    exported = command("folder", "export", folder).out
    whole = contents(exported)
    assert len(whole) == 4 + len(ODD)
    check_reading(folder, whole, size)
    command("folder", "backup", folder, tmp_path / "backup")
    command("folder", "restore", tmp_path / "backup", tmp_path / "restored")
    command("folder", "repair", folder, tmp_path / "repaired")
    for each in ("backup", "restored", "repaired"):
        assert contents(command("folder", "export", tmp_path / each).out) == whole
        command("folder", "verify", tmp_path / each)
    command("folder", "compact", "--dry-run", folder)
    assert "compacted" in command("folder", "compact", folder).out.decode()
    assert contents(command("folder", "export", folder).out) == whole
    command("folder", "verify", folder)
    command("folder", "import", tmp_path / "imported", stdin=exported)
    assert contents(command("folder", "export", tmp_path / "imported").out) == whole
    options = ("--message-bytes", str(MAX_MESSAGE_BYTES), "--batch-bytes", str(2 * MAX_MESSAGE_BYTES))
    with RunningBroker(tmp_path / "new", *options) as broker:
        command("folder", "import", "--url", broker.url, stdin=exported)
        check_calling(broker.url, size)
        assert broker.terminate() == 0


def check_reading(folder: Path, whole: list[tuple[str, str, Any, Any, Any]], size: int) -> None:
    assert command("folder", "verify", folder).lines[-1] == "ok"
    command("folder", "inspect", folder)
    command("folder", "inspect", "--json", folder)
    records = [
        json.loads(line) for line in command("folder", "inspect", "--records", "--bodies", folder).out.splitlines()
    ]
    assert {body for each in records for body in each.get("messages", ())} >= {message for _, message, *_ in whole}
    first = next(
        json.loads(line) for line in command("folder", "export", folder).out.splitlines()[1:] if b'"id"' in line
    )
    assert "produced" in command("folder", "inspect", "--message", first["id"], folder).out.decode()


def check_calling(url: str, size: int) -> None:
    """Call a broker that has the imported messages, and send the largest line of text."""
    queue = ("--url", url, "--queue", "q" * 80)
    listed = command("peek", *queue, "--json", "--max", "2").out.splitlines()
    assert [len(json.loads(line)["message"].encode()) for line in listed] == [size, size]
    command("queue", "list", "--url", url)
    assert command("queue", "show", "q" * 80, "--url", url).out
    received = command("receive", *queue, "--json", "--max", "100").out.splitlines()
    assert len(received) == 3 + len(ODD)
    command("delete", *queue, stdin=b"\n".join(json.loads(line)["receipt"].encode() for line in received))
    line = b"\1" * size
    command("send", "--url", url, "--queue", "sent", "--quiet", stdin=line)
    with QueueClient(url, queue="sent") as client:
        assert [each["message"].encode() for each in client.messages()] == [line]
