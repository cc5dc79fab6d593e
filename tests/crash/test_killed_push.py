"""Deliveries to an endpoint while the broker is killed: each acknowledged publish arrives, and nothing is left."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.commands import run
from tests.support.hook_server import HookServer, answer, hang, hook_server
from tests.support.sns_clients import sns_client
from tests.support.waiting import eventually
from wonderq.client.errors import Unreachable
from wonderq.client.sync import Client

KILLS = 5
PUBLISHES_OF_A_LIFE = 30
QUEUE = "orders--push-hook"


def publish_until_killed(url: str, acknowledged: list[str], life: int) -> None:
    with Client(url, retries=0) as client:
        try:
            for number in range(10_000):
                text = f"{life}.{number}"
                client.topic("orders").publish(text)
                acknowledged.append(text)
        except Unreachable:
            pass


def live(data: Path, hook: HookServer, acknowledged: list[str], life: int, chance: random.Random) -> None:
    """Run a broker that delivers, and kill it while requests are under way."""
    with BrokerProcess(data, "--push-hosts", "127.0.0.1") as broker:
        url = broker.ready()
        if life == 0:
            with Client(url) as client:
                client.topic("orders").configure()
                made = client.topic("orders").subscribe("hook", endpoint=hook.url, delivery={"timeout": 1})
                assert made.queue == QUEUE
        before, received = len(acknowledged), len(hook.received)
        publisher = threading.Thread(target=publish_until_killed, args=(url, acknowledged, life))
        publisher.start()
        eventually(lambda: len(acknowledged) >= before + PUBLISHES_OF_A_LIFE)
        eventually(lambda: len(hook.received) > received + chance.randrange(PUBLISHES_OF_A_LIFE))
        if chance.random() < 0.5:
            hook.behavior, normal = hang, hook.behavior
            eventually(lambda: hook.open)
            broker.kill()
            hook.behavior = normal
        else:
            broker.kill()
        publisher.join()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_each_acknowledged_publish_arrives(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[str] = []
    with hook_server() as hook:
        hook.keeps_connections = seed == 2
        for life in range(KILLS):
            live(tmp_path / "data", hook, acknowledged, life, chance)
        with BrokerProcess(tmp_path / "data", "--push-hosts", "127.0.0.1") as broker, Client(broker.ready()) as client:
            eventually(lambda: not any(client.queue(QUEUE).info().counts.values()))
            assert set(acknowledged) <= set(hook.texts)
            assert broker.terminate() == 0


@pytest.mark.slow
def test_an_endpoint_that_was_unsubscribed_before_a_kill_is_told_after_it(tmp_path: Path) -> None:
    with hook_server() as hook:
        with BrokerProcess(tmp_path / "data", "--push-hosts", "127.0.0.1") as broker:
            sns = sns_client(broker.ready())
            topic = sns.create_topic(Name="orders")["TopicArn"]
            given = {"TopicArn": topic, "Protocol": "http", "Endpoint": hook.url, "ReturnSubscriptionArn": True}
            arn = sns.subscribe(**given)["SubscriptionArn"]
            [asked] = eventually(lambda: list(hook.received))
            with urlopen(json.loads(asked.body)["SubscribeURL"]):
                pass
            hook.behavior = answer(503)
            sns.unsubscribe(SubscriptionArn=arn)
            eventually(lambda: len(hook.received) > 1)
            broker.kill()
        hook.received.clear()
        hook.behavior = answer(200)
        with BrokerProcess(tmp_path / "data", "--push-hosts", "127.0.0.1") as broker:
            sns = sns_client(broker.ready())
            [told] = eventually(lambda: list(hook.received))
            told_of = json.loads(told.body)
            assert told_of["Type"] == "UnsubscribeConfirmation"
            assert sns.list_subscriptions()["Subscriptions"] == []
            again = sns.confirm_subscription(TopicArn=topic, Token=told_of["Token"])
            assert again["SubscriptionArn"] == arn
            sns.publish(TopicArn=topic, Message="again")
            eventually(lambda: [json.loads(text)["Message"] for text in hook.texts[1:]] == ["again"])


@pytest.mark.slow
def test_without_hosts_the_messages_wait_and_a_line_says_so(tmp_path: Path) -> None:
    with hook_server() as hook:
        with BrokerProcess(tmp_path / "data", "--push-hosts", "127.0.0.1") as broker, Client(broker.ready()) as client:
            client.topic("orders").configure()
            done = run("topic", "subscribe", "--url", client.url, "orders", "hook", "--endpoint", hook.url)
            made = json.loads("\n".join(done.lines))
            assert (made["queue"], made["endpoint"], made["secret"][:6]) == (QUEUE, hook.url, "whsec_")
            assert broker.terminate() == 0
        with BrokerProcess(tmp_path / "data") as broker, Client(broker.ready()) as client:
            client.topic("orders").publish("text")
            assert client.queue(QUEUE).info().counts["unprocessed"] == 1
            assert broker.terminate() == 0
        assert "push is off, and subscriptions with endpoints wait for it: 1" in broker.log()
        assert not hook.received
        with BrokerProcess(tmp_path / "data", "--push-hosts", "127.0.0.1") as broker:
            broker.ready()
            eventually(lambda: hook.texts == ["text"])
