"""Functions that are called with the messages of topics (`App.on`), with a real broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.waiting import eventually
from tests.worker.running import running
from wonderq import App, Client, Context, Invalid, Refused


@dataclass
class Order:
    number: int
    amount: float = 0.0


def subscriptions_of(client: Client, topic: str) -> dict[str, str]:
    return {each.name: each.queue for each in client.topic(topic).subscriptions()}


def test_a_function_gets_what_its_filter_chooses(client: Client, name: str) -> None:
    app = App(client=client, queue=name, name=name[:30])
    done: list[Any] = []

    @app.on(name, filter={"kind": ["paid"]})
    def invoice(order: Order, ctx: Context) -> None:
        done.append((order, ctx.name, ctx.message.attributes["kind"]))

    @app.on(name)
    async def audit(text: str) -> None:
        done.append(text)

    @app.task
    def other(number: int) -> None:
        done.append(number)

    app.prepare()
    topic = client.topic(name)
    topic.publish({"number": 1, "amount": 2.5}, attributes={"kind": "paid"})
    topic.publish("hello", attributes={"kind": "new"})
    other.send(7)
    with running(app.worker()):
        eventually(lambda: len(done) == 4)
        eventually(lambda: not any(client.queue(queue).count("processing") for queue in app.queues))
    assert sorted(done, key=str) == [
        (Order(1, 2.5), "invoice", "paid"),
        7,
        "hello",
        '{"number":1,"amount":2.5}',
    ]


def test_it_can_be_sent_a_message_that_was_not_published(client: Client, name: str) -> None:
    app = App(client=client, queue=name, name=name[:30])
    done: list[Any] = []

    @app.on(name)
    def invoice(order: Order) -> None:
        done.append(order)

    @app.on(name, name="texts")
    def texts(text: str) -> None:
        done.append(text)

    invoice.send(Order(3))
    texts.send("plain")
    assert app.run_until_empty() == 2
    assert sorted(done, key=str) == [Order(3), "plain"]


@pytest.mark.parametrize("body", ["no JSON", {"amount": 1}, {"number": "x"}])
def test_a_message_that_does_not_fit_is_a_dead_letter(client: Client, name: str, body: Any) -> None:
    app = App(client=client, queue=name, name=name[:30])

    @app.on(name, queue=name)
    def invoice(order: Order) -> None: ...

    app.prepare()
    client.topic(name).publish(body)
    with running(app.worker()):
        eventually(lambda: client.queue(name).count("buried") == 1)


def test_a_message_that_looks_like_a_task_is_given_to_the_function(client: Client, name: str) -> None:
    """Whoever may publish must not be able to call other tasks."""
    app = App(client=client, queue=name, name=name[:30])
    done: list[Any] = []

    @app.on(name)
    def audit(event: dict[str, Any]) -> None:
        done.append(event)

    @app.task
    def remove(path: str) -> None:
        done.append(path)

    app.prepare()
    client.topic(name).publish({"task": "remove", "args": ["/"]})
    assert app.run_until_empty() == 1
    assert done == [{"task": "remove", "args": ["/"]}]


def test_subscriptions_follow_the_code(client: Client, name: str) -> None:
    mine, other = name[:20], f"{name[:20]}-x"

    def made(app_name: str, **topics: str) -> App:
        app = App(client=client, queue=name, name=app_name)
        for task, topic in topics.items():
            app.on(topic, name=task, filter={"kind": ["paid"]})(lambda event: None)
        return app

    first, second = f"{name}-1", f"{name}-2"
    made(other, nightly=first).keep_subscriptions()
    client.queue(f"{name}-by-hand").configure()
    client.topic(first).subscribe(f"{mine}-by-hand", f"{name}-by-hand")
    made(mine, invoice=first, old=first, moved=first).keep_subscriptions()
    assert set(subscriptions_of(client, first)) == {
        f"{mine}-by-hand",
        *(f"{mine}-{task}" for task in ("invoice", "old", "moved")),
        f"{other}-nightly",
    }

    client.topic(first).subscribe(f"{mine}-invoice", paused=True)
    client.queue(f"{mine}-invoice").configure(tags={"app": mine, "topic": first, "team": "billing"})
    client.topic(first).publish("left", attributes={"kind": "paid"})
    made(mine, invoice=first, moved=second).keep_subscriptions()
    assert set(subscriptions_of(client, first)) == {f"{mine}-by-hand", f"{mine}-invoice", f"{other}-nightly"}
    assert subscriptions_of(client, second) == {f"{mine}-moved": f"{mine}-moved"}
    invoice = client.topic(first).subscription(f"{mine}-invoice")
    assert (invoice.paused, invoice.filter) == (True, {"kind": ["paid"]})
    assert client.queue(f"{mine}-invoice").info().settings["tags"]["team"] == "billing"
    assert client.queue(f"{mine}-old").count("unprocessed") == 1  # what it had got

    made(mine).keep_subscriptions()
    assert set(subscriptions_of(client, first)) == {f"{mine}-by-hand", f"{other}-nightly"}
    assert client.queue(f"{mine}-invoice").info().settings["tags"] == {"team": "billing"}


def test_a_function_moves_to_another_queue(client: Client, name: str) -> None:
    for queue in (f"{name}-1", f"{name}-2"):
        app = App(client=client, queue=name, name=name[:30])
        app.on(name, name="audit", queue=queue)(lambda event: None)
        app.keep_subscriptions()
        assert subscriptions_of(client, name) == {f"{name[:30]}-audit": queue}


def test_the_queue_for_a_fifo_topic_keeps_the_order(client: Client, name: str) -> None:
    app = App(client=client, queue=name, name=name[:30])
    done: list[str] = []
    app.on(f"{name}.fifo", name="audit")(done.append)

    @app.on(f"{name}.fifo")
    def line(text: str) -> None:
        done.append(text)

    app.prepare()
    assert subscriptions_of(client, f"{name}.fifo")[f"{name[:30]}-line"] == f"{name[:30]}-line.fifo"


def test_a_wrong_filter_ends_the_worker_with_its_reason(client: Client, name: str) -> None:
    app = App(client=client, queue=name, name=name[:30])
    app.on(name, name="audit", filter={"kind": "paid"})(lambda event: None)
    with pytest.raises(Invalid, match="filter") as caught:
        app.worker().run()
    assert any("audit" in note for note in caught.value.__notes__)


def test_a_queue_has_one_function_of_a_topic_and_no_task_beside_it() -> None:
    def handle(event: Any) -> None: ...

    app = App(queue="jobs")
    app.on("orders", name="a", queue="mine")(handle)
    with pytest.raises(ValueError, match="'mine' has another task"):
        app.on("events", name="b", queue="mine")(handle)
    with pytest.raises(ValueError, match="'mine' has the messages of a topic, for 'a'"):
        app.task(name="c", queue="mine")(handle)
    app.task(name="d")(handle)
    with pytest.raises(ValueError, match="'jobs' has another task"):
        app.on("events", name="e", queue="jobs")(handle)
    assert set(app.tasks) == {"a", "d"}


@pytest.mark.parametrize("function", [lambda: None, lambda a, b: None])
def test_a_function_takes_one_argument(function: Any) -> None:
    app = App("http://127.0.0.1:1")
    app.on("orders", name="audit")(function)
    with pytest.raises(ValueError, match="must take one argument"):
        app.worker()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"filter_scope": "text"}, "filter_scope must be one of attributes, body, not 'text'"),
        ({"when_full": "wait"}, "when_full must be one of fail, skip, not 'wait'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        App().on("orders", **options)


def test_wrong_uses_fail_where_they_are_written() -> None:
    app = App()
    with pytest.raises(TypeError, match="needs the name of a topic"):
        app.on(lambda event: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="retrys"):
        app.on("orders", retrys=5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="cannot be the name of a schedule or a subscription"):
        app.on("orders", name="x" * 80)(lambda event: None)
    assert not app.tasks
    assert issubclass(Invalid, Refused)
