"""Access rules of the SQS endpoint: every action with every kind of key, and signatures."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.bearers import Bearers, bearers_of_all_kinds
from tests.support.http_client import Client, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import ROLES
from wonderq.broker.broker import Broker
from wonderq.sqs.endpoint import ACTIONS

#: Enough for each action to be let in; most are then refused for what is missing.
FIELDS = {"QueueUrl": "http://x/000000000000/mine", "QueueName": "mine", "SourceArn": "arn:aws:sqs:x:0:mine"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def bearers(path: Path) -> Bearers:
    return bearers_of_all_kinds(path)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_for_keys_with_its_role_and_its_queue(action: str, path: Path, bearers: Bearers) -> None:
    broker = Broker(MemoryLog())
    broker.put_queue("mine")
    client = Client(broker, Access(Keys(path)))
    let_in = set()
    for name, key in bearers.items():
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        body = urlencode({"Action": action, **FIELDS})
        reply = client("POST", "/", body=body, media_type="application/x-www-form-urlencoded", headers=headers)
        if reply.status_code != 403:
            assert reply.status_code in (200, 400), reply.text
            let_in.add(name)
        broker.put_queue("mine")
    role = ACTIONS[action].role
    assert let_in == ({role, "admin"} if role is not None else set(ROLES) - {"metrics"})


def test_there_is_no_action_for_those_whom_nobody_asks(path: Path) -> None:
    client = Client(Broker(MemoryLog()), Access(Keys(path)))
    reply = client("POST", "/", body="Action=NoSuch", media_type="application/x-www-form-urlencoded")
    assert reply.status_code == 403, "what there is, is not told to whoever has no key"


# Signatures


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, keys.Key]]:
    path = tmp_path_factory.mktemp("signed") / "keys.json"
    key, _ = keys.create(path, name="k", roles=["admin"], queues=["mine*"], for_sqs=True)
    keys.create(path, name="k", roles=["admin"], queues=["*"])
    broker = Broker(MemoryLog())
    access = Access(Keys(path))
    with serving(broker, create_app(broker, access), check_head=access.check_head) as served:
        yield f"http://127.0.0.1:{served.port}", key


def client_of(url: str, key_id: str, secret: str) -> Any:
    with mock.patch.dict(os.environ, {"AWS_MAX_ATTEMPTS": "1"}):
        return boto3.client(
            "sqs", endpoint_url=url, region_name="eu-central-1", aws_access_key_id=key_id, aws_secret_access_key=secret
        )


def refused(client: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        client.list_queues()
    response: Any = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_a_right_signature(served: tuple[str, keys.Key]) -> None:
    url, key = served
    client = client_of(url, key.access_key_id, str(key.sqs_secret))
    queue = client.create_queue(QueueName="mine-1")["QueueUrl"]
    client.send_message(QueueUrl=queue, MessageBody="größer & <so> on", MessageAttributes={
        "a": {"DataType": "String", "StringValue": "é"}})  # fmt: skip
    assert client.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "größer & <so> on"
    with pytest.raises(ClientError, match="does not open"):
        client.create_queue(QueueName="theirs")
    assert [url.rpartition("/")[2] for url in client.list_queues()["QueueUrls"]] == ["mine-1"]


def test_another_secret(served: tuple[str, keys.Key]) -> None:
    url, key = served
    assert refused(client_of(url, key.access_key_id, "0" * 40)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("key_id", ["AKIAIOSFODNN7EXAMPLE", "WQIA" + "0" * 12, "x"])
def test_an_unknown_key(served: tuple[str, keys.Key], key_id: str) -> None:
    assert refused(client_of(served[0], key_id, str(served[1].sqs_secret))) == (403, "InvalidClientTokenId")


@pytest.mark.parametrize(("off_s", "is_fine"), [(-600, True), (600, True), (-1200, False), (1200, False)])
def test_a_request_of_another_time(served: tuple[str, keys.Key], off_s: int, is_fine: bool) -> None:
    url, key = served
    client = client_of(url, key.access_key_id, str(key.sqs_secret))
    then = datetime.now(UTC) + timedelta(seconds=off_s)
    with mock.patch("botocore.auth.get_current_datetime", return_value=then.replace(tzinfo=None)):
        if is_fine:
            client.list_queues()
        else:
            assert refused(client) == (403, "SignatureDoesNotMatch")


def test_a_body_that_was_changed_on_the_way(served: tuple[str, keys.Key]) -> None:
    url, key = served
    client = client_of(url, key.access_key_id, str(key.sqs_secret))

    def change(request: Any, **_: Any) -> None:
        request.body = request.body.replace(b"mine-1", b"mine-2")

    client.meta.events.register("before-send.sqs", lambda request, **_: change(request))
    with pytest.raises(ClientError) as caught:
        client.create_queue(QueueName="mine-1")
    assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_a_key_that_is_not_for_sqs_has_no_secret(served: tuple[str, keys.Key], tmp_path: Path) -> None:
    key, _ = keys.create(tmp_path / "keys.json", name="k", roles=["admin"], queues=["*"])
    assert key.sqs_secret is None
    assert refused(client_of(served[0], key.access_key_id, "0" * 40)) == (403, "InvalidClientTokenId")


# Queues named by a request


@pytest.fixture(scope="module")
def keyed(path: Path, bearers: Bearers) -> Client:
    broker = Broker(MemoryLog())
    for name in ("mine", "theirs"):
        broker.put_queue(name)
        broker.produce(name, ["x"])
    broker.put_queue("dead")
    return Client(broker, Access(Keys(path)))


def ask(client: Client, bearer: str | None, action: str, path: str = "/", **fields: str) -> tuple[int, str]:
    reply = client(
        "POST",
        path,
        body=urlencode({"Action": action, **fields}),
        media_type="application/x-www-form-urlencoded",
        headers={} if bearer is None else {"Authorization": f"Bearer {bearer}"},
    )
    return reply.status_code, reply.text


@pytest.mark.parametrize(
    "url",
    [
        "http://x/000000000000/theirs",
        "http://x/000000000000/theirs?a=/mine",
        "http://x/000000000000/theirs#/mine",
        "http://x/000000000000/theirs?:mine",
        "/theirs?x=/000000000000/mine",
        "x:/theirs?/mine",
    ],
)
def test_another_queue_is_not_opened_by_how_its_url_is_written(keyed: Client, bearers: Bearers, url: str) -> None:
    status, text = ask(keyed, bearers["admin"], "ReceiveMessage", QueueUrl=url)
    assert (status, "AccessDenied" in text) == (403, True)
    status, text = ask(keyed, bearers["admin"], "ReceiveMessage", "/000000000000/mine", QueueUrl=url)
    assert (status, "AccessDenied" in text) == (403, True), "a parameter counts, not the path"


def test_the_path_names_a_queue_too(keyed: Client, bearers: Bearers) -> None:
    for prefix in ("/000000000000/", "/queue/", "/"):
        assert ask(keyed, bearers["admin"], "GetQueueAttributes", f"{prefix}mine")[0] == 200
        assert ask(keyed, bearers["admin"], "GetQueueAttributes", f"{prefix}theirs")[0] == 403
        status, text = ask(keyed, None, "GetQueueAttributes", f"{prefix}mine")
        assert (status, "MissingAuthenticationToken" in text) == (403, True)


def test_a_queue_of_others_cannot_be_a_dead_letter_queue(keyed: Client, bearers: Bearers) -> None:
    policy = {
        "Attribute.1.Name": "RedrivePolicy",
        "Attribute.1.Value": '{"deadLetterTargetArn":"arn:aws:sqs:x:0:theirs","maxReceiveCount":1}',
    }
    for action, more in (("SetQueueAttributes", {}), ("CreateQueue", {"QueueName": "mine"})):
        status, text = ask(keyed, bearers["admin"], action, "/000000000000/mine", **policy, **more)
        if action == "SetQueueAttributes":
            assert (status, "AccessDenied" in text) == (403, True)
        else:
            assert (status, "QueueAlreadyExists" in text) == (400, True)
    status, text = ask(keyed, bearers["elsewhere"], "CreateQueue", QueueName="theirs2", **policy)
    assert status == 403


def test_lists_have_only_the_queues_that_the_key_opens(path: Path) -> None:
    key = keys.create(path, name="k", roles=["inspect"], queues=["mine*"])[1]
    broker = Broker(MemoryLog())
    broker.put_queue("mine")
    for name in ("mine-2", "mine-3", "theirs"):
        broker.put_queue(name, max_receives=1, dead_letter_queue="mine")
    client = Client(broker, Access(Keys(path)))
    for action, names in (
        ("ListQueues", ["mine", "mine-2", "mine-3"]),
        ("ListDeadLetterSourceQueues", ["mine-2", "mine-3"]),
    ):
        status, text = ask(client, key, action, QueueUrl="/000000000000/mine")
        assert (status, re.findall("/000000000000/([^<]+)", text)) == (200, names)


def test_letters_go_back_only_by_who_may_use_the_queues_they_came_from(
    tmp_path: Path, path: Path, bearers: Bearers
) -> None:
    broker = Broker(MemoryLog())
    broker.put_queue("mine")
    broker.put_queue("theirs", max_receives=1, dead_letter_queue="mine")
    client = Client(broker, Access(Keys(path)))
    arn = "arn:aws:sqs:x:0:mine"
    assert ask(client, bearers["admin"], "StartMessageMoveTask", SourceArn=arn)[0] == 403
    to = "arn:aws:sqs:x:0:theirs"
    assert ask(client, bearers["admin"], "StartMessageMoveTask", SourceArn=arn, DestinationArn=to)[0] == 403
    move_id = broker.redrives.start("mine")
    status, text = ask(client, bearers["elsewhere"], "CancelMessageMoveTask", TaskHandle=move_id)
    assert (status, "Task does not exist" in text) == (404, True)
    assert ask(client, bearers["admin"], "CancelMessageMoveTask", TaskHandle=move_id)[0] == 200


def test_too_many_requests_with_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, _ = keys.create(path, name="k", roles=["admin"], queues=["*"], requests_per_second=1, for_sqs=True)
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker, Access(Keys(path)))) as served:
        client = client_of(f"http://127.0.0.1:{served.port}", key.access_key_id, str(key.sqs_secret))
        with pytest.raises(client.exceptions.RequestThrottled) as caught:
            [client.list_queues() for _ in range(50)]
    assert caught.value.response["Error"]["Code"] == "RequestThrottled"


def test_a_large_body_is_not_read_from_those_who_have_no_key(served: tuple[str, keys.Key]) -> None:
    url, key = served
    host, port = url.removeprefix("http://").split(":")
    scope = "20260101/eu-central-1/sqs/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
    for path in ("/", "/000000000000/mine"):
        for authorization, answer in (
            ("", b"HTTP/1.1 401 "),
            ("Authorization: Bearer x\r\n", b"HTTP/1.1 401 "),
            (f"Authorization: AWS4-HMAC-SHA256 Credential=AKID/{scope}\r\n", b"HTTP/1.1 401 "),
            (f"Authorization: AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}\r\n", b"HTTP/1.1 100 "),
        ):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n{authorization}\r\n"
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
                connection.sendall(head.encode())
                assert connection.recv(100).startswith(answer), (path, authorization)
