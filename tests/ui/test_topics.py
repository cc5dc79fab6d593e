"""Topics at the dashboard: who gets what, subscriptions and their changes, and a message that is tried before it is published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import eventually
from tests.ui.conftest import OpenBrowser
from tests.ui.test_flows import bodies, log_in
from tests.ui.test_keyboard import focused, rows_to, tab_to
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.model.masks import Mask
from wonderq.model.messages import NewMessage
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import LastAttempt, Publication


@pytest.fixture
def orders(served: ServedBroker) -> Broker:
    """A topic with a queue that gets everything, one with a filter, and one that is paused."""
    broker = served.broker
    subscribe(broker)
    return broker


def subscribe(broker: Broker) -> None:
    broker.topics.put("orders", tags={"team": "shop"})
    for queue in ("mail", "audit", "archive", "refused"):
        broker.put_queue(queue)
    broker.topics.subscribe("orders", "to-mail", queue="mail")
    broker.topics.subscribe("orders", "to-audit", queue="audit", filter={"kind": ["paid"]}, raw=False)
    broker.topics.subscribe("orders", "to-archive", queue="archive", paused=True)


def publish(broker: Broker, *texts: str) -> None:
    broker.topics.publish("orders", [Publication(NewMessage(text)) for text in texts])


def fields_of(broker: Broker, subscription: str) -> Any:
    return broker.topics.subscription("orders", subscription).subscription


def row_of(page: Any, text: str) -> Any:
    return page.get_by_role("row").filter(has_text=text)


# Topics


def test_a_topic_is_created_changed_and_deleted(served: ServedBroker, open_page: OpenBrowser) -> None:
    broker = served.broker
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/topics")
    page.get_by_text("No topic yet.").wait_for()
    page.get_by_role("button", name="New…").click()
    page.locator("[name=field-topic]").fill("or ders")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The topic name is invalid.").wait_for()
    page.locator("[name=field-topic]").fill("orders")
    page.get_by_label("Tags, as JSON").fill('{"team": "shop"}')
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="orders").wait_for()
    page.get_by_text("No queue has subscribed, so nobody gets what is published.").wait_for()
    page.get_by_role("button", name="Settings…").click()
    page.get_by_label("How long an idempotency key is remembered").fill("60")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The topic orders is saved.").wait_for()
    settings = broker.topics.get("orders").settings
    assert (settings.deduplication_window_ms, settings.tags) == (60_000, {"team": "shop"})
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_text("team: shop").wait_for()
    page.get_by_role("button", name="Delete…").click()
    delete = page.get_by_role("button", name="Delete the topic")
    assert delete.is_disabled()
    page.locator("input[name=typed]").fill("orders")
    delete.click()
    page.get_by_role("heading", name="Topics").wait_for()
    page.get_by_text("No topic yet.").wait_for()
    assert broker.topics.count == 0


def test_topics_have_pages_and_a_filter(served: ServedBroker, open_page: OpenBrowser) -> None:
    for number in range(120):
        served.broker.topics.put(f"topic-{number:03}")
    page = open_page().open("/ui/topics")
    page.get_by_role("link", name="topic-049").wait_for()
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="topic-099").wait_for()
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="topic-119").wait_for()
    assert page.locator("tbody tr").count() == 20
    assert not page.get_by_role("link", name="Next page").count()
    page.get_by_label("Filter topics by name").fill("c-07")
    page.get_by_role("link", name="topic-070").wait_for()
    assert page.locator("tbody tr").count() == 10
    page.get_by_label("Filter topics by name").fill("nothing")
    page.get_by_text("No topic has “nothing” in its name.").wait_for()
    page.get_by_role("link", name="Clear the filter").click()
    page.get_by_role("link", name="topic-000").wait_for()


def test_an_endpoint_shows_its_state_and_never_its_secret(orders: Broker, open_page: OpenBrowser) -> None:
    orders.pushes.hosts = PushHosts.anywhere()
    made, _ = orders.topics.subscribe("orders", "to-shop", endpoint="https://hooks.example.com/orders?team=1")
    publish(orders, "a", "b")
    page = open_page().open("/ui/topics/orders")
    row = row_of(page, "to-shop")
    row.get_by_text("https://hooks.example.com/orders?team=1").wait_for()
    row.get_by_text("webhook · nothing sent since the start").wait_for()
    row.get_by_role("link", name="2 waiting, 0 delayed").wait_for()
    number = orders.core.state.topics["orders"].number
    orders.counters.push.last[number, "to-shop"] = LastAttempt(orders.core.clock.now_ms(), "The endpoint is away.")
    row.get_by_text("The endpoint is away.").wait_for()
    assert made.secret
    assert made.secret not in page.content()
    before = orders.topics.subscription("orders", "to-shop").subscription.push
    assert before is not None
    orders.topics.subscribe("orders", "to-shop", push=replace(before, style="sns", confirmed=False))
    row.get_by_text("not confirmed").wait_for()


def test_what_is_published_appears_by_itself(orders: Broker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/topics/orders")
    page.get_by_text("0 messages published").wait_for()
    publish(orders, "a", "b")
    page.get_by_text("2 messages published").wait_for()
    row_of(page, "to-mail").get_by_role("cell", name="2").wait_for()


def test_a_topic_that_is_not_there(open_page: OpenBrowser) -> None:
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/topics/nothing")
    page.get_by_text("No topic has this name.").wait_for()
    page.get_by_role("link", name="All topics").click()
    page.get_by_text("No topic yet.").wait_for()


def test_queue_and_topic_lead_to_each_other(orders: Broker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/queues/mail")
    page.get_by_text("From topics: ").wait_for()
    page.locator(".topics-of").get_by_role("link", name="orders").click()
    page.get_by_role("heading", name="orders").wait_for()
    assert page.title() == "orders · Topics · WonderQ"
    page.get_by_role("link", name="mail", exact=True).click()
    page.get_by_role("heading", name="mail").wait_for()


def test_a_queue_of_many_topics_names_some_and_unfolds_the_others(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.put_queue("mail")
    for number in range(9):
        served.broker.topics.put(f"topic-{number}")
        served.broker.topics.subscribe(f"topic-{number}", "all", queue="mail", paused=number == 0)
    page = open_page().open("/ui/queues/mail")
    page.get_by_role("link", name="topic-5").wait_for()
    page.get_by_text("(paused)").wait_for()
    assert not page.get_by_role("link", name="topic-8").is_visible()
    page.get_by_text("and 3 others").click()
    page.get_by_role("link", name="topic-8").wait_for()


# Subscriptions


def test_a_queue_is_subscribed(orders: Broker, open_page: OpenBrowser) -> None:
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/topics/orders")
    page.get_by_role("button", name="Subscribe a queue…").click()
    page.get_by_label("Name of the subscription").fill("more")
    page.get_by_label("Queue, which must exist").fill("nothing")
    page.get_by_label("Filter, as JSON").fill('{"kind": [')
    page.get_by_role("button", name="Subscribe", exact=True).click()
    page.get_by_text("The conditions are not valid JSON").wait_for()
    page.get_by_label("Filter, as JSON").fill('{"kind": "paid"}')
    page.get_by_role("button", name="Subscribe", exact=True).click()
    page.get_by_role("alert").filter(has_text="queue").wait_for()
    page.get_by_label("Queue, which must exist").fill("refused")
    page.get_by_role("button", name="Subscribe", exact=True).click()
    page.locator('[name="field-filter"][aria-invalid="true"]').wait_for()
    page.get_by_label("Filter, as JSON").fill('{"kind": ["paid", {"prefix": "re"}]}')
    page.get_by_label("If the queue refuses a message").select_option("skip")
    page.get_by_label("Queue for refused messages").fill("archive")
    page.get_by_label("Deliver messages as they were published").uncheck()
    page.get_by_role("button", name="Subscribe", exact=True).click()
    page.get_by_text("The subscription more is saved.").wait_for()
    row_of(page, "more").get_by_text("in an envelope").wait_for()
    found = fields_of(orders, "more")
    assert (found.filter, found.raw) == ('{"kind": ["paid", {"prefix": "re"}]}', False)
    assert (found.when_full, found.dead_letter_queue) == ("skip", "archive")


def test_an_edit_changes_what_was_edited_and_nothing_else(orders: Broker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/topics/orders")
    row_of(page, "to-audit").get_by_role("button", name="Edit…").click()
    assert page.get_by_label("Filter, as JSON").input_value() == '{\n  "kind": [\n    "paid"\n  ]\n}'
    orders.topics.subscribe("orders", "to-audit", raw=True)  # by somebody else, meanwhile
    page.get_by_label("Filter, as JSON").fill("")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The subscription to-audit is saved.").wait_for()
    row_of(page, "to-audit").get_by_text("all messages").wait_for()
    found = fields_of(orders, "to-audit")
    assert (found.filter, found.raw) == ("", True)


def test_a_subscription_is_paused_resumed_and_removed(orders: Broker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/topics/orders")
    row = row_of(page, "to-mail")
    row.get_by_role("button", name="Pause…").click()
    page.get_by_text("What is published meanwhile never comes to mail, also not later.").wait_for()
    page.get_by_role("button", name="Pause the subscription").click()
    row.get_by_text("paused").wait_for()
    publish(orders, "lost to it")
    row.get_by_role("button", name="Resume").click()
    row.get_by_text("paused").wait_for(state="detached")
    publish(orders, "for it")
    assert bodies(orders, "mail") == ["for it"]
    row.get_by_role("button", name="Remove…").click()
    page.get_by_text("mail gets nothing more of orders.").wait_for()
    page.get_by_role("button", name="Remove the subscription").click()
    row.wait_for(state="detached")
    assert [each.subscription.name for each in orders.topics.subscriptions("orders")] == ["to-archive", "to-audit"]


def test_subscriptions_have_pages_and_are_found_by_their_queue(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.topics.put("orders")
    for number in range(70):
        served.broker.put_queue(f"queue-{number:03}")
        served.broker.topics.subscribe("orders", f"s-{number:03}", queue=f"queue-{number:03}")
    page = open_page().open("/ui/topics/orders")
    page.get_by_role("link", name="queue-049").wait_for()
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="queue-069").wait_for()
    page.get_by_label("Subscription or queue").fill("queue-00")
    page.get_by_role("link", name="queue-009").wait_for()
    assert page.locator("tbody tr").count() == 10
    page.get_by_label("Subscription or queue").fill("nothing")
    page.get_by_text("No subscription, and no queue of one, has “nothing” in its name.").wait_for()
    page.get_by_role("link", name="Clear the filter").click()
    page.get_by_role("link", name="queue-000").wait_for()


# Publishing


def write_message(page: Any, text: str, attributes: str = "") -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Attributes, as JSON").fill(attributes)


def test_a_message_is_tried_before_it_is_published(orders: Broker, open_page: OpenBrowser) -> None:
    page = open_page().open("/ui/topics/orders?tab=publish")
    write_message(page, "hello", '{"kind": "new"}')
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("1 of 3 subscriptions would get the message.").wait_for()
    assert row_of(page, "to-mail").get_by_text("gets it", exact=True).count() == 1
    assert "kind" in row_of(page, "to-audit").inner_text()
    assert "The subscription is paused." in row_of(page, "to-archive").inner_text()
    assert orders.topics.get("orders").published == 0, "nothing was published"
    page.get_by_label("Attributes, as JSON").fill('{"kind": "paid"}')
    assert not page.get_by_text("would get the message").count(), "the result was of another message"
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("2 of 3 subscriptions would get the message.").wait_for()
    page.get_by_role("button", name="Publish", exact=True).click()
    page.get_by_text("2 queues have the message.").first.wait_for()
    assert bodies(orders, "mail") == ["hello"]
    assert orders.count("audit", "unprocessed") == 1
    assert orders.count("archive", "unprocessed") == 0


def test_a_dry_run_tells_that_a_publish_would_be_refused(orders: Broker, open_page: OpenBrowser) -> None:
    orders.put_queue("mail", draining=True)
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/topics/orders?tab=publish")
    write_message(page, "hello", '{"kind": "paid"}')
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("A publish would be refused, and no queue would get the message, because of mail.").wait_for()
    assert row_of(page, "to-mail").get_by_text("refuses it").count() == 1
    page.get_by_role("button", name="Publish", exact=True).click()
    page.get_by_role("alert").filter(has_text="mail is being drained").wait_for()
    assert orders.topics.get("orders").published == 0


def test_what_is_wrong_with_a_message_is_told(orders: Broker, open_page: OpenBrowser) -> None:
    watched = open_page()
    watched.may_fail = True
    page = watched.open("/ui/topics/orders?tab=publish")
    write_message(page, "hello", '{"kind": ')
    page.get_by_role("button", name="Publish", exact=True).click()
    page.get_by_text("The attributes are not valid JSON").wait_for()
    write_message(page, "hello")
    page.get_by_label("Priority, 0 to 9").fill("17")
    page.get_by_role("button", name="Publish", exact=True).click()
    page.get_by_role("alert").filter(has_text="priority").wait_for()
    page.get_by_label("Priority, 0 to 9").fill("7")
    page.get_by_label("Delay in seconds").fill("60")
    page.get_by_label("Group").fill("customer-7")
    page.get_by_role("button", name="Publish", exact=True).click()
    page.get_by_text("1 queue has the message.").first.wait_for()
    [message] = orders.messages("mail")
    assert (message.status, message.envelope and message.envelope.priority) == ("delayed", 7)


# Problems on the overview


def test_the_overview_leads_to_the_topic_whose_publishes_fail(orders: Broker, open_page: OpenBrowser) -> None:
    orders.put_queue("mail", draining=True)
    page = open_page().open("/ui")
    text = "mail is draining, so publishes to the topic orders that it would get are refused."
    problem = page.get_by_role("listitem").filter(has_text=text)
    problem.get_by_role("link", name="Topic").click()
    page.get_by_role("heading", name="orders").wait_for()


def test_refused_messages_are_told_and_brought_to_a_queue(orders: Broker, open_page: OpenBrowser) -> None:
    orders.topics.subscribe("orders", "to-mail", when_full="skip", dead_letter_queue="refused")
    orders.put_queue("mail", max_messages=1)
    publish(orders, "fits", "too much", "too much again")
    orders.history.topics.sample(orders.core.clock.now_ms())
    orders.put_queue("mail", max_messages=0)
    page = open_page().open("/ui")
    page.get_by_text("mail refused 3 messages of the topic orders in the last hour.").wait_for()
    page.get_by_role("link", name="Dead letters 3 3 in the last hour").click()
    row_of(page, "refused by the queue of a subscription").get_by_role("link", name="orders").wait_for()
    assert not page.get_by_role("button", name="Bring back…").count(), "they have no queue to return to"
    page.get_by_role("button", name="Bring back all…").click()
    page.get_by_label("To the queue").fill("mail")
    page.get_by_role("button", name="Count them").click()
    page.get_by_role("button", name="Bring back 3 messages").click()
    eventually(lambda: len(bodies(orders, "mail")) == 3, "the queue has them")


# Permissions


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServedBroker]:
    broker = Broker(MemoryLog())
    subscribe(broker)
    keys.create(tmp_path / "keys.json", name="another", roles=["admin"], queues=["*"])
    with serving(broker, create_app(broker, Access(Keys(tmp_path / "keys.json", check_interval_s=0)))) as served:
        yield served
    broker.close()


@pytest.mark.parametrize(
    ("roles", "of_topic", "of_form"),
    [
        (["look"], set(), {"Try it"}),
        (["inspect", "produce"], set(), {"Try it", "Publish"}),
        (["admin"], {"Subscribe a queue…", "Settings…", "Delete…"}, {"Try it", "Publish"}),
    ],
)
def test_a_key_shows_the_buttons_that_it_permits(
    guarded: ServedBroker, tmp_path: Path, open_browser: OpenBrowser, roles: Any, of_topic: set[str], of_form: set[str]
) -> None:
    key = keys.create(tmp_path / "keys.json", name="some", roles=roles, queues=["*"])[1]
    page = log_in(open_browser, guarded, "/ui/topics/orders", key)
    row = row_of(page, "to-mail")
    row.wait_for()
    assert set(page.locator(".heading .actions button").all_inner_texts()) == of_topic
    assert row.get_by_role("button").count() == (3 if of_topic else 0)
    page.get_by_role("link", name="Publish" if "Publish" in of_form else "Try", exact=True).click()
    page.get_by_role("button", name="Try it").wait_for()
    assert set(page.locator("form.publish button").all_inner_texts()) == of_form
    write_message(page, "x")
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("1 of 3 subscriptions would get the message.").wait_for()
    page.get_by_role("link", name="Topics").first.click()
    page.get_by_role("link", name="orders").wait_for()
    assert page.get_by_role("button", name="New…").count() == (1 if of_topic else 0)


def test_a_key_sees_the_subscriptions_of_its_queues(
    guarded: ServedBroker, tmp_path: Path, open_browser: OpenBrowser
) -> None:
    key = keys.create(tmp_path / "keys.json", name="some", roles=["look"], queues=["orders"])[1]
    page = log_in(open_browser, guarded, "/ui/topics/orders", key)
    page.get_by_text("Your key opens none of the subscribed queues.").wait_for()
    assert "to-mail" not in page.content()


def test_a_read_only_dashboard_tries_and_changes_nothing(open_browser: OpenBrowser) -> None:
    broker = Broker(MemoryLog())
    subscribe(broker)
    with serving(broker, create_app(broker, ui="read-only")) as served:
        page = open_browser(f"http://{served.host}:{served.port}").open("/ui/topics/orders")
        row_of(page, "to-mail").wait_for()
        assert not page.locator("main").get_by_role("button").count()
        page.get_by_role("link", name="Try", exact=True).click()
        write_message(page, "x")
        page.get_by_role("button", name="Try it").click()
        page.get_by_text("1 of 3 subscriptions would get the message.").wait_for()
        assert page.locator("form.publish button").all_inner_texts() == ["Try it"]
    broker.close()


def test_a_hidden_part_of_a_filter_is_neither_shown_nor_written_back(open_browser: OpenBrowser) -> None:
    broker = Broker(MemoryLog())
    subscribe(broker)
    secret = "4111222233334444"
    broker.topics.subscribe("orders", "to-mail", filter={"card": [secret]})
    with serving(broker, create_app(broker, mask=Mask([r"\d{16}"]))) as served:
        watched = open_browser(f"http://{served.host}:{served.port}")
        answers: list[str] = []
        watched.page.on("response", lambda each: answers.append(each.text()) if "/topics" in each.url else None)
        page = watched.open("/ui/topics/orders")
        row = row_of(page, "to-mail")
        row.get_by_text("•••").first.wait_for()
        row.get_by_role("button", name="Edit…").click()
        page.get_by_text("Parts of the filter are hidden").wait_for()
        assert not page.get_by_label("Filter, as JSON").count()
        page.get_by_label("If the queue refuses a message").select_option("skip")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("The subscription to-mail is saved.").wait_for()
        page.wait_for_load_state("networkidle")
        assert answers
        assert not [each for each in answers if secret in each]
    found = fields_of(broker, "to-mail")
    assert (found.filter, found.when_full) == (f'{{"card": ["{secret}"]}}', "skip")
    broker.close()


# Without a mouse, and with texts of others


def test_keys_are_enough(orders: Broker, open_page: OpenBrowser) -> None:
    orders.topics.put("refunds")
    page = open_page().open("/ui")
    page.get_by_text("Nothing needs you.").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.get_by_role("link", name="refunds").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("ord")
    page.get_by_role("link", name="refunds").wait_for(state="detached")
    page.keyboard.press("Tab")
    rows_to(page, "orders")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="orders").wait_for()
    row_of(page, "to-mail").wait_for()
    rows_to(page, "mail")
    tab_to(page, "Pause…")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    tab_to(page, "Pause the subscription")
    page.keyboard.press("Enter")
    row_of(page, "to-mail").get_by_text("paused").wait_for()
    assert fields_of(orders, "to-mail").paused
    tab_to(page, "Publish", "Shift+Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Try it").wait_for()
    tab_to(page, "Settings")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "message"
    page.keyboard.type("hello")
    tab_to(page, "Try it")
    page.keyboard.press("Enter")
    page.get_by_text("0 of 3 subscriptions would get the message.").wait_for()
    assert focused(page) == "Try it", "the focus stays"


ATTACK = "window.wasHit = true"
MARKUP = f'<img src=x onerror="{ATTACK}">'


@pytest.mark.parametrize("width", [1280, 390])
def test_names_and_texts_of_others_stay_text(served: ServedBroker, open_page: OpenBrowser, width: int) -> None:
    broker, name = served.broker, "t" * 256
    broker.topics.put(name, tags={MARKUP: f"\u202e{MARKUP}"})
    broker.put_queue("q" * 80)
    filters = {MARKUP: [MARKUP, {"prefix": "\u202egnp"}], "__proto__": [{"anything-but": [f"${{{ATTACK}}}"]}]}
    broker.topics.subscribe(name, "s" * 80, queue="q" * 80, filter=filters, when_full="skip")
    watched = open_page(width=width)
    page = watched.open("/ui/topics")
    page.get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name).wait_for()
    page.locator("details.filter summary").click()
    page.get_by_text("⟨202E⟩gnp").first.wait_for()
    assert watched.sideways_px() == 0
    page.get_by_role("link", name="Publish", exact=True).click()
    write_message(page, MARKUP, '{"__proto__": "x", "constructor": "\\u202e"}')
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("0 of 1 subscription would get the message.").wait_for()
    assert watched.sideways_px() == 0
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_text(f"{MARKUP}: ⟨202E⟩{MARKUP}").wait_for()
    assert watched.sideways_px() == 0
    assert page.evaluate("window.wasHit") is None
    assert page.evaluate("({}).polluted") is None
    assert page.locator("main img, main script").count() == 0
