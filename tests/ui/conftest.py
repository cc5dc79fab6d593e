"""A browser with the dashboard of a broker in this process. Every page is watched: it may neither complain nor call elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving_with_housekeeper(broker: Broker) -> Iterator[ServedBroker]:
    """Serve a broker with its housekeeper, and without keys; close it in the end."""
    housekeeper = Housekeeper(broker, tick_s=0.05)
    housekeeper.start()
    with serving(broker, create_app(broker)) as served:
        yield served
    housekeeper.stop()
    broker.close()


@pytest.fixture
def served() -> Iterator[ServedBroker]:
    """A broker with its housekeeper, and without keys."""
    with serving_with_housekeeper(Broker(MemoryLog())) as served:
        yield served


@dataclass
class Watched:
    """A page of the browser, with what it complained about."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)
    may_fail: bool = False
    """Whether the browser may report calls that the broker refuses, or does not answer."""

    def watch(self) -> None:
        self.page.on("console", lambda message: self._complain(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._check_address)
        self.page.set_default_timeout(PATIENCE_S * 1000)

    def _complain(self, text: str) -> None:
        if not (self.may_fail and "Failed to load resource" in text):
            self.complaints.append(text)

    def _check_address(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and f"{url.scheme}://{url.netloc}" != self.address:
            self.complaints.append(f"request to {request.url}")

    def open(self, path: str) -> Any:
        self.page.goto(self.address + path)
        return self.page

    def sideways_px(self) -> int:
        """Return how far the page can be scrolled sideways."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return found


OpenBrowser = Callable[..., Watched]


@pytest.fixture
def open_browser(browser: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenBrowser]:
    """Open a page of a broker; at the end of the test, there must be no complaint."""
    opened: list[tuple[Any, Watched]] = []

    def start(address: str, *, width: int = 1280, scheme: str = "light", **more: Any) -> Watched:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", **more)
        watched = Watched(context.new_page(), address)
        watched.watch()
        opened.append((context, watched))
        return watched

    yield start
    complaints = [each for _, watched in opened for each in watched.complaints]
    for number, (context, watched) in enumerate(opened):
        with suppress(Exception):  # a picture helps whoever looks for the reason, and is no reason itself
            watched.page.screenshot(path=tmp_path / f"page-{number}.png", full_page=True)
        context.close()
    assert complaints == [], request.node.name


@pytest.fixture
def open_page(open_browser: OpenBrowser, served: ServedBroker) -> OpenBrowser:
    """Open a page of the broker ``served``."""
    return lambda **choices: open_browser(f"http://{served.host}:{served.port}", **choices)
