"""The tasks of test_flows.py by someone who has no mouse."""

from __future__ import annotations

from typing import Any

from tests.support.http_client import ServedBroker
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser
from tests.ui.test_flows import bodies, bury_dead_letters

#: Most stops on the way to an element. A page that needs more is a burden.
_MOST_STOPS = 60


def focused(page: Any) -> str:
    """Return the name of the element that has the focus."""
    found: str = page.evaluate("(document.activeElement.ariaLabel || document.activeElement.textContent).trim()")
    return found


def tab_to(page: Any, name: str, key: str = "Tab") -> None:
    """Move the focus to the element with a name. It must be visible that it is there."""
    seen = []
    for _ in range(_MOST_STOPS):
        page.keyboard.press(key)
        seen.append(focused(page))
        if seen[-1] == name:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{name} does not show that it has the focus"
            return
    raise AssertionError(f"{_MOST_STOPS} stops did not lead to {name!r}, but to {seen}")


def rows_to(page: Any, text: str) -> None:
    """Move the focus to the row with a text."""
    for _ in range(_MOST_STOPS):
        page.keyboard.press("j")
        if focused(page) == text:
            return
    raise AssertionError(f"no row is {text!r}")


def test_ticked_dead_letters_come_back(served: ServedBroker, open_page: OpenBrowser) -> None:
    bury_dead_letters(served.broker, 5)
    page = open_page().open("/ui/queues/dead")
    page.get_by_text("letter 0").wait_for()
    for number in (3, 2, 0):  # the newest first
        rows_to(page, f"letter {number}")
        page.keyboard.press("x")
    page.get_by_text("3 ticked.").wait_for()
    tab_to(page, "Bring back", "Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_text("3 messages brought back.").wait_for()
    assert sorted(bodies(served.broker, "mail")) == ["letter 0", "letter 2", "letter 3"]


def test_all_dead_letters_come_back_after_they_were_counted(served: ServedBroker, open_page: OpenBrowser) -> None:
    bury_dead_letters(served.broker, 12)
    page = open_page().open("/ui")
    page.get_by_role("link", name="dead", exact=True).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.get_by_text("received once without being deleted").wait_for()
    tab_to(page, "Bring back all…")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    tab_to(page, "Count them")
    page.keyboard.press("Enter")
    page.get_by_text("12 of 12 would move").wait_for()
    tab_to(page, "Bring back 12 messages")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Redrives").wait_for()
    eventually(lambda: len(bodies(served.broker, "mail")) == 12, "they are back")


def test_purge_wants_the_name_and_can_be_left(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", ["a", "b"])
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("button", name="Purge…").wait_for()
    tab_to(page, "Purge…")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert focused(page) == "Purge…", "the focus returns to where it was"
    page.keyboard.press("Enter")
    tab_to(page, "")  # the input, which has a label and no text
    page.keyboard.type("mail")
    page.keyboard.press("Enter")
    page.get_by_text("2 messages of mail deleted.").wait_for()
    assert served.broker.count("mail", "unprocessed") == 0


def test_a_queue_is_paused_and_resumed(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail")
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("button", name="Pause").wait_for()
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Resume").wait_for()
    assert served.broker.queue("mail").settings.paused
    assert focused(page) == "Resume", "the focus stays on the button"
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    assert not served.broker.queue("mail").settings.paused


def test_a_schedule_runs_at_once(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("reports")
    served.broker.schedules.put("nightly", cron="30 4 * * *", queue="reports", body="send them")
    page = open_page().open("/ui")
    page.get_by_role("link", name="reports", exact=True).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.get_by_role("button", name="Run now").wait_for()
    tab_to(page, "Run now")
    page.keyboard.press("Enter")
    page.get_by_text("The message of nightly is in reports.").wait_for()
    assert bodies(served.broker, "reports") == ["send them"]


def test_keys_do_nothing_while_somebody_types_or_when_they_are_off(
    served: ServedBroker, open_page: OpenBrowser
) -> None:
    served.broker.produce("mail", ["x"])
    page = open_page().open("/ui")
    page.get_by_role("link", name="mail").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("gd?")
    assert page.get_by_label("Filter queues by name").input_value() == "gd?"
    assert page.get_by_role("dialog").count() == 0
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Use these keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    assert urlpath(page) == "/ui"


def urlpath(page: Any) -> str:
    found: str = page.evaluate("location.pathname")
    return found
