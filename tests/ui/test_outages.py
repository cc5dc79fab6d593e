"""A broker that is killed under an open page."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.ui.conftest import OpenBrowser


def test_a_page_of_a_killed_broker_says_so_and_goes_on_by_itself(open_browser: OpenBrowser, tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as first:
        with QueueClient(first.url, queue="mail") as client:
            client.produce("before the kill")
        watched = open_browser(first.url)
        watched.may_fail = True
        page = watched.open("/ui/queues/mail")
        page.get_by_role("link", name="before the kill").wait_for()
        first.kill()
        banner = page.get_by_role("alert").filter(has_text="The broker has not answered since")
        banner.wait_for()
        assert re.search(r"since \d\d:\d\d:\d\d\. This page shows the state of then\.", banner.inner_text())
        assert page.get_by_role("link", name="before the kill").is_visible(), "what was there stays"
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("status").filter(has_text="The broker does not answer.").wait_for()
        page.get_by_role("link", name="Schedules").click()  # which this browser has not loaded
        page.get_by_text("this part of the dashboard is not here yet").wait_for()
        with RunningBroker(first.data, "--listen", f"127.0.0.1:{first.port}") as second:
            banner.wait_for(state="detached")
            page.get_by_text("No schedule yet.").wait_for()
            page.go_back()
            with QueueClient(second.url, queue="mail") as client:
                client.produce("after the start")
            page.get_by_role("link", name="after the start").wait_for()
            page.get_by_role("button", name="Pause").click()
            page.get_by_role("button", name="Resume").wait_for()


def test_a_broker_that_stops_in_order_is_an_outage_too(open_browser: OpenBrowser, tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as first:
        watched = open_browser(first.url)
        watched.may_fail = True
        page = watched.open("/ui")
        page.get_by_text("Nothing needs you.").wait_for()
        with first.restarted(signal.SIGTERM, 0):
            page.get_by_role("heading", name="No messages yet").wait_for()
            page.get_by_text("The broker has not answered since").wait_for(state="detached")
