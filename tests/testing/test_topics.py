"""Functions of topics with the broker of `wonderq.testing`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wonderq import App
from wonderq.testing import Broker

app = App(queue="billing", name="shop")
done: list[tuple[str, int]] = []


@app.on("orders", filter={"kind": ["paid"]}, retries=1, backoff=(5, 5))
def invoice(order: dict[str, int]) -> None:
    done.append(("invoice", order["number"]))
    if len(done) == 1:
        raise OSError("no printer")


@app.on("orders")
def audit(text: str) -> None:
    done.append((text, 0))


@pytest.fixture(autouse=True)
def running(wonderq_broker: Broker) -> Iterator[Broker]:
    done.clear()
    app.prepare()
    yield wonderq_broker
    app.close()


def test_functions_run_in_the_test(running: Broker) -> None:
    [paid, new] = app.client.topic("orders").publish_together(
        [({"number": 1}, {"attributes": {"kind": "paid"}}), ({"number": 2}, {"attributes": {"kind": "new"}})]
    )
    assert (paid.queues, new.queues) == (2, 1)
    with pytest.raises(OSError, match="no printer"):
        app.run_until_empty()
    assert app.run_until_empty() == 2
    running.advance(5)
    assert app.run_until_empty() == 1
    assert done == [("invoice", 1), ('{"number":1}', 0), ('{"number":2}', 0), ("invoice", 1)]


def test_each_test_has_subscriptions_of_its_own(running: Broker) -> None:
    topic = running.client().topic("orders")
    assert [(each.name, each.queue) for each in topic.subscriptions()] == [
        ("shop-audit", "shop-audit"),
        ("shop-invoice", "shop-invoice"),
    ]
    assert app.client.queue("shop-invoice").count("unprocessed") == 0
