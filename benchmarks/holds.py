"""Measure how long one request, or one moment, holds up all others: `python -m benchmarks.holds`.

Each situation is built on a broker of its own: many queues, groups, deadlines or poisoned messages, or bodies that are
made to be slow. Then one client acts, while a prober in a process of its own asks for ``/healthz`` all the time. A hold
is the longest time that the prober waited for an answer. The column "idle" has the same figure of the same broker
without the action: the machine's noise.

The exit status is 1 if a hold exceeds its bound by more than the noise.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from benchmarks.servers import broker, running

ORDINARY_MS, HOSTILE_MS = 20, 50
_PROBE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_IDLE_S = 3.0
_BODY_BYTES = 33 << 20


class Api:
    """A client of one broker, which takes any answer."""

    def __init__(self, url: str, timeout_s: float = 600) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)

    def send(self, method: str, target: str, body: bytes | None = None, **headers: str) -> bytes:
        """Make a request and return the body of the response, whatever its status is."""
        given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        try:
            self._connection.request(method, target, body, given)
            return self._connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the broker refused the request before it was sent
            return b""

    def __call__(self, method: str, target: str, fields: Any = None) -> Any:
        """Make a request that succeeds, and return its answer."""
        answer = json.loads(self.send(method, target, None if fields is None else msgspec.json.encode(fields)))
        assert not isinstance(answer, dict) or answer.get("success", True), answer
        return answer


def _probe(address: tuple[str, int], orders: Connection) -> None:
    """Ask for an answer all the time. On each order, tell the longest wait since the one before, in seconds."""
    with socket.create_connection(address) as connection:
        longest = 0.0
        while True:
            if orders.poll():
                if orders.recv() is None:
                    return
                orders.send(longest)
                longest = 0.0
            began = time.perf_counter()
            connection.sendall(_PROBE)
            received = connection.recv(1 << 16)
            while not received.endswith(b"}\n"):
                received += connection.recv(1 << 16)
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.001)


class Prober:
    """A process that measures how long answers take."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._orders, theirs = multiprocessing.Pipe()
        address = str(parts.hostname), parts.port or 80
        self._process = multiprocessing.get_context("spawn").Process(target=_probe, args=(address, theirs), daemon=True)
        self._process.start()
        self.longest_ms()

    def longest_ms(self) -> float:
        """Return the longest wait since the last call, in ms."""
        self._orders.send(True)
        return float(self._orders.recv()) * 1000

    def close(self) -> None:
        self._orders.send(None)
        self._process.join()


class Situation(NamedTuple):
    """Contents of a broker, and the actions of a client."""

    name: str
    prepare: Callable[[Api, float], None]
    """Fill a broker; the second argument is the scale."""
    actions: dict[str, Callable[[Api], object]]
    bound_ms: int = ORDINARY_MS


# Contents


def produce(api: Api, count: int, make: Callable[[int], Any], queue: str = "q") -> None:
    """Produce messages in batches of 1000. ``make`` returns the message with a number."""
    for first in range(0, count, 1000):
        messages = [make(number) for number in range(first, min(first + 1000, count))]
        api("POST", f"/queues/{queue}/messages/produce", {"messages": messages})


def claim(api: Api, count: int, timeout_s: float, queue: str = "q") -> None:
    """Claim messages in batches of 1000."""
    for _ in range(0, count, 1000):
        api("POST", f"/queues/{queue}/messages/consume", {"max": 1000, "visibility_timeout": timeout_s})


def many_queues(api: Api, scale: float) -> None:
    tags = {f"tag-{number}": "x" * 100 for number in range(20)}
    for number in range(int(9_900 * scale)):
        api("PUT", f"/queues/q-{number}", {"tags": tags})


def many_groups(api: Api, scale: float) -> None:
    produce(api, int(1_000_000 * scale), lambda number: {"message": "x", "group": str(number)})


def grouped_claims(api: Api, scale: float) -> None:
    count = int(300_000 * scale)
    produce(api, count, lambda number: {"message": "x", "group": str(number % 10_000)})
    claim(api, count, max(1.0, 60 * scale))


def due_together(api: Api, scale: float) -> None:
    due_s = time.time() + max(2.0, 90 * scale)
    produce(api, int(1_000_000 * scale), lambda _: {"message": "x", "deliver_at": _time(due_s)})
    time.sleep(max(0.0, due_s - time.time() - 1))


