"""The tour of docs/DASHBOARD.md: a shop with an hour behind it, page by page. `make screenshots` keeps the pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_client import ServedBroker
from tests.ui.conftest import OpenBrowser
from tests.ui.played_cluster import playing, serving_node
from tests.ui.shop import open_shop

DOCUMENT = Path(__file__).parents[2] / "docs" / "DASHBOARD.md"

MOST_BYTES = 160_000


@pytest.fixture(scope="module")
def shop() -> Iterator[ServedBroker]:
    with open_shop(samples=120) as served:
        yield served


def open_dead_letters(page: Any) -> None:
    page.get_by_text("mailbox unavailable").first.wait_for()


def open_message(page: Any) -> None:
    page.locator("tbody [data-open]").first.click()
    page.get_by_role("heading", name="Details").wait_for()


def search_docs(page: Any) -> None:
    page.get_by_role("searchbox").fill("delay")
    page.get_by_text("calls, ").wait_for()


def try_event(page: Any) -> None:
    page.get_by_label("Message", exact=True).fill('{"order": 10042}')
    page.get_by_label("Attributes, as JSON").fill('{"kind": "paid", "amount": 120}')
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("would get the message").wait_for()


def wait_for_heading(name: str) -> Any:
    return lambda page: page.get_by_role("heading", name=name).first.wait_for()


#: Name of the picture: path, colours, width, and how to get there.
TOUR: dict[str, tuple[str, str, int, Any]] = {
    "overview-light": ("/ui", "light", 1120, wait_for_heading("Queues")),
    "overview-dark": ("/ui", "dark", 1120, wait_for_heading("Queues")),
    "messages-light": ("/ui/queues/mails", "light", 1120, wait_for_heading("mails")),
    "message-dark": ("/ui/queues/mails-dead", "dark", 1120, open_message),
    "dead-letters-light": ("/ui/dead", "light", 1120, open_dead_letters),
    "history-dark": ("/ui/queues/pictures?tab=history", "dark", 1120, wait_for_heading("pictures")),
    "topic-light": ("/ui/topics/order-events", "light", 1120, wait_for_heading("order-events")),
    "topic-dark": ("/ui/topics/order-events?tab=publish", "dark", 1120, try_event),
    "schedules-light": ("/ui/schedules", "light", 1120, wait_for_heading("Schedules")),
    "telephone-dark": ("/ui", "dark", 390, wait_for_heading("Queues")),
    "docs-light": ("/docs", "light", 1120, search_docs),
}


#: The same of a cluster.
OF_CLUSTER = "cluster-light"


def take_picture(page: Any, name: str, folder: Path) -> None:
    page.wait_for_load_state("networkidle")
    folder = Path(os.environ.get("WONDERQ_SCREENSHOTS", folder))
    picture = page.screenshot(path=folder / f"{name}.png", animations="disabled")
    assert len(picture) < MOST_BYTES


@pytest.mark.parametrize("name", TOUR)
def test_the_tour(shop: ServedBroker, open_browser: OpenBrowser, tmp_path: Path, name: str) -> None:
    path, scheme, width, arrive = TOUR[name]
    watched = open_browser(f"http://{shop.host}:{shop.port}", width=width, scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 700})
    page = watched.open(path)
    arrive(page)
    take_picture(page, name, tmp_path)


def test_the_tour_of_a_cluster(open_browser: OpenBrowser, tmp_path: Path) -> None:
    with playing(16) as play, serving_node(play) as node:
        for number in range(16):
            if (broker := play.node.local(number)) is not None:
                broker.produce("mails", ["x" * 900] * 50 * (3 + number % 5))
        watched = open_browser(f"http://{node.host}:{node.port}", width=1120)
        watched.page.set_viewport_size({"width": 1120, "height": 700})
        page = watched.open("/ui/cluster")
        page.get_by_text("3 nodes, 16 shards. Nothing needs you.").wait_for()
        take_picture(page, OF_CLUSTER, tmp_path)


def test_the_document_shows_each_picture() -> None:
    shown = re.findall(r"\(dashboard/(.*?)\.png\)", DOCUMENT.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted([*TOUR, OF_CLUSTER])
    for name in [*TOUR, OF_CLUSTER]:
        assert (DOCUMENT.parent / "dashboard" / f"{name}.png").stat().st_size < MOST_BYTES
