"""The times at which a page asks the broker: not while nobody looks or nothing may move, and ever more rarely while
nobody answers.

The clock of the page stands still until a test moves it.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.http_client import ServedBroker
from tests.support.waiting import PATIENCE_S
from tests.ui.conftest import OpenBrowser

_HIDE = "isHidden => Object.defineProperty(document, 'hidden', {configurable: true, get: () => isHidden})"


class Asked:
    """Counts the questions of a page for the overview."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._open: set[Any] = set()
        self.count = 0
        page.on("request", self._see)
        page.on("requestfinished", self._see_end)
        page.on("requestfailed", self._see_end)

    def _see(self, request: Any) -> None:
        if urlsplit(request.url).path == "/overview":
            self.count += 1
            self._open.add(request)

    def _see_end(self, request: Any) -> None:
        self._open.discard(request)

    def _settle(self) -> None:
        """Wait until the page has its answers: it sets the time of its next question only then."""
        look = "fetch('/healthz').catch(() => {})"  # takes the page through its turns, which no timer does here
        self._page.evaluate(look)
        deadline = time.monotonic() + PATIENCE_S
        while self._open:
            assert time.monotonic() < deadline, "no answer"
            self._page.evaluate(look)

    def within(self, seconds: int) -> int:
        """Move the clock of the page, half a second at a time; return the questions meanwhile."""
        self._settle()
        before = self.count
        for _ in range(2 * seconds):
            self._page.clock.run_for(500)
            self._settle()
        return self.count - before


def arrive(page: Any, path: str, text: str) -> Asked:
    """Show a page whose clock stands still."""
    page.clock.install()
    page.goto(path)
    page.get_by_text(text).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    return Asked(page)


@pytest.fixture
def page(served: ServedBroker, open_page: OpenBrowser) -> Any:
    served.broker.produce("mail", ["letter"])
    watched = open_page()
    watched.may_fail = True
    return watched.page


@pytest.fixture
def address(served: ServedBroker) -> str:
    return f"http://{served.host}:{served.port}"


def test_a_page_asks_every_two_seconds_or_as_chosen(page: Any, address: str) -> None:
    asked = arrive(page, f"{address}/ui", "Nothing needs you.")
    assert asked.within(20) in (9, 10)
    page.get_by_label("Refresh").select_option("5")
    assert asked.within(20) in (4, 5)
    page.get_by_label("Refresh").select_option("0")
    asked.within(1)
    assert asked.within(20) == 0
    before = asked.count
    page.get_by_role("button", name="Refresh now").click()
    assert asked.within(1) == 0
    assert asked.count == before + 1
    page.reload()
    assert page.get_by_label("Refresh").input_value() == "0", "the browser remembers it"


def test_a_page_that_nobody_sees_asks_for_nothing(page: Any, address: str) -> None:
    asked = arrive(page, f"{address}/ui", "Nothing needs you.")
    page.evaluate(_HIDE, True)
    asked.within(2)
    assert asked.within(60) == 0
    page.evaluate(_HIDE, False)
    assert asked.within(4) >= 1


def test_a_page_under_a_dialog_asks_for_nothing(page: Any, address: str) -> None:
    asked = arrive(page, f"{address}/ui/queues/mail", "letter")
    page.clock.resume()
    page.get_by_role("button", name="Send…").click()
    page.get_by_role("dialog").wait_for()
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    asked.within(2)
    assert asked.within(60) == 0
    page.clock.resume()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="detached")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    assert asked.within(4) >= 1


def test_a_page_asks_a_broker_that_does_not_answer_ever_more_rarely(page: Any, address: str) -> None:
    asked = arrive(page, f"{address}/ui", "Nothing needs you.")
    page.route("**/overview", lambda route: route.abort())
    asked.within(2)
    # After 2, 4, 8, 16 and then every 30 seconds.
    assert asked.within(29) in (3, 4)
    assert asked.within(90) == 3
    page.unroute("**/overview")
    asked.within(31)
    assert asked.within(20) in (9, 10), "as often as before"
