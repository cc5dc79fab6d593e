from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.folders import write_checkpoint
from tests.support.waiting import eventually
from tests.tools.folders import broker_on, compact_all, records_of
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.cli.main import main
from wonderq.model.messages import Change, NewMessage, Target
from wonderq_storage import FileLog


def inspect(capfd: pytest.CaptureFixture[str], folder: Path, *flags: str) -> str:
    assert main(["folder", "inspect", *flags, str(folder)]) == 0
    return capfd.readouterr().out


def copy_oldest_without_dropping_it(broker: Broker, log: FileLog) -> None:
    """Leave the state of a crash before the segment is dropped, so that the whole history is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "trim", lambda _: None)
        compact_oldest(broker, log)


def test_one_messages_history(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, log):
        [one, other] = broker.produce("default", ["one", "other"], [20, None])
        broker.delete("default", Target(id=other))
        first = eventually(lambda: broker.claim("default", limit=1, visibility_timeout_ms=1))
        second = eventually(lambda: broker.claim("default", limit=1, visibility_timeout_ms=600_000))
        broker.update("default", Target(receipt=second[0].receipt), Change(visibility_timeout_ms=700_000))
        broker.update("default", Target(id=one), Change(body="changed"))
        write_checkpoint(broker, log, folder)
        while log.oldest() is None:
            broker.produce("filler", ["x" * 500])
        copy_oldest_without_dropping_it(broker, log)
        broker.delete("default", Target(receipt=second[0].receipt))
    events = [json.loads(line) for line in inspect(capfd, folder, "--json", "--message", one).splitlines()]
    assert [each["event"] for each in events] == [
        "produced", "due", "claimed", "expired", "claimed", "renewed", "updated", "rewritten", "deleted",
    ]  # fmt: skip
    claims = [each for each in events if each["event"] == "claimed"]
    assert [each["receipt"] for each in claims] == [first[0].receipt, second[0].receipt]
    assert [each["receive_count"] for each in claims] == [1, 2]
    assert events[1]["time"] == events[0]["delayed_until"]
    assert events[3]["time"] == claims[0]["until"]
    assert [each["event"] for each in events if each["file"] is None] == ["due", "expired"]
    places = {(f"{each.segment:010d}.wal", each.offset): each.fields[0] for each in records_of(folder)}
    assert [places[each["file"], each["offset"]] for each in events if each["file"]] == [2, 3, 3, 5, 5, 5, 4]
    lines = inspect(capfd, folder, "--message", second[0].receipt or "").splitlines()
    assert [line.split()[1] for line in lines] == [each["event"] for each in events]
    assert main(["folder", "inspect", "--message", "0" * 36, str(folder)]) == 1
    assert "is not the id or receipt" in capfd.readouterr().err


def test_the_history_and_the_records_of_a_message_with_a_priority(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, _):
        new = NewMessage("one", priority=3, group="g", key="k", attributes={"a": ("Binary", b"\0")})
        [sent] = broker.send("default", [new])
        broker.claim("default", attempt_id="x")
        broker.update("default", Target(id=sent.id), Change(bury=True))
        broker.kick("default", 1)
        broker.update("default", Target(id=sent.id), Change(attributes={}))
    events = [json.loads(line) for line in inspect(capfd, folder, "--json", "--message", sent.id).splitlines()]
    assert [each["event"] for each in events] == ["produced", "claimed", "buried", "released", "updated"]
    records = [json.loads(line) for line in inspect(capfd, folder, "--records", "--bodies").splitlines()]
    [produced] = [each for each in records if each["kind"] == "send"]
    assert produced["lanes"] == [{"priority": 3, "group": "g"}]
    assert produced["messages"] == ["one"]
    assert produced["headers"]["0"]["group"] == "g"
    assert [each["dedup"][0]["key"] for each in records if each["kind"] == "dedup"] == ["ksk", "ax"]


def test_a_message_of_which_no_record_is_left(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, log):
        [gone, kept] = broker.produce("default", ["gone", "kept"])
        broker.delete("default", Target(id=gone))
        while log.oldest() is None:
            broker.produce("filler", ["x" * 500])
        compact_all(broker, log, 1)
    [event] = [json.loads(line) for line in inspect(capfd, folder, "--json", "--message", gone).splitlines()]
    first = records_of(folder)[0]
    assert (event["event"], event["file"], event["offset"]) == ("log begins", "0000000002.wal", first.offset)
    assert inspect(capfd, folder, "--message", gone) == (
        f"no record of this message is left: the log begins at segment 2, {event['time']}\n"
    )
    [restated] = [json.loads(line) for line in inspect(capfd, folder, "--json", "--message", kept).splitlines()]
    assert restated["event"] == "rewritten"
    assert restated["produced_at"] <= restated["time"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--message", ""), "--message: is empty: give an id or a receipt"),
        (("--bodies",), "--bodies requires --records"),
        (("--bodies", "--message", "x"), "--bodies requires --records"),
    ],
)
def test_flags_that_ask_for_nothing_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    with broker_on(tmp_path):
        pass
    code = 2
    with suppress(SystemExit):
        code = main(["folder", "inspect", *flags, str(tmp_path)])
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert says in err


def test_the_figures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, log):
        for number in range(30):
            broker.produce("default", [f"{number} " + "x" * 300])
        for message in broker.claim("default", limit=20, visibility_timeout_ms=600_000)[:15]:
            broker.delete("default", Target(receipt=message.receipt))
        compact_all(broker, log, 1)
        write_checkpoint(broker, log, folder)
    about = json.loads(inspect(capfd, folder, "--json"))
    records = records_of(folder)
    assert sum(about["records"].values()) == len(records)
    assert sum(each["records"] for each in about["segments"]) == len(records)
    assert {each["number"]: each["records"] for each in about["segments"] if each["records"]} == {
        number: sum(each.segment == number for each in records) for number in {each.segment for each in records}
    }
    assert about["segments"][0]["number"] == 2
    assert sum(each["live_bytes"] for each in about["segments"]) == about["queues"][0]["bytes"] > 15 * 300
    for each in about["segments"]:
        assert each["live_bytes"] + each["dead_bytes"] == each["used_bytes"] <= each["bytes"]
        path = folder / f"{each['number']:010d}.wal"
        assert path.stat().st_size == each["bytes"]
        assert not path.read_bytes()[each["used_bytes"] :].strip(b"\0")
    assert about["queues"][0]["counts"] == {"unprocessed": 10, "processing": 5, "delayed": 0, "buried": 0}
    [checkpoint] = about["checkpoints"]
    assert checkpoint["verifies"] is True
    path = folder / checkpoint["file"]
    path.write_bytes(path.read_bytes()[:-3])
    [checkpoint] = json.loads(inspect(capfd, folder, "--json"))["checkpoints"]
    assert checkpoint["verifies"] is False
    text = inspect(capfd, folder)
    assert "CHECKPOINT" in text
    assert "false" in text
    lines = [json.loads(line) for line in inspect(capfd, folder, "--records", "--bodies").splitlines()]
    assert [(each["position"] >> 32, each["offset"]) for each in lines] == [
        (each.segment, each.offset) for each in records
    ]
    bodies = [body for each in lines for body in each.get("messages", ())]
    assert any(body.startswith("29 ") for body in bodies)
    assert "messages" not in inspect(capfd, folder, "--records")
