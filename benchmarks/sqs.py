"""Compare the SQS endpoint with the REST API: `python -m benchmarks.sqs [--rounds R]`.

All sides do the same on one broker in turn: produce, and claim and delete, one message per request over 64
connections. Requests have only the headers that they need; those of another side have all that an SDK sends, with a
signature. Prints medians of the requests per second and of the processor time of the broker per request, and the
medians of their ratios to the REST API in each round.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from benchmarks import load
from benchmarks.load import Script
from benchmarks.scripts import consumer, producer
from benchmarks.servers import RunningServer, broker, running

CONNECTIONS, REQUESTS, BODY_BYTES = 64, 8000, 100

REST, SQS, SDK = "REST", "SQS", "SQS, headers of an SDK"

_SDK_HEADERS = (
    "X-Amzn-Query-Mode: true\r\n"
    "User-Agent: Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.2\r\n"
    "X-Amz-Date: 20260101T000000Z\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/sqs/aws4_request, "
    f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={'0' * 64}\r\n"
    "amz-sdk-invocation-id: 01234567-89ab-4def-8123-456789abcdef\r\namz-sdk-request: attempt=1\r\n"
)


def request(action: str, parameters: dict[str, Any], headers: str = "") -> bytes:
    """Return a request of SQS as bytes."""
    body = msgspec.json.encode({"QueueUrl": "http://localhost/000000000000/default", **parameters})
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.{action}\r\n{headers}"
    return f"{head}Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def sqs_producer(headers: str = "") -> Script:
    data = request("SendMessage", {"MessageBody": "x" * BODY_BYTES}, headers)
    return lambda _answer: data


def sqs_consumer(headers: str = "") -> Script:
    """Return a script that receives and deletes in turn."""
    receive = request("ReceiveMessage", {"MaxNumberOfMessages": 1}, headers)
    turn = 0

    def ask(answer: bytes) -> bytes:
        nonlocal turn
        turn += 1
        if turn % 2:
            return receive
        [message] = msgspec.json.decode(answer)["Messages"]
        return request("DeleteMessage", {"ReceiptHandle": message["ReceiptHandle"]}, headers)

    return ask


class Figures(NamedTuple):
    """Results of one side in one round: requests per second, and microseconds of processor time per request."""

    produce_rate: float
    produce_us: float
    consume_rate: float
    consume_us: float


def measure(server: RunningServer, producers: list[Script], consumers: list[Script]) -> Figures:
    """Produce messages, and claim and delete all of them."""
    figures: list[float] = []
    for scripts, requests in ((producers, REQUESTS), (consumers, 2 * REQUESTS - 2 * CONNECTIONS)):
        began_s = server.cpu_s()
        rate = load.run(server.url, scripts, requests=requests).rate
        figures += [rate, (server.cpu_s() - began_s) / requests * 1e6]
    return Figures(*figures)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sqs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    sides: dict[str, tuple[Callable[[], Script], Callable[[], Script]]] = {
        REST: (producer, consumer),
        SQS: (sqs_producer, sqs_consumer),
        SDK: (lambda: sqs_producer(_SDK_HEADERS), lambda: sqs_consumer(_SDK_HEADERS)),
    }
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(prefix="wonderq-sqs-") as name, running(*broker(Path(name))) as server:
        for number in range(rounds):
            for side in sides if number % 2 else reversed(sides):
                producers, consumers = ([make() for _ in range(CONNECTIONS)] for make in sides[side])
                found[side].append(measure(server, producers, consumers))
    print(f"{CONNECTIONS} connections, one message of {BODY_BYTES} bytes per request, {rounds} rounds")
    print(f"{'':34}{'produce/s':>11}{'CPU us':>8}{'claim, delete/s':>17}{'CPU us':>8}")
    for side, figures in found.items():
        rate, us, consume_rate, consume_us = (median(column) for column in zip(*figures, strict=True))
        print(f"{side:34}{rate:11,.0f}{us:8.0f}{consume_rate:17,.0f}{consume_us:8.0f}")
    for side in (SQS, SDK):
        ratios = [
            [ours / rest for ours, rest in zip(*pair, strict=True)]
            for pair in zip(found[side], found[REST], strict=True)
        ]
        rate, us, consume_rate, consume_us = (median(column) for column in zip(*ratios, strict=True))
        print(f"{side + ', of REST':34}{rate:11.0%}{us:8.0%}{consume_rate:17.0%}{consume_us:8.0%}")


if __name__ == "__main__":
    main()
