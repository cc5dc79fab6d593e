"""Publish over SNS, compared with the REST API: `python -m benchmarks.sns [--rounds R]`.

All sides publish messages of 100 bytes to the same topics of one broker, in turn, over 64 connections: one message per
request, or ten. Requests have only the headers that they need. The topics have 1, 10 and 100 queues. Prints medians of
the published messages per second, of the processor time of the broker per message, and of the ratio to REST in each
round. The queues are purged after each measurement.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from benchmarks import load
from benchmarks.scripts import JSON
from benchmarks.servers import RunningServer, broker, running
from wonderq.client.sync import Client

CONNECTIONS, REQUESTS, BODY_BYTES = 64, 1500, 100

QUEUES = (1, 10, 100)
BATCHES = (1, 10)

_BODY = "x" * BODY_BYTES


class Side(NamedTuple):
    """A request that publishes."""

    queues: int
    batch: int
    data: bytes


class Figures(NamedTuple):
    """Results of one side in one round: messages per second, and microseconds of processor time per message."""

    rate: float
    us: float


def _request(path: str, media_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def _rest(topic: str, batch: int) -> bytes:
    value = {"message": _BODY} if batch == 1 else {"messages": [_BODY] * batch}
    return _request(f"/topics/{topic}/publish", JSON, msgspec.json.encode(value))


def _sns(topic: str, batch: int) -> bytes:
    fields = {"Version": "2010-03-31", "TopicArn": f"arn:aws:sns:us-east-1:000000000000:{topic}"}
    if batch == 1:
        fields |= {"Action": "Publish", "Message": _BODY}
    else:
        fields["Action"] = "PublishBatch"
        for number in range(1, batch + 1):
            entry = f"PublishBatchRequestEntries.member.{number}"
            fields |= {f"{entry}.Id": str(number), f"{entry}.Message": _BODY}
    return _request("/", "application/x-www-form-urlencoded", urlencode(fields).encode())


def set_up(client: Client) -> None:
    """Create the topics and their queues."""
    for count in QUEUES:
        topic = client.topic(f"to-{count}")
        topic.configure()
        for number in range(count):
            client.queue(f"to-{count}-{number}").configure()
            topic.subscribe(f"s{number}", f"to-{count}-{number}")


def measure(server: RunningServer, client: Client, side: Side) -> Figures:
    """Publish, and purge the queues."""
    requests = max(REQUESTS // side.queues, 4 * CONNECTIONS)
    began_s = server.cpu_s()
    rate = load.run(server.url, [lambda _: side.data] * CONNECTIONS, requests=requests).rate
    used_s = server.cpu_s() - began_s
    for number in range(side.queues):
        client.queue(f"to-{side.queues}-{number}").purge()
    return Figures(rate * side.batch, used_s / (requests * side.batch) * 1e6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sns", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    sides = {
        (count, batch, name): Side(count, batch, make(f"to-{count}", batch))
        for (count, batch), (name, make) in product(product(QUEUES, BATCHES), (("REST", _rest), ("SNS", _sns)))
    }
    found: dict[tuple[int, int, str], list[Figures]] = {name: [] for name in sides}
    with (
        tempfile.TemporaryDirectory(prefix="wonderq-sns-") as name,
        running(*broker(Path(name))) as server,
        Client(server.url) as client,
    ):
        set_up(client)
        for number in range(rounds):
            for key in sides if number % 2 else reversed(sides):
                found[key].append(measure(server, client, sides[key]))
    print(f"{CONNECTIONS} connections, messages of {BODY_BYTES} bytes, {rounds} rounds")
    print(f"{'':34}{'REST, messages/s':>18}{'CPU us':>8}{'SNS, messages/s':>18}{'CPU us':>8}{'SNS of REST':>13}")
    for count, batch in product(QUEUES, BATCHES):
        rest, sns = found[count, batch, "REST"], found[count, batch, "SNS"]
        ratio = median(theirs.rate / ours.rate for theirs, ours in zip(sns, rest, strict=True))
        figures = "".join(
            f"{median(each.rate for each in side):18,.0f}{median(each.us for each in side):8.0f}"
            for side in (rest, sns)
        )
        what = f"{count} queues, {batch} in a request"
        print(f"{what:34}{figures}{ratio:13.0%}")


if __name__ == "__main__":
    main()
