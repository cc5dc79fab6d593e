"""`wonderq serve --log`: its settings, its start, and one process that follows another."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_nats import FakeNats, Request, message
from tests.support.hook_server import hook_server
from tests.support.log_streams import LogStream
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection, stream
from tests.support.shared_processes import Reply, request
from tests.support.waiting import PATIENCE_S, eventually
from wonderq import serve_shared
from wonderq.config import ConfigError, Settings, in_force, load, load_with_sources
from wonderq.ownership import member, neighbours
from wonderq.ownership.node import Node
from wonderq.runtime.collector import CollectorPauses
from wonderq.serve import StartError, validate
from wonderq.serve_shared import shared
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.local_servers import free_ports

__all__ = ["connection", "stream"]

SMALL = {"log_bytes": str(64 << 20), "listen": "127.0.0.1:0"}


# Settings


@pytest.mark.parametrize(
    ("log", "replicas", "count"),
    [("nats://a", None, 1), ("nats://a,b", None, 3), ("nats://a,b,c/NAME", "1", 1), ("nats://a", "3", 3)],
)
def test_the_number_of_replicas(log: str, replicas: str | None, count: int) -> None:
    settings = load({"log": log, **({} if replicas is None else {"replicas": replicas})}, {})
    assert settings.replica_count == count
    validate(settings)


def test_a_log_in_a_folder_has_no_replicas() -> None:
    settings = load({"replicas": "3"}, {})
    with pytest.raises(StartError, match=r"--replicas needs --log"):
        validate(settings)


@pytest.mark.parametrize(
    "setting", [("fsync", "os"), ("segment_bytes", str(32 << 20)), ("max_clock_jump", "7"), ("accept_clock", "true")]
)
def test_settings_of_a_folder_are_refused(setting: tuple[str, str]) -> None:
    with pytest.raises(StartError, match=f"Set no --{setting[0].replace('_', '-')}"):
        validate(load({"log": "nats://a", setting[0]: setting[1]}, {}))


def test_a_shared_log_has_smaller_batches() -> None:
    settings, sources = load_with_sources({}, {"WONDERQ_LOG": "nats://a"})
    assert (settings.batch_bytes, sources["batch_bytes"]) == (4 << 20, "the most with --log")
    validate(settings)
    settings = load({"log": "nats://a", "batch_bytes": str(5 << 20)}, {})
    with pytest.raises(StartError, match="Set a lower --batch-bytes"):
        validate(settings)
    assert load({}, {}).batch_bytes == 16 << 20


def test_no_text_of_a_setting_has_credentials(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('log = "nats://user:secret@a,b/NAME"')
    settings, sources = load_with_sources({}, {}, file)
    (row,) = [each for each in in_force(settings, sources) if each[0] == "log"]
    assert row[1] == "nats://a:4222,b:4222/NAME"
    assert "secret" not in repr(settings)
    assert settings.log is not None
    assert settings.log.servers[1].password == "secret"


@pytest.mark.parametrize("setting", [{"log": "http://user:secret@a"}, {"log": "nats://a", "replicas": "2"}])
def test_a_setting_that_cannot_be_used(setting: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be used: expected (an address such as nats://|1 or 3)"):
        load(setting, {})


# The start


def settings_of(folder: Path, log: str, **more: str) -> Settings:
    return load({"log": log, "data": str(folder), **SMALL, **more}, {})


def refused(settings: Settings) -> str:
    with pytest.raises(StartError) as error, shared(settings):
        pass
    return str(error.value)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_shared, "_START_S", 0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_without_nats_a_start_is_refused(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    text = refused(settings_of(tmp_path, f"nats://me:secret@127.0.0.1:{port}"))
    assert f"nats://127.0.0.1:{port}/wonderq cannot be used" in text
    assert "refused" in text
    assert "Check the NATS servers" in text
    assert "secret" not in text


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("info", "text"),
    [
        ({"version": "2.12.1"}, "has version 2.12.1, and this WonderQ is tested with 2.15.x. Install"),
        ({"version": "2.15.1"}, "Set max_payload: 8MB in its configuration"),
    ],
)
def test_a_server_that_does_not_suit_refuses_the_start(tmp_path: Path, info: dict[str, Any], text: str) -> None:
    with FakeNats(**info) as server:
        assert text in refused(settings_of(tmp_path, server.url))


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_wrong_credentials_refuse_the_start(tmp_path: Path) -> None:
    with FakeNats() as server:
        server.refusal = "Authorization Violation"
        assert "Authorization Violation" in refused(settings_of(tmp_path, server.url))


def test_a_server_that_does_not_sync_refuses_the_start(tmp_path: Path) -> None:
    config = {**LogStream.config_of("wonderq", 1), "max_bytes": 1 << 26}

    def answer(asked: Request) -> bytes:
        if "STREAM.INFO" in asked.subject:
            found: Any = {"state": {"messages": 0, "first_seq": 0, "last_seq": 0, "bytes": 0}, "config": config}
        else:
            assert asked.subject == "$SYS.REQ.SERVER.PING.JSZ"
            found = {"server": {"name": "n1", "ver": "2.15.1"}, "data": {"config": {"sync_interval": 120}}}
        return message(asked, json.dumps(found).encode())

    with FakeNats(answer, version="2.15.1", max_payload=8 << 20) as server:
        assert "Set sync_interval: always" in refused(settings_of(tmp_path, server.url))


@needs_nats
def test_a_stream_with_other_settings_refuses_the_start(tmp_path: Path, stream: LogStream) -> None:
    config = {**LogStream.config_of(stream.name, 1), "max_bytes": 1 << 26, "max_age": 10**12}
    stream.jetstream.create_stream(config, timeout_s=PATIENCE_S)
    text = refused(settings_of(tmp_path, url_of(stream)))
    assert "'max_age': 1000000000000" in text
    assert "Correct them, or choose another name" in text


def url_of(stream: LogStream) -> str:
    return f"{stream.jetstream.connection._addresses[0]}/{stream.name}"


# Two processes in one


@contextmanager
def running(settings: Settings) -> Iterator[tuple[Node, int]]:
    """Run a process that shares a log, in threads of this one; yield it and its port."""
    with shared(settings) as (node, server, _):
        serving = threading.Thread(target=server.run, kwargs={"on_stop": node.stop_claiming})
        node.start()
        serving.start()
        try:
            yield node, int(server.effective_port)
        finally:
            server.stop()
            serving.join(PATIENCE_S)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process take over sooner. Two that run in one process are never both starved."""
    for module in (member, neighbours):
        monkeypatch.setattr(module, "SUSPECT_S", 0.5)


