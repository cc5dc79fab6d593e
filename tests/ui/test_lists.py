"""Lists: the newest first, pages both ways, periods, a search in all queues, and what a telephone unfolds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser, serving_with_housekeeper
from tests.ui.shop import LateClock
from tests.ui.test_flows import bodies
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, NewMessage, Target

DAY_MS = 86_400_000


def die(broker: Broker, error: str, bodies: list[str]) -> None:
    """Make dead letters of the queue ``mail``, in ``dead``."""
    broker.put_queue("dead")
    broker.put_queue("mail", dead_letter_queue="dead")
    broker.produce("mail", bodies)
    for message in broker.claim("mail", limit=len(bodies)):
        broker.update("mail", Target(receipt=message.receipt), Change(dead=True, error=ReportedError("no", error)))


@pytest.fixture
def week() -> Iterator[ServedBroker]:
    """A broker with dead letters of two kinds from three days: two of each kind and day."""
    clock = LateClock(2 * DAY_MS)
    broker = Broker(MemoryLog(), clock=clock)
    for day in ("first", "second", "third"):
        for error in ("KeyError", "OSError"):
            die(broker, error, [f"{error} of the {day} day, {number}" for number in range(2)])
        if day != "third":
            clock.move(DAY_MS)
    clock.catch_up()
    with serving_with_housekeeper(broker) as served:
        yield served


def address_of(served: ServedBroker) -> str:
    return f"http://{served.host}:{served.port}"


def rows_of(page: Any) -> list[str]:
    found: list[str] = page.locator("tbody [data-open]").all_inner_texts()
    return found


def test_yesterdays_dead_letters_of_one_kind_come_back(week: ServedBroker, open_browser: OpenBrowser) -> None:
    page = open_browser(address_of(week), timezone_id="UTC").open("/ui/dead")
    row = page.get_by_role("row").filter(has_text="OSError")
    row.get_by_role("cell", name="6", exact=True).wait_for()
    page.get_by_label("Came").select_option("yesterday")
    row.get_by_role("cell", name="2", exact=True).wait_for()
    assert "came=yesterday" in page.url, "a link shows others the same"
    row.get_by_role("button", name="Bring back…").click()
    page.get_by_role("dialog").get_by_role("button", name="Bring back 2 messages").click()
    page.get_by_text("2 messages brought back.").wait_for()
    assert bodies(week.broker, "mail") == ["OSError of the second day, 0", "OSError of the second day, 1"]
    assert len(bodies(week.broker, "dead")) == 10


def test_all_of_a_period_come_back(week: ServedBroker, open_browser: OpenBrowser) -> None:
    page = open_browser(address_of(week), timezone_id="UTC").open("/ui/dead?came=yesterday")
    page.get_by_role("button", name="Bring back all that came yesterday…").click()
    page.get_by_role("button", name="Count them").click()
    page.get_by_text("4 of 12 would move; 8 would stay").wait_for()
    page.get_by_role("button", name="Bring back 4 messages").click()
    eventually(lambda: len(bodies(week.broker, "mail")) == 4, "they are back")
    assert {each.split(",")[0][-10:] for each in bodies(week.broker, "mail")} == {"second day"}
    page.get_by_role("cell", name="since ").first.wait_for()


def test_a_text_chooses_among_dead_letters(week: ServedBroker, open_browser: OpenBrowser) -> None:
    page = open_browser(address_of(week)).open("/ui/dead")
    page.get_by_label("Text", exact=True).fill("keyerror")
    page.get_by_role("row").filter(has_text="OSError").wait_for(state="detached")
    page.get_by_label("Text", exact=True).fill("third day, 1")
    page.get_by_role("row").filter(has_text="KeyError").get_by_role("cell", name="1", exact=True).wait_for()
    page.get_by_label("Text", exact=True).fill("nothing")
    page.get_by_text("None has “nothing” in it.").wait_for()
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("row").filter(has_text="OSError").wait_for()


def test_a_period_between_two_moments(week: ServedBroker, open_browser: OpenBrowser) -> None:
    page = open_browser(address_of(week), timezone_id="UTC").open("/ui/queues/dead")
    page.get_by_label("Came").select_option("between")
    since, until = (
        page.evaluate(f"new Date(Date.now() - {ms}).toISOString().slice(0, 16)") for ms in (3 * DAY_MS, 1.5 * DAY_MS)
    )
    page.get_by_label("Since").fill(since)
    page.get_by_label("Before", exact=True).fill(until)
    page.get_by_role("button", name="Search").click()
    eventually(lambda: page.wait_for_timeout(20) or len(rows_of(page)) == 4, "those of the first day")
    assert all("first day" in each for each in rows_of(page))
    page.get_by_label("Text", exact=True).fill("third")
    page.keyboard.press("Enter")
    page.get_by_text("No message has “third” in it and came in this period.").wait_for()
    page.get_by_role("link", name="Clear the filter").click()
    eventually(lambda: page.wait_for_timeout(20) or len(rows_of(page)) == 12, "all of them")


def test_dead_letters_begin_with_the_newest_and_the_order_can_be_turned(
    week: ServedBroker, open_browser: OpenBrowser
) -> None:
    page = open_browser(address_of(week)).open("/ui/queues/dead")
    page.get_by_role("link", name="third day, 1").first.wait_for()
    assert rows_of(page)[0] == "OSError of the third day, 1"
    page.get_by_role("columnheader", name="Age", exact=True).get_by_role("link").click()
    eventually(lambda: page.wait_for_timeout(20) or "first" in "".join(rows_of(page)[:1]), "the oldest first")
    assert "order=oldest" in page.url
    assert page.get_by_role("columnheader", name="Age", exact=True).get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("query", ["", "contains=letter"])
def test_pages_lead_both_ways(served: ServedBroker, open_page: OpenBrowser, query: str) -> None:
    served.broker.produce("mail", [f"letter {number}" for number in range(120)])
    page = open_page().open(f"/ui/queues/mail?order=newest&{query}")

    def arrive(first: int, last: int) -> None:
        page.get_by_role("link", name=f"letter {last}", exact=True).wait_for()
        eventually(lambda: page.wait_for_timeout(20) or rows_of(page)[:1] == [f"letter {first}"], f"page of {first}")
        assert rows_of(page)[-1] == f"letter {last}"

    arrive(119, 70)
    assert not page.get_by_role("link", name="Previous page").count()
    page.get_by_role("link", name="Next page").click()
    arrive(69, 20)
    page.get_by_role("link", name="Next page").click()
    arrive(19, 0)
    assert not page.get_by_role("link", name="Next page").count()
    page.get_by_role("link", name="Previous page").click()
    arrive(69, 20)
    page.get_by_role("link", name="Previous page").click()
    arrive(119, 70)
    page.get_by_role("link", name="Next page").click()
    arrive(69, 20)
    served.broker.produce("mail", ["letter 120"])
    page.get_by_role("link", name="Previous page").click()
    arrive(119, 70)
    page.get_by_role("link", name="Previous page").click()
    arrive(120, 71)  # one message before is no page, so this is the first one
    assert "before" not in page.url


def test_schedules_have_pages_and_a_filter(served: ServedBroker, open_page: OpenBrowser) -> None:
    for number in range(120):
        served.broker.schedules.put(f"report-{number:03}", cron="30 4 * * *", queue="reports", body="send it")
    page = open_page().open("/ui/schedules")
    page.get_by_role("rowheader", name="report-049").wait_for()
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("rowheader", name="report-099").wait_for()
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("rowheader", name="report-119").wait_for()
    assert page.locator("tbody tr").count() == 20
    assert not page.get_by_role("link", name="Next page").count()
    page.get_by_label("Filter schedules by name").fill("t-07")
    page.get_by_role("rowheader", name="report-070").wait_for()
    assert page.locator("tbody tr").count() == 10
    page.get_by_label("Filter schedules by name").fill("nothing")
    page.get_by_text("No schedule has “nothing” in its name.").wait_for()
    page.get_by_role("link", name="Clear the filter").click()
    page.get_by_role("rowheader", name="report-000").wait_for()


def test_a_search_in_all_queues_finds_a_message_and_its_queue(served: ServedBroker, open_page: OpenBrowser) -> None:
    for queue in ("a", "b", "c"):
        served.broker.produce(queue, [f"{queue} order {number}" for number in range(40)])
    watched = open_page()
    page = watched.open("/ui")
    page.get_by_role("link", name="a", exact=True).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("f")
    page.get_by_role("heading", name="Search").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("b order 17")
    page.keyboard.press("Enter")
    page.get_by_role("row").filter(has_text="b order 17").get_by_role("link", name="b", exact=True).wait_for()
    assert len(rows_of(page)) == 1
    page.get_by_label("Text", exact=True).fill("order")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="b order 10", exact=True).wait_for()
    assert rows_of(page)[0] == "b order 10"
    page.get_by_label("Text", exact=True).fill("cat")
    page.keyboard.press("Enter")
    page.get_by_text("No message has “cat” in it. 120 looked at.").wait_for()


def test_a_telephone_unfolds_the_rest_of_a_row(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.send("mail", [NewMessage("letter", group="customer-7", priority=3)])
    served.broker.send("mail", [NewMessage("later", delay_ms=DAY_MS)])
    watched = open_page(width=390)
    page = watched.open("/ui")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="mail", exact=True))
    row.get_by_label("More about mail").click()
    row.get_by_text("Delayed").locator("xpath=following-sibling::dd").get_by_text("1", exact=True).wait_for()
    page = watched.open("/ui/queues/mail")
    assert not page.get_by_label("Came").is_visible()
    page.get_by_text("More filters").click()
    page.get_by_label("Came").select_option("today")
    page.get_by_role("link", name="letter", exact=True).wait_for()
    page.locator("details.more summary").first.click()
    page.get_by_text("customer-7").locator("visible=true").wait_for()
    assert watched.sideways_px() == 0


def test_a_dashboard_that_may_only_read_offers_nothing_else(open_browser: OpenBrowser) -> None:
    broker = Broker(MemoryLog())
    die(broker, "OSError", ["letter"])
    with serving(broker, create_app(broker, ui="read-only")) as served:
        page = open_browser(address_of(served)).open("/ui/queues/dead")
        page.get_by_role("link", name="letter", exact=True).click()
        page.get_by_role("heading", name="Details").wait_for()
        page.get_by_text("This dashboard may only read").wait_for()
        shown = page.locator("main .actions button, dialog .actions button, main input[type=checkbox]")
        assert shown.all_inner_texts() == []
        page.goto(f"{address_of(served)}/ui/dead")
        page.get_by_text("OSError").wait_for()
        assert shown.all_inner_texts() == []
    broker.close()


def test_what_has_not_changed_is_not_sent_again(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail")
    page = open_page().page
    statuses: dict[str, list[int]] = {"/queues/mail?figures=true": [], "/overview": []}
    page.on(
        "response",
        lambda response: statuses.get(response.url.removeprefix(address_of(served)), []).append(response.status),
    )
    page.goto(f"{address_of(served)}/ui/queues/mail")
    eventually(lambda: page.wait_for_timeout(20) or all(304 in each for each in statuses.values()), "304")
    served.broker.produce("mail", ["new"])
    page.get_by_role("link", name="new", exact=True).wait_for()


def test_clocks_are_compared_when_an_answer_arrives_and_not_later(open_page: OpenBrowser) -> None:
    watched = open_page()
    watched.may_fail = True
    page = watched.page
    page.clock.install()
    page = watched.open("/ui")
    page.get_by_text("Nothing needs you.").wait_for()
    page.context.set_offline(True)
    for _ in range(5):
        page.clock.run_for(10_000)
    page.get_by_text("The broker has not answered since").wait_for()
    assert not page.get_by_text("The clock of this browser is").count()


def test_a_telephone_shows_where_one_is(open_page: OpenBrowser) -> None:
    page = open_page(width=390).open("/ui/broker")
    page.get_by_text("Your roles").wait_for()
    here = page.locator(".top nav [aria-current]").bounding_box()
    assert here["x"] + here["width"] < 391
