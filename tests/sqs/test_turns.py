"""Long answers in XML are made in turns, each of which does a bounded amount of work."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.support.turns import Turns
from wonderq.runtime import fibers
from wonderq.sqs import wire


@pytest.mark.parametrize(("count", "characters"), [(10, 1_000_000), (1000, 10_000), (3, 5)])
def test_a_turn_escapes_a_bounded_number_of_characters(
    monkeypatch: pytest.MonkeyPatch, count: int, characters: int
) -> None:
    turns = Turns(monkeypatch)
    escaped = wire._escaped

    def note(text: str) -> str:
        turns.count(len(text))
        return escaped(text)

    monkeypatch.setattr(wire, "_escaped", note)
    body = ('<&>\r\n\0"' + "x" * characters)[:characters]
    result = {"Messages": [{"Body": body} for _ in range(count)]}
    data, _ = turns.run(lambda: wire.write("ReceiveMessage", result, "id", is_json=False))
    texts = [element.text for element in ET.fromstring(data).findall(".//{*}Body")]
    assert texts == [body.replace("\0", "\ufffd")] * count
    assert sum(turns.counts) >= count * characters
    assert max(turns.counts) <= fibers._STEPS_PER_TURN * wire._BYTES_PER_STEP + wire._WINDOW_BYTES
