"""HTTP endpoints as SNS serves them: the handshake, the headers, the policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from tests.sns.test_signatures import check
from tests.support.clock import FakeClock
from tests.support.hook_server import HookServer, Received, answer, hook_server
from tests.support.memory_log import MemoryLog
from tests.support.sns_clients import Sns, serving_sns, topic_arn
from tests.support.sqs_clients import RefusedError
from tests.support.waiting import eventually
from wonderq.broker import notices
from wonderq.broker.broker import Broker
from wonderq.model.push import Push
from wonderq.model.push_hosts import PushHosts
from wonderq.push.pusher import Pusher
from wonderq.sns import delivery_policies, signing, subscriptions
from wonderq.sns.names import subscription_name
from wonderq.sns.signing import Signer


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key, which takes long to make."""
    path = tmp_path_factory.mktemp("key") / signing.KEY_FILE
    assert Signer(path).sign({}, "1") is not None
    return path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sns(key_file: Path, clock: FakeClock) -> Iterator[Sns]:
    """A broker that delivers to endpoints on loopback."""
    broker = Broker(MemoryLog(), clock=clock)
    with serving_sns(broker, signer=Signer(key_file)) as served:
        broker.pushes.hosts = PushHosts(("127.0.0.0/8",))
        pusher = Pusher(broker)
        pusher.start()
        try:
            yield served
        finally:
            pusher.stop()


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with hook_server() as server:
        yield server


def subscribe(sns: Sns, hook: HookServer, **members: Any) -> str:
    """Subscribe an endpoint, and return what the call returns for its ARN."""
    given = {"TopicArn": sns.topic(), "Protocol": "http", "Endpoint": hook.url, **members}
    arn: str = sns("Subscribe", **given)["SubscriptionArn"]
    return arn


def confirmed(sns: Sns, hook: HookServer, path: str = "", **attributes: str) -> str:
    """Subscribe an endpoint, confirm it as the endpoint would, and return the ARN."""
    arn = subscribe(sns, hook, Endpoint=hook.url + path, Attributes=attributes, ReturnSubscriptionArn=True)
    [asked] = eventually(lambda: list(hook.received))
    with urlopen(json.loads(asked.body)["SubscribeURL"]) as reply:
        assert arn.encode() in reply.read()
    hook.received.clear()
    return arn


def received(hook: HookServer) -> Received:
    [only] = eventually(lambda: list(hook.received))
    return only


def listed(sns: Sns) -> dict[str, str]:
    [only] = sns("ListSubscriptions")["Subscriptions"]
    found: dict[str, str] = only
    return found


def test_an_endpoint_is_asked_to_confirm_and_gets_nothing_before(sns: Sns, hook: HookServer) -> None:
    assert subscribe(sns, hook) == "pending confirmation"
    asked = received(hook)
    body = json.loads(asked.body)
    assert asked.headers["x-amz-sns-message-type"] == body["Type"] == "SubscriptionConfirmation"
    assert asked.headers["x-amz-sns-message-id"] == body["MessageId"]
    assert asked.headers["x-amz-sns-topic-arn"] == body["TopicArn"] == topic_arn("orders")
    assert asked.headers["content-type"] == "text/plain; charset=UTF-8"
    assert asked.headers["user-agent"] == "Amazon Simple Notification Service Agent"
    query = parse_qs(urlsplit(body["SubscribeURL"]).query)
    assert query == {"Action": ["ConfirmSubscription"], "TopicArn": [body["TopicArn"]], "Token": [body["Token"]]}
    check(body)
    assert listed(sns)["SubscriptionArn"] == "PendingConfirmation"
    assert (listed(sns)["Protocol"], listed(sns)["Endpoint"]) == ("http", hook.url)
    attributes = sns("GetTopicAttributes", TopicArn=topic_arn("orders"))["Attributes"]
    assert (attributes["SubscriptionsPending"], attributes["SubscriptionsConfirmed"]) == ("1", "0")
    sns("Publish", TopicArn=topic_arn("orders"), Message="too early")

    found = sns("ConfirmSubscription", TopicArn=body["TopicArn"], Token=body["Token"])
    assert sns("ConfirmSubscription", TopicArn=body["TopicArn"], Token=body["Token"]) == found  # a second visit
    assert listed(sns)["SubscriptionArn"] == found["SubscriptionArn"]
    sns("Publish", TopicArn=topic_arn("orders"), Message="in time")
    eventually(lambda: len(hook.received) == 2)
    assert json.loads(hook.received[1].body)["Message"] == "in time"


