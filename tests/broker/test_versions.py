"""Each change of a message's body or attributes makes it another version; a change may be for one version alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.broker.conftest import Lasting
from tests.broker.test_rewriting import InterruptedLog
from tests.support.clock import FakeClock
from wonderq.broker.broker import Broker
from wonderq.model.errors import MessageNotFoundError, VersionConflictError
from wonderq.model.messages import Change, Target
from wonderq_storage import SyncPolicy

UNCOUNTED: dict[str, Callable[[Lasting, Target], object]] = {
    "claimed": lambda it, target: it.take("q"),
    "renewed": lambda it, target: it.broker.update("q", target, Change(visibility_timeout_ms=5_000)),
    "delayed": lambda it, target: it.broker.update("q", target, Change(delay_ms=5_000)),
    "buried": lambda it, target: it.broker.update("q", target, Change(bury=True)),
    "kicked": lambda it, target: it.broker.kick("q", 1),
}
"""Operations that change only the state of a message, in an order in which each is possible."""


def version(lasting: Lasting, message_id: str) -> int:
    envelope = lasting.broker.get("q", message_id).envelope
    return 1 if envelope is None else envelope.version


def test_each_rewrite_is_a_version(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    target = Target(id=one)
    changes = [
        Change(body="2"),
        Change(attributes={"a": ("String", "x")}),
        Change(body="3", delay_ms=10),
        Change(body="3"),
    ]
    for expected, change in enumerate(changes, 2):
        lasting.broker.update("q", target, change)
        lasting.again()
        assert version(lasting, one) == expected
    assert lasting.broker.get("q", one).body == "3"


def test_nothing_else_is(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    lasting.broker.update("q", Target(id=one), Change(body="2"))
    for step in UNCOUNTED.values():
        step(lasting, Target(id=one))
        lasting.again()
        assert version(lasting, one) == 2


def test_a_change_for_another_version_is_refused(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    target = Target(id=one)
    lasting.broker.update("q", target, Change(body="2", if_version=1))
    lasting.again()
    for change in (Change(body="3", if_version=1), Change(bury=True, if_version=3), Change(if_version=1)):
        with pytest.raises(VersionConflictError):
            lasting.broker.update("q", target, change)
    assert [(each.body, each.status) for each in lasting.again().messages("q")] == [("2", "unprocessed")]
    lasting.broker.update("q", target, Change(bury=True, if_version=2))
    assert lasting.again().get("q", one).status == "buried"


def test_of_two_who_change_the_same_version_one_is_refused(lasting: Lasting) -> None:
    one, two = lasting.add("q", "1", "2")
    change = Change(body="x", if_version=1)
    results = lasting.broker.update_batch("q", [(Target(id=one), change), (Target(id=two), change)])
    assert results == [None, None]
    lasting.again()
    results = lasting.broker.update_batch("q", [(Target(id=one), change), (Target(id=two), Change(body="y"))])
    assert isinstance(results[0], VersionConflictError)
    assert results[1] is None
    lasting.again()
    assert (version(lasting, one), version(lasting, two)) == (2, 3)


def test_a_version_is_told_to_whoever_claims(lasting: Lasting) -> None:
    (one,) = lasting.add("q", "1")
    lasting.broker.update("q", Target(id=one), Change(body="2"))
    lasting.again()
    (claimed,) = lasting.take("q")
    assert claimed.envelope is not None
    assert claimed.envelope.version == 2


def test_a_rewritten_message_keeps_its_claim(lasting: Lasting) -> None:
    lasting.add("q", "1")
    (claimed,) = lasting.take("q")
    lasting.broker.update("q", Target(receipt=claimed.receipt), Change(body="2"))
    lasting.again()
    message = lasting.broker.get("q", claimed.id)
    assert (message.status, message.due_ms, message.receives) == ("processing", claimed.due_ms, 1)
    lasting.broker.update("q", Target(receipt=claimed.receipt), Change(body="3", visibility_timeout_ms=50_000))
    lasting.again()
    assert lasting.broker.get("q", claimed.id).due_ms == lasting.clock.ms + 50_000
    lasting.broker.delete("q", Target(receipt=claimed.receipt))


@pytest.mark.parametrize("kind", ["changed", "deleted", "conflict", "claimed"])
def test_what_happens_while_the_old_contents_are_read(tmp_path: object, kind: str) -> None:
    clock = FakeClock()
    log = InterruptedLog(tmp_path, sync=SyncPolicy("os"))  # type: ignore[arg-type]
    broker = Broker(log, clock=clock)
    (one,) = broker.produce("q", ["1"])
    target = Target(id=one)
    meanwhile: Callable[[], object] = {
        "changed": lambda: broker.update("q", target, Change(body="meanwhile")),
        "deleted": lambda: broker.delete("q", target),
        "conflict": lambda: broker.update("q", target, Change(body="meanwhile")),
        "claimed": lambda: broker.claim("q"),
    }[kind]
    log.before_read = lambda: (meanwhile(), None)[1]
    change = Change(attributes={"a": ("String", "x")}, if_version=1 if kind == "conflict" else None)
    if kind in ("deleted", "conflict"):
        with pytest.raises(MessageNotFoundError if kind == "deleted" else VersionConflictError):
            broker.update("q", target, change)
    else:
        broker.update("q", target, change)
    seen = [(each.body, each.status, each.envelope and each.envelope.version) for each in broker.messages("q")]
    assert (
        seen
        == {
            "changed": [("meanwhile", "unprocessed", 3)],
            "deleted": [],
            "conflict": [("meanwhile", "unprocessed", 2)],
            "claimed": [("1", "processing", 2)],
        }[kind]
    )
    broker.close()
