"""A search over a long queue shows how far it is, and can be stopped and continued."""

from __future__ import annotations

from typing import Any

from tests.support.http_client import ServedBroker
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser


class Gate:
    """Holds the parts of a search until the test lets them pass."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.held: list[Any] = []
        self._is_open = False
        page.route("**/dev/messages/search?**", self._hold)

    def _hold(self, route: Any) -> None:
        if self._is_open:
            route.continue_()
        else:
            self.held.append(route)

    def open(self) -> None:
        """Let all parts pass from now on."""
        self._is_open = True
        for route in self.held:
            route.continue_()

    def let_one_pass(self) -> None:
        """Wait for the next part, and let it pass."""
        self.await_one()
        self.held.pop(0).continue_()

    def await_one(self) -> None:
        """Wait until a part is asked for."""
        eventually(lambda: self._page.wait_for_timeout(20) or self.held, "the next part")


def fill(served: ServedBroker) -> None:
    for at in range(0, 3000, 1000):
        served.broker.produce("mail", [f"order {number}" for number in range(at, at + 1000)])


def test_a_search_shows_its_progress_and_is_stopped_and_continued(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served)
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("link", name="order 0", exact=True).wait_for()
    gate = Gate(page)
    page.get_by_label("Text").fill("9")
    page.get_by_label("Text").press("Enter")
    gate.await_one()
    page.get_by_text("Looked at 0 of 3,000.").wait_for()
    gate.held.clear()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped. Looked at 0 of 3,000.").wait_for()
    page.get_by_label("Text").fill("order 2999")
    page.get_by_label("Text").press("Enter")
    gate.let_one_pass()
    page.get_by_text("Looked at 1,000 of 3,000.").wait_for()
    gate.await_one()
    gate.held.clear()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped. Looked at 1,000 of 3,000.").wait_for()
    page.get_by_role("button", name="Go on").click()
    gate.let_one_pass()
    page.get_by_text("Looked at 2,000 of 3,000.").wait_for()
    gate.open()
    page.get_by_role("link", name="order 2999").wait_for()
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    assert page.locator("tbody [data-open]").all_inner_texts() == ["order 2999"]


def test_a_search_that_finds_a_page_leads_to_the_next(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served)
    page = open_page().open("/ui/queues/mail?contains=order")
    page.get_by_role("link", name="order 49", exact=True).wait_for()
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="order 50", exact=True).wait_for()
    assert page.locator("tbody [data-open]").first.inner_text() == "order 50"


def test_a_search_without_a_result_tells_how_much_it_looked_at(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served)
    page = open_page().open("/ui/queues/mail?contains=cat")
    page.get_by_text("No message has “cat” in it. 3,000 looked at.").wait_for()
    page.get_by_role("link", name="Clear the filter").click()
    page.get_by_role("link", name="order 0", exact=True).wait_for()


def test_a_search_that_is_refused_tells_why(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served)
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/queues/mail?contains=cat&after=x")
    page.get_by_text("after must be the id of a message of this queue.").wait_for()


def order_of(page: Any) -> list[str]:
    """Return the order in which the parts of the page stand below each other."""
    parts = {
        name: page.locator(f"main {name}").first.bounding_box()["y"] for name in (".chips", ".filters", ".messages")
    }
    return sorted(parts, key=parts.__getitem__)


def test_the_results_stand_below_the_filters(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served)
    page = open_page().open("/ui/queues/mail?contains=order%201")
    page.get_by_role("link", name="order 1", exact=True).wait_for()
    assert order_of(page) == [".chips", ".filters", ".messages"]


def test_a_list_that_failed_at_first_stands_below_the_filters_too(served: ServedBroker, open_page: OpenBrowser) -> None:
    fill(served)
    watched = open_page()
    watched.may_fail = True
    error = {"success": False, "statusCode": 429, "error": {"code": "too_many_listings", "message": "Too many."}}
    watched.page.route("**/dev/messages?**", lambda route: route.fulfill(status=429, json=error))
    page = watched.open("/ui/queues/mail")
    page.get_by_text("Too many.").wait_for()
    page.unroute("**/dev/messages?**")
    page.get_by_role("link", name="order 0", exact=True).wait_for()
    assert order_of(page) == [".chips", ".filters", ".messages"]
