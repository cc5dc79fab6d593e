"""Pages of a broker with very many queues or messages: their size does not follow that number."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_client import ServedBroker
from tests.ui.conftest import OpenBrowser

QUEUES = 10_000  # with the queue `default`
MESSAGES = 200_000


def count_requests(page: Any) -> Counter[str]:
    """Return a counter of the calls by path, which goes on counting."""
    found: Counter[str] = Counter()
    page.on("request", lambda request: found.update([urlsplit(request.url).path]))
    return found


def first_paint_ms(page: Any) -> float:
    """Return the time from the click to the first content, in ms. It is printed (`-s`), and decides nothing."""
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def test_ten_thousand_queues_are_a_page_of_fifty(served: ServedBroker, open_page: OpenBrowser) -> None:
    for number in range(QUEUES - 1):
        served.broker.put_queue(f"queue-{number:05}")
    watched = open_page()
    requests = count_requests(watched.page)
    page = watched.open("/ui")
    page.get_by_role("link", name="queue-00000").wait_for()
    shown_ms = page.evaluate("performance.now()")
    rows = page.locator("table.queues tbody tr")
    assert rows.count() == 50
    page.get_by_text("10,000", exact=True).wait_for()
    assert sum(requests.values()) < 30
    assert requests["/queues"] <= 2
    print(f"{QUEUES} queues: first paint after {first_paint_ms(page):.0f} ms, the table after {shown_ms:.0f} ms")
    page.get_by_label("Filter queues by name").fill("queue-0999")
    page.get_by_role("link", name="queue-09998").wait_for()
    assert rows.count() == 9
    page.get_by_label("Filter queues by name").fill("")
    page.get_by_role("link", name="Show 50 more").click()
    page.get_by_role("link", name="queue-00098").wait_for()
    assert rows.count() == 100


def test_a_long_queue_is_read_a_page_at_a_time(served: ServedBroker, open_page: OpenBrowser) -> None:
    for first in range(0, MESSAGES, 1000):
        served.broker.produce("mail", [f"letter {first + number}" for number in range(1000)])
    watched = open_page()
    requests = count_requests(watched.page)
    page = watched.open("/ui/queues/mail")
    page.get_by_role("link", name="letter 0", exact=True).wait_for()
    print(f"{MESSAGES} messages: the table after {page.evaluate('performance.now()'):.0f} ms")
    rows = page.locator("table.messages tbody tr")
    assert rows.count() == 50
    assert requests["/queues/mail/dev/messages"] <= 2
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="letter 50", exact=True).wait_for()
    assert rows.count() == 50
    page.get_by_label("Text", exact=True).fill(f"letter {MESSAGES - 1}")
    page.keyboard.press("Enter")
    page.get_by_role("link", name=f"letter {MESSAGES - 1}", exact=True).wait_for()
    assert rows.count() == 1
