"""Requests and connections leave no cycles, since nothing frees those that `wonderq.runtime.collector` freezes."""

from __future__ import annotations

import gc
import socket
from collections import Counter

import pytest

from tests.support.http_client import ServedBroker, request, serving
from wonderq.broker.broker import Broker

SQS = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
    b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: 50\r\n\r\n"
    b'{"QueueUrl":"http://localhost/000000000000/empty"}'
)

REQUESTS = {
    "a produce": request("POST", "/messages/produce", json={"message": "x", "group": "g"}),
    "a consume": request("GET", "/messages/consume?max=1"),
    "a poll": request("GET", "/queues/empty/messages/consume?wait=0.01"),
    "a refusal": request("POST", "/messages/produce", json={"message": []}),
    "a short body": request("POST", "/messages/produce", json={"message": "x"})[:-1],
    "no such path": request("GET", "/nowhere"),
    "no HTTP": b"GET\r\n\r\n",
    "a listing": request("GET", "/dev/messages"),
    "an overview": request("GET", "/overview"),
    "metrics": request("GET", "/metrics"),
    "SQS": SQS,
}


def talk(served: ServedBroker, sent: bytes) -> None:
    """Send a request on a connection of its own, and read until its end."""
    with served.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_leaves_no_cycle(broker: Broker, kind: str) -> None:
    with serving(broker) as served:
        served("PUT", "/queues/empty")
        talk(served, REQUESTS[kind])
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(20):
                talk(served, REQUESTS[kind])
            served("GET", "/healthz")  # the server has closed the connections before
            gc.collect()
            left = Counter(type(each).__qualname__ for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert max(left.values(), default=0) < 10, left.most_common()
