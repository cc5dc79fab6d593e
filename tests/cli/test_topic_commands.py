"""`wonderq topic`: create topics, subscribe, publish."""

from __future__ import annotations

import json

from tests.support.commands import Outcome, run
from tests.support.queue_client import QueueClient


def test_a_topic_from_its_beginning_to_its_end(client: QueueClient) -> None:
    def wonderq(*arguments: str) -> Outcome:
        command, subcommand, *others = arguments
        return run(command, subcommand, "--url", client.url, *others)

    topic = f"topic-{client.queue[-60:]}"
    made = json.loads("\n".join(wonderq("topic", "set", topic, "deduplication_window=60").lines))
    assert (made["topic"], made["settings"]["deduplication_window"]) == (topic, 60)
    fields = ('filter={"kind": ["paid"], "n": [{"numeric": [">", 4]}]}', "when_full=skip")
    made = json.loads("\n".join(wonderq("topic", "subscribe", topic, "mail", f"queue={client.queue}", *fields).lines))
    assert (made["queue"], made["when_full"]) == (client.queue, "skip")
    attributes = ("--attribute", "kind=paid", "--attribute", "n=5")
    [_, row] = wonderq("topic", "match", topic, *attributes, "x").lines
    assert row.endswith("gets the message")
    [_, row] = wonderq("topic", "match", topic, "x").lines
    assert "kind" in row
    done = wonderq("topic", "publish", topic, *attributes, "--group", "g", "--idempotency-key", "k", "one", "two")
    assert [line.split("\t")[1] for line in done.lines] == ["1", "1"]
    again = wonderq("topic", "publish", topic, "--idempotency-key", "k", "one", "two")
    assert [line.split("\t")[1] for line in again.lines] == ["0", "0"]
    assert [(each["message"], each["group"]) for each in client.messages()] == [("one", "g"), ("two", "g")]
    shown = json.loads("\n".join(wonderq("topic", "show", topic).lines))
    assert [(each["subscription"], each["delivered"]) for each in shown["subscriptions"]] == [("mail", 2)]
    assert any(line.split() == [topic, "1", "2"] for line in wonderq("topic", "list").lines)
    assert topic in [json.loads(line)["topic"] for line in wonderq("topic", "list", "--json").lines]
    assert wonderq("topic", "unsubscribe", topic, "mail", "--yes").code == 0
    assert wonderq("topic", "delete", topic, "--yes").code == 0
    gone = wonderq("topic", "show", topic)
    assert (gone.code, "no topic named" in gone.error) == (1, True)
    refused = wonderq("topic", "subscribe", topic, "a/b")
    assert (refused.code, "the name of a subscription is 1 to 80" in refused.error) == (2, True)


def test_an_endpoint_is_refused_while_push_is_off(client: QueueClient) -> None:
    topic = f"topic-{client.queue[-60:]}"
    run("topic", "set", "--url", client.url, topic)
    refused = run("topic", "subscribe", "--url", client.url, topic, "shop", "--endpoint", "https://hooks.example.com/")
    assert (refused.code, "Start it with --push-hosts" in refused.error) == (1, True)
    run("topic", "delete", "--url", client.url, topic)
