"""The page at /docs in a browser: two widths, both colour schemes, search, links, copying, the keyboard, and no script."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_client import ServedBroker
from tests.ui.accessibility import check_accessibility
from tests.ui.conftest import OpenBrowser

CALLS = "details.call"
OPEN_ALL = "() => { for (const each of document.querySelectorAll('details')) each.open = true }"
SHOWN_CALLS = "details.call:not([hidden])"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_shows_itself_without_complaint(open_page: OpenBrowser, width: int, scheme: str) -> None:
    watched = open_page(width=width, scheme=scheme)
    page = watched.open("/docs")
    assert watched.sideways_px() == 0
    page.get_by_role("button", name="Open all calls").click()
    assert page.locator(f"{CALLS}:not([open])").count() == 0
    page.evaluate(OPEN_ALL)
    assert watched.sideways_px() == 0
    check_accessibility(page)


def test_320_px_are_enough(open_page: OpenBrowser) -> None:
    watched = open_page(width=320)
    page = watched.open("/docs")
    page.evaluate(OPEN_ALL)
    assert watched.sideways_px() == 0


def test_closed_it_is_a_few_screens_long(open_page: OpenBrowser) -> None:
    page = open_page().open("/docs")
    assert page.locator(f"{CALLS}[open]").count() == 0
    assert page.locator(CALLS).count() > 35
    assert page.evaluate("document.documentElement.scrollHeight") < 5 * 900


def test_a_search_finds_calls_fields_and_errors(open_page: OpenBrowser) -> None:
    page = open_page().open("/docs")
    all_calls = page.locator(SHOWN_CALLS).count()
    page.keyboard.press("/")
    page.keyboard.type("purge")
    page.get_by_text("1 call.").wait_for()
    assert page.locator(SHOWN_CALLS).count() == 1
    assert not page.get_by_role("heading", name="Quick start").is_visible()
    assert page.locator("nav a:visible").all_inner_texts() == ["Queues", "POST /queues/{queue}/purge"]
    page.keyboard.press("Enter")
    page.locator("#purgeQueue").wait_for()
    assert page.locator(f"{CALLS}[open]").count() == 1
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("/")
    page.keyboard.type("too_many_in_flight")
    page.locator("#errors tr:not([hidden])").get_by_text("too_many_in_flight", exact=True).wait_for()
    assert page.evaluate("[...CSS.highlights.get('found')].every(each => String(each) === 'too_many_in_flight')")
    page.get_by_role("searchbox").fill("visibility")
    summary = page.locator(f"{CALLS} > summary").filter(has_text="Claim messages.")
    summary.get_by_text("visibility_timeout", exact=True).wait_for()
    page.keyboard.press("Escape")
    assert page.locator(SHOWN_CALLS).count() == all_calls
    assert page.locator(".hits:not(:empty)").count() == 0
    assert page.get_by_role("heading", name="Quick start").is_visible()
    page.keyboard.type("nosuchthing")
    page.get_by_text("Nothing has “nosuchthing” in it.").wait_for()


def test_a_link_shows_others_the_same_search(open_page: OpenBrowser) -> None:
    page = open_page().open("/docs")
    page.get_by_role("searchbox").fill("visibility kick")
    calls = page.locator(SHOWN_CALLS).count()
    assert 0 < calls < 10
    other = open_page().open(page.url.removeprefix(page.evaluate("location.origin")))
    assert other.get_by_role("searchbox").input_value() == "visibility kick"
    assert other.locator(SHOWN_CALLS).count() == calls


def in_view(page: Any, selector: str) -> bool:
    found: bool = page.locator(selector).evaluate(
        "each => { const {top, height} = each.getBoundingClientRect(); return height > 0 && top >= 0 && top < innerHeight }"
    )
    return found


def test_a_link_opens_the_part_that_it_leads_to(open_page: OpenBrowser) -> None:
    page = open_page().open("/docs#putQueue")
    assert page.locator(f"{CALLS}[open] > #putQueue").is_visible()
    assert in_view(page, "#putQueue")
    page.get_by_role("searchbox").fill("purge")
    page.evaluate("location.hash = 'Message'")
    page.locator("#Message").wait_for()
    assert page.get_by_role("searchbox").input_value() == "", "a search must not hide the part"
    page.get_by_role("navigation").get_by_role("link", name="POST /messages/produce").click()
    page.locator(f"{CALLS}[open] > #produce").wait_for()
    page.locator("#produce").locator("..").locator("> summary").click()
    page.get_by_role("navigation").get_by_role("link", name="POST /messages/produce").click()
    page.locator(f"{CALLS}[open] > #produce").wait_for()


def test_examples_are_copied_as_they_are(served: ServedBroker, open_page: OpenBrowser) -> None:
    watched = open_page(permissions=["clipboard-read", "clipboard-write"])
    page = watched.open("/docs#produce")
    page.get_by_role("button", name="Copy: BROKER=").click()
    page.get_by_role("button", name="Copy: BROKER=").get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"BROKER=http://{served.host}:{served.port}"
    page.locator("#produce").get_by_role("button", name="Copy").first.click()
    page.locator("#produce").get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl ")
    assert copied == page.locator("#produce pre").first.inner_text()


def test_keys_open_and_close_a_call(open_page: OpenBrowser) -> None:
    page = open_page().open("/docs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.locator("#produce").locator("..").locator("> summary").focus()
    page.keyboard.press("Enter")
    page.locator("#produce").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Link to this call"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.locator("#produce").wait_for(state="hidden")


def test_the_colours_are_those_of_the_dashboard(open_page: OpenBrowser) -> None:
    page = open_page().open("/docs")
    page.get_by_label("Colours").select_option("dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.get_by_label("Colours").input_value() == "dark"
    page.get_by_role("link", name="Dashboard").click()
    page.get_by_role("heading", name="No messages yet").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_without_scripts_it_is_complete(open_page: OpenBrowser) -> None:
    page = open_page(java_script_enabled=False).open("/docs")
    assert not page.get_by_role("searchbox").is_visible()
    assert not page.get_by_role("button", name="Open all calls").is_visible()
    page.locator(f"{CALLS} > summary").filter(has_text="Produce a message or a batch.").click()
    page.locator("#produce").get_by_text("curl").first.wait_for()
