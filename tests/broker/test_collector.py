"""Pauses of the garbage collector: a full collection examines few objects, however many groups there are."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.messages import NewMessage
from wonderq.model.topics import Publication
from wonderq.runtime import collector
from wonderq.runtime.collector import CollectorPauses, no_collections


@pytest.fixture(autouse=True)
def frozen_again() -> Iterator[None]:
    """Freeze the modules and tests again, as `tests/conftest.py` has done, after a test that ends with `gc.unfreeze`."""
    yield
    gc.freeze()


class Cycle:
    """An object that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


class Kept:
    """A count of long-lived objects that a test sets."""

    def __init__(self) -> None:
        self.objects = 0
        self.pauses = CollectorPauses(lambda: self.objects)


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    kept.pauses.start()
    yield kept
    kept.pauses.stop()


def examined() -> int:
    """Objects that a full collection would examine."""
    return len(gc.get_objects())


def test_objects_of_the_start_are_not_examined(kept: Kept) -> None:
    assert gc.get_freeze_count() > 10_000
    assert examined() < 10_000


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_many_objects_are_frozen_instead_of_examined(kept: Kept, generation: int) -> None:
    with no_collections():
        many = [[n] for n in range(collector._MOST + 1)]
        cycle = weakref.ref(Cycle())
        kept.objects = collector._FEW + 1
        gc.collect(generation)
    assert examined() < 1000
    assert many
    assert cycle() is not None, "the collection had nothing to examine"
    gc.collect()
    kept.objects = 0
    gc.collect()
    assert cycle() is None, "with few objects, everything is examined"
    assert examined() < 1000


@pytest.mark.parametrize("is_kept", [True, False], ids=["objects stay", "objects take the place of others"])
def test_no_collection_examines_many(kept: Kept, monkeypatch: pytest.MonkeyPatch, is_kept: bool) -> None:
    """Groups begin in a queue, while none or as many end in another one."""
    with no_collections():
        others = [[n] for n in range(4 * collector._MOST)]
        kept.objects = len(others)
        kept.pauses._freeze()
    most = [0]

    def watch(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            most.append(sum(len(gc.get_objects(each)) for each in range(info["generation"] + 1)))

    gc.callbacks.append(watch)  # it is called after the one that is tested
    try:
        found = []
        for number in range(4 * collector._MOST):
            found.append([number])
            if not is_kept:
                others.pop()
        gc.collect(0)
    finally:
        gc.callbacks.remove(watch)
    assert len(most) > 1
    assert max(most) <= collector._MOST
    assert len(found) == 4 * collector._MOST


def test_few_objects_are_collected_as_usual(kept: Kept) -> None:
    cycle = weakref.ref(Cycle())
    kept.objects = collector._FEW
    frozen = gc.get_freeze_count()
    gc.collect()
    assert cycle() is None
    assert gc.get_freeze_count() <= frozen


def test_it_leaves_the_collector_as_it_was() -> None:
    before = list(gc.callbacks)
    kept = Kept()
    kept.pauses.start()
    kept.pauses.stop()
    assert gc.callbacks == before
    assert gc.get_freeze_count() == 0


def test_nothing_is_collected_in_a_start() -> None:
    with no_collections():
        assert not gc.isenabled()
        with no_collections():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_broker_counts_the_objects_that_it_keeps() -> None:
    broker = Broker(MemoryLog())
    before = broker.long_lived_objects
    with no_collections():
        examined_before = examined()
        broker.send("q", [NewMessage("x", group=f"{n}", key=f"{n}") for n in range(1000)])
        made = examined() - examined_before
    counted = broker.long_lived_objects - before
    assert 0.5 * made < counted < 2 * made
    broker.close()


def test_a_broker_counts_the_objects_of_its_subscriptions() -> None:
    broker = Broker(MemoryLog())
    broker.topics.put("orders")
    for number in range(300):
        broker.put_queue(f"q{number}")
    before = broker.long_lived_objects
    with no_collections():
        examined_before = examined()
        for number in range(300):
            broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}", filter={"kind": [f"{number}"]})
        broker.topics.publish("orders", [Publication(NewMessage("x"))])
        made = examined() - examined_before
    counted = broker.long_lived_objects - before
    assert 0.5 * made < counted < 2 * made
    broker.close()
