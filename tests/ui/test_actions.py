"""Further tasks at the dashboard: buried messages, dead letters that match a filter, schedules with all fields, a stopped broker."""

from __future__ import annotations

import pytest

from tests.support.http_client import ServedBroker
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser
from wonderq.model.messages import Change, NewMessage, Target


def bury(served: ServedBroker, count: int) -> None:
    for message_id in served.broker.produce("mail", [f"letter {number}" for number in range(count)]):
        served.broker.update("mail", Target(id=message_id), Change(bury=True))


@pytest.mark.parametrize("path", ["/ui/queues/mail", "/ui/dead"])
def test_buried_messages_are_kicked(served: ServedBroker, open_page: OpenBrowser, path: str) -> None:
    bury(served, 3)
    page = open_page().open(path)
    page.get_by_role("button", name="Kick…").click()
    page.get_by_label("How many").fill("2")
    page.get_by_role("button", name="Kick them").click()
    page.get_by_text("2 messages of mail wait again.").wait_for()
    assert (served.broker.count("mail", "unprocessed"), served.broker.count("mail", "buried")) == (2, 1)


def test_a_queue_without_buried_messages_has_none_to_kick(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", ["x"])
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("button", name="Pause").wait_for()
    assert not page.get_by_role("button", name="Kick…").count()


def test_all_that_match_the_filter_are_brought_back(served: ServedBroker, open_page: OpenBrowser) -> None:
    broker = served.broker
    broker.put_queue("dead")
    broker.put_queue("mail", dead_letter_queue="dead")
    broker.produce("mail", [f"{kind} {number}" for kind in ("cat", "dog") for number in range(3)])
    for message in broker.claim("mail", limit=6):
        broker.update("mail", Target(receipt=message.receipt), Change(dead=True))
    page = open_page().open("/ui/queues/dead?contains=cat")
    page.get_by_role("button", name="Bring back all that match…").click()
    assert page.get_by_label("Only messages whose text contains").input_value() == "cat"
    page.get_by_role("button", name="Count them").click()
    page.get_by_role("button", name="Bring back 3 messages").click()
    eventually(lambda: broker.count("mail", "unprocessed") == 3, "they are back")
    assert {message.body.split()[0] for message in broker.messages("mail")} == {"cat"}


def test_a_group_is_not_brought_back_with_all_others(served: ServedBroker, open_page: OpenBrowser) -> None:
    """A redrive cannot choose a group, so it would move more than the page shows."""
    broker = served.broker
    broker.put_queue("dead")
    broker.put_queue("mail", dead_letter_queue="dead")
    broker.send("mail", [NewMessage("x", group=group) for group in ("a", "b")])
    for message in broker.claim("mail", limit=2):
        broker.update("mail", Target(receipt=message.receipt), Change(dead=True))
    page = open_page().open("/ui/queues/dead?group=a")
    page.get_by_role("button", name="Purge…").wait_for()
    assert not page.get_by_role("button", name="Bring back all").count()
    page.get_by_role("link", name="Clear", exact=True).click()
    page.get_by_role("button", name="Bring back all…").click()


def test_a_redrive_tells_its_speed_and_the_time_left(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", ["x"] * 1000)
    served.broker.put_queue("other")
    served.broker.redrives.start("mail", "other", per_second=20)
    page = open_page().open("/ui/redrives")
    page.get_by_text("/s, about").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled", exact=True).wait_for()


def test_a_schedule_has_all_fields_of_its_messages(served: ServedBroker, open_page: OpenBrowser) -> None:
    watched = open_page()
    page = watched.open("/ui/schedules")
    page.get_by_role("button", name="New…").click()
    for label, value in (
        ("Name", "hourly"),
        ("Cron expression", "0 * * * *"),
        ("Queue", "reports"),
        ("Message", "hello"),
        ("Attributes, as JSON", '{"tenant": "acme"'),
        ("Group", "g"),
        ("Priority, 0 to 9", "3"),
        ("Delay in seconds", "1.5"),
    ):
        page.get_by_label(label, exact=label != "Cron expression").fill(value)
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").filter(has_text="not valid JSON").wait_for()
    assert page.get_by_label("Name", exact=True).input_value() == "hourly", "a refusal keeps what is typed"
    page.get_by_label("Attributes, as JSON").fill('{"tenant": "acme"}')
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The schedule hourly is saved.").wait_for()
    schedule = served.broker.schedules.get("hourly")
    assert (schedule.body, schedule.group, schedule.priority, schedule.delay_ms) == ("hello", "g", 3, 1500)
    assert schedule.attributes == {"tenant": ("String", "acme")}
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("Priority, 0 to 9").fill("")
    page.get_by_label("Attributes, as JSON").fill("")
    page.get_by_role("button", name="Save").click()
    eventually(lambda: served.broker.schedules.get("hourly").attributes == {}, "they are removed")
    changed = served.broker.schedules.get("hourly")
    assert (changed.priority, changed.group, changed.delay_ms, changed.cron) == (0, "g", 1500, "0 * * * *")


def test_a_broker_that_has_stopped_says_so_on_every_page(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.send("mail", [NewMessage("still here")])
    watched = open_page()
    watched.may_fail = True  # it answers calls about messages with 503
    page = watched.open("/ui/queues/mail")
    page.get_by_role("link", name="still here").wait_for()
    served.broker.mark_damaged("0.wal", 17, "a checksum does not match")
    banner = page.get_by_role("alert").filter(has_text="OPERATING.md")
    banner.wait_for()
    assert "a checksum does not match" in banner.inner_text()
    assert "wonderq folder verify" in banner.inner_text()
    page.get_by_role("link", name="still here").wait_for()
    page.get_by_role("link", name="Broker").click()
    banner.wait_for()
