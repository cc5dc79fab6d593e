"""Records with many bytes of entries, which are joined only when the record is encoded, are those of any other record."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.states import state_view
from wonderq.broker.broker import Broker
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.state import record
from wonderq.state.replay import replay_log

WORK: dict[str, Callable[[Broker], object]] = {
    "bodies": lambda broker: broker.produce("q", ["a", "b" * 300, ""]),
    "messages with groups": lambda broker: broker.send("q", [NewMessage("x", group=each) for each in "ab"]),
    "duplicates": lambda broker: broker.send("q", [NewMessage(each, key=each) for each in "aba"]),
    "new texts": lambda broker: broker.update_batch(
        "q", [(Target(each), Change(body="new" * 100)) for each in broker.produce("q", ["x", "y", "z"])[::2]]
    ),
}


def lived(kind: str) -> tuple[Broker, MemoryLog]:
    log = MemoryLog()
    broker = Broker(log, clock=FakeClock())
    WORK[kind](broker)
    return broker, log


@pytest.mark.parametrize("kind", WORK)
def test_they_have_the_same_fields_and_give_the_same_state(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, log = lived(kind)
    monkeypatch.setattr(record, "_LONG_BYTES", -1)
    broker, long_log = lived(kind)
    fields = [record.decode(data)[3:] for data in long_log.records[1:]]
    assert fields == [record.decode(data)[3:] for data in log.records[1:]]
    bodies = [message.body for message in expected.messages("q")]
    assert [message.body for message in broker.messages("q")] == bodies
    again = Broker(MemoryLog(long_log.records), clock=FakeClock())
    assert [message.body for message in again.messages("q")] == bodies
    assert state_view(broker.core.state, 0) == state_view(replay_log(long_log)[0], 0)


def test_only_long_ones_are_left_in_pieces() -> None:
    entries = [record.encode_entry("x")] * 3
    assert record.joined(entries, 18) == b"".join(entries)
    long = record.joined([bytes(1 << 20)], 1 << 20)
    assert isinstance(long, record.Pieces)
    assert (len(long), bytes(long)) == (1 << 20, bytes(1 << 20))
