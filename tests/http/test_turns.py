"""Long requests let others have their turn: no turn does more than a bounded amount of work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.turns import Turns
from wonderq.broker import produce, queries, updates
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.polls import Sources
from wonderq.broker.produce import Producer
from wonderq.broker.updates import Updates
from wonderq.httpd.errors import encode_json
from wonderq.model.masks import Mask
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.rest.arrays import JSON_FORMAT
from wonderq.rest.deliveries import delivered
from wonderq.rest.masks import hide
from wonderq.runtime import fibers
from wonderq_storage import FileLog, SyncPolicy


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(FileLog(tmp_path / "log", sync=SyncPolicy("os")), clock=FakeClock())
    yield broker
    broker.close()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(monkeypatch)


def fill(broker: Broker, count: int, attributes: int, body: str = "x") -> None:
    given = {f"name-{number}": ("String", "v") for number in range(attributes)}
    for at in range(0, count, 100):
        broker.send("q", [NewMessage(body, attributes=given or None) for _ in range(min(100, count - at))])


@pytest.mark.parametrize(("attributes", "body"), [(0, "x"), (30, "x"), (64, "x"), (0, "x" * 50_000)])
@pytest.mark.parametrize("matches", [None, lambda message: message.body == "none has this"])
def test_a_turn_of_a_listing_has_bounded_work(
    broker: Broker, turns: Turns, attributes: int, body: str, matches: Callable[[Message], bool] | None
) -> None:
    fill(broker, 500, attributes, body)
    seen = 0

    def note(message: Message) -> bool:
        nonlocal seen
        seen += 1
        turns.count(queries._steps_of(message))
        return matches is None or matches(message)

    found = turns.run(lambda: list(broker.messages("q", matches=note)))
    assert seen == 500
    assert len(found) == (500 if matches is None else 0)
    most = max(queries._steps_of(message) for message in broker.messages("q", limit=1))
    assert max(turns.counts) <= fibers._STEPS_PER_TURN + most


def test_a_turn_of_a_list_of_queues_has_bounded_work(
    broker: Broker, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(450):
        broker.put_queue(f"q{number}")
    info = broker.queries.info
    monkeypatch.setattr(broker.queries, "info", lambda *given: turns.count() or info(*given))
    assert len(turns.run(lambda: list(broker.queues()))) == 451
    assert max(turns.counts) <= 100
    assert len(turns.run(lambda: list(broker.queue_stats()))) == 451
    assert max(turns.counts) <= 100


def test_a_turn_matches_a_bounded_number_of_names(broker: Broker, turns: Turns) -> None:
    for number in range(450):
        broker.put_queue(f"q{number:03}", dead_letter_queue="dead" if number % 2 else "other")

    def is_wanted(name: str) -> bool:
        turns.count()
        return name.endswith("9")

    def check() -> None:
        names = broker.queue_names(prefix="q", matches=is_wanted)
        assert names == [f"q{number:03}" for number in range(9, 450, 10)]
        assert broker.queue_names(after="q300", limit=3, matches=is_wanted) == ["q309", "q319", "q329"]
        assert broker.sources_of("dead", matches=is_wanted) == names
        assert broker.sources_of("dead", after="q100", limit=2, matches=is_wanted) == ["q109", "q119"]
        assert broker.sources_of("q1") == []

    turns.run(check)
    assert sum(turns.counts) == 450 + 29 + 225 + 10
    assert max(turns.counts) <= queries._CHUNK_NAMES


def test_a_turn_matches_a_bounded_number_of_the_largest_queues(broker: Broker, turns: Turns) -> None:
    for number in range(450):
        broker.put_queue(f"q{number:03}")

    def is_wanted(name: str) -> bool:
        turns.count()
        return name.endswith("9")

    names = turns.run(lambda: broker.overview.largest("unprocessed", None, is_wanted))
    assert names == [f"q{number:03}" for number in range(9, 450, 10)]
    assert sum(turns.counts) == 451
    assert max(turns.counts) <= queries._CHUNK_NAMES


def test_the_digests_of_a_batch_are_made_in_turns_and_without_the_lock(
    broker: Broker, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.put_queue("q", content_deduplication=True)
    bodies = [f"{number} " + "x" * 50_000 for number in range(100)]
    digest = produce.digest_of

    def noted(body: str) -> str:
        assert not broker.core.lock.locked()
        turns.count(len(body))
        return digest(body)

    monkeypatch.setattr(produce, "digest_of", noted)
    sent = turns.run(lambda: broker.send("q", [*bodies, bodies[0]]))
    assert sent.duplicates == {100}
    assert max(turns.counts) <= fibers._STEPS_PER_TURN * produce._CHARACTERS_PER_STEP + len(bodies[-1])


@pytest.mark.parametrize("is_set", [False, True])
def test_deduplication_by_content_that_is_switched_meanwhile(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, is_set: bool
) -> None:
    """The setting counts at the moment of the decision, although digests are made before."""
    broker.put_queue("q", content_deduplication=not is_set)
    decide = Producer._decide_output

    def switched(producer: Producer, *given: Any) -> Any:
        queue = broker.core.state.queues["q"]
        queue.configure(replace(queue.settings, content_deduplication=is_set))
        return decide(producer, *given)

    monkeypatch.setattr(Producer, "_decide_output", switched)
    assert broker.send("q", ["x", "x"]).duplicates == ({1} if is_set else set())


def test_messages_are_written_again_in_turns(broker: Broker, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = broker.produce("q", ["x"] * 1000)
    prepare = Updates._prepare
    monkeypatch.setattr(Updates, "_prepare", lambda *given: turns.count() or prepare(*given))
    results = turns.run(lambda: broker.update_batch("q", [(Target(each), Change(body="y")) for each in ids]))
    assert not any(results)
    assert sum(turns.counts) == 1000
    assert max(turns.counts) <= fibers._STEPS_PER_TURN // updates._STEPS_PER_MESSAGE + 1


@pytest.mark.parametrize("attributes", [0, 10])
@pytest.mark.parametrize(("count", "body"), [(1000, "x" * 10_000), (14, "x" * 1_000_000), (1000, "x")])
def test_a_turn_of_a_consume_has_bounded_work(
    broker: Broker, turns: Turns, monkeypatch: pytest.MonkeyPatch, attributes: int, count: int, body: str
) -> None:
    """It reads and encodes a bounded number of bytes: those of one message, or of so many that a turn has time for."""
    fill(broker, count, attributes, body)
    read = broker.core.log.read

    def note_read(spans: Sequence[tuple[int, int]], *, block: bool = True) -> list[bytes]:
        turns.count(sum(length for _, length in spans))
        return read(spans, block=block)

    def note_encoded(value: object) -> bytes:
        encoded = encode_json(value)
        turns.count(len(encoded))
        return encoded

    monkeypatch.setattr(broker.core.log, "read", note_read)
    form = JSON_FORMAT._replace(encode=note_encoded)
    options = ClaimOptions(limit=count)
    pieces = turns.run(lambda: delivered(broker.deliver(Sources(("q",)), options), form))
    assert len(json.loads(b"".join(pieces))) == count
    assert sum(turns.counts) >= 2 * count * len(body)
    assert max(turns.counts) <= 2 * max(len(body), 1 << 20)


def test_hiding_a_long_text_lets_others_have_their_turn(turns: Turns) -> None:
    text = "a" * 50_000
    assert turns.run(lambda: hide(Mask([r"(a+)+b"]), text)) == text
    assert len(turns.counts) > len(text) // fibers._STEPS_PER_TURN