def test_a_notification_is_signed_and_has_headers(sns: Sns, hook: HookServer) -> None:
    arn = confirmed(sns, hook)
    sent = sns("Publish", TopicArn=topic_arn("orders"), Message="text", Subject="About")
    notification = received(hook)
    body = json.loads(notification.body)
    check(body)
    assert (body["Type"], body["Message"], body["Subject"]) == ("Notification", "text", "About")
    assert notification.headers["x-amz-sns-message-type"] == "Notification"
    assert notification.headers["x-amz-sns-message-id"] == body["MessageId"] == sent["MessageId"]
    assert notification.headers["x-amz-sns-subscription-arn"] == arn
    assert "x-amz-sns-rawdelivery" not in notification.headers
    assert parse_qs(urlsplit(body["UnsubscribeURL"]).query)["SubscriptionArn"] == [arn]
    with urlopen(body["UnsubscribeURL"]):
        pass
    assert sns("ListSubscriptions") == {"Subscriptions": []}
    assert sns.broker.queue_names(limit=10) == ["default"]


def test_a_raw_delivery_is_the_message_alone(sns: Sns, hook: HookServer) -> None:
    confirmed(
        sns,
        hook,
        RawMessageDelivery="true",
        DeliveryPolicy=json.dumps({"requestPolicy": {"headerContentType": "application/json"}}),
    )
    sns("Publish", TopicArn=topic_arn("orders"), Message='{"order": 1}')
    raw = received(hook)
    assert raw.body == b'{"order": 1}'
    assert raw.headers["x-amz-sns-rawdelivery"] == "true"
    assert raw.headers["content-type"] == "application/json"


def test_subscribing_again_asks_again_with_another_token(sns: Sns, hook: HookServer, clock: FakeClock) -> None:
    subscribe(sns, hook)
    first = json.loads(received(hook).body)["Token"]
    subscribe(sns, hook)
    eventually(lambda: len(hook.received) == 2)
    second = json.loads(hook.received[1].body)["Token"]
    with pytest.raises(RefusedError, match="later one"):
        sns("ConfirmSubscription", TopicArn=topic_arn("orders"), Token=first)
    clock.advance(2 * 86_400 + 1)
    with pytest.raises(RefusedError, match="expired"):
        sns("ConfirmSubscription", TopicArn=topic_arn("orders"), Token=second)
    with pytest.raises(RefusedError, match="this token"):
        sns("ConfirmSubscription", TopicArn=topic_arn("missing"), Token=second)
    assert listed(sns)["SubscriptionArn"] == "PendingConfirmation"