def due_one_by_one(api: Api, scale: float) -> None:
    """Each message has a millisecond of its own in its batch, and all are due within a second."""
    due_s = time.time() + max(2.0, 120 * scale)
    produce(
        api,
        int(1_000_000 * scale),
        lambda number: {"message": "x", "deliver_at": _time(due_s + number % 1000 / 1000)},
    )
    time.sleep(max(0.0, due_s - time.time() - 1))


def _time(seconds: float) -> str:
    whole, rest = divmod(round(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{rest:03}Z"


def plain(api: Api, scale: float) -> None:
    produce(api, int(1_000_000 * scale), lambda _: "x")


def poisoned(api: Api, scale: float) -> None:
    count = int(100_000 * scale)
    api("PUT", "/queues/q", {"max_receives": 1, "dead_letter_queue": "dead"})
    produce(api, count, lambda _: "x")
    claim(api, count, max(1.0, 20 * scale))
    time.sleep(max(1.0, 20 * scale))


def attributes(api: Api, scale: float) -> None:
    given = {f"name-{number}": "value" for number in range(30)}
    produce(api, int(15_000 * scale), lambda _: {"message": "x", "attributes": given})


def nothing(_api: Api, _scale: float) -> None:
    """Leave the broker empty."""


# Actions


def wait_until_due(api: Api) -> None:
    """Consume until the messages that become due have arrived."""
    for _ in range(200):
        if api("POST", "/queues/q/messages/consume", {"max": 10, "wait": 2}):
            break
    time.sleep(2)


def delete_queue(api: Api) -> None:
    api("DELETE", "/queues/q")
    time.sleep(5)


def configure(api: Api, **settings: Any) -> None:
    api("PUT", "/queues/q", settings)
    time.sleep(2)


def retain(api: Api) -> None:
    api("PUT", "/queues/q", {"retention": 0.001})
    for _ in range(600):
        if not any(api("GET", "/queues/q")["counts"].values()):
            return
        time.sleep(0.1)


def repeated(piece: bytes, before: bytes, after: bytes) -> bytes:
    """Return a body of the largest size that the broker accepts, made of one piece."""
    count = (_BODY_BYTES - len(before) - len(after)) // (len(piece) + 1)
    return before + b",".join([piece] * count) + after


JSON_BODIES = {
    "update: empty ids": ("/messages/update", b'{"id":""}', b'{"entries":[', b"]}"),
    "delete: empty receipts": ("/messages/delete", b'""', b'{"receipts":[', b"]}"),
    "produce: empty texts": ("/messages/produce", b'""', b'{"messages":[', b"]}"),
    "produce: attributes": ("/messages/produce", b'{"message":"","attributes":{"a":1}}', b'{"messages":[', b"]}"),
    "produce: nested arrays": ("/messages/produce", b"[]", b'{"messages":[', b"]}"),
    "produce: unknown fields": ("/messages/produce", b'"a":1', b'{"message":"x",', b"}"),
    "hand over: empty outputs": ("/messages/hand-over", b"{}", b'{"receipts":["x"],"produce":[', b"]}"),
    "consume: unknown fields": ("/messages/consume", b'"a":1', b"{", b"}"),
}


def send_json(kind: str, api: Api) -> None:
    path, *parts = JSON_BODIES[kind]
    api.send("POST", path, repeated(*parts))


def many_names(api: Api) -> None:
    names = b",".join(b'"%x":1' % number for number in range(2_900_000))[: _BODY_BYTES - 100].rpartition(b",")[0]
    api.send("POST", "/messages/produce", b'{"message":"x","attributes":{' + names + b"}}")


def send_msgpack(api: Api) -> None:
    count = _BODY_BYTES - 100
    body = b"\x81\xa8messages\xdd" + count.to_bytes(4) + b"\xa0" * count
    api.send("POST", "/messages/produce", body, Content_Type="application/msgpack")


def send_form(api: Api) -> None:
    body = b"Action=" + b"%41" * ((_BODY_BYTES - 7) // 3)
    api.send("POST", "/", body, Content_Type="application/x-www-form-urlencoded")


def send_pairs(api: Api) -> None:
    body = b"&".join(b"a%d=" % number for number in range(3_000_000))[:_BODY_BYTES]
    api.send("POST", "/", body, Content_Type="application/x-www-form-urlencoded")


def send_sqs(api: Api) -> None:
    body = repeated(b"[]", b'{"QueueUrl":"q","Entries":[', b"]}")
    target = "AmazonSQS.SendMessageBatch"
    api.send("POST", "/", body, Content_Type="application/x-amz-json-1.0", X_Amz_Target=target)


SITUATIONS = [
    Situation(
        "queues",
        many_queues,
        {
            "GET /queues": lambda api: api.send("GET", "/queues"),
            "GET /queues in msgpack": lambda api: api.send("GET", "/queues", Accept="application/msgpack"),
            "GET /metrics": lambda api: api.send("GET", "/metrics"),
            "ListQueues": lambda api: api.send(
                "POST", "/", b"Action=ListQueues", Content_Type="application/x-www-form-urlencoded"
            ),
            "housekeeping": lambda _: time.sleep(5),
        },
    ),
    Situation(
        "groups",
        many_groups,
        {
            "consume": lambda api: api("POST", "/queues/q/messages/consume", {"max": 1000}),
            "limit of a group": lambda api: configure(api, max_in_flight_per_group=2),
            "checkpoint": lambda _: time.sleep(5),
            "purge": lambda api: api("POST", "/queues/q/purge"),
        },
    ),
    Situation("groups to delete", many_groups, {"delete the queue": delete_queue}),
    Situation("claims of groups", grouped_claims, {"expiry": wait_until_due}),
    Situation("deadlines at one moment", due_together, {"become due": wait_until_due}),
    Situation("deadlines of their own", due_one_by_one, {"become due": wait_until_due}),
    Situation("messages", plain, {"retention": retain}),
    Situation("messages to purge", plain, {"purge": lambda api: api("POST", "/queues/q/purge")}),
    Situation(
        "poisoned messages", poisoned, {"consume": lambda api: api("POST", "/queues/q/messages/consume", {"wait": 2})}
    ),
    Situation(
        "attributes",
        attributes,
        {
            "filtered listing": lambda api: api.send("GET", "/queues/q/dev/messages?contains=none"),
            "listing": lambda api: api.send("GET", "/queues/q/dev/messages"),
        },
    ),
    Situation(
        "bodies",
        nothing,
        {
            **{kind: partial(send_json, kind) for kind in JSON_BODIES},
            "produce: attribute names": many_names,
            "produce: msgpack": send_msgpack,
            "SQS form: one long value": send_form,
            "SQS form: many names": send_pairs,
            "SQS JSON: nested arrays": send_sqs,
        },
        HOSTILE_MS,
    ),
]


@contextmanager
def probing(url: str) -> Iterator[Prober]:
    prober = Prober(url)
    try:
        yield prober
    finally:
        prober.close()


def measure(situation: Situation, scale: float, wanted: str) -> bool:
    """Measure the actions of a situation, and print a line for each; return whether all are within their bound."""
    is_good = True
    with tempfile.TemporaryDirectory(prefix="wonderq-holds-") as name, running(*broker(Path(name) / "data")) as server:
        api = Api(server.url)
        situation.prepare(api, scale)
        with probing(server.url) as prober:
            for action, act in situation.actions.items():
                if wanted not in f"{situation.name}: {action}":
                    continue
                time.sleep(1)
                prober.longest_ms()
                time.sleep(_IDLE_S)
                idle_ms = prober.longest_ms()
                began = time.perf_counter()
                act(api)
                took_s = time.perf_counter() - began
                hold_ms = prober.longest_ms()
                fits = hold_ms <= situation.bound_ms + idle_ms
                is_good = is_good and fits
                line = f"{situation.name}: {action}"
                verdict = "" if fits else "  exceeds its bound"
                print(f"{line:44}{hold_ms:9.1f}{idle_ms:9.1f}{situation.bound_ms:7}{took_s:9.1f}{verdict}", flush=True)
    return is_good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.holds", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 builds a million of everything, and 10,000 queues")
    parser.add_argument("--only", default="", help="run only the actions with this text in their names")
    chosen = parser.parse_args()
    print(f"{'':44}{'hold ms':>9}{'idle ms':>9}{'bound':>7}{'took s':>9}")
    found = [
        measure(each, chosen.scale, chosen.only)
        for each in SITUATIONS
        if any(chosen.only in f"{each.name}: {action}" for action in each.actions)
    ]
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
