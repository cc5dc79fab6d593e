"""Redrives and schedules last, several of each kind beside each other, also where they were recorded in turn."""

from __future__ import annotations

from tests.broker.conftest import Lasting


def test_all_tasks_of_all_kinds_last(lasting: Lasting) -> None:
    broker = lasting.broker
    started = []
    for n in range(3):
        broker.put_queue(f"q{n}")
        broker.put_queue(f"to{n}")
        lasting.add(f"q{n}", "1", "2")
        broker.schedules.put(f"s{n}", cron=f"{n} 0 * * *", queue=f"q{n}", body=str(n))
        started.append(broker.redrives.start(f"q{n}", f"to{n}", per_second=1))
    broker.redrives.cancel(started[1])
    broker.schedules.put("s2", paused=True)
    broker.schedules.delete("s0")
    schedules = broker.schedules.list()
    redrives = [broker.redrives.get(each) for each in started]
    assert [each.name for each in schedules] == ["s1", "s2"]
    for _ in range(2):
        lasting.again()
        assert lasting.broker.schedules.list() == schedules
        assert [lasting.broker.redrives.get(each) for each in started] == redrives
        assert lasting.broker.redrives.running == 2
