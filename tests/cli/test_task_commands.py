from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import Outcome, Wonderq, run, started
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.errors import Refused


@pytest.fixture
def dead(client: QueueClient) -> QueueClient:
    """Five dead letters of this test's queue, in the queue that has `-dead` at the end."""
    work = client.queue[-70:]
    client.queue = work
    client.put_queue(max_receives=1, dead_letter_queue=f"{work}-dead")
    client.produce_batch([{"message": f"cat {n}", "attributes": {"n": n}} for n in range(5)])
    assert len(client.consume(visibility_timeout=0)) == 5
    assert client.consume() == []
    return client


@pytest.fixture
def many_dead(dead: QueueClient) -> QueueClient:
    """Number of dead letters whose move, at one per second, takes longer than any test."""
    dead.produce_batch([f"dog {n}" for n in range(1000)])
    while dead.consume(limit=100, visibility_timeout=0):
        pass
    return dead


def redrive(client: QueueClient, verb: str, *arguments: str) -> Outcome:
    return run("redrive", verb, f"{client.queue}-dead", "--url", client.url, *arguments)


def schedule(broker: RunningBroker, command: str, *arguments: str | bytes) -> Outcome:
    return run("schedule", command, "--url", broker.url, *arguments)


def test_dead_letters_go_back(dead: QueueClient) -> None:
    done = redrive(dead, "start")
    assert (done.code, done.lines, done.error) == (0, ["5 moved, 0 skipped"], "")
    assert [message["message"] for message in dead.consume()] == [f"cat {n}" for n in range(5)]


def test_a_dry_run_and_filters(dead: QueueClient) -> None:
    assert redrive(dead, "start", "--dry-run", "--contains", "cat 3").lines == ["1 would be moved, 4 skipped"]
    assert redrive(dead, "start", "--dry-run", "--max", "2").lines == ["2 would be moved, 0 skipped"]
    done = redrive(dead, "start", "--attribute", "n=2", "--to", dead.queue, "--per-second", "100", "--json")
    found = json.loads(done.out)
    assert (found["moved"], found["skipped"], found["destination"], found["per_second"]) == (1, 4, dead.queue, 100)
    assert [message["message"] for message in dead.consume()] == ["cat 2"]


def test_begun_listed_and_cancelled(many_dead: QueueClient) -> None:
    [redrive_id] = redrive(many_dead, "start", "--per-second", "1", "--no-wait").lines
    heading, line = redrive(many_dead, "list").lines
    assert heading.split() == ["ID", "STARTED", "STATUS", "TO", "MOVED", "SKIPPED", "TOTAL"]
    assert line.split()[0] == redrive_id
    assert line.split()[2:4] == ["running", "-"]
    refused = redrive(many_dead, "start")
    assert refused.code == 1
    assert redrive_id in refused.error
    assert json.loads(redrive(many_dead, "show", redrive_id, "--json").out)["id"] == redrive_id
    cancelled = redrive(many_dead, "cancel", redrive_id, "--json")
    assert json.loads(cancelled.out)["status"] == "cancelled"
    assert "cancelled" in redrive(many_dead, "list").lines[1]
    assert redrive(many_dead, "cancel", "none").code == 1


def test_a_redrive_that_failed_shows_the_reason(many_dead: QueueClient) -> None:
    with QueueClient(many_dead.url, queue=f"{many_dead.queue}-target") as target:
        target.put_queue()
        [redrive_id] = redrive(many_dead, "start", "--to", target.queue, "--per-second", "1", "--no-wait").lines
        target.drop_queue()
    eventually(lambda: redrive(many_dead, "show", redrive_id).lines[1].split()[2] == "failed")
    for verb, arguments in (("show", (redrive_id,)), ("list", ())):
        *_, reason = redrive(many_dead, verb, *arguments).lines
        assert reason == f"{redrive_id} failed: The queue {target.queue} was deleted."


