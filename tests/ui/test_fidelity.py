"""The dashboard shows and sends a message unchanged: numbers, line ends, blanks, long names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_client import ServedBroker
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser
from wonderq.broker.broker import Broker
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.push_hosts import PushHosts


def open_message(open_page: OpenBrowser, broker: Broker, *, body: str, **fields: Any) -> Any:
    """Send a message, and show it."""
    [sent] = broker.send("mail", [NewMessage(body, **fields)])
    page = open_page().open(f"/ui/queues/mail?message={sent.id}")
    page.get_by_role("heading", name="Details").wait_for()
    return page


def bodies(broker: Broker) -> list[str]:
    return [each.body for each in broker.messages("mail")]


# Numbers


def test_json_is_shown_as_it_is(served: ServedBroker, open_page: OpenBrowser) -> None:
    body = (
        '{"id": 9007199254740993, "big": 1e400, "zero": -0.0, "one": 1.0, "key": 1, "key": "\\u00e92\\"", "__proto__": [],'
        ' "list": [0.1, null, true, {}], "": "}, \\\\"}'
    )
    page = open_message(open_page, served.broker, body=body)
    tree = page.locator(".tree")
    assert [line.replace("\n", "") for line in tree.locator(".leaf").all_inner_texts()] == [
        "id: 9007199254740993",
        "big: 1e400",
        "zero: -0.0",
        "one: 1.0",
        "key: 1",
        'key: "é2\\""',
        "__proto__: []",
        "0: 0.1",
        "1: null",
        "2: true",
        "3: {}",
        ': "}, \\\\"',
    ]
    assert tree.locator("summary").all_inner_texts() == ["{ 9 }", "list: [ 4 ]"]


@pytest.mark.parametrize("body", ["[1,]", "[01]", '{"a" 1}', "[1] [2]", "[NaN]", "[" * 5000 + "]" * 5000])
def test_what_is_no_json_or_too_deep_is_text(served: ServedBroker, open_page: OpenBrowser, body: str) -> None:
    page = open_message(open_page, served.broker, body=body)
    assert page.get_by_role("button", name="Text", exact=True).get_attribute("aria-pressed") == "true"
    assert not page.get_by_role("button", name="JSON", exact=True).count()


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ('{"order": 9007199254740993}', "The attributes have the number 9007199254740993"),
        ('{"kind": 1, "order": 2, "kind": 3}', "The attributes have the name kind twice"),
    ],
)
def test_json_that_would_be_sent_as_another_is_refused(
    served: ServedBroker, open_page: OpenBrowser, typed: str, reason: str
) -> None:
    """Browsers of before 2025 can send only the numbers that JavaScript has."""
    served.broker.put_queue("mail")
    watched = open_page()
    watched.page.add_init_script("delete JSON.rawJSON")
    page = watched.open("/ui/queues/mail")
    page.get_by_role("button", name="Send…").first.click()
    page.get_by_label("Attributes, as JSON").fill(typed)
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("alert").filter(has_text=reason).wait_for()
    assert not bodies(served.broker)


def test_a_number_is_sent_as_it_is_typed(served: ServedBroker, open_page: OpenBrowser) -> None:
    """The broker refuses this one, and must not get the nearest number of JavaScript, which it would accept."""
    served.broker.put_queue("mail")
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/queues/mail")
    page.get_by_role("button", name="Send…").first.click()
    page.get_by_label("Attributes, as JSON").fill('{"order": 9007199254740993}')
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("alert").wait_for()
    assert not bodies(served.broker)


def test_a_number_among_the_attributes_is_shown_and_resent(served: ServedBroker, open_page: OpenBrowser) -> None:
    attributes = {"order": ("Number", "9007199254740993"), "rate": ("Number", "0.1")}
    page = open_message(open_page, served.broker, body="x", attributes=attributes)
    assert "9007199254740993" in page.locator("dialog dl").last.inner_text()
    page.get_by_role("button", name="Resend as new…").click()
    page.get_by_role("button", name="Send", exact=True).click()
    eventually(lambda: len(bodies(served.broker)) == 2)
    assert [each.envelope and each.envelope.attributes for each in served.broker.messages("mail")] == [
        attributes,
        attributes,
    ]


# Line ends

LINE_ENDS = {
    "CRLF": ("one\r\ntwo\r\n", "one\r\ntwo\r\nthree"),
    "CR": ("one\rtwo\r", "one\rtwo\rthree"),
    "LF": ("one\ntwo\n", "one\ntwo\nthree"),
    "mixed": ("one\r\ntwo\n", "one\ntwo\nthree"),
}
LABELS = {"Edit…": "Text", "Resend as new…": "Message"}


def type_at_the_end(page: Any, label: str, text: str) -> None:
    page.get_by_role("textbox", name=label, exact=True).press("Control+End")
    page.keyboard.type(text)


@pytest.mark.parametrize("action", LABELS)
@pytest.mark.parametrize("kind", LINE_ENDS)
def test_line_ends_stay_as_they_are(served: ServedBroker, open_page: OpenBrowser, kind: str, action: str) -> None:
    original, changed = LINE_ENDS[kind]
    page = open_message(open_page, served.broker, body=original)
    for typed in ("", "three"):
        page.get_by_role("button", name=action).click()
        type_at_the_end(page, LABELS[action], typed)
        note = page.get_by_text("If you change the text, all line ends become LF.")
        assert note.count() == (kind == "mixed")
        page.get_by_role("button", name="Save" if action == "Edit…" else "Send", exact=True).click()
        page.get_by_role("textbox", name=LABELS[action], exact=True).wait_for(state="detached")
    expected = [changed] if action == "Edit…" else [original, original, changed]
    assert bodies(served.broker) == expected


def test_a_schedule_keeps_the_line_ends_of_its_message(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.schedules.put("daily", cron="0 4 * * *", queue="mail", body="a\r\nb", timezone="UTC")
    page = open_page().open("/ui/schedules")
    page.get_by_role("button", name="Edit…").click()
    page.get_by_label("Cron expression").fill("0 5 * * *")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The schedule daily is saved.").wait_for()
    schedule = served.broker.schedules.get("daily")
    assert (schedule.body, schedule.cron) == ("a\r\nb", "0 5 * * *")


# Layout


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_tag_is_wrapped(served: ServedBroker, open_page: OpenBrowser, width: int) -> None:
    served.broker.put_queue("mail", tags={"owner": "x" * 250})
    watched = open_page(width=width)
    page = watched.open("/ui/queues/mail?tab=settings")
    tag = page.locator(".badge").filter(has_text="owner")
    tag.wait_for()
    assert watched.sideways_px() == 0
    assert tag.evaluate("each => each.scrollWidth <= each.clientWidth"), "nothing of it is cut"


@pytest.mark.parametrize("width", [1280, 390])
def test_long_names_of_dead_letters_are_wrapped(served: ServedBroker, open_page: OpenBrowser, width: int) -> None:
    broker, name = served.broker, "q" * 70
    broker.put_queue("dead")
    broker.put_queue(name, dead_letter_queue="dead")
    broker.produce(name, ["x"])
    [message] = broker.claim(name, limit=1)
    broker.update(name, Target(receipt=message.receipt), Change(dead=True, error=ReportedError("x" * 200, "E" * 60)))
    watched = open_page(width=width)
    page = watched.open("/ui/dead")
    page.get_by_role("button", name="Bring back…").wait_for()
    assert watched.sideways_px() == 0


def test_a_blank_message_can_be_opened(served: ServedBroker, open_page: OpenBrowser) -> None:
    for body in (" \n\t ", "", " " * 300 + "x"):
        served.broker.produce("mail", [body])
    for path in ("/ui/queues/mail", "/ui/search?came=today"):
        page = open_page().open(path)
        eventually(lambda page=page: page.locator("tbody [data-open]").count() == 3)  # type: ignore[misc]
        found = sorted(page.locator("tbody [data-open]").all_inner_texts())
        assert found == ["begins with blanks", "blank", "empty"]
        page.get_by_role("link", name="blank", exact=True).click()
        page.get_by_role("heading", name="Details").wait_for()


def test_a_blank_dead_letter_can_be_opened(served: ServedBroker, open_page: OpenBrowser) -> None:
    for message_id in served.broker.produce("mail", ["  "]):
        served.broker.update("mail", Target(id=message_id), Change(bury=True))
    page = open_page().open("/ui/dead")
    page.get_by_role("link", name="blank", exact=True).click()
    page.get_by_role("heading", name="Details").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_address_of_an_endpoint_is_unfolded(served: ServedBroker, open_page: OpenBrowser, width: int) -> None:
    broker, url = served.broker, "https://hooks.example.com/" + "p" * 1900
    broker.pushes.hosts = PushHosts(("hooks.example.com",))
    broker.topics.put("orders")
    broker.topics.subscribe("orders", "shop", endpoint=url)
    watched = open_page(width=width)
    page = watched.open("/ui/topics/orders")
    row = page.get_by_role("row").filter(has_text="shop")
    row.wait_for()
    assert row.bounding_box()["height"] < 400
    row.locator("summary").filter(has_text="https://hooks.example.com/").click()
    page.get_by_text(url, exact=True).wait_for()
    assert watched.sideways_px() == 0
