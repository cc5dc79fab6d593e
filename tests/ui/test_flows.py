"""Tasks of a person at the dashboard, from the click to the state of the broker after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.model.messages import Change, Target


def bury_dead_letters(broker: Broker, count: int) -> list[str]:
    """Make dead letters of the queue ``mail``; return their ids in ``dead``."""
    broker.put_queue("dead")
    broker.put_queue("mail", max_receives=1, dead_letter_queue="dead")
    broker.produce("mail", [f"letter {number}" for number in range(count)])
    for message in broker.claim("mail", limit=count):
        broker.update("mail", Target(receipt=message.receipt), Change(visibility_timeout_ms=0))
    while broker.remove_dead_letters() or broker.claim("mail"):
        pass
    eventually(lambda: broker.count("dead", "unprocessed") == count, "the dead letters are there")
    return [message.id for message in broker.messages("dead")]


def bodies(broker: Broker, queue: str) -> list[str]:
    return [message.body for message in broker.messages(queue)]


def test_a_message_appears_by_itself(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail")
    page = open_page().open("/ui/queues/mail")
    page.get_by_text("The queue is empty.").wait_for()
    served.broker.produce("mail", ["just arrived"])
    page.get_by_role("link", name="just arrived").wait_for()
    assert page.title() == "1 waiting in mail · WonderQ"


def test_ticked_dead_letters_come_back_to_their_queue(served: ServedBroker, open_page: OpenBrowser) -> None:
    bury_dead_letters(served.broker, 5)
    page = open_page().open("/ui/queues/dead")
    for number in (0, 2, 3):
        page.get_by_role("row").filter(has_text=f"letter {number}").get_by_role("checkbox").check()
    page.get_by_text("3 ticked.").wait_for()
    page.get_by_role("button", name="Bring back", exact=True).click()
    page.get_by_text("3 messages brought back.").wait_for()
    assert sorted(bodies(served.broker, "mail")) == ["letter 0", "letter 2", "letter 3"]
    assert bodies(served.broker, "dead") == ["letter 1", "letter 4"]


def test_all_dead_letters_come_back_after_they_were_counted(served: ServedBroker, open_page: OpenBrowser) -> None:
    bury_dead_letters(served.broker, 12)
    page = open_page().open("/ui/dead")
    page.get_by_text("received once without being deleted").wait_for()
    page.get_by_role("button", name="Bring back all…").click()
    page.get_by_label("Only messages whose text contains").fill("letter 1")
    page.get_by_role("button", name="Count them").click()
    page.get_by_text("3 of 12 would move; 9 would stay").wait_for()
    assert bodies(served.broker, "mail") == [], "counting moves nothing"
    page.get_by_role("button", name="Bring back 3 messages").click()
    page.get_by_role("heading", name="Redrives").wait_for()
    eventually(lambda: len(bodies(served.broker, "mail")) == 3, "they are back")
    page.get_by_text("completed").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_rows_stand_still_while_one_is_ticked(served: ServedBroker, open_page: OpenBrowser, width: int) -> None:
    first, _ = served.broker.produce("mail", ["first", "second"])
    page = open_page(width=width).open("/ui/queues/mail")
    row = page.get_by_role("row").filter(has_text="second")
    row.get_by_role("checkbox").check()
    page.get_by_text("1 ticked.").wait_for()
    before = row.bounding_box()
    served.broker.produce("mail", ["third", "fourth"])
    page.get_by_text("2 new").wait_for()
    served.broker.delete("mail", Target(id=first))
    page.get_by_text("2 new, 1 no longer here").wait_for()
    assert row.bounding_box() == before
    assert page.locator("tbody [data-open]").all_inner_texts() == ["first", "second"]
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("link", name="third").wait_for()
    assert page.locator("tbody [data-open]").all_inner_texts() == ["second", "third", "fourth"]
    page.get_by_text("1 ticked.").wait_for()
    served.broker.produce("mail", ["fifth"])
    page.get_by_text("1 new").wait_for()
    page.get_by_role("button", name="Untick all").click()
    page.get_by_role("link", name="fifth").wait_for()


def test_a_tick_ends_with_its_row(served: ServedBroker, open_page: OpenBrowser) -> None:
    first, _ = served.broker.produce("mail", ["first", "second"])
    page = open_page().open("/ui/queues/mail")
    page.get_by_label("Tick all on this page").check()
    served.broker.delete("mail", Target(id=first))
    page.get_by_text("1 no longer here").wait_for()
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("1 ticked.").wait_for()
    page.get_by_role("button", name="Delete…").last.click()
    page.get_by_role("button", name="Delete 1 message").click()
    page.get_by_text("1 message deleted.").wait_for()
    page.get_by_text("The queue is empty.").wait_for()


def test_purge_wants_the_name_of_the_queue(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", ["a", "b"])
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("button", name="Purge…").click()
    purge = page.get_by_role("button", name="Purge 2 messages")
    assert purge.is_disabled()
    page.get_by_label("Type mail to confirm").fill("mai")
    assert purge.is_disabled()
    page.get_by_label("Type mail to confirm").press("Enter")
    assert served.broker.count("mail", "unprocessed") == 2
    page.get_by_label("Type mail to confirm").fill("mail")
    purge.click()
    page.get_by_text("2 messages of mail deleted.").wait_for()
    assert served.broker.count("mail", "unprocessed") == 0


def test_a_queue_is_paused_and_resumed(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail")
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    assert served.broker.queue("mail").settings.paused
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert not served.broker.queue("mail").settings.paused


def test_only_changed_settings_are_saved_and_errors_stand_beside_their_field(
    served: ServedBroker, open_page: OpenBrowser
) -> None:
    served.broker.put_queue("mail", visibility_timeout_ms=60_000)
    watched = open_page()
    page = watched.open("/ui/queues/mail?tab=settings")
    page.get_by_label("max_receives").fill("5")
    served.broker.put_queue("mail", delay_ms=7000)  # by somebody else meanwhile
    page.get_by_role("button", name="Save max_receives").click()
    page.get_by_text("The setting is saved.").wait_for()
    settings = served.broker.queue("mail").settings
    assert (settings.max_receives, settings.visibility_timeout_ms, settings.delay_ms) == (5, 60_000, 7000)
    watched.may_fail = True
    page.get_by_label("deduplication_window").fill("0")
    page.get_by_role("button", name="Save deduplication_window").click()
    page.get_by_role("row").filter(has_text="deduplication_window").get_by_role("alert").wait_for()


def test_a_number_that_is_cleared_is_not_saved_as_zero(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail", visibility_timeout_ms=60_000)
    page = open_page().open("/ui/queues/mail?tab=settings")
    field = page.get_by_label("visibility_timeout")
    field.fill("")
    assert field.input_value() == ""
    page.get_by_role("button", name="Save visibility_timeout").click()
    assert field.evaluate("each => each.validity.valueMissing && each === document.activeElement")
    assert served.broker.queue("mail").settings.visibility_timeout_ms == 60_000
    field.fill("0")
    page.get_by_role("button", name="Save visibility_timeout").click()
    page.get_by_text("The setting is saved.").wait_for()
    assert served.broker.queue("mail").settings.visibility_timeout_ms == 0


def test_a_message_that_changed_meanwhile_is_not_overwritten(served: ServedBroker, open_page: OpenBrowser) -> None:
    [message_id] = served.broker.produce("mail", ["old"])
    watched = open_page()
    page = watched.open(f"/ui/queues/mail?message={message_id}")
    page.get_by_role("button", name="Edit…").click()
    page.get_by_role("textbox", name="Text", exact=True).fill("mine")
    served.broker.update("mail", Target(id=message_id), Change(body="theirs"))
    watched.may_fail = True
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").filter(has_text="version").wait_for()
    page.get_by_text("theirs", exact=True).wait_for()
    assert bodies(served.broker, "mail") == ["theirs"]
    assert page.get_by_role("textbox", name="Text", exact=True).input_value() == "mine"
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The message is changed.").wait_for()
    assert bodies(served.broker, "mail") == ["mine"], "now it is known what is replaced"


def test_a_schedule_runs_at_once(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.schedules.put("nightly", cron="30 4 * * *", queue="reports", body="send them", priority=3)
    page = open_page().open("/ui/schedules")
    page.get_by_role("button", name="Run now").click()
    page.get_by_text("The message of nightly is in reports.").wait_for()
    [message] = served.broker.messages("reports")
    assert message.envelope is not None
    assert (message.body, message.envelope.priority) == ("send them", 3)
    assert message.envelope.attributes["schedule"] == ("String", "nightly")


def test_a_schedule_is_created_paused_and_deleted(served: ServedBroker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/schedules")
    page.get_by_role("button", name="New…").click()
    page.get_by_label("Name", exact=True).fill("hourly")
    page.get_by_label("Cron expression").fill("0 * * * *")
    page.get_by_label("Queue").fill("reports")
    page.get_by_label("Message").fill("hello")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The schedule hourly is saved.").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete the schedule").click()
    page.get_by_text("No schedule yet.").wait_for()


def test_a_message_is_sent_and_found_again(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", [f"order {number}" for number in range(60)])
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("button", name="Send…").click()
    page.get_by_role("textbox", name="Message").fill("order 4711")
    page.get_by_label("Attributes, as JSON").fill('{"tenant": "acme"}')
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("is in mail.").wait_for()
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="order 4711").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("4711")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="order 4711").click()
    page.get_by_text("acme").wait_for()
    assert "contains=4711" in page.url, "a link shows others the same"


def test_keys_are_enough(served: ServedBroker, open_page: OpenBrowser) -> None:
    bury_dead_letters(served.broker, 3)
    page = open_page().open("/ui")
    page.get_by_role("link", name="dead", exact=True).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.get_by_role("heading", name="Dead letters", exact=True).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.get_by_role("link", name="dead", exact=True).wait_for()
    page.keyboard.press("j")
    while page.evaluate("document.activeElement.textContent") != "dead":
        page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_text("letter 0").wait_for()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.get_by_text("1 ticked.").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Details").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")


def test_a_broker_that_does_not_answer_is_told_and_found_again(open_browser: OpenBrowser) -> None:
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker)) as first:
        watched = open_browser(f"http://{first.host}:{first.port}")
        watched.may_fail = True
        page = watched.open("/ui")
        page.get_by_text("Nothing needs you.").wait_for()
        page.context.set_offline(True)
        page.get_by_text("The broker has not answered since").wait_for()
        page.get_by_text("Nothing needs you.").wait_for(state="detached")
        page.get_by_text("Dead letters").first.wait_for()
        page.context.set_offline(False)
        page.get_by_text("The broker has not answered since").wait_for(state="detached")
    broker.close()


# Keys


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def guarded(key_file: Path) -> Iterator[ServedBroker]:
    broker = Broker(MemoryLog())
    keys.create(key_file, name="another", roles=["admin"], queues=["*"])
    with serving(broker, create_app(broker, Access(Keys(key_file)))) as served:
        yield served
    broker.close()


def log_in(open_browser: OpenBrowser, guarded: ServedBroker, path: str, key: str) -> Any:
    watched = open_browser(f"http://{guarded.host}:{guarded.port}")
    watched.may_fail = True  # the first answers are 401
    page = watched.open(path)
    page.locator("input[name=key]:focus").wait_for()
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    return page


def test_a_login_leads_back_to_the_page_and_a_revoked_key_is_thrown_out(
    guarded: ServedBroker, key_file: Path, open_browser: OpenBrowser
) -> None:
    guarded.broker.produce("mail", ["x"])
    key = keys.create(key_file, name="on call", roles=["admin"], queues=["*"])[1]
    page = log_in(open_browser, guarded, "/ui/queues/mail?status=unprocessed", key)
    page.get_by_role("button", name="Purge…").wait_for()
    assert page.url.endswith("?status=unprocessed")
    assert key not in str(page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])"))
    keys.revoke(key_file, [key])
    page.get_by_label("API key").wait_for()


def test_a_revoked_key_is_thrown_out_within_two_seconds(key_file: Path, open_browser: OpenBrowser) -> None:
    """By the clock of the page. The broker looks at its keys again after a second, so it is not the one who is late."""
    assert keys.CHECK_INTERVAL_S <= 1
    broker = Broker(MemoryLog())
    key = keys.create(key_file, name="on call", roles=["admin"], queues=["*"])[1]
    with serving(broker, create_app(broker, Access(Keys(key_file, check_interval_s=0)))) as served:
        watched = open_browser(f"http://{served.host}:{served.port}")
        watched.may_fail = True
        watched.page.clock.install()
        page = watched.open("/ui")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Nothing needs you.").wait_for()
        page.wait_for_load_state("networkidle")
        page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
        keys.revoke(key_file, [key])
        assert not page.get_by_label("API key").count()
        with page.expect_response(lambda response: response.status == 401):
            page.clock.run_for(2000)
        page.clock.resume()  # it draws again
        page.get_by_label("API key").wait_for()
    broker.close()


def test_a_wrong_key_is_told(guarded: ServedBroker, open_browser: OpenBrowser) -> None:
    page = log_in(open_browser, guarded, "/ui", "wq_000000000000_" + "0" * 64)
    page.get_by_text("This is not a valid key of this broker.").wait_for()


def test_who_logs_out_needs_the_key_again(guarded: ServedBroker, key_file: Path, open_browser: OpenBrowser) -> None:
    key = keys.create(key_file, name="on call", roles=["inspect"], queues=["*"])[1]
    page = log_in(open_browser, guarded, "/ui", key)
    page.get_by_role("button", name="Log out on call").click()
    page.get_by_label("API key").wait_for()
    page.reload()
    page.get_by_label("API key").wait_for()


@pytest.mark.parametrize(
    ("role", "sees_messages", "actions"),
    [
        ("look", False, set()),
        ("inspect", True, set()),
        ("admin", True, {"Send…", "Pause", "Drain", "Purge…", "Delete…"}),
    ],
)
def test_a_key_shows_what_it_permits(
    guarded: ServedBroker, key_file: Path, open_browser: OpenBrowser, role: Any, sees_messages: bool, actions: set[str]
) -> None:
    guarded.broker.produce("mail", ["secret text"])
    key = keys.create(key_file, name="some", roles=[role], queues=["*"])[1]
    page = log_in(open_browser, guarded, "/ui/queues/mail", key)
    if sees_messages:
        page.get_by_role("link", name="secret text").wait_for()
    else:
        page.get_by_text("Your key shows figures and no messages.").wait_for()
        assert "secret" not in page.content()
    page.wait_for_load_state("networkidle")
    assert set(page.locator(".heading .actions button").all_inner_texts()) == actions