def test_interrupted_it_goes_on(many_dead: QueueClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def press_ctrl_c(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wonderq.cli.redrives.time", SimpleNamespace(sleep=press_ctrl_c))
    done = redrive(many_dead, "start", "--per-second", "1")
    with QueueClient(many_dead.url, queue=f"{many_dead.queue}-dead") as waiting:
        [found] = waiting.redrives()
    assert done.code == 130
    assert f"'wonderq redrive cancel {found['queue']} {found['id']}'" in done.error
    assert found["status"] in ("running", "completed")


def test_a_redrive_that_somebody_cancels_is_not_done(many_dead: QueueClient) -> None:
    with started("redrive", "start", f"{many_dead.queue}-dead", "--url", many_dead.url, "--per-second", "1") as process:
        waiting = QueueClient(many_dead.url, queue=f"{many_dead.queue}-dead")
        eventually(waiting.redrives, "the redrive to start")
        waiting.cancel_redrive(waiting.redrives()[0]["id"])
        waiting.close()
        _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"the redrive has cancelled: a client cancelled it" in error


def test_schedules(broker: RunningBroker, client: QueueClient) -> None:
    queue = client.queue
    cron = ("cron=30 4 * * *", "timezone=Europe/Vienna")
    what = (f"queue={queue}", "message=é", 'attributes={"a": "1", "b": "x=y"}', "group=g")
    made = schedule(broker, "set", "nightly", *cron, *what, "priority=2", "delay=1.5", "missed=once")
    assert (made.code, made.error) == (0, "")
    found = json.loads(made.out)
    assert (found["message"], found["attributes"], found["group"]) == ("é", {"a": "1", "b": "x=y"}, "g")
    assert (found["priority"], found["delay"], found["missed"]) == (2, 1.5, "once")
    assert client.get_schedule("nightly") == found
    heading, line = schedule(broker, "list").lines
    assert heading.split() == ["NAME", "CRON", "TIMEZONE", "QUEUE", "NEXT", "LAST", "FAILURE"]
    assert "30 4 * * *" in line
    assert json.loads(schedule(broker, "list", "--json").out) == found
    assert json.loads(schedule(broker, "show", "nightly", "--json").out) == found
    changed = json.loads(schedule(broker, "set", "nightly", "message=5").out)
    assert (changed["message"], changed["attributes"]) == ("5", found["attributes"]), "text, and not the number 5"
    assert json.loads(schedule(broker, "pause", "nightly").out)["next_at"] is None
    assert "paused" in schedule(broker, "list").lines[1]
    assert json.loads(schedule(broker, "resume", "nightly").out)["next_at"] == found["next_at"]
    assert schedule(broker, "delete", "nightly", "--yes").code == 0
    with pytest.raises(Refused, match="no schedule"):
        client.get_schedule("nightly")
    assert len(schedule(broker, "list").lines) == 1


def test_what_is_refused_and_wrong(broker: RunningBroker) -> None:
    done = schedule(broker, "set", "x", "cron=every day", "queue=q", "message=m")
    assert done.code == 1
    assert "not a cron expression" in done.error
    assert schedule(broker, "delete", "none", "--yes").code == 1
    assert schedule(broker, "set", "x", "cron").code == 2
    assert schedule(broker, "set", "x", "attributes=5").code == 2
    assert schedule(broker, "set", "x", "no_such=5").code == 1
    wrong = schedule(broker, "set", "x", b"message=\xff")
    assert (wrong.code, "not UTF-8" in wrong.error) == (2, True)
    assert run("redrive").code == 2
    assert run("schedule").code == 2
    assert run("redrive", "cancel", "q").code == 2


def test_set_to_a_broker_by_its_client(client: QueueClient, wonderq: Wonderq) -> None:
    client.put_schedule("soon", cron="* * * * * *", queue=client.queue, message="tick", missed="all")
    received = wonderq("receive", "--max", "2", "--wait", "20", "--delete")
    client.delete_schedule("soon")
    assert received.lines[0] == "tick"