def test_a_request_to_confirm_has_the_newest_token(sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = sns.broker.pushes.claim

    def claim_later(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(sns.broker.pushes, "claim", claim)
        subscribe(sns, hook)
        return claim(*arguments, **named)

    monkeypatch.setattr(sns.broker.pushes, "claim", claim_later)
    subscribe(sns, hook)
    eventually(lambda: len(hook.received) == 2)
    first, second = (json.loads(each.body)["Token"] for each in hook.received)
    assert first == second
    sns("ConfirmSubscription", TopicArn=topic_arn("orders"), Token=second)


def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(sns: Sns, hook: HookServer) -> None:
    redrive = json.dumps({"deadLetterTargetArn": sns.queue("dead")})
    confirmed(sns, hook, RedrivePolicy=redrive)
    hook.behavior = answer(403)
    sns("Publish", TopicArn=topic_arn("orders"), Message="text")
    [dead] = eventually(lambda: sns.bodies("dead"))
    assert json.loads(dead)["Message"] == "text"


POLICY = {
    "healthyRetryPolicy": {
        "minDelayTarget": 1,
        "maxDelayTarget": 60,
        "numRetries": 10,
        "numNoDelayRetries": 1,
        "numMinDelayRetries": 2,
        "numMaxDelayRetries": 3,
        "backoffFunction": "exponential",
    },
    "throttlePolicy": {"maxReceivesPerSecond": 7},
}


def test_the_policy_of_a_subscription_overrides_that_of_its_topic(sns: Sns, hook: HookServer) -> None:
    arn = confirmed(sns, hook)

    def effective() -> dict[str, Any]:
        found = sns("GetSubscriptionAttributes", SubscriptionArn=arn)["Attributes"]["EffectiveDeliveryPolicy"]
        value: dict[str, Any] = json.loads(found)
        return value

    assert effective()["healthyRetryPolicy"] == {
        "minDelayTarget": 20,
        "maxDelayTarget": 20,
        "numRetries": 3,
        "numNoDelayRetries": 0,
        "numMinDelayRetries": 0,
        "numMaxDelayRetries": 0,
        "backoffFunction": "linear",
    }
    of_topic = {"http": {"defaultHealthyRetryPolicy": {"numRetries": 5, "minDelayTarget": 2}}}
    change = {"TopicArn": topic_arn("orders"), "AttributeName": "DeliveryPolicy"}
    sns("SetTopicAttributes", **change, AttributeValue=json.dumps(of_topic))
    assert effective()["healthyRetryPolicy"]["numRetries"] == 5
    sns(
        "SetSubscriptionAttributes",
        SubscriptionArn=arn,
        AttributeName="DeliveryPolicy",
        AttributeValue=json.dumps(POLICY),
    )
    assert effective()["healthyRetryPolicy"] == POLICY["healthyRetryPolicy"]
    assert effective()["throttlePolicy"] == {"maxReceivesPerSecond": 7}
    of_topic["http"]["disableSubscriptionOverrides"] = True  # type: ignore[assignment]
    sns("SetTopicAttributes", **change, AttributeValue=json.dumps(of_topic))
    assert effective()["healthyRetryPolicy"]["numRetries"] == 5
    of_topic_now = sns("GetTopicAttributes", TopicArn=topic_arn("orders"))["Attributes"]["EffectiveDeliveryPolicy"]
    assert json.loads(of_topic_now)["http"]["disableSubscriptionOverrides"] is True


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"healthyRetryPolicy": {"numRetries": 101}}, "numRetries must be a whole number from 0 to 100"),
        ({"healthyRetryPolicy": {"numRetries": True}}, "numRetries must be a whole number"),
        ({"healthyRetryPolicy": {"numRetries": "3"}}, "numRetries must be a whole number"),
        ({"healthyRetryPolicy": {"minDelayTarget": 0}}, "minDelayTarget must be a whole number from 1"),
        ({"healthyRetryPolicy": {"minDelayTarget": 30}}, "minDelayTarget must not be more than max"),
        ({"healthyRetryPolicy": {"numNoDelayRetries": 4}}, "numRetries must be at least the sum"),
        ({"healthyRetryPolicy": {"backoffFunction": "random"}}, "backoffFunction must be linear or"),
        ({"healthyRetryPolicy": {"numRetries": 100, "maxDelayTarget": 3600}}, "cannot be greater than 3600 seconds"),
        ({"healthyRetryPolicy": {"retries": 3}}, "has no field retries"),
        ({"healthyRetryPolicy": 3}, "healthyRetryPolicy is no part"),
        ({"unhealthy": {}}, "unhealthy is no part"),
        ({"throttlePolicy": {"maxReceivesPerSecond": 0}}, "maxReceivesPerSecond must be at least 1"),
        ({"requestPolicy": {"headerContentType": "a/b\r\nX: y"}}, "headerContentType must be a media type"),
    ],
)
def test_a_policy_out_of_range_is_refused(sns: Sns, hook: HookServer, policy: Any, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        subscribe(sns, hook, Attributes={"DeliveryPolicy": json.dumps(policy)})
    assert sns("ListSubscriptions") == {"Subscriptions": []}


@pytest.mark.parametrize("topic", ["3", '{"http": 3}', '{"sqs": {}}', '{"http": {"defaultThrottlePolicy": 3}}'])
def test_a_policy_of_a_topic_that_is_malformed_is_refused(sns: Sns, topic: str) -> None:
    with pytest.raises(RefusedError, match="DeliveryPolicy"):
        sns.topic("orders", DeliveryPolicy=topic)
    assert delivery_policies.effective(topic, json.dumps(POLICY)).retries == 10  # one that was stored before


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"Protocol": "https"}, "must begin with https://"),
        ({"Endpoint": "http://169.254.169.254/latest"}, "does not deliver to the host 169.254.169.254"),
        ({"Endpoint": "http://user:password@127.0.0.1/"}, "must not have a name and password"),
        ({"Endpoint": "http://example.com/"}, "names hosts with --push-hosts"),
    ],
)
def test_endpoints_that_cannot_be(sns: Sns, hook: HookServer, members: dict[str, str], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        sns("Subscribe", **{"TopicArn": sns.topic(), "Protocol": "http", "Endpoint": hook.url, **members})
    fifo = sns.topic("orders.fifo")
    with pytest.raises(RefusedError, match="FIFO topics deliver to queues"):
        sns("Subscribe", TopicArn=fifo, Protocol="http", Endpoint=hook.url)


def test_a_confirmation_that_cannot_be_delivered_is_no_dead_letter(sns: Sns, hook: HookServer) -> None:
    hook.behavior = answer(404)
    redrive = json.dumps({"deadLetterTargetArn": sns.queue("dead")})
    subscribe(sns, hook, Attributes={"RedrivePolicy": redrive})
    received(hook)
    [queue] = [name for name in sns.broker.queue_names(limit=10) if "--push-" in name]
    eventually(lambda: not sum(sns.broker.queue(queue).counts.values()))
    assert sns.bodies("dead") == []


# Messages with a text for each protocol


def test_endpoints_get_the_text_of_their_protocol(sns: Sns, hook: HookServer) -> None:
    confirmed(sns, hook, RawMessageDelivery="true")
    sns.subscribe(topic_arn("orders"), sns.queue(), RawMessageDelivery="true")

    def publish(**parts: str) -> None:
        message = json.dumps({"default": "d", **parts})
        sns("Publish", TopicArn=topic_arn("orders"), Message=message, MessageStructure="json")

    publish(http="h", https="hs", sqs="s")
    publish(https="hs", sqs="s")
    publish(http="h")
    eventually(lambda: hook.has_received(3))
    assert sorted(hook.texts) == ["d", "h", "h"]
    assert sns.bodies() == ["s", "s", "d"]


def test_the_text_for_an_endpoint_has_the_same_notification(sns: Sns, hook: HookServer) -> None:
    confirmed(sns, hook)
    topic = topic_arn("orders")
    sns.subscribe(topic, sns.queue())
    entries = [
        {"Id": each, "Message": json.dumps({"default": f"d{each}", "http": f"h{each}"}), "MessageStructure": "json"}
        for each in "ab"
    ]
    entries.append({"Id": "c", "Message": "plain"})
    published = sns("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=entries)
    sent = {each["Id"]: each["MessageId"] for each in published["Successful"]}
    eventually(lambda: hook.has_received(3))
    got = {each["Message"]: each["MessageId"] for each in (json.loads(text) for text in hook.texts)}
    assert got == {"ha": sent["a"], "hb": sent["b"], "plain": sent["c"]}
    in_queue = {each["Message"]: each["MessageId"] for each in map(json.loads, sns.bodies())}
    assert in_queue == {"da": sent["a"], "db": sent["b"], "plain": sent["c"]}
    for each in hook.texts:
        check(json.loads(each))


# Subscriptions that change while a request is under way


def meanwhile(sns: Sns, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let another client subscribe with these fields, after the next request has read a subscription and before it
    writes one. Without fields, the other client ends the subscription."""
    topics = sns.broker.topics
    before_writing(sns, monkeypatch, partial(topics.subscribe, **fields) if fields else topics.unsubscribe)


def before_writing(sns: Sns, monkeypatch: pytest.MonkeyPatch, act: Callable[[str, str], object]) -> None:
    """Call a function with topic and name of the subscription that the next request writes, just before it does."""
    topics = sns.broker.topics
    write = topics.subscribe

    def write_later(topic: str, name: str, *arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(topics, "subscribe", write)
        act(topic, name)
        return write(topic, name, *arguments, **named)

    monkeypatch.setattr(topics, "subscribe", write_later)


def pending(sns: Sns, hook: HookServer) -> tuple[str, Push]:
    """Subscribe an endpoint that does not confirm it, and return the ARN and the endpoint."""
    arn = subscribe(sns, hook, ReturnSubscriptionArn=True)
    received(hook)
    return arn, push_of(sns, arn)


def push_of(sns: Sns, arn: str) -> Push:
    push = sns.broker.topics.subscription("orders", arn.rpartition(":")[2]).subscription.push
    assert push is not None
    return push


def confirm(sns: Sns, token: str) -> None:
    sns("ConfirmSubscription", TopicArn=topic_arn("orders"), Token=token)


def test_a_confirmation_does_not_undo_the_end_of_a_subscription(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, push = pending(sns, hook)
    meanwhile(sns, monkeypatch)
    with pytest.raises(RefusedError, match="this token"):
        confirm(sns, push.token)
    assert sns("ListSubscriptions") == {"Subscriptions": []}
    assert sns.broker.queue_names(limit=10) == ["default"]


def test_a_confirmed_subscription_does_not_become_pending_again(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, push = pending(sns, hook)
    meanwhile(sns, monkeypatch, push=replace(push, confirmed=True))
    assert subscribe(sns, hook) == arn  # the answer for one that is confirmed
    assert push_of(sns, arn) == replace(push, confirmed=True)
    sns("Publish", TopicArn=topic_arn("orders"), Message="text")
    eventually(lambda: hook.has_received(2))
    assert json.loads(hook.received[1].body)["Message"] == "text"


@pytest.mark.parametrize("raw", ["false", "true"])
def test_of_two_that_create_a_subscription_the_second_finds_it(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch, raw: str
) -> None:
    meanwhile(sns, monkeypatch, raw=False, push=Push(hook.url, "sns"))
    if raw == "false":
        assert subscribe(sns, hook, Attributes={"RawMessageDelivery": raw}) == listed(sns)["SubscriptionArn"]
    else:
        with pytest.raises(RefusedError, match="already exists with different attributes"):
            subscribe(sns, hook, Attributes={"RawMessageDelivery": raw})
    found = sns("GetSubscriptionAttributes", SubscriptionArn=listed(sns)["SubscriptionArn"])["Attributes"]
    assert (found["PendingConfirmation"], found["RawMessageDelivery"]) == ("false", "false")


@pytest.mark.parametrize("action", ["ConfirmSubscription", "Subscribe"])
def test_an_endpoint_keeps_what_the_rest_api_changes(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    arn, push = pending(sns, hook)
    changed = replace(push, url=f"{hook.url}/other", delivery={"timeout": 7})
    meanwhile(sns, monkeypatch, endpoint=changed.url, delivery=changed.delivery)
    if action == "Subscribe":
        assert subscribe(sns, hook) == "pending confirmation"
        changed = replace(changed, token=push_of(sns, arn).token)
        assert changed.token != push.token
    confirm(sns, changed.token)
    assert push_of(sns, arn) == replace(changed, confirmed=True)


def test_an_old_token_does_not_confirm_what_was_subscribed_meanwhile(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = confirmed(sns, hook)
    ended = push_of(sns, arn)
    sns("Unsubscribe", SubscriptionArn=arn)
    token = json.loads(received(hook).body)["Token"]
    later = replace(ended, confirmed=False, token="0" * 96)
    meanwhile(sns, monkeypatch, raw=True, push=later)
    with pytest.raises(RefusedError, match="later one"):
        confirm(sns, token)
    assert push_of(sns, arn) == later


def test_an_attribute_of_a_subscription_that_ends_just_then_is_not_found(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = confirmed(sns, hook)
    meanwhile(sns, monkeypatch)
    with pytest.raises(RefusedError, match="Subscription does not exist") as caught:
        sns("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    assert caught.value.code == "NotFound"
    assert sns("ListSubscriptions") == {"Subscriptions": []}


@pytest.mark.parametrize("action", ["SetSubscriptionAttributes", "Subscribe"])
def test_a_topic_that_is_deleted_just_then_is_not_found(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    arn, _ = pending(sns, hook)
    before_writing(sns, monkeypatch, lambda topic, _: sns.broker.topics.delete(topic))
    members = {
        "SetSubscriptionAttributes": {
            "SubscriptionArn": arn,
            "AttributeName": "RawMessageDelivery",
            "AttributeValue": "true",
        },
        "Subscribe": {"TopicArn": topic_arn("orders"), "Protocol": "http", "Endpoint": hook.url},
    }
    with pytest.raises(RefusedError, match="Topic does not exist") as caught:
        sns(action, **members[action])
    assert caught.value.code == "NotFound"


def used_by(sns: Sns, hook: HookServer, purpose: str) -> str:
    """Return a token that confirms a subscription, or gives one back."""
    if purpose == "confirm":
        return pending(sns, hook)[1].token
    sns("Unsubscribe", SubscriptionArn=confirmed(sns, hook))
    token: str = json.loads(received(hook).body)["Token"]
    return token


@pytest.mark.parametrize("purpose", ["confirm", "subscribe again"])
@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_token_is_for_its_own_topic_and_tells_of_no_other(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch, purpose: str, is_made_again: bool
) -> None:
    token = used_by(sns, hook, purpose)

    def delete(topic: str, _name: str) -> None:
        sns.broker.topics.delete(topic)
        if is_made_again:
            sns.broker.topics.put(topic)

    before_writing(sns, monkeypatch, delete)
    with pytest.raises(RefusedError, match="got this token from this topic") as caught:
        confirm(sns, token)
    assert caught.value.code == "InvalidParameter"
    assert sns("ListSubscriptions") == {"Subscriptions": []}
    assert sns.broker.queue_names(limit=10) == ["default"]


@pytest.mark.parametrize("moment", ["before", "just then"])
def test_a_token_is_for_its_own_queue(sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A queue that was there before its subscription is meant itself, and no later one of its name."""
    sns.topic()
    broker, name = sns.broker, subscription_name("orders", "jobs")
    broker.put_queue("jobs")
    broker.topics.subscribe("orders", name, queue="jobs", endpoint=hook.url, style="sns")
    arn = f"{topic_arn('orders')}:{name}"
    sns("Unsubscribe", SubscriptionArn=arn)
    token = json.loads(received(hook).body)["Token"]
    confirm(sns, token)
    assert broker.topics.subscription("orders", name).queue == "jobs"
    hook.received.clear()
    sns("Unsubscribe", SubscriptionArn=arn)
    token = json.loads(received(hook).body)["Token"]

    def make_again(*_: str) -> None:
        broker.drop_queue("jobs")
        broker.put_queue("jobs")

    if moment == "before":
        make_again()
    else:
        before_writing(sns, monkeypatch, make_again)
    with pytest.raises(RefusedError, match="got this token from this topic"):
        confirm(sns, token)
    assert sns("ListSubscriptions") == {"Subscriptions": []}


# Queues of others


def queue_of(sns: Sns) -> str:
    """Return the queue of the only subscription."""
    [only] = sns.broker.topics.subscriptions("orders")
    return only.queue


@pytest.mark.parametrize("way", ["Subscribe", "ConfirmSubscription"])
def test_an_endpoint_takes_over_no_queue_of_others(sns: Sns, hook: HookServer, way: str) -> None:
    arn = confirmed(sns, hook)
    wanted = queue_of(sns)
    sns("Unsubscribe", SubscriptionArn=arn)
    told = json.loads(received(hook).body)
    sns.queue(wanted)
    sns.broker.send(wanted, ["of others"])
    hook.received.clear()
    if way == "Subscribe":
        assert confirmed(sns, hook) == arn
    else:
        confirm(sns, told["Token"])
    assert queue_of(sns) != wanted
    assert queue_of(sns).startswith("orders--")  # the shard of its topic in a cluster
    sns("Publish", TopicArn=topic_arn("orders"), Message="published")
    assert json.loads(received(hook).body)["Message"] == "published"
    sns("Unsubscribe", SubscriptionArn=arn)
    assert sns.bodies(wanted) == ["of others"]


def test_a_queue_and_an_endpoint_do_not_share_a_subscription(
    sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may choose the name of a queue so that its subscription has the name of that of an endpoint."""
    monkeypatch.setattr(
        subscriptions, "endpoint_subscription_name", lambda topic, _url: subscription_name(topic, "jobs")
    )
    arn, queue = subscribe(sns, hook, ReturnSubscriptionArn=True), sns.queue("jobs")
    with pytest.raises(RefusedError, match="queue of another name"):
        sns.subscribe(topic_arn("orders"), queue)
    sns("Unsubscribe", SubscriptionArn=arn)
    sns.subscribe(topic_arn("orders"), queue)
    with pytest.raises(RefusedError, match="queue of another name"):
        subscribe(sns, hook)


# Endpoints that are unsubscribed


def test_an_endpoint_that_is_unsubscribed_is_told(sns: Sns, hook: HookServer) -> None:
    arn = confirmed(sns, hook)
    sns("Unsubscribe", SubscriptionArn=arn)
    assert sns("ListSubscriptions") == {"Subscriptions": []}
    told = received(hook)
    body = json.loads(told.body)
    assert told.headers["x-amz-sns-message-type"] == body["Type"] == "UnsubscribeConfirmation"
    assert told.headers["x-amz-sns-message-id"] == body["MessageId"]
    assert told.headers["x-amz-sns-topic-arn"] == body["TopicArn"] == topic_arn("orders")
    assert told.headers["x-amz-sns-subscription-arn"] == arn
    assert arn in body["Message"]
    query = parse_qs(urlsplit(body["SubscribeURL"]).query)
    assert query == {"Action": ["ConfirmSubscription"], "TopicArn": [body["TopicArn"]], "Token": [body["Token"]]}
    check(body)
    eventually(lambda: not sns.broker.notices.waiting())


def test_an_endpoint_that_was_unsubscribed_may_have_its_subscription_again(sns: Sns, hook: HookServer) -> None:
    redrive = json.dumps({"deadLetterTargetArn": sns.queue("dead")})
    given = {"RawMessageDelivery": "true", "FilterPolicy": '{"kind": ["paid"]}', "RedrivePolicy": redrive}
    arn = confirmed(sns, hook, **given, DeliveryPolicy=json.dumps(POLICY))
    before = sns("GetSubscriptionAttributes", SubscriptionArn=arn)
    sns("Unsubscribe", SubscriptionArn=arn)
    told = json.loads(received(hook).body)
    paid = {"kind": {"DataType": "String", "StringValue": "paid"}}
    sns("Publish", TopicArn=topic_arn("orders"), Message="meanwhile", MessageAttributes=paid)
    for _ in range(2):  # a second visit is no error
        with urlopen(told["SubscribeURL"]) as reply:
            assert arn.encode() in reply.read()
    assert sns("GetSubscriptionAttributes", SubscriptionArn=arn) == before
    assert listed(sns)["SubscriptionArn"] == arn
    sns("Publish", TopicArn=topic_arn("orders"), Message="other")
    sns("Publish", TopicArn=topic_arn("orders"), Message="again", MessageAttributes=paid)
    eventually(lambda: hook.texts[1:] == ["again"])


def test_a_subscription_comes_back_without_a_dead_letter_queue_that_was_deleted(sns: Sns, hook: HookServer) -> None:
    arn = confirmed(sns, hook, RedrivePolicy=json.dumps({"deadLetterTargetArn": sns.queue("dead")}))
    sns("Unsubscribe", SubscriptionArn=arn)
    told = json.loads(received(hook).body)
    sns.broker.drop_queue("dead")
    sns("ConfirmSubscription", TopicArn=told["TopicArn"], Token=told["Token"])
    assert "RedrivePolicy" not in sns("GetSubscriptionAttributes", SubscriptionArn=arn)["Attributes"]


@pytest.mark.parametrize("ending", ["expired", "subscribed again", "another topic", "another token"])
def test_a_token_that_does_not_subscribe_again(sns: Sns, hook: HookServer, clock: FakeClock, ending: str) -> None:
    arn = confirmed(sns, hook)
    sns("Unsubscribe", SubscriptionArn=arn)
    told = json.loads(received(hook).body)
    token, reason = told["Token"], "later one"
    if ending == "expired":
        clock.advance(2 * 86_400 + 1)
        reason = "expired"
    elif ending == "subscribed again":
        subscribe(sns, hook)
    elif ending == "another topic":
        sns("DeleteTopic", TopicArn=told["TopicArn"])
        sns.topic()
    else:
        token = token[:-1] + ("0" if token[-1] != "0" else "1")
    with pytest.raises(RefusedError, match=reason):
        sns("ConfirmSubscription", TopicArn=told["TopicArn"], Token=token)


def test_only_the_token_of_the_last_end_subscribes_again(sns: Sns, hook: HookServer) -> None:
    arn, tokens = confirmed(sns, hook), []
    for _ in range(2):
        sns("Unsubscribe", SubscriptionArn=arn)
        tokens.append(json.loads(received(hook).body)["Token"])
        hook.received.clear()
        if len(tokens) == 1:
            confirm(sns, tokens[0])
    with pytest.raises(RefusedError, match="later one"):
        confirm(sns, tokens[0])
    confirm(sns, tokens[1])
    sns.broker.topics.unsubscribe("orders", arn.rpartition(":")[2])  # the endpoint is not told, so it has no token
    with pytest.raises(RefusedError, match="later one"):
        confirm(sns, tokens[1])
    assert sns.broker.core.state.metadata.get(notices.NAMESPACE, {}) == {}


@pytest.mark.parametrize("queue", ["its own", "jobs"])
def test_a_subscription_that_ends_with_its_queue_has_no_token(sns: Sns, hook: HookServer, queue: str) -> None:
    """The token of the end before is void, whatever way a subscription ends."""
    sns.topic()
    broker, name = sns.broker, subscription_name("orders", "jobs")
    if queue == "jobs":
        broker.put_queue("jobs")
        broker.topics.subscribe("orders", name, queue="jobs", endpoint=hook.url, style="sns")
        arn = f"{topic_arn('orders')}:{name}"
    else:
        arn = confirmed(sns, hook)
    sns("Unsubscribe", SubscriptionArn=arn)
    token = json.loads(received(hook).body)["Token"]
    eventually(lambda: not broker.notices.waiting())
    confirm(sns, token)
    broker.drop_queue(queue_of(sns))
    with pytest.raises(RefusedError, match="later one"):
        confirm(sns, token)
    assert broker.core.state.metadata.get(notices.NAMESPACE, {}) == {}


def test_a_token_becomes_void_just_then(sns: Sns, hook: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = confirmed(sns, hook)
    sns("Unsubscribe", SubscriptionArn=arn)
    token = json.loads(received(hook).body)["Token"]

    def begin_and_end(topic: str, name: str) -> None:
        sns.broker.topics.subscribe(topic, name, endpoint=hook.url, style="sns")
        sns.broker.topics.unsubscribe(topic, name)

    before_writing(sns, monkeypatch, begin_and_end)
    with pytest.raises(RefusedError, match="token"):
        confirm(sns, token)
    assert sns("ListSubscriptions") == {"Subscriptions": []}


def test_who_is_not_told(sns: Sns, hook: HookServer) -> None:
    """An endpoint that has not confirmed, and one whose subscription the REST API ends."""
    pending = subscribe(sns, hook, ReturnSubscriptionArn=True)
    received(hook)
    sns("Unsubscribe", SubscriptionArn=pending)
    sns.subscribe(topic_arn("orders"), sns.queue())
    sns("Unsubscribe", SubscriptionArn=listed(sns)["SubscriptionArn"])
    hook.received.clear()
    arn = confirmed(sns, hook)
    sns.broker.topics.unsubscribe("orders", arn.rpartition(":")[2])
    assert sns.broker.notices.waiting() == []
    assert sns.broker.core.state.metadata == {}


def test_a_notice_is_sent_again_by_the_policy(sns: Sns, hook: HookServer) -> None:
    policy = {"healthyRetryPolicy": {"numRetries": 2, "numNoDelayRetries": 2}}
    arn = confirmed(sns, hook, DeliveryPolicy=json.dumps(policy))
    hook.behavior = answer(503)
    sns("Unsubscribe", SubscriptionArn=arn)
    eventually(lambda: not sns.broker.notices.waiting())
    assert len({each.headers["x-amz-sns-message-id"] for each in hook.received}) == 1
    assert hook.has_received(3)


def test_a_notice_survives_a_crash_and_is_sent_then(key_file: Path, hook: HookServer, clock: FakeClock) -> None:
    log = MemoryLog()
    broker = Broker(log, clock=clock)
    with serving_sns(broker, signer=Signer(key_file)) as sns:
        broker.pushes.hosts = PushHosts(("127.0.0.0/8",))
        pusher = Pusher(broker)
        pusher.start()
        arn = confirmed(sns, hook)
        pusher.stop()
        sns("Unsubscribe", SubscriptionArn=arn)
        crashed = log.after_crash()
    assert not hook.received
    broker = Broker(crashed, clock=clock)
    with serving_sns(broker, signer=Signer(key_file)):
        broker.pushes.hosts = PushHosts(("127.0.0.0/8",))
        pusher = Pusher(broker)
        pusher.start()
        assert json.loads(received(hook).body)["Type"] == "UnsubscribeConfirmation"
        eventually(lambda: not broker.notices.waiting())
        pusher.stop()
        pusher = Pusher(broker)
        pusher.start()
        pusher.stop()
    assert len(hook.received) == 1


def test_so_many_notices_are_kept(
    sns: Sns, hook: HookServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MOST_NOTICES", 2)
    tokens = []
    for number in range(3):
        sns("Unsubscribe", SubscriptionArn=confirmed(sns, hook, f"/{number}"))
        tokens.append(json.loads(received(hook).body)["Token"])
        hook.received.clear()
        clock.advance(1)
    assert len(sns.broker.core.state.metadata[notices.NAMESPACE]) == 2
    with pytest.raises(RefusedError, match="later one"):
        sns("ConfirmSubscription", TopicArn=topic_arn("orders"), Token=tokens[0])
    clock.advance(2 * 86_400)
    sns("Unsubscribe", SubscriptionArn=confirmed(sns, hook))
    assert len(sns.broker.core.state.metadata[notices.NAMESPACE]) == 1
