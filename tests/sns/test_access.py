"""Access rules of the SNS endpoint: every action with every kind of key, signatures, topics and queues of a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.bearers import Bearers, bearers_of_all_kinds
from tests.support.http_client import Client, serving
from tests.support.memory_log import MemoryLog
from tests.support.sns_clients import queue_arn, sns_client, topic_arn
from tests.support.sqs_clients import FORM, RefusedError, call
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.model.push import Push
from wonderq.model.push_hosts import PushHosts
from wonderq.sns.endpoint import ACTIONS
from wonderq.sns.names import new_token, subscription_name

MINE = topic_arn("mine")
SUBSCRIPTION = f"{MINE}:{subscription_name('mine', 'mine')}"

#: Enough for each action to be let in; most are then refused for what is missing.
FIELDS = {
    "Name": "mine",
    "TopicArn": MINE,
    "ResourceArn": MINE,
    "SubscriptionArn": SUBSCRIPTION,
    "Protocol": "sqs",
    "Endpoint": queue_arn("mine"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def bearers(path: Path) -> Bearers:
    return bearers_of_all_kinds(path)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_each_action_is_for_keys_with_its_role_and_its_topic(action: str, path: Path, bearers: Bearers) -> None:
    broker = Broker(MemoryLog())
    broker.put_queue("mine")
    broker.topics.put("mine")
    client = Client(broker, Access(Keys(path)))
    let_in = set()
    for name, key in bearers.items():
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        body = urlencode({"Action": action, "Version": "2010-03-31", **FIELDS})
        reply = client("POST", "/", body=body, media_type=FORM, headers=headers)
        assert reply.text.startswith('<?xml version="1.0"?>')
        if reply.status_code != 403:
            let_in.add(name)
    role = ACTIONS[action].role
    expected: set[str] = {role, "admin"}
    if action in ("ListTopics", "ListSubscriptions"):  # they show a key what it opens
        expected.add("elsewhere")
    if action == "ConfirmSubscription":  # its token is the key
        expected = set(bearers)
    assert let_in == expected


def test_a_key_sees_and_subscribes_only_its_own(path: Path, bearers: Bearers) -> None:
    broker = Broker(MemoryLog())
    for name in ("mine", "theirs"):
        broker.put_queue(name)
    for name in ("mine", "theirs"):
        broker.topics.put(name)
        for queue in ("mine", "theirs"):
            if (name, queue) != ("mine", "mine"):
                broker.topics.subscribe(name, queue, queue=queue)
    client = Client(broker, Access(Keys(path)))

    def ask(action: str, **fields: str) -> str:
        body = urlencode({"Action": action, "Version": "2010-03-31", **fields})
        headers = {"Authorization": f"Bearer {bearers['admin']}"}
        return client("POST", "/", body=body, media_type=FORM, headers=headers).text

    listed = ask("ListTopics")
    assert listed.count("<member>") == 1
    assert "mine</TopicArn>" in listed
    assert "<member>" not in ask("ListSubscriptions")  # all of them are of theirs at one end
    theirs = f"{MINE}:theirs"
    assert "<Code>NotFound</Code>" in ask("GetSubscriptionAttributes", SubscriptionArn=theirs)
    change = {"AttributeName": "RawMessageDelivery", "AttributeValue": "true"}
    assert "<Code>NotFound</Code>" in ask("SetSubscriptionAttributes", SubscriptionArn=theirs, **change)
    assert "<UnsubscribeResponse" in ask("Unsubscribe", SubscriptionArn=theirs), "as for one that does not exist"
    assert len(broker.topics.subscriptions("mine")) == 1
    fields = {"TopicArn": MINE, "Protocol": "sqs"}
    assert "<Code>AuthorizationError</Code>" in ask("Subscribe", Endpoint=queue_arn("theirs"), **fields)
    redrive = {"Attributes.entry.1.key": "RedrivePolicy"}
    redrive["Attributes.entry.1.value"] = f'{{"deadLetterTargetArn": "{queue_arn("theirs")}"}}'
    assert "<Code>AuthorizationError</Code>" in ask("Subscribe", Endpoint=queue_arn("mine"), **fields, **redrive)
    assert len(broker.topics.subscriptions("mine")) == 1


def test_requests_are_signed_with_a_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, _ = keys.create(path, name="k", roles=["admin"], queues=["*"], for_sqs=True)
    broker = Broker(MemoryLog())
    assert key.sqs_secret is not None
    with serving(broker, create_app(broker, Access(Keys(path)))) as served:
        url = f"http://127.0.0.1:{served.port}"
        good = sns_client(url, key.access_key_id, key.sqs_secret)
        good.create_topic(Name="mine")
        assert good.publish(TopicArn=MINE, Message="é&= ")["MessageId"]
        for key_id, secret, code in (
            (key.access_key_id, "0" * 40, "SignatureDoesNotMatch"),
            ("WQIA000000000000", key.sqs_secret, "InvalidClientTokenId"),
        ):
            with pytest.raises(RefusedError) as caught:
                call(sns_client(url, key_id, secret), "ListTopics")
            assert (caught.value.status, caught.value.code) == (403, code)
        with pytest.raises(ClientError, match="MissingAuthenticationToken"):
            unsigned(url).list_topics()


def unsigned(url: str) -> Any:
    return boto3.client("sns", endpoint_url=url, region_name="x", config=Config(signature_version=UNSIGNED))


def test_the_link_of_a_confirmation_needs_no_key(path: Path, bearers: Bearers) -> None:
    broker = Broker(MemoryLog())
    broker.pushes.hosts = PushHosts(("hooks.example.com",))
    broker.topics.put("mine")
    name = subscription_name("mine", "push-mine")
    token = new_token(name)
    push = Push("https://hooks.example.com/", "sns", confirmed=False, token=token, token_until_ms=1 << 60)
    broker.topics.subscribe("mine", name, push=push)
    client = Client(broker, Access(Keys(path)))

    def visit(action: str, token: str) -> int:
        query = urlencode({"Action": action, "TopicArn": MINE, "Token": token, "SubscriptionArn": f"{MINE}:{name}"})
        return client("GET", f"/?{query}").status_code

    assert visit("ConfirmSubscription", new_token(name)) == 400
    assert broker.topics.get_with_pending("mine")[1] == 1
    assert visit("ConfirmSubscription", token) == 200
    assert broker.topics.get_with_pending("mine")[1] == 0
    assert visit("Unsubscribe", token) == 403