def produce(port: int, text: str) -> Reply:
    return request(port, "POST", "/messages/produce", {"message": text})


@pytest.mark.slow
@needs_nats
def test_one_process_follows_another(tmp_path: Path, stream: LogStream) -> None:
    settings = settings_of(tmp_path / "first", url_of(stream))
    with ExitStack() as stack:
        second_folder = settings_of(tmp_path / "second", url_of(stream))
        with running(settings) as (first, port):
            eventually(lambda: first.is_serving)
            assert produce(port, "one").status == 201
            second, other = stack.enter_context(running(second_folder))
            eventually(lambda: second.standing().owner == first.member.node)
            assert produce(other, "no").json["error"]["code"] == "standing_by"
            # It reads along, so that nothing is left to read when it takes over.
            log = first.log
            assert log is not None
            eventually(lambda: second.member.known_sequence(log.log_id) >= log.acknowledged_sequence)
            reply = request(port, "GET", "/overview/broker")
            assert "nats://" in json.dumps(reply.json["settings"])
            assert reply.json["shared_log"]["node"] == first.member.node
            assert reply.json["shared_log"]["epoch"] == log.epoch
        eventually(lambda: second.is_serving)
        found = request(other, "GET", "/messages/consume").json
        assert [each["message"] for each in found] == ["one"]
        assert (first.takeovers, second.takeovers, second.fenced) == (1, 1, 0)
        receipt = found[0]["receipt"]
        assert request(other, "DELETE", f"/messages/{found[0]['id']}?receipt={receipt}").status == 200


@pytest.mark.slow
@needs_nats
def test_the_owner_delivers_to_endpoints(tmp_path: Path, stream: LogStream) -> None:
    first_folder = settings_of(tmp_path / "first", url_of(stream), push_hosts="127.0.0.1")
    second_folder = settings_of(tmp_path / "second", url_of(stream), push_hosts="127.0.0.1")
    with hook_server() as hook, ExitStack() as stack:
        with running(first_folder) as (first, port):
            eventually(lambda: first.is_serving)
            second, other = stack.enter_context(running(second_folder))
            request(port, "PUT", "/topics/orders", {})
            made = request(port, "PUT", "/topics/orders/subscriptions/shop", {"endpoint": hook.url})
            assert made.status == 201
            assert request(port, "POST", "/topics/orders/publish", {"message": "one"}).status == 201
            eventually(lambda: hook.texts == ["one"])
        eventually(lambda: second.is_serving)
        assert request(other, "POST", "/topics/orders/publish", {"message": "two"}).status == 201
        eventually(lambda: hook.texts == ["one", "two"])


@pytest.mark.slow
@needs_nats
def test_full_collections_stay_short_while_a_broker_serves(tmp_path: Path, stream: LogStream) -> None:
    """A long one would keep the owner from saying that it is alive."""
    before = list(gc.callbacks)
    with running(settings_of(tmp_path, url_of(stream))) as (node, _):
        eventually(lambda: node.is_serving)
        [watch] = [each for each in gc.callbacks if each not in before]
        assert isinstance(watch.__self__, CollectorPauses)  # type: ignore[attr-defined]
    assert gc.callbacks == before


@pytest.mark.slow
@needs_nats
@pytest.mark.usefixtures("hasty")
def test_a_deposed_process_stands_by_and_serves_again(tmp_path: Path, stream: LogStream) -> None:
    with running(settings_of(tmp_path, url_of(stream))) as (node, port):
        eventually(lambda: node.is_serving)
        produce(port, "one")
        with closing(Connection(stream.jetstream.connection._addresses)) as another:
            rival = stream.open(jetstream=JetStream(another), max_record_bytes=7 << 20)
            assert len(list(rival.replay())) > 0
            rival.start()
            assert request(port, "GET", "/queues/default").json["error"]["code"] == "log_lost"
            eventually(lambda: node.takeovers == 2)
        eventually(lambda: node.is_serving)
        assert (node.fenced, node.takeovers) == (1, 2)
        assert [each["message"] for each in request(port, "GET", "/messages/consume").json] == ["one"]


def test_the_name_of_a_process(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:
        port = bound.getsockname()[1]
        named = serve_shared._name_of
        assert named(Settings(data=tmp_path, listen=("127.0.0.1", 0)), [bound]) == f"127.0.0.1:{port}"
        assert named(Settings(data=tmp_path, public_url="https://q.example.com"), [bound]) == "q.example.com"
        anywhere = named(Settings(data=tmp_path, listen=("0.0.0.0", 0)), [bound])
        assert anywhere.endswith(f":{port}")
        assert not anywhere.startswith("0.")
        assert len(named(Settings(data=tmp_path, listen=("h" * 200, 0)), [bound]).encode()) <= 64
