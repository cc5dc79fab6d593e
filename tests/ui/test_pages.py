"""Every page at two widths and in both colour schemes: no complaint, no sideways scrolling, and nothing that axe-core finds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_client import ServedBroker
from tests.ui.accessibility import AXE, violations
from tests.ui.conftest import OpenBrowser
from wonderq.broker.broker import Broker
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.topics import Publication

PAGES = {
    "/ui": "Queues",
    "/ui?sort=unprocessed&filter=mail": "Queues",
    "/ui/search?contains=plain": "Search",
    "/ui/dead": "Dead letters",
    "/ui/dead?came=yesterday": "Dead letters",
    "/ui/redrives": "Redrives",
    "/ui/topics": "Topics",
    "/ui/topics?filter=nothing": "Topics",
    "/ui/topics/orders": "orders",
    "/ui/topics/orders?filter=nothing": "orders",
    "/ui/topics/orders?tab=publish": "orders",
    "/ui/topics/orders?tab=settings": "orders",
    f"/ui/topics/{'t' * 256}": "t" * 256,
    "/ui/queues/mail-dead": "mail-dead",
    "/ui/schedules": "Schedules",
    "/ui/broker": "Broker",
    "/ui/queues/mail": "mail",
    "/ui/queues/mail?status=processing": "mail",
    "/ui/queues/mail?contains=nothing": "mail",
    "/ui/queues/mail?tab=history": "mail",
    "/ui/queues/mail?tab=settings": "mail",
    "/ui/queues/mail?tab=redrives": "mail",
    "/ui/queues/mail?tab=connect": "mail",
    "/ui/queues/mail?message=FIRST": "Message",
    "/ui/queues/jobs.fifo": "jobs.fifo",
    f"/ui/queues/{'q' * 80}": "q" * 80,
}


def fill(broker: Broker) -> str:
    """Put something of everything into a broker; return the id of a message of the queue ``mail``."""
    hour_ms = 3_600_000  # longer than the test takes on any machine: claims that end become dead letters
    broker.put_queue("mail", max_receives=1, dead_letter_queue="mail-dead", visibility_timeout_ms=hour_ms)
    broker.put_queue("mail-dead")
    broker.put_queue("paused", paused=True)
    broker.put_queue("q" * 80)
    bodies = ['{"to": "ann@example.org", "lines": [1, 2, {"sku": "x"}]}', "plain text", "x" * 500, ""]
    fields: dict[str, Any] = {"attributes": {"tenant": ("String", "acme")}, "group": "customer-7", "priority": 3}
    sent = broker.send("mail", [NewMessage(body, **fields) for body in bodies])
    broker.send("jobs.fifo", [NewMessage("one", group="a"), NewMessage("two", group="b")])
    dead = broker.send("mail", [NewMessage("dead")])
    [message] = [each for each in broker.claim("mail", limit=10) if each.id == dead[0].id]
    broker.update("mail", Target(receipt=message.receipt), Change(visibility_timeout_ms=0))
    broker.claim("mail", limit=1)
    broker.update("jobs.fifo", Target(id=broker.produce("jobs.fifo", ["three"])[0]), Change(bury=True))
    broker.schedules.put("nightly", cron="30 4 * * *", queue="mail", body="send the reports")
    broker.redrives.start("mail-dead", dry_run=True)
    fill_topics(broker)
    broker.history._find_queues()
    return sent[0].id


def fill_topics(broker: Broker) -> None:
    """Make topics with subscriptions of every kind; some of what is published is refused."""
    broker.topics.put("orders", tags={"team": "shop"})
    broker.topics.put("t" * 256)
    broker.put_queue("narrow", max_messages=1)
    filters = {"kind": ["paid", {"anything-but": ["x"]}], "amount": [{"numeric": [">=", 100]}]}
    broker.topics.subscribe("orders", "to-mail", queue="mail", filter=filters)
    broker.topics.subscribe("orders", "narrow", queue="narrow", when_full="skip", dead_letter_queue="mail-dead")
    broker.topics.subscribe("orders", "s" * 80, queue="q" * 80, raw=False, paused=True)
    broker.topics.publish("orders", [Publication(NewMessage("x"))] * 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_each_page_shows_itself_without_complaint(
    served: ServedBroker, open_page: OpenBrowser, width: int, scheme: str
) -> None:
    first = fill(served.broker)
    watched = open_page(width=width, scheme=scheme)
    found: dict[str, list[str]] = {}
    for path, heading in PAGES.items():
        page = watched.open(path.replace("FIRST", first))
        page.get_by_role("heading", name=heading).first.wait_for()
        page.wait_for_load_state("networkidle")
        assert watched.sideways_px() == 0, path
        if AXE.exists():
            found[path] = violations(page)
    assert "\n".join(f"{path}: {each}" for path, list_ in found.items() for each in list_) == ""
    if not AXE.exists():
        pytest.skip("axe-core is not installed, so accessibility was not checked: make browser")


def test_320_px_are_enough(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served.broker)
    watched = open_page(width=320)
    for path, heading in PAGES.items():
        if "FIRST" not in path:
            page = watched.open(path)
            page.get_by_role("heading", name=heading).first.wait_for()
            page.wait_for_load_state("networkidle")
            assert watched.sideways_px() == 0, path


def test_an_empty_broker_tells_how_to_begin(open_page: OpenBrowser) -> None:
    page = open_page().open("/ui")
    page.get_by_text("No messages yet").wait_for()
    page.get_by_text("Nothing needs you.").wait_for()
    page.get_by_role("button", name="Python").click()
    page.get_by_text('queue = client.queue("default")').wait_for()


def test_a_queue_that_is_not_there_and_a_message_that_is_not(open_page: OpenBrowser) -> None:
    watched = open_page()
    watched.may_fail = True
    watched.open("/ui/queues/nothing").get_by_text("No queue has this name.").wait_for()
    page = watched.open("/ui/queues/default?message=a7f5325c-e413-8fbc-ada0-759277567d55")
    page.get_by_text("It was deleted or moved meanwhile.").wait_for()


def test_the_problem_comes_first_and_leads_to_its_place(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail", draining=True)
    page = open_page().open("/ui")
    page.get_by_text("mail is draining: it takes no new messages.").wait_for()
    page.get_by_role("link", name="Open").click()
    page.get_by_role("heading", name="mail").wait_for()
    assert page.url.endswith("/ui/queues/mail")
    page.go_back()
    page.get_by_role("heading", name="Queues").wait_for()
