from __future__ import annotations

import json

import pytest

from tests.support.commands import Wonderq, run
from tests.support.queue_client import QueueClient


def test_settings_are_made_changed_and_shown(wonderq: Wonderq) -> None:
    done = wonderq.on_queue("set", "max_receives=5", "dead_letter_queue=dead-1", "paused=true", 'tags={"team": "é"}')
    assert (done.code, done.error) == (0, "")
    settings = json.loads("\n".join(done.lines))["settings"]
    assert (settings["max_receives"], settings["dead_letter_queue"], settings["paused"]) == (5, "dead-1", True)
    assert settings["tags"] == {"team": "é"}
    shown = wonderq.on_queue("show")
    assert json.loads("\n".join(shown.lines))["settings"] == settings
    [line] = wonderq.on_queue("show", "--json").lines
    assert json.loads(line)["settings"] == settings


def test_a_setting_that_there_is_not(wonderq: Wonderq) -> None:
    done = wonderq.on_queue("set", "no_such=1")
    assert done.code == 1
    assert "no_such" in done.error
    assert wonderq.on_queue("set", "paused").code == 2


def test_a_queue_is_deleted(wonderq: Wonderq) -> None:
    assert wonderq.on_queue("set", "delay=0").code == 0
    assert wonderq.on_queue("delete", "--yes").code == 0
    assert wonderq.on_queue("show").code == 1


def test_a_queue_is_paused_and_resumed(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce("a")
    [line] = wonderq.on_queue("pause", "--json").lines
    assert json.loads(line)["settings"]["paused"] is True
    assert wonderq("receive").code == 4
    [line] = wonderq.on_queue("resume", "--json").lines
    assert json.loads(line)["settings"]["paused"] is False
    assert wonderq("receive").code == 0


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    ("noun", "sentence"),
    [("queue", "There is no queue named 'typo'"), ("schedule", "There is no schedule named 'typo'")],
)
def test_what_does_not_exist_is_not_made_by_a_pause(wonderq: Wonderq, noun: str, verb: str, sentence: str) -> None:
    done = run(noun, verb, "typo", "--url", wonderq.url)
    assert (done.code, done.lines) == (1, [])
    assert sentence in done.error
    assert run(noun, "show", "typo", "--url", wonderq.url).code == 1, "nothing was made"


def test_what_is_sent_with_each_message(wonderq: Wonderq, client: QueueClient) -> None:
    fields = ("--attribute", "tenant=acme", "--attribute", "x=1=2", "--group", "g", "--priority", "3")
    assert wonderq("send", *fields, "--idempotency-key", "k", "one", "two").code == 0
    again = wonderq("send", *fields, "--idempotency-key", "k", "one", "two")
    messages = list(client.messages())
    assert again.lines == [message["id"] for message in messages], "the same again adds nothing"
    for message in messages:
        assert message["attributes"] == {"tenant": "acme", "x": "1=2"}
        assert (message["group"], message["priority"]) == ("g", 3)
    assert wonderq("send", "--deliver-at", "2031-01-01T00:00:00Z", "later").code == 0
    assert client.count("delayed") == 1


def test_peek_shows_what_was_asked_for_and_touches_nothing(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch([{"message": f"cat {n}", "attributes": {"n": n}, "group": f"{n % 2}"} for n in range(20)])
    done = wonderq("peek", "--contains", "1", "--group", "1", "--max", "3")
    assert [line.split("\t")[1] for line in done.lines] == ["cat 1", "cat 11", "cat 13"]
    done = wonderq("peek", "--attribute", "n=7", "--json")
    assert [json.loads(line)["message"] for line in done.lines] == ["cat 7"]
    assert len(wonderq("peek").lines) == 10
    assert wonderq("peek", "--status", "buried").lines == []
    assert client.count("unprocessed") == 20


def test_kick_and_purge(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch(["a", "b"])
    for message in client.consume():
        client.update(message["id"], receipt=message["receipt"], bury=True)
    assert wonderq.on_queue("kick", "--max", "1").lines == ["1"]
    assert json.loads(wonderq.on_queue("kick", "--json").out) == {"queue": client.queue, "kicked": 1}
    assert wonderq.on_queue("kick").lines == ["0"]
    assert wonderq.on_queue("purge", "--yes").lines == ["2"]
    assert json.loads(wonderq.on_queue("purge", "--yes", "--json").out) == {"queue": client.queue, "purged": 0}
    assert client.count("unprocessed") == 0


def test_the_clients_hand_over(client: QueueClient) -> None:
    client.produce("a")
    [message] = client.consume(attempt_id="1")
    assert client.consume(attempt_id="1")[0]["receipt"] == message["receipt"]
    [new] = client.hand_over([message["receipt"]], [{"queue": client.queue, "message": "b"}])
    assert [each["id"] for each in client.messages()] == [new]
