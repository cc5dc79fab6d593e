"""Who may do what over the SQS endpoint: every action with every kind of key, and signatures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.broker.memory_log import MemoryLog
from tests.http.calls import Client, serving
from wonderq import keys
from wonderq.access import Access
from wonderq.app import create_app
from wonderq.broker import Broker
from wonderq.keys import Keys
from wonderq.model import ROLES
from wonderq.sqs.resource import ACTIONS

#: Enough for each action to be let in; most are then refused for what is missing.
FIELDS = {"QueueUrl": "http://x/000000000000/mine", "QueueName": "mine", "SourceArn": "arn:aws:sqs:x:0:mine"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def bearers(path: Path) -> dict[str, str | None]:
    made: dict[str, str | None] = {
        role: keys.create(path, name="k", roles=[role], queues=["mine"])[1] for role in ROLES
    }
    made["elsewhere"] = keys.create(path, name="k", roles=["admin"], queues=["theirs"])[1]
    return {**made, "none": None, "unknown": "wq_000000000000_" + "0" * 64}


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_for_keys_with_its_role_and_its_queue(
    action: str, path: Path, bearers: dict[str, str | None]
) -> None:
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
    assert let_in == ({role, "admin"} if role is not None else set(ROLES))


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
    with serving(broker, create_app(broker, Access(Keys(path)))) as served:
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


@pytest.mark.parametrize(("off_s", "is_fine"), [(-899, True), (899, True), (-960, False), (960, False)])
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
