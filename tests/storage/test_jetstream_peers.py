"""The processes of one log hear of each other, see its stream, and check its servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.fake_nats import FakeNats
from tests.support.log_streams import LogStream
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection, stream
from tests.support.waiting import eventually
from wonderq_storage import jetstream_peers
from wonderq_storage.errors import UnsuitableStreamError
from wonderq_storage.jetstream_peers import JetStreamPeers
from wonderq_storage.jetstream_stream import check_servers
from wonderq_storage.nats import Connection, JetStream, ServerSettings

__all__ = ["connection", "stream"]


@pytest.fixture
def other(stream: LogStream) -> Iterator[JetStreamPeers]:
    with closing(Connection(stream.jetstream.connection._addresses)) as connection:
        yield JetStreamPeers(JetStream(connection), stream.name)


@needs_nats
def test_a_process_is_heard_by_the_others_and_not_by_itself(stream: LogStream, other: JetStreamPeers) -> None:
    heard: list[bytes] = []
    peers = JetStreamPeers(stream.jetstream, stream.name)
    peers.listen(heard.append)
    other.listen(lambda data: other.announce(b"I heard " + data))

    def announce() -> bool:
        peers.announce(b"it")  # again: the other subscription may not be there yet
        return bool(heard)

    eventually(announce)
    assert set(heard) == {b"I heard it"}
    assert other.connected_s > 0


@needs_nats
def test_a_look_at_the_stream(stream: LogStream) -> None:
    peers = JetStreamPeers(stream.jetstream, stream.name)
    assert peers.look() is None, "there is none yet"
    log = stream.start()
    log.wait(log.append(b"x"))
    assert peers.look() == (2, 1, 1, 0)
    log.close()


@pytest.mark.parametrize(
    ("before_s", "after_s", "ahead_ms"), [(10.0, 10.2, 0), (9.0, 9.2, -900), (10.9, 11.4, 800), (10.1, 10.1, 0)]
)
@needs_nats
def test_the_clock_is_compared_with_the_leaders(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch, before_s: float, after_s: float, ahead_ms: int
) -> None:
    log = stream.start()
    peers = JetStreamPeers(stream.jetstream, stream.name)
    times = iter([before_s * 1000, after_s * 1000])
    monkeypatch.setattr(jetstream_peers, "_now_ms", lambda: next(times))
    monkeypatch.setattr(jetstream_peers, "_parse_ms", lambda _: 10_100.0)
    found = peers.look()
    assert found is not None
    assert found.clock_ahead_ms == ahead_ms
    log.close()


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-30T01:36:03.807479724Z", 1796002563807.479),
        ("2026-11-30T01:36:03Z", 1796002563000),
        ("2026-11-30T01:36:03.8Z", 1796002563800),
    ],
)
def test_times_of_jetstream(text: str, ms: float) -> None:
    assert jetstream_peers._parse_ms(text) == pytest.approx(ms, abs=0.01)


@pytest.mark.parametrize("text", ["", "now", "2026-11-30T01:36:03.8", "2026-11-30T01:36:03+01:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        jetstream_peers._parse_ms(text)


def test_without_a_connection_nothing_is_seen_and_nothing_fails() -> None:
    with FakeNats() as server:
        server.stop()
        with closing(Connection(server.url)) as connection:
            peers = JetStreamPeers(JetStream(connection), "S")
            peers.announce(b"x")
            assert (peers.connected_s, peers.look()) == (0, None)


@needs_nats
def test_the_servers_of_wonderq_nats_sync_and_say_so(connection: Connection) -> None:
    assert check_servers(JetStream(connection))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ([("n1", "2.15.1", True), ("n2", "2.15.3", True)], None),
        ([("n1", "2.15.1", True), ("n2", "2.15.1", False)], "n2 acknowledges .* Set sync_interval: always"),
        ([("n1", "2.14.2", True)], "n1 has version 2.14.2, and this WonderQ is tested with 2.15"),
        ([], None),
    ],
)
def test_servers_that_could_lose_messages_are_refused(
    monkeypatch: pytest.MonkeyPatch, settings: list[tuple[str, str, bool]], problem: str | None
) -> None:
    found = [ServerSettings(*each) for each in settings]
    monkeypatch.setattr(JetStream, "server_settings", lambda *_, **__: found)
    with FakeNats() as server, closing(Connection(server.url)) as connection:
        if problem is None:
            assert check_servers(JetStream(connection)) == bool(settings)
        else:
            with pytest.raises(UnsuitableStreamError, match=problem):
                check_servers(JetStream(connection))
