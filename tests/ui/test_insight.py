"""Pages that explain: the times of schedules, the ages of messages, the broker with its limits, settings and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.ui.accessibility import AXE, violations
from tests.ui.conftest import OpenBrowser
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.config import in_force, load_with_sources
from wonderq.model.messages import Target


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_new_schedule_shows_its_times_while_it_is_typed(
    served: ServedBroker, open_page: OpenBrowser, width: int, scheme: str
) -> None:
    watched = open_page(width=width, scheme=scheme, timezone_id="Europe/Vienna")
    watched.may_fail = True  # an expression that is not complete is refused
    page = watched.open("/ui/schedules")
    page.get_by_role("button", name="New…").click()
    page.get_by_label("Cron expression").fill("30 4 * * EVERY")
    page.get_by_text("This is not a cron expression").wait_for()
    page.get_by_label("Cron expression").fill("30 4 * * *")
    page.get_by_text("At 04:30 every day").wait_for()
    times = page.locator(".next-times li").all_inner_texts()
    assert len(times) == 5
    assert all(each.endswith("04:30:00") for each in times), "in the zone of the schedule"
    assert watched.sideways_px() == 0
    if AXE.exists():
        assert violations(page) == []


def test_a_schedule_has_words_and_its_next_times(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.schedules.put("nightly", cron="30 4 * * *", queue="reports", body="x", timezone="Asia/Tokyo")
    page = open_page().open("/ui/schedules")
    words = page.get_by_text("At 04:30 every day")
    words.hover()
    page.locator("summary[title*='04:30:00; ']").wait_for()
    words.click()
    page.locator("td.times li").nth(4).wait_for()
    assert all(each.endswith("04:30:00") for each in page.locator("td.times li").all_inner_texts())
    page.get_by_text("Asia/Tokyo").wait_for()
    if AXE.exists():
        assert violations(page) == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_the_history_shows_how_old_messages_were(
    served: ServedBroker, open_page: OpenBrowser, width: int, scheme: str
) -> None:
    broker = served.broker
    broker.produce("mail", [f"m {number}" for number in range(20)])
    for message in broker.claim("mail", limit=12):
        broker.delete("mail", Target(receipt=message.receipt))
    broker.history._find_queues()
    watched = open_page(width=width, scheme=scheme)
    page = watched.open("/ui/queues/mail?tab=history")
    page.get_by_text("12 claims, ").wait_for()
    page.get_by_text("12 deleted messages, ").wait_for()
    assert page.locator(".bars tbody tr").count() >= 2
    assert watched.sideways_px() == 0
    broker.produce("idle", ["x"])
    broker.history._find_queues()
    page = watched.open("/ui/queues/idle?tab=history")
    page.get_by_text("No claim yet.").wait_for()
    if AXE.exists():
        assert violations(page) == []


def open_broker_page(open_browser: OpenBrowser, key_file: Path, role: Any, queues: list[str]) -> tuple[Any, str]:
    """Log in with a key of a role; return the page and what it shows."""
    broker = Broker(MemoryLog())
    keys.create(key_file, name="mailer", roles=["produce"], queues=["mail*"], for_sqs=True)
    key = keys.create(key_file, name="me", roles=[role], queues=queues)[1]
    settings = in_force(*load_with_sources({"fsync": "os"}, {"WONDERQ_LISTINGS": "9"}))
    with serving(broker, create_app(broker, Access(Keys(key_file)), settings=settings)) as served:
        watched = open_browser(f"http://{served.host}:{served.port}")
        watched.may_fail = True  # the first answers are 401
        page = watched.open("/ui/broker")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Broker").wait_for()
        page.get_by_text("Your roles").wait_for()
        page.wait_for_load_state("networkidle")
        text = page.locator("main").inner_text()
        content = page.content()
        found = violations(page) if AXE.exists() else []
        assert found == []
        page.goto("about:blank")
    broker.close()
    return content, text


def test_an_admin_sees_limits_settings_and_keys_and_no_secret(open_browser: OpenBrowser, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    content, text = open_broker_page(open_browser, path, "admin", ["*"])
    for expected in ("mailer", "mail*", "produce", "never", "--fsync", "WONDERQ_LISTINGS", "10,000", "Checkpoint"):
        assert expected in text
    for key in keys.read(path)[0]:
        assert key.id in content
        assert key.sha256 not in content
        assert key.sqs_secret is None or key.sqs_secret not in content


def test_a_key_that_only_looks_sees_limits(open_browser: OpenBrowser, tmp_path: Path) -> None:
    _, text = open_broker_page(open_browser, tmp_path / "keys.json", "look", ["*"])
    assert "Keys need the role admin." in text
    assert "Settings need the role admin." in text
    assert "10,000" in text
    assert "mailer" not in text


def test_a_key_of_some_queues_sees_the_state_only(open_browser: OpenBrowser, tmp_path: Path) -> None:
    _, text = open_broker_page(open_browser, tmp_path / "keys.json", "admin", ["mail*"])
    assert "Limits, settings and keys need a key that opens all queues." in text
    assert "mailer" not in text
