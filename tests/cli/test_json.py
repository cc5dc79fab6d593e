"""With --json each command prints one object per line, and its fields stay."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_grammar import COMMANDS, WITHOUT_JSON
from tests.support.commands import run
from tests.support.document_blocks import ROOT
from tests.support.queue_client import QueueClient
from tests.support.waiting import eventually
from wonderq.auth.keys import create
from wonderq.client.sync import Client

QUEUE = {"queue", "settings", "created_at", "counts", "bytes", "newest_id", "oldest_age"}
TOPIC = {"topic", "settings", "created_at", "subscriptions", "published"}
SUBSCRIPTION = {"subscription", "topic", "queue", "filter", "paused", "when_full", "created_at", "delivered", "skipped"}
MESSAGE = {"id", "message", "status", "produced_at", "queue"}
REDRIVE = {"id", "queue", "destination", "status", "moved", "skipped", "total", "dry_run", "started_at", "failure"}
SCHEDULE = {"name", "cron", "timezone", "queue", "message", "missed", "paused", "created_at", "next_at", "last_at"}
KEY = {"id", "name", "roles", "queues", "created_at", "expires_at", "requests_per_second"}
CLUSTER = {"cluster_id", "node", "quorum", "nodes", "silent", "shards", "drained", "transferred"}
SHARD_COPY = {"shard", "copied", "records", "messages", "newest_at", "last_sequence"}
END = {"messages", "newest_at", "end"}

#: Fields that each command prints at least, or exactly if it is this program that makes the object.
FIELDS = {
    "send": {"id", "queue", "message"},
    "receive": MESSAGE | {"receipt", "receive_count", "claimed_until"},
    "delete": {"name", "deleted", "error"},
    "peek": MESSAGE,
    "tail": MESSAGE,
    "top": {"overview", "queues"},
    "queue list": QUEUE,
    "queue show": QUEUE,
    "queue set": QUEUE,
    "queue pause": QUEUE,
    "queue resume": QUEUE,
    "queue kick": {"queue", "kicked"},
    "queue purge": {"queue", "purged"},
    "queue delete": {"queue", "deleted"},
    "topic list": TOPIC,
    "topic show": TOPIC,
    "topic set": TOPIC,
    "topic subscribe": SUBSCRIPTION,
    "topic publish": {"id", "queues", "skipped", "duplicate"},
    "topic match": {"subscription", "queue", "matches", "reason", "fails_publish"},
    "topic unsubscribe": {"topic", "subscription", "deleted"},
    "topic delete": {"topic", "deleted"},
    "redrive start": REDRIVE,
    "redrive list": REDRIVE,
    "redrive show": REDRIVE,
    "redrive cancel": REDRIVE,
    "schedule list": SCHEDULE,
    "schedule show": SCHEDULE,
    "schedule set": SCHEDULE,
    "schedule pause": SCHEDULE,
    "schedule resume": SCHEDULE,
    "schedule delete": {"schedule", "deleted"},
    "key create": KEY | {"key", "sqs"},
    "key list": KEY,
    "key revoke": {"id", "revoked"},
    "folder inspect": {
        "folder",
        "segments",
        "records",
        "queues",
        "topics",
        "checkpoints",
        "torn_files",
        "torn_tail",
        "problems",
    },
    "folder verify": {"folder", "ok", "segments", "bytes", "records", "queues", "torn_tail", "warnings", "problems"},
    "folder repair": {
        *("source", "folder", "records", "messages", "queues", "lost_messages", "unreadable_bytes", "new_identity"),
        *("renamed_queues", "renamed_topics", "torn_tail", "problems", "left_out"),
    },
    "folder compact": {"dry_run", "before", "after", "messages", "segments"},
    "folder backup": {"copied", "copied_bytes", "reused", "removed"} | END,
    "folder restore": {"folder", "records"} | END,
    "folder import": {"messages", "queues", "topics", "schedules"},
    "cluster status": CLUSTER,
    "cluster transfer": CLUSTER,
    "cluster drain": CLUSTER,
    "cluster balance": CLUSTER,
    "cluster export-folder": {"folder"} | SHARD_COPY,
    "cluster backup": {"folder", "continues", "keys", "removed", "shards"},
    "cluster restore": {"cluster_id", "former_cluster_id", "backup", "shards", "records", "keys"},
    "cluster import": {"messages", "queues", "topics", "schedules", "passed_over"},
    "cluster check": {
        *("shard", "ok", "epoch", "first_sequence", "last_sequence", "records", "messages", "replicas"),
        *("replicas_current", "copies_read", "problems"),
    },
    "cluster replace": {"old", "new", "removed", "streams"},
    "folder reset-clock": {"dry_run", "messages", "system_at", "log_at", "ahead_ms"},
}

OF_THE_API = (MESSAGE, QUEUE, TOPIC, SUBSCRIPTION, REDRIVE, SCHEDULE)


class Seen:
    """Runs commands with --json, and checks the fields of what they print."""

    def __init__(self) -> None:
        self.commands: set[str] = set()

    def __call__(self, command: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        done = run(*command.split(), *arguments, "--json")
        assert done.code == code, done.error
        found = [json.loads(line) for line in done.lines]
        assert found, f"{command} printed nothing"
        wanted = FIELDS[command]
        for each in found:
            is_of_the_api = any(fields <= wanted for fields in OF_THE_API)
            assert wanted <= each.keys() if is_of_the_api else wanted == each.keys(), command
        self.commands.add(command)
        return found


#: `tail` runs until it is interrupted: test_tail.py has its objects, which are those of `peek`. test_cluster.py and
#: tests/cluster_tools have the cluster.
ELSEWHERE = {"tail", *(name for name in FIELDS if name.startswith("cluster "))}


@pytest.mark.parametrize("part", ["messages", "topics", "tasks", "keys", "folders"])
def test_the_fields_of_each_command(part: str, client: QueueClient, tmp_path: Path) -> None:
    parts = {"messages": _messages, "topics": _topics, "tasks": _tasks, "keys": _keys, "folders": _folders}
    seen = Seen()
    parts[part](seen, client, tmp_path)
    assert seen.commands == COVERED[part]


COVERED = {
    "messages": {
        *("send", "receive", "delete", "peek", "top", "queue list", "queue show", "queue set", "queue pause"),
        *("queue resume", "queue kick", "queue purge", "queue delete"),
    },
    "topics": {name for name in FIELDS if name.startswith("topic ")},
    "tasks": {name for name in FIELDS if name.startswith(("redrive ", "schedule "))},
    "keys": {name for name in FIELDS if name.startswith("key ")},
    "folders": {name for name in FIELDS if name.startswith("folder ")},
}


def test_the_page_of_the_grammar_lists_the_fields_that_this_program_makes() -> None:
    rows = dict(
        re.findall(
            r"^\| `([a-z -]+)` \| (.*) \|$", (ROOT / "docs" / "CLI.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    of_the_page = {name: set(re.findall(r"`(\w+)`", row)) for name, row in rows.items() if name in FIELDS}
    compared = {name for name in FIELDS if name.startswith("folder ")} | {"send", "key revoke", "top"}
    assert compared <= of_the_page.keys()
    assert {name: of_the_page[name] for name in compared} == {name: FIELDS[name] for name in compared}


def test_each_command_with_json_is_covered() -> None:
    assert set().union(*COVERED.values()) | ELSEWHERE == COMMANDS.keys() - WITHOUT_JSON == FIELDS.keys()


def _messages(seen: Seen, client: QueueClient, _folder: Path) -> None:
    at, on = ("--url", client.url), ("--url", client.url, "--queue", client.queue)
    seen("send", *on, "a", "b")
    seen("peek", *on)
    [first, second] = seen("receive", *on)
    assert seen("delete", *on, first["receipt"]) == [{"name": first["receipt"], "deleted": True, "error": None}]
    [failed] = seen("delete", *on, first["id"], code=1)
    assert failed["deleted"] is False
    assert failed["error"].keys() == {"code", "message"}
    assert failed["error"]["code"] == "message_not_found"
    seen("queue list", *at)
    seen("queue show", client.queue, *at)
    seen("queue set", client.queue, "delay=0", *at)
    seen("queue pause", client.queue, *at)
    seen("queue resume", client.queue, *at)
    client.update(second["id"], receipt=second["receipt"], bury=True)
    assert seen("queue kick", client.queue, *at) == [{"queue": client.queue, "kicked": 1}]
    assert seen("queue purge", client.queue, "--yes", *at) == [{"queue": client.queue, "purged": 1}]
    [overview] = seen("top", *at)
    assert overview["overview"]["problems"] == [] or overview["overview"]["problems"][0]["message"]
    assert seen("queue delete", client.queue, "--yes", *at) == [{"queue": client.queue, "deleted": True}]


def _topics(seen: Seen, client: QueueClient, _folder: Path) -> None:
    at, topic = ("--url", client.url), client.queue[-60:]
    seen("topic set", topic, *at)
    seen("topic subscribe", topic, "mail", f"queue={client.queue}", *at)
    [shown] = seen("topic show", topic, *at)
    assert [each["subscription"] for each in shown["subscriptions"]] == ["mail"]
    seen("topic list", *at)
    seen("topic match", topic, "x", *at)
    assert len(seen("topic publish", topic, "x", "y", *at)) == 2
    seen("topic unsubscribe", topic, "mail", "--yes", *at)
    seen("topic delete", topic, "--yes", *at)


def _tasks(seen: Seen, client: QueueClient, _folder: Path) -> None:
    at, queue = ("--url", client.url), client.queue
    client.produce_batch(["a"] * 100)
    [begun] = seen("redrive start", queue, "--to", "default", "--per-second", "1", "--no-wait", *at)
    assert begun["status"] == "running"
    assert seen("redrive show", queue, begun["id"], *at)[0]["id"] == begun["id"]
    [cancelled] = seen("redrive cancel", queue, begun["id"], *at)
    assert cancelled["status"] == "cancelled"
    assert [each["id"] for each in seen("redrive list", queue, *at)] == [begun["id"]]
    name = queue[-60:]
    seen("schedule set", name, "cron=30 4 * * *", f"queue={queue}", "message=x", *at)
    seen("schedule show", name, *at)
    seen("schedule pause", name, *at)
    seen("schedule resume", name, *at)
    assert name in [each["name"] for each in seen("schedule list", *at)]
    assert seen("schedule delete", name, "--yes", *at) == [{"schedule": name, "deleted": True}]


def _keys(seen: Seen, _client: QueueClient, folder: Path) -> None:
    at = ("--keys", str(folder / "keys.json"))
    [made] = seen("key create", "laptop", "--role", "admin", "--sqs", *at)
    assert made["id"] in made["key"]
    assert made["sqs"].keys() == {"access_key_id", "secret_access_key"}
    [other] = seen("key create", "other", "--role", "produce", *at)
    assert other["sqs"] is None
    listed = seen("key list", *at)
    assert [each["id"] for each in listed] == [made["id"], other["id"]]
    create(folder / "keys.json", name="x", roles=["admin"], queues=["*"])
    assert seen("key revoke", made["id"], "--yes", *at) == [{"id": made["id"], "revoked": True}]


def _folders(seen: Seen, _client: QueueClient, folder: Path) -> None:
    data, copy, new, repaired = (str(folder / name) for name in ("data", "copy", "new", "repaired"))
    line = b'{"type":"message","queue":"q","message":"a"}\n'
    done = run("folder", "import", data, "--json", stdin=line)
    assert json.loads(done.out) == {"messages": 1, "queues": 0, "topics": 0, "schedules": 0}
    seen.commands.add("folder import")
    seen("folder inspect", data)
    [verified] = seen("folder verify", data)
    assert (verified["ok"], verified["problems"]) == (True, [])
    [saved] = seen("folder backup", data, copy)
    assert saved["end"].keys() == {"file", "offset"}
    assert seen("folder restore", copy, new)[0]["messages"] == 1
    [mended] = seen("folder repair", data, repaired)
    assert (mended["messages"], mended["lost_messages"]) == (1, 0)
    seen("folder compact", data, "--dry-run")
    assert seen("folder reset-clock", data, "--dry-run")[0]["ahead_ms"] == 0


def test_objects_of_the_api_are_printed_as_they_came(client: QueueClient) -> None:
    """Objects of the client would have fields that do not apply, and times of another form."""
    queue, name = client.queue, client.queue[-60:]
    client.put_schedule(name, cron="30 4 * * *", queue=queue, message="x")
    begun = client.redrive(destination="default", dry_run=True)
    eventually(lambda: client.get_redrive(begun["id"])["status"] == "completed")
    with Client(client.url) as api:
        api.topic(name).configure(deduplication_window=60)
        api.topic(name).subscribe("mail", queue, when_full="skip")
        answers = {
            f"queue show {queue}": client.queue_info(),
            f"queue list --prefix {queue}": client.queue_info(),
            f"topic show {name}": api.call("GET", f"/topics/{name}", dict[str, Any])
            | {"subscriptions": api.call("GET", f"/topics/{name}/subscriptions", list[Any])},
            "topic list": api.call("GET", f"/topics/{name}", dict[str, Any]),
            f"topic set {name}": api.call("GET", f"/topics/{name}", dict[str, Any]),
            f"topic subscribe {name} mail": api.call("GET", f"/topics/{name}/subscriptions/mail", dict[str, Any]),
            f"redrive show {queue} {begun['id']}": client.get_redrive(begun["id"]),
            f"redrive list {queue}": client.get_redrive(begun["id"]),
            f"schedule show {name}": client.get_schedule(name),
            "schedule list": client.get_schedule(name),
        }
        for command, answer in answers.items():
            done = run(*command.split(), "--url", client.url, "--json")
            assert answer in [json.loads(line) for line in done.lines], command
            if " show " in command and not command.startswith("redrive"):
                assert json.loads(run(*command.split(), "--url", client.url).out) == answer, command
        api.topic(name).drop()
    client.delete_schedule(name)


def test_a_damaged_folder_is_an_object_and_an_exit_code(tmp_path: Path) -> None:
    run("folder", "import", str(tmp_path / "d"), stdin=b'{"type":"message","queue":"q","message":"a"}\n' * 9)
    [segment] = (tmp_path / "d").glob("*.wal")
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)
    done = run("folder", "verify", str(tmp_path / "d"), "--json")
    found = json.loads(done.out)
    assert (done.code, found["ok"]) == (1, False)
    assert found["problems"][0].keys() == {"file", "offset", "reason", "unreadable"}
    assert "do not verify" in done.error or "does not verify" in done.error
