"""GET /overview/broker: the log, the limits and their use, the settings and the keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from falcon.testing import TestClient

from tests.support.clock import FakeClock
from tests.support.http_client import Client
from wonderq import __version__
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import LogMaintenance
from wonderq.config import Settings, in_force, load_with_sources
from wonderq.model.limits import Limits
from wonderq.rest.health import SharedLogState
from wonderq.rest.overview import Vitals
from wonderq_storage import FileCheckpoints, FileLog


def test_limits_and_their_use(client: Client) -> None:
    client.produce("a", {"message": "b", "idempotency_key": "k"})
    client("PUT", "/schedules/s", json={"cron": "* * * * *", "queue": "default", "message": "x"})
    found = {each["name"]: (each["used"], each["limit"]) for each in client.get("/overview/broker")["limits"]}
    assert found["queues"] == (1, 10_000)
    assert found["total_messages"] == (2, Limits().total_messages)
    assert found["total_bytes"][0] > 0
    assert found["total_bytes"][1] is None, "unlimited"
    assert found["total_keys"] == (1, Limits().total_keys)
    assert (found["schedules"], found["listings"]) == ((1, 10_000), (0, 16))


def test_each_limit_of_the_broker_as_a_whole_is_there(client: Client) -> None:
    of_one = {"message_bytes", "batch_messages", "batch_bytes", "visibility_timeout_ms", "delay_ms", "wait_s"}
    of_queues = {"messages_per_queue", "bytes_per_queue", "in_flight_per_queue"}
    names = {each["name"] for each in client.get("/overview/broker")["limits"]}
    assert Limits.__dataclass_fields__.keys() - of_one - of_queues <= names


def test_the_checkpoint_and_the_log(tmp_path: Path, clock: FakeClock) -> None:
    log = FileLog(tmp_path)
    broker = Broker(log, clock=clock)
    client = Client(broker)
    client.produce("x" * 1000)
    before = client.get("/overview/broker")
    assert before["checkpoint"]["written_at"] is None
    assert before["checkpoint"]["lag_bytes"] > 1000
    assert before["log_live_bytes"] > 1000
    LogMaintenance(broker, log, FileCheckpoints(tmp_path), slack_bytes=1 << 20)._checkpoint()
    after = client.get("/overview/broker")["checkpoint"]
    assert (after["lag_bytes"], after["bytes"] > 0) == (0, True)
    written = datetime.fromisoformat(after["written_at"])
    assert abs(written - datetime.now(UTC)) < timedelta(hours=1)
    broker.close()


def test_the_process_tells_its_syncs_and_connections(client: Client) -> None:
    vitals = Vitals(__version__, sync_p50_s=0.001, sync_p99_s=0.005, connections=3, connections_limit=2000)
    found = TestClient(create_app(client.broker, vitals=lambda: vitals)).simulate_get("/overview/broker").json
    assert found["sync"] == {"p50": 0.001, "p99": 0.005}
    assert {"name": "connections", "used": 3, "limit": 2000} in found["limits"]


def test_the_owner_of_a_shared_log_tells_what_it_knows(client: Client) -> None:
    assert client.get("/overview/broker")["shared_log"] is None
    others = [("10.0.0.2:7979", "standing_by")]
    log = SharedLogState("10.0.0.1:7979", 7, 1_700_000_000_000, 0.91, 1, others, -12, 3, 2)
    app = create_app(client.broker, vitals=lambda: Vitals(__version__, shared_log=log))
    assert TestClient(app).simulate_get("/overview/broker").json["shared_log"] == {
        "node": "10.0.0.1:7979",
        "epoch": 7,
        "took_over_at": "2023-11-14T22:13:20.000Z",
        "takeover": 0.91,
        "fenced": 1,
        "others": [{"node": "10.0.0.2:7979", "role": "standing_by"}],
        "clock_ahead": -0.012,
        "replicas": 3,
        "replicas_current": 2,
    }
    alone = log._replace(others=[], clock_ahead_ms=None, replicas=None, replicas_current=None)
    app = create_app(client.broker, vitals=lambda: Vitals(__version__, shared_log=alone))
    found = TestClient(app).simulate_get("/overview/broker").json["shared_log"]
    assert [found[name] for name in ("others", "clock_ahead", "replicas", "replicas_current")] == [[], None, None, None]


def test_settings_have_their_sources(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text('fsync = "os"\nlistings = 7\n')
    flags = {"listen": "127.0.0.1:1", "ui_mask": "a\nb"}
    loaded = load_with_sources(flags, {"WONDERQ_QUEUES": "unlimited", "WONDERQ_LISTINGS": "9"}, file)
    app = create_app(client.broker, settings=in_force(*loaded))
    found = {each["name"]: each for each in TestClient(app).simulate_get("/overview/broker").json["settings"]}
    assert found.keys() == Settings.__dataclass_fields__.keys()
    chosen = {name: (each["value"], each["source"]) for name, each in found.items() if each["source"] != "default"}
    assert chosen == {
        "listen": ("127.0.0.1:1", "--listen"),
        "ui_mask": ("a, b", "--ui-mask"),
        "queues": ("unlimited", "WONDERQ_QUEUES"),
        "listings": ("9", "WONDERQ_LISTINGS"),
        "fsync": ("os", f"fsync in {file}"),
    }
    assert (found["listings"]["default"], found["hosts"]["value"]) == ("16", "none")


class TestKeys:
    def overview(self, tmp_path: Path, client: Client, **of_reader: Any) -> Any:
        path = tmp_path / "keys.json"
        expires = datetime.now(UTC) + timedelta(days=1)
        keys.create(
            path,
            name="mailer",
            roles=["produce"],
            queues=["mail*"],
            expires_at=expires,
            requests_per_second=5,
            for_sqs=True,
        )
        reader = keys.create(path, name="reader", **of_reader)[1]
        app = create_app(client.broker, Access(Keys(path)), settings=in_force(Settings(), {}))
        reply = TestClient(app).simulate_get("/overview/broker", headers={"Authorization": f"Bearer {reader}"})
        self.text = path.read_text()
        self.reply = reply.text
        return reply.json if reply.status_code == 200 else reply.status_code

    def test_an_admin_sees_keys_and_never_a_secret(self, tmp_path: Path, client: Client) -> None:
        found = self.overview(tmp_path, client, roles=["admin"], queues=["*"])["keys"]
        mailer, reader = sorted(found, key=lambda each: str(each["name"]))
        assert (mailer["name"], mailer["roles"], mailer["queues"]) == ("mailer", ["produce"], ["mail*"])
        assert (mailer["requests_per_second"], mailer["sqs"], mailer["expires_at"][-1]) == (5, True, "Z")
        assert (reader["roles"], reader["expires_at"], reader["sqs"]) == (["admin"], None, False)
        stored = keys.read(tmp_path / "keys.json")[0]
        for key in stored:
            assert key.id in self.reply
            assert key.sha256 not in self.reply
            assert key.sqs_secret is None or key.sqs_secret not in self.reply
        assert all(set(each) == set(mailer) for each in found)

    def test_others_see_neither_keys_nor_settings(self, tmp_path: Path, client: Client) -> None:
        found = self.overview(tmp_path, client, roles=["inspect"], queues=["*"])
        assert (found["keys"], found["settings"]) == (None, None)
        assert found["limits"]

    def test_it_is_for_keys_of_all_queues(self, tmp_path: Path, client: Client) -> None:
        assert self.overview(tmp_path, client, roles=["admin"], queues=["mail*"]) == 403

    def test_without_keys_there_are_none_and_settings_are_shown(self, client: Client) -> None:
        app = create_app(client.broker, settings=in_force(Settings(), {}))
        found = TestClient(app).simulate_get("/overview/broker").json
        assert found["keys"] == []
        assert found["settings"]
