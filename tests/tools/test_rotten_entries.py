"""A message that was rotten before its record was framed: the record verifies, and the message does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import snapshot
from tests.tools.folders import broker_on, compact_all, flip, records_of
from wonderq.broker.broker import Broker
from wonderq.cli.main import main
from wonderq.cli.reports import repair_lines
from wonderq.folder.export import export
from wonderq.folder.repair import Repair, repair
from wonderq.folder.verify import verify
from wonderq.model.messages import Change, Target
from wonderq.state import record
from wonderq_storage import CorruptLogError

SEGMENT_BYTES = 1 << 16


def rot(broker: Broker, body: str, bit: int = 45) -> None:
    """Corrupt that body in memory, between the encoding of the body and the framing of its record."""
    encode = broker.core.admission.encode

    def rotten(bodies: list[str], headers: list[dict[str, Any]] | None = None) -> list[bytes]:
        entries = [bytearray(entry) for entry in encode(bodies, headers)]
        for each, entry in zip(bodies, entries, strict=True):
            if each == body:
                entry[bit // 8] ^= 1 << bit % 8
        return [bytes(entry) for entry in entries]

    broker.core.admission.encode = rotten  # type: ignore[method-assign,assignment]


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(each) for each in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def claim_without_reading(broker: Broker, queue: str) -> None:
    with pytest.raises(CorruptLogError):
        broker.claim(queue)
    broker.core.transaction.ended = None


def update_without_reading(broker: Broker, sequence: int, body: str) -> None:
    """Replace a body in the default queue as a broker would that did not look at what was there."""
    [entry] = broker.core.admission.encode([body])
    with broker.locked() as (state, commit, now_ms):
        messages = state.queues["default"].messages
        view = messages.find(sequence)
        assert view is not None
        claims = [messages.state_of(view._replace(updates=view.updates + 1))]
        produced_ms, lengths = [view.produced_ms], [len(entry)]
        commit(record.Update(record.UPDATE, now_ms, 1, [], [sequence, 1], produced_ms, lengths, claims, entry))


def bodies_of(folder: Path) -> list[str]:
    return [line["message"] for line in export(folder) if line["type"] == "message"]


def repaired(folder: Path, new: Path) -> tuple[Repair, str]:
    before = snapshot(folder)
    done = repair(folder, new)
    assert snapshot(folder) == before
    assert verify(new).problems == []
    return done, "\n".join(repair_lines(done))


@pytest.mark.parametrize("bit", [0, 31, 32, 45])
def test_repair_leaves_out_a_rotten_message_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], bit: int
) -> None:
    folder, new = tmp_path / "d", tmp_path / "new"
    with broker_on(folder, segment_bytes=SEGMENT_BYTES) as (broker, _):
        rot(broker, "rotten", bit)
        broker.produce("orders", ["first"])
        ids = broker.produce("orders", ["good", "rotten", "better"], [3_600_000, None, None])
        claim_without_reading(broker, "orders")
    code, _, err = run(capfd, "folder", "verify", folder)
    assert code == 1
    [produced] = [each for each in records_of(folder) if each.fields[0] == record.PRODUCE and each.fields[3] == 1]
    where = f"{folder}/0000000001.wal, byte {produced.offset}: message 2 of queue 2: a message does not match"
    assert where in err
    code, out, err = run(capfd, "folder", "repair", folder, new)
    assert (code, err) == (0, "")
    assert f"left out  {where}" in out
    assert f"lost      queue orders: message number 2 (id {ids[1]})" in out
    assert "damage    1 place, 11 bytes that do not verify" in out
    assert "messages  3 in 2 queues, 1 known to be lost" in out
    assert "note " not in out, "no claim or deletion was undone"
    code, _, err = run(capfd, "folder", "verify", new)
    assert (code, err) == (0, "")
    assert bodies_of(new) == ["first", "good", "better"]
    with broker_on(new, segment_bytes=SEGMENT_BYTES) as (broker, _):
        assert broker.get("orders", ids[0]).status == "delayed"
        assert broker.get("orders", ids[2]).receives == 1
        assert broker.produce("orders", ["new"]) != [ids[1]]


def test_a_rotten_message_that_was_produced_last_keeps_its_number(tmp_path: Path) -> None:
    folder, new = tmp_path / "d", tmp_path / "new"
    with broker_on(folder, segment_bytes=SEGMENT_BYTES) as (broker, _):
        rot(broker, "rotten")
        [lost_id] = broker.produce("default", ["rotten"])
    done, _ = repaired(folder, new)
    assert done.losses.count() == 1
    with broker_on(new, segment_bytes=SEGMENT_BYTES) as (broker, _):
        assert broker.produce("default", ["new"]) != [lost_id]


def update_of_a_good_one(broker: Broker) -> None:
    [name, _] = broker.produce("default", ["good", "other"])
    broker.update("default", Target(id=name), Change(body="rotten"))


def update_that_fixes(broker: Broker) -> None:
    broker.produce("default", ["rotten", "other"])
    claim_without_reading(broker, "default")
    update_without_reading(broker, 0, "fixed")


def second_update_that_fixes(broker: Broker) -> None:
    [name, _] = broker.produce("default", ["good", "other"])
    broker.update("default", Target(id=name), Change(body="rotten"))
    update_without_reading(broker, 0, "fixed")


def rotten_twice(broker: Broker) -> None:
    broker.produce("default", ["rotten", "other"])
    update_without_reading(broker, 0, "rotten")


def deleted_since(broker: Broker) -> None:
    [name, _] = broker.produce("default", ["rotten", "other"])
    broker.delete("default", Target(id=name))


@pytest.mark.parametrize(
    ("live", "bodies", "places", "lost"),
    [
        # The content before the update is not the latest request, so it does not come back.
        (update_of_a_good_one, ["other"], 1, 1),
        (update_that_fixes, ["fixed", "other"], 1, 0),
        (second_update_that_fixes, ["fixed", "other"], 1, 0),
        (rotten_twice, ["other"], 2, 1),
        (deleted_since, ["other"], 1, 0),
    ],
)
def test_the_newest_contents_decide_whether_a_message_is_lost(
    tmp_path: Path, live: Callable[[Broker], None], bodies: list[str], places: int, lost: int
) -> None:
    folder, new = tmp_path / "d", tmp_path / "new"
    with broker_on(folder, segment_bytes=SEGMENT_BYTES) as (broker, _):
        rot(broker, "rotten")
        live(broker)
    assert len(verify(folder).problems) == places
    done, text = repaired(folder, new)
    assert bodies_of(new) == bodies
    assert text.count("\nleft out  ") + text.startswith("left out  ") == places
    assert done.losses.count() == lost
    assert done.losses.lost.get(1, []) == ([(0, 1)] if lost else [])
    if "fixed" in bodies:
        assert [line["receive_count"] for line in export(new) if line["type"] == "message"] == [
            int(live is update_that_fixes),
            int(live is update_that_fixes),
        ]


def test_a_rotten_message_that_compaction_has_copied_is_left_out(tmp_path: Path) -> None:
    folder, new = tmp_path / "d", tmp_path / "new"
    with broker_on(folder) as (broker, log):
        rot(broker, "rotten")
        broker.produce("default", ["one", "rotten", "three"])
        while log.oldest() is None:
            broker.produce("filler", ["x" * 500])
        compact_all(broker, log, 1)
    assert len(verify(folder).problems) == 1
    done, _ = repaired(folder, new)
    assert [body for body in bodies_of(new) if "x" not in body] == ["one", "three"]
    assert done.losses.lost == {1: [(1, 2)]}


def test_a_rotten_message_and_a_damaged_record_are_both_named(tmp_path: Path) -> None:
    folder, new = tmp_path / "d", tmp_path / "new"
    with broker_on(folder, segment_bytes=SEGMENT_BYTES) as (broker, _):
        rot(broker, "rotten")
        for body in ("rotten", "flipped", "third"):
            broker.produce("default", [body])
    [hit] = [each for each in records_of(folder) if b"flipped" in each.data]
    flip(folder, 1, hit.offset + len(hit.data) - 1)
    done, text = repaired(folder, new)
    assert bodies_of(new) == ["third"]
    assert done.losses.lost == {1: [(0, 1), (1, 2)]}
    assert "damage    2 places" in text


def test_inspect_passes_over_a_rotten_body(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "d"
    with broker_on(folder, segment_bytes=SEGMENT_BYTES) as (broker, _):
        rot(broker, "rotten")
        broker.produce("default", ["good", "rotten", "better"])
        broker.produce("default", ["last"])
    code, out, err = run(capfd, "folder", "inspect", "--records", "--bodies", folder)
    assert code == 1
    assert "1 place of the log does not verify and was skipped" in err
    assert "wonderq folder verify" in err
    bodies = [each["messages"] for each in map(json.loads, out.splitlines()) if "messages" in each]
    assert bodies == [["good", None, "better"], ["last"]]
