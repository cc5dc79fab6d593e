"""Five questions that people have, answered without a document: from the first page, with few clicks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_client import ServedBroker
from tests.ui.conftest import OpenBrowser
from tests.ui.shop import CONSUMER, open_shop
from tests.ui.test_flows import bodies


@pytest.fixture(scope="module")
def shop() -> Iterator[ServedBroker]:
    with open_shop(samples=40) as served:
        yield served


@pytest.fixture
def page(shop: ServedBroker, open_browser: OpenBrowser) -> Any:
    page = open_browser(f"http://{shop.host}:{shop.port}").open("/ui")
    page.get_by_role("link", name="orders", exact=True).wait_for()
    return page


def test_why_is_this_queue_growing(page: Any) -> None:
    page.get_by_role("listitem").filter(has_text="pictures is late").get_by_role("link", name="Open").click()
    page.get_by_text("no consumer waits").wait_for()
    page.get_by_role("link", name="History").click()
    page.get_by_text("Messages per second").wait_for()


def test_a_queue_that_grows_says_so(shop: ServedBroker, page: Any) -> None:
    page.get_by_role("link", name="pictures", exact=True).click()
    page.get_by_role("heading", name="pictures").wait_for()
    shop.broker.produce("pictures", ["one more"] * 100)
    page.get_by_text("so it grows").wait_for()


def test_who_has_this_message(page: Any) -> None:
    page.get_by_role("link", name="orders", exact=True).click()
    page.get_by_role("link", name="In flight 2").click()
    page.get_by_role("row").filter(has_text="10001").get_by_text(f"by {CONSUMER}").wait_for()


def test_bring_back_the_dead_letters_of_one_kind(shop: ServedBroker, page: Any) -> None:
    page.get_by_role("link", name="Dead letters").first.click()
    page.get_by_role("row").filter(has_text="KeyError").get_by_role("button", name="Bring back…").click()
    page.get_by_role("dialog").get_by_role("button", name="Bring back").click()
    page.get_by_text("brought back.").wait_for()
    page.get_by_text("KeyError").wait_for(state="detached")
    assert shop.broker.count("mails-dead", "unprocessed") > 0, "the others stay"


def test_stop_a_schedule(shop: ServedBroker, page: Any) -> None:
    page.get_by_role("link", name="Schedules").click()
    page.get_by_role("row").filter(has_text="nightly-report").get_by_role("button", name="Pause").click()
    page.get_by_role("row").filter(has_text="nightly-report").get_by_text("paused", exact=True).wait_for()
    assert [each.paused for each in shop.broker.schedules.list()] == [True, False]


def test_find_the_message_with_an_order_number(shop: ServedBroker, page: Any) -> None:
    body = bodies(shop.broker, "orders")[7]
    number = body.partition(":")[2].partition(",")[0]
    page.keyboard.press("/")
    page.keyboard.type(number)
    page.get_by_role("link", name=f"Search all messages for “{number}”").click()
    page.get_by_role("heading", name="Search").wait_for()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="orders", exact=True))
    row.get_by_role("link", name=number).click()
    page.get_by_role("heading", name="Details").wait_for()
    assert page.url.startswith(f"{page.evaluate('location.origin')}/ui/queues/orders?message=")
