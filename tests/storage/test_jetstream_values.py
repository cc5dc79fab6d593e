"""Small values in NATS that several processes change."""

from __future__ import annotations

import secrets
import threading

import pytest

from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection
from wonderq_storage.errors import LogFailedError
from wonderq_storage.jetstream_values import JetStreamValues, ValueChangedError
from wonderq_storage.nats import Ack, ApiError, Connection, JetStream, NatsTimeoutError

__all__ = ["connection"]

pytestmark = needs_nats


class LosingJetStream(JetStream):
    """A JetStream whose next acknowledgements are lost."""

    lost = 0

    def publish(self, stream: str, subject: str, payload: bytes, headers: dict[str, str], *, timeout_s: float) -> Ack:
        ack = super().publish(stream, subject, payload, headers, timeout_s=timeout_s)
        if self.lost:
            self.lost -= 1
            raise NatsTimeoutError("lost")
        return ack


@pytest.fixture
def jetstream(connection: Connection) -> LosingJetStream:
    return LosingJetStream(connection)


@pytest.fixture
def values(jetstream: LosingJetStream) -> JetStreamValues:
    values = JetStreamValues(jetstream, f"T{secrets.token_hex(6)}")
    values.make(1)
    return values


def test_a_bucket_is_made_once(connection: Connection) -> None:
    values = JetStreamValues(JetStream(connection), f"T{secrets.token_hex(6)}")
    assert not values.exists
    values.make(1)
    values.make(1)
    assert values.exists


def test_a_value_is_stored_and_read(values: JetStreamValues) -> None:
    assert values.get("a") is None
    values.put("a", b"1", revision=0)
    values.put("b", b"other", revision=0)
    found = values.get("a")
    assert found is not None
    assert found.data == b"1"
    values.put("a", b"", revision=found.revision)
    changed = values.get("a")
    assert changed is not None
    assert changed.data == b""
    assert changed.revision > found.revision


def test_a_value_that_was_changed_is_not_overwritten(values: JetStreamValues) -> None:
    values.put("a", b"1", revision=0)
    with pytest.raises(ValueChangedError):
        values.put("a", b"2", revision=0)
    found = values.get("a")
    assert found is not None
    values.put("a", b"3", revision=found.revision)
    with pytest.raises(ValueChangedError):
        values.put("a", b"4", revision=found.revision)
    assert (last := values.get("a")) is not None
    assert last.data == b"3"


def test_of_many_processes_that_change_a_value_at_a_time_one_does(values: JetStreamValues) -> None:
    done: list[int] = []

    def change(number: int) -> None:
        try:
            values.put("a", str(number).encode(), revision=0)
        except ValueChangedError:
            return
        done.append(number)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    (number,) = done
    assert (found := values.get("a")) is not None
    assert found.data == str(number).encode()


def test_a_lost_acknowledgement_is_no_failure(values: JetStreamValues, jetstream: LosingJetStream) -> None:
    jetstream.lost = 1
    values.put("a", b"1", revision=0)
    assert (found := values.get("a")) is not None
    assert found.data == b"1"


def test_a_bucket_that_is_not_there_is_an_error(connection: Connection) -> None:
    values = JetStreamValues(JetStream(connection), "missing", patience_s=0)
    with pytest.raises(LogFailedError) as found:
        values.get("a")
    assert isinstance(found.value.__cause__, ApiError)
