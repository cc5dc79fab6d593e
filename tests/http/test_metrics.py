"""``GET /metrics``: that it says what there is, in bounded size, and whatever has happened to the broker."""

from __future__ import annotations

import re
import select
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tests.support.broker_process import RunningBroker
from tests.support.clock import FakeClock
from tests.support.http_client import Client, ServedBroker, Wire, WireReply, read_reply, request, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.app import create_app
from wonderq.broker import queries
from wonderq.broker.broker import Broker
from wonderq.broker.counters import NAMED_QUEUES, OTHER_QUEUES
from wonderq.metrics import LogCollector, LogCounters, ProcessVitals
from wonderq_storage import CorruptLogError, FileLog

DOCS = Path(__file__).parents[2] / "docs"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """Parsed answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: Samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]

    def labels(self, name: str, label: str) -> set[str]:
        return {value for found, labels in self.samples if found == name for key, value in labels if key == label}


def scrape(client: Client | Wire) -> Scrape:
    reply = client("GET", "/metrics")
    assert (reply.status if isinstance(reply, WireReply) else reply.status_code) == 200, reply.content
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(reply.content.decode())


# Documentation


class Documented(NamedTuple):
    name: str
    type: str
    labels: frozenset[str]


def documented() -> list[Documented]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\| \S", (DOCS / "METRICS.md").read_text(), re.MULTILINE)
    return [Documented(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with RunningBroker(tmp_path_factory.mktemp("metrics") / "data") as broker:
        yield broker


def test_the_documentation_has_each_metric_of_a_broker_and_no_other(running: RunningBroker) -> None:
    wire = Wire(running.host, running.port)
    wire("PUT", "/topics/orders", json={})
    wire("POST", "/topics/orders/publish", json={"message": "x"})
    for target in ("/messages/delete", "/nowhere"):  # for those that need a refusal
        wire("POST", target, json={"receipts": ["x"]})
    text = scrape(wire).text
    assert [each.name for each in documented()] == re.findall(r"^# TYPE (\w+) ", order(text), re.MULTILINE)
    for name, kind, labels in documented():
        assert f"# TYPE {name} {kind}\n" in text
        lines = re.findall(rf"^{name}(?:_bucket)?(?:{{(.*)}})? \S+$", text, re.MULTILINE)
        assert lines or name == "wonderq_checkpoint_timestamp_seconds", name
        for line in lines:
            assert set(re.findall(r"(\w+)=", line)) - {"le"} == labels, name


def order(text: str) -> str:
    """The TYPE lines of an answer in the order of the documentation; what that does not have comes last."""
    known = [each.name for each in documented()]
    lines = [line for line in text.splitlines() if line.startswith("# TYPE ")]
    return "\n".join(sorted(lines, key=lambda line: known.index(line.split()[2]) if line.split()[2] in known else 999))


# Values


def test_messages_operations_and_ages(client: Client, clock: FakeClock) -> None:
    client.produce("a", "b", "c", queue="mail")
    client.produce("d", queue="mail", delay=60)
    clock.advance(3)
    [message] = client.consume("max=1", queue="mail")
    client("POST", "/queues/mail/messages/delete", json={"receipts": [message["receipt"]]})
    client.consume("max=1&visibility_timeout=10", queue="mail")
    found = scrape(client)
    counts = {
        status: found("wonderq_queue_messages", queue="mail", status=status)
        for status in found.labels("wonderq_queue_messages", "status")
    }
    assert counts == {"unprocessed": 1, "processing": 1, "delayed": 1, "buried": 0}
    assert found("wonderq_queue_oldest_age_seconds", queue="mail") == 3
    assert found("wonderq_queue_oldest_age_seconds", queue="default") == 0
    assert found("wonderq_queue_bytes", queue="mail") > 0
    assert found("wonderq_queues") == 2
    assert found("wonderq_operations_total", operation="claim", queue="mail") == 2
    assert found("wonderq_messages_total", operation="produce", queue="mail") == 4
    assert found("wonderq_message_time_to_claim_seconds_bucket", le="2.5", queue="mail") == 0
    assert found("wonderq_message_time_to_claim_seconds_bucket", le="5.0", queue="mail") == 2
    assert found("wonderq_message_time_to_claim_seconds_sum", queue="mail") == 6
    assert found("wonderq_message_lifetime_seconds_count", queue="mail") == 1
    clock.advance(10)
    found = scrape(client)
    assert found("wonderq_messages_total", operation="claim_timeout", queue="mail") == 1
    assert found("wonderq_queue_messages", queue="mail", status="unprocessed") == 2


def test_refusals_by_code_but_not_those_within_a_batch(client: Client) -> None:
    client.produce("x")
    before = scrape(client).samples
    client("POST", "/messages/delete", json={"receipts": ["x"], "ids": ["y"]})
    client("POST", "/messages/delete", json={"ids": ["nothing", "nothing either"]})
    client("POST", "/messages/produce", json={"massage": "x"})
    client("GET", "/nowhere")
    after = scrape(client).samples
    changed = {
        dict(labels)["code"]: value - before.get((name, labels), 0)
        for (name, labels), value in after.items()
        if name == "wonderq_refusals_total" and value != before.get((name, labels))
    }
    assert changed == {"unknown_field": 1, "path_not_found": 1, "ambiguous_request": 1}


def test_many_queues_are_told_of_in_bounded_size(client: Client) -> None:
    for number in range(NAMED_QUEUES + 50):
        client.produce("x", "y", queue=f"q-{number}")
    found = scrape(client)
    for name in ("wonderq_queue_messages", "wonderq_messages_total", "wonderq_message_time_to_claim_seconds_bucket"):
        assert len(found.labels(name, "queue")) == NAMED_QUEUES + 1
    assert found("wonderq_queues") == NAMED_QUEUES + 51
    unnamed = 51  # the default queue has a name too
    assert found("wonderq_queue_messages", queue=OTHER_QUEUES, status="unprocessed") == 2 * unnamed
    assert found("wonderq_messages_total", queue=OTHER_QUEUES, operation="produce") == 2 * unnamed
    # Long families are written in pieces, and still have one head each.
    heads = re.findall(r"^# TYPE (\w+)", found.text, re.MULTILINE)
    assert len(heads) == len(set(heads))
    names = [
        re.split(r"[ {]", line.removeprefix("# HELP ").removeprefix("# TYPE "))[0] for line in found.text.splitlines()
    ]
    families = [re.sub("_(bucket|sum|count)$", "", name) for name in names]
    assert len(heads) == 1 + sum(earlier != later for earlier, later in pairwise(families))


def test_queues_under_a_name_that_no_queue_can_have(client: Client) -> None:
    assert client("PUT", f"/queues/{OTHER_QUEUES}").json["error"]["code"] == "invalid_queue_name"


def test_it_takes_no_fields(client: Client) -> None:
    assert client("GET", "/metrics?name=x").json["error"]["code"] == "unknown_field"
    assert client("POST", "/metrics").status_code == 405


# After any history


def test_after_damage(client: Client, broker: Broker) -> None:
    client.produce("x")
    assert (scrape(client)("wonderq_ready"), scrape(client)("wonderq_damaged")) == (1, 0)
    assert isinstance(broker.mark_damaged("a file", 1, "a test says so"), CorruptLogError)
    found = scrape(client)
    assert (found("wonderq_ready"), found("wonderq_damaged")) == (0, 1)
    assert found("wonderq_queue_messages", queue="default", status="unprocessed") == 1


def test_when_shutting_down(client: Client, broker: Broker) -> None:
    broker.stop_claiming()
    assert scrape(client)("wonderq_ready") == 0


# Metrics of the server


@pytest.fixture
def served(broker: Broker) -> Iterator[ServedBroker]:
    with serving(broker, connections=20) as served:
        yield served


def test_of_log_and_server(running: RunningBroker) -> None:
    wire = Wire(running.host, running.port)
    before = scrape(wire)
    for _ in range(3):
        assert wire("POST", "/messages/produce", json={"messages": ["x" * 1000] * 10}).status == 201
    found = scrape(wire)
    assert found("wonderq_log_group_records_sum") - before("wonderq_log_group_records_sum") >= 3
    assert found("wonderq_log_group_bytes_sum") - before("wonderq_log_group_bytes_sum") > 30_000
    assert found("wonderq_log_sync_duration_seconds_count") > before("wonderq_log_sync_duration_seconds_count")
    assert found("wonderq_log_sync_duration_seconds_sum") > 0
    assert found("wonderq_log_bytes", kind="live") > 30_000
    assert found("wonderq_log_disk_bytes") >= 64 << 20
    assert found("wonderq_log_segments") == 1
    assert found("wonderq_disk_free_bytes") > 0
    assert found("wonderq_checkpoint_lag_bytes") > 30_000
    assert found("wonderq_connections") >= 1
    assert found("wonderq_connections_limit") == 2000
    assert found("wonderq_connections_accepted_total") - before("wonderq_connections_accepted_total") == 4
    assert found("process_resident_memory_bytes") > 1 << 20


def test_a_log_without_files_has_no_figures_of_files() -> None:
    log = MemoryLog()
    broker = Broker(log)
    broker.produce("default", ["x" * 1000])
    log.room_bytes = 12_345
    registry = CollectorRegistry()
    counters = LogCounters()
    registry.register(LogCollector(log, counters, broker))
    found = Scrape(generate_latest(registry).decode())
    assert found("wonderq_disk_free_bytes") == 12_345
    assert found("wonderq_log_bytes", kind="live") + found("wonderq_log_bytes", kind="dead") == log.used_bytes() > 1000
    assert {name for name, _ in found.samples} & {"wonderq_log_disk_bytes", "wonderq_log_segments"} == set()
    vitals = ProcessVitals(log, counters, 10).read()
    assert (vitals.disk_free_bytes, vitals.log_bytes) == (12_345, log.used_bytes())
    assert (vitals.log_disk_bytes, vitals.segments) == (None, None)


def requests(served: ServedBroker) -> dict[tuple[str, str, str], int]:
    return {kind: sum(histogram.counts) for kind, histogram in served.server.counters.by_kind.items()}


def test_requests_by_method_route_and_status(served: ServedBroker) -> None:
    served("POST", "/messages/produce", json={"message": "x"})
    served("POST", "/queues/a/messages/produce", json={"message": "x"})
    served("POST", "/queues/b/messages/produce", json={"message": "x"})
    served("GET", "/queues/a/messages/0123")
    served("GET", "/dev/messages")
    served("GET", "/nowhere")
    served("DELETE", "/queues")
    served.send(b"garbage\r\n\r\n")
    for method in ("INVENTED", "BREW"):
        served(method, "/queues")
    assert requests(served) == {
        ("POST", "/messages/produce", "201"): 1,
        ("POST", "/queues/{queue}/messages/produce", "201"): 2,
        ("GET", "/queues/{queue}/messages/{message_id}", "404"): 1,
        ("GET", "/dev/messages", "200"): 1,
        ("GET", "none", "404"): 1,
        ("DELETE", "/queues", "405"): 1,
        ("other", "none", "400"): 1,
        ("other", "/queues", "400"): 2,
    }


def test_requests_of_invented_methods_are_not_remembered_by_name(served: ServedBroker) -> None:
    for number in range(50):
        served("X" + "ABCDEFGHIJ"[number % 10] + "KLMNO"[number // 10], "/queues")
    assert len(requests(served)) == len(served.server.counters._cached) + 1 == 1


def test_how_long_a_request_takes(served: ServedBroker) -> None:
    with served.connect() as connection:
        connection.sendall(request("GET", "/messages/consume?wait=0.3"))
        read_reply(connection)
    [histogram] = served.server.counters.by_kind.values()
    assert 0.25 < histogram.total < 20
    assert sum(histogram.counts[:9]) == 0, "it took more than a quarter of a second"


def test_connections_that_are_refused(served: ServedBroker) -> None:
    counters = served.server.counters
    connections = []
    try:
        for _ in range(20):
            connection = served.connect()
            connection.sendall(request("GET", "/messages/consume?wait=20"))
            connections.append(connection)
        served.wait_for_waiting(20)
        with served.connect() as another:
            assert read_reply(another).status == 503
        assert (counters.accepted, counters.refused) == (20, 1)
        assert served.broker.waiting_consumers == 20
    finally:
        for connection in connections:
            connection.close()


# Names of requests


NAME = re.compile(r"[0-9a-f]{12}-[0-9a-f]+")


def named(served: ServedBroker, *headers: str, target: str = "/healthz") -> str:
    head = "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: x", *headers))
    return served.send(head.encode() + b"\r\n").headers["x-request-id"]


def test_each_answer_has_the_name_of_its_request(served: ServedBroker) -> None:
    names = [named(served, target=target) for target in ("/healthz", "/nowhere", "/dev/messages", "/%zz")]
    names.append(served.send(b"garbage\r\n\r\n").headers["x-request-id"])
    assert all(NAME.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("given", ["x", "01234567-89ab-cdef-0123-456789abcdef", "A.b_c-9" * 5])
def test_a_client_may_name_its_request(served: ServedBroker, given: str) -> None:
    assert named(served, f"X-Request-Id: {given}") == given
    assert named(served, f"x-request-id:  {given} ", target="/nowhere") == given


@pytest.mark.parametrize("given", ["", "x" * 37, "0" * 40, "a b", "a,b", "a/b", "\xe4", 'x"y', "a:b"])
def test_what_is_no_name_is_replaced(served: ServedBroker, given: str) -> None:
    data = f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: {given}\r\n\r\n".encode("latin-1")
    assert NAME.fullmatch(served.send(data).headers["x-request-id"])


def test_two_names_are_none(served: ServedBroker) -> None:
    assert NAME.fullmatch(named(served, "X-Request-Id: a", "X-Request-Id: b"))


def test_requests_in_a_row_keep_their_names(served: ServedBroker) -> None:
    names = ["one", "two", "three"]
    with served.connect() as connection, connection.makefile("rb") as answers:
        for name in names:
            end = "Connection: close\r\n" if name == names[-1] else ""
            connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n{end}\r\n".encode())
        assert re.findall(r"X-Request-Id: (\w+)", answers.read().decode()) == names


# Others have their turn


def test_other_requests_are_answered_while_metrics_are_written(broker: Broker) -> None:
    begun, answered = threading.Event(), threading.Event()

    class Slow(Collector):
        """A collector that produces output until another client was answered."""

        def collect(self) -> Iterator[Metric]:
            begun.set()
            end = time.monotonic() + PATIENCE_S
            number = 0
            while not answered.is_set() and time.monotonic() < end:
                number += 1
                time.sleep(0.001)
                yield GaugeMetricFamily(f"wonderq_test_{number}", "One of many.", answered.is_set())

    registry = CollectorRegistry()
    registry.register(Slow())
    with serving(broker, create_app(broker, registry=registry)) as served, served.connect() as one:
        one.sendall(request("GET", "/metrics"))
        assert begun.wait(PATIENCE_S)
        assert served("GET", "/healthz").status == 200
        assert begun.is_set()
        was_done = select.select([one], [], [], 0)[0]
        answered.set()
        assert not was_done
        assert read_reply(one).status == 200


def test_all_queues_are_looked_at_a_few_at_a_time(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_CHUNK_QUEUES", 10)
    names = ["default", *(f"q-{number}" for number in range(35))]
    for name in names[1:]:
        broker.produce(name, ["x"])
    held: list[bool] = []
    monkeypatch.setattr(queries, "yield_to_others", lambda: held.append(broker.core.lock.locked()))
    seen = []
    for info in broker.queue_stats():
        seen.append(info.name)
        if info.name == "q-20":
            broker.drop_queue("q-34")
    assert seen == names[:-1]
    assert held == [False] * 4


# The clock


class HeldClock(FakeClock):
    """A clock that is held, in the year 2023."""

    @property
    def is_held(self) -> bool:
        return True

    @property
    def problem(self) -> str | None:
        return "The time is doubtful."


def test_a_doubtful_clock_is_reported_in_readiness_and_metrics(tmp_path: Path) -> None:
    broker = Broker(FileLog(tmp_path / "log"), clock=HeldClock())
    client = Client(broker)
    assert client.get("/readyz") == {"status": "ready", "warnings": ["The time is doubtful."]}
    assert client.get("/healthz") == {"status": "ok"}
    found = scrape(client)
    assert found("wonderq_clock_held") == 1
    assert found("wonderq_clock_ahead_seconds") < -86_400
    assert found("wonderq_ready") == 1
    broker.close()


# Waiting and dead letters


def test_the_wait_of_the_oldest_message_leaves_out_delays_and_claims(client: Client, clock: FakeClock) -> None:
    def waits() -> float:
        return scrape(client)("wonderq_queue_oldest_waiting_seconds", queue="q")

    client.produce("delayed", queue="q", delay=7200)
    assert waits() == 0
    clock.advance(7200)
    assert waits() == 0, "it is available since now"
    clock.advance(5)
    assert waits() == 5
    client.produce("plain", queue="q")
    client.consume("max=1&visibility_timeout=60", queue="q")
    clock.advance(3)
    assert waits() == 3, "of the other message"
    clock.advance(60)
    assert waits() == 63, "both wait, and the older one could first be claimed 68 s ago, but was claimed 63 s ago"
    assert scrape(client)("wonderq_queue_oldest_age_seconds", queue="q") == 7268


def test_the_wait_of_messages_in_lanes(client: Client, clock: FakeClock) -> None:
    client.produce({"message": "a", "priority": 3}, queue="q")
    clock.advance(4)
    client.produce("b", queue="q")
    assert scrape(client)("wonderq_queue_oldest_waiting_seconds", queue="q") == 4


def test_dead_letters_are_counted_whether_moved_or_buried(client: Client, clock: FakeClock) -> None:
    client("PUT", "/queues/buries", json={"max_receives": 1})
    client("PUT", "/queues/moves", json={"max_receives": 1, "dead_letter_queue": "dead"})
    for queue in ("buries", "moves"):
        client.produce("a", "b", queue=queue)
        client.consume("visibility_timeout=1", queue=queue)
    clock.advance(1)
    for queue in ("buries", "moves"):
        assert client.consume(queue=queue) == []
    found = scrape(client)
    dead = {queue: found("wonderq_dead_letters_total", queue=queue) for queue in ("buries", "moves", "dead")}
    assert dead == {"buries": 2, "moves": 2, "dead": 0}
    client("POST", "/queues/dead/redrive", json={})
    client.broker.redrives.run()
    assert scrape(client)("wonderq_messages_total", operation="transfer", queue="dead") == 2
    assert scrape(client)("wonderq_dead_letters_total", queue="dead") == 0, "a redrive makes no dead letters"


def test_each_help_text_has_the_unit(running: RunningBroker) -> None:
    """The text says what is counted: a number of things, bytes, seconds, a time, or 1 and 0."""
    text = scrape(Wire(running.host, running.port)).text
    helps = re.findall(r"^# HELP (wonderq_\w+) (.*)$", text, re.MULTILINE)
    assert len(helps) > 30
    for name, said in helps:
        assert said.endswith("."), name
        if name.endswith(("_seconds", "_timestamp_seconds")):
            assert re.match("Seconds |Time .* in seconds", said), f"{name}: {said}"
        elif "_bytes" in name:
            assert re.match("Bytes |Free bytes ", said), f"{name}: {said}"
        else:
            assert re.match("Number |Maximum number |(Always )?1", said), f"{name}: {said}"


def test_what_is_published_is_counted_by_topic(client: Client) -> None:
    for queue in ("a", "b"):
        client.broker.put_queue(queue)
    for topic in ("orders", "events"):
        client("PUT", f"/topics/{topic}", json={})
        for queue in ("a", "b"):
            client("PUT", f"/topics/{topic}/subscriptions/{queue}", json={"queue": queue, "when_full": "skip"})
    client.broker.put_queue("b", draining=True)
    client("POST", "/topics/orders/publish", json={"messages": ["x", "y"]})
    found = scrape(client)
    assert found("wonderq_topics") == 2
    for operation in ("publish", "deliver", "skip"):
        assert found("wonderq_topic_messages_total", operation=operation, topic="orders") == 2
    for number in range(101):
        client.broker.topics.put(f"t{number}")
        client("POST", f"/topics/t{number}/publish", json={"message": "x"})
    found = scrape(client)
    assert len(found.labels("wonderq_topic_messages_total", "topic")) == 101
    others = [name for name in found.labels("wonderq_topic_messages_total", "topic") if name == "(others)"]
    assert [found("wonderq_topic_messages_total", operation="publish", topic=name) for name in others] == [3]
