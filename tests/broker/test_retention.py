"""A message that is older than its queue keeps it is gone, whatever it is doing."""

from __future__ import annotations

import pytest

from tests.broker.conftest import Lasting
from wonderq.model.errors import MessageNotFoundError
from wonderq.model.messages import Change, NewMessage, Target


def test_what_is_too_old_is_not_given_out(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", retention_ms=5_000)
    lasting.add("q", "old")
    lasting.clock.ms += 4_000
    lasting.add("q", "new")
    lasting.clock.ms += 999
    assert lasting.bodies("q", timeout_ms=0) == "old new"
    lasting.clock.ms += 1
    lasting.again()
    assert lasting.bodies("q", timeout_ms=0) == "new"
    assert [message.body for message in lasting.again().messages("q")] == ["new"]
    lasting.clock.ms += 4_000
    assert lasting.bodies("q") == ""
    assert lasting.again().queue("q").bytes == 0


def test_whatever_it_is_doing(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", retention_ms=5_000)
    claimed, buried = lasting.add("q", "claimed", "buried")
    lasting.broker.send("q", [NewMessage("delayed", delay_ms=60_000), NewMessage("urgent", priority=9)])
    lasting.broker.update("q", Target(id=buried), Change(bury=True))
    held = {message.body: message for message in lasting.take("q", timeout_ms=60_000)}
    assert set(held) == {"claimed", "urgent"}
    lasting.clock.ms += 5_000
    lasting.again()
    assert lasting.bodies("q") == ""
    assert set(lasting.again().queue("q").counts.values()) == {0}
    with pytest.raises(MessageNotFoundError):
        lasting.broker.delete("q", Target(receipt=held["claimed"].receipt))
    with pytest.raises(MessageNotFoundError):
        lasting.broker.get("q", claimed)


def test_it_frees_the_group_of_a_message_in_flight(lasting: Lasting) -> None:
    lasting.broker.put_queue("q.fifo", retention_ms=5_000)
    lasting.add("q.fifo", "a1", group="a")
    lasting.take("q.fifo", timeout_ms=60_000)
    lasting.clock.ms += 3_000
    lasting.add("q.fifo", "a2", group="a")
    lasting.again()
    assert lasting.bodies("q.fifo") == ""
    lasting.clock.ms += 2_000
    lasting.again()
    assert lasting.bodies("q.fifo") == "a2"


def test_an_update_does_not_make_it_younger(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", retention_ms=5_000)
    (one,) = lasting.add("q", "one")
    lasting.clock.ms += 4_999
    lasting.broker.update("q", Target(id=one), Change(body="changed"))
    lasting.again()
    lasting.clock.ms += 1
    assert lasting.bodies("q") == ""


def test_a_setting_that_comes_later_counts_for_what_is_there(lasting: Lasting) -> None:
    lasting.add("q", *"abc")
    lasting.clock.ms += 5_000
    lasting.add("q", *"de")
    lasting.broker.put_queue("q", retention_ms=5_000)
    lasting.again()
    assert lasting.bodies("q", timeout_ms=0) == "d e"
    lasting.broker.put_queue("q", retention_ms=0)
    lasting.clock.ms += 10**9
    lasting.again()
    assert lasting.bodies("q") == "d e"


def test_numbers_are_not_used_again(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", retention_ms=1_000)
    old = lasting.add("q", *"abc")
    lasting.clock.ms += 1_000
    assert lasting.bodies("q") == ""
    lasting.again()
    assert not set(lasting.add("q", *"abc")) & set(old)


def test_a_long_queue_of_which_a_part_is_old(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", retention_ms=10_000)
    for start in range(0, 5_000, 500):
        lasting.broker.produce("q", [str(n) for n in range(start, start + 500)])
        lasting.clock.ms += 1_000
    lasting.clock.ms += 4_500
    lasting.again()
    assert lasting.bodies("q", 2) == "2500 2501"
    assert lasting.again().queue("q").counts == {"unprocessed": 2_498, "processing": 2, "delayed": 0, "buried": 0}


def test_it_goes_before_dead_letters(lasting: Lasting) -> None:
    """An expired message need not be checked for dead-lettering."""
    lasting.broker.put_queue("q", retention_ms=5_000, max_receives=1, dead_letter_queue="dead")
    lasting.add("q", "1")
    lasting.take("q")
    lasting.clock.ms += 10_000
    lasting.again()
    assert lasting.bodies("q") == ""
    assert "dead" not in [info.name for info in lasting.again().queues()]


def test_it_is_counted(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", retention_ms=5_000)
    lasting.add("q", *"abc")
    lasting.clock.ms += 5_000
    lasting.bodies("q")
    assert lasting.broker.counters.of("q").retention_expired == 3
