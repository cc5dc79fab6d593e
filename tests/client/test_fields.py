"""The client and the dashboard know each field that the API takes: a type of the client is the type of a request."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from tests.support.document_blocks import ROOT
from wonderq.client import fields, topics
from wonderq.model.settings import QueueSettings
from wonderq.rest import schemas, topic_schemas
from wonderq.rest.objects import settings_object

#: Types of the client with the types of the requests, and the fields that the calls of the client take as arguments.
PAIRS: dict[str, tuple[Any, type[msgspec.Struct], set[str]]] = {
    "a message": (fields.MessageOptions, schemas.NewMessage, {"message", "idempotency_key"}),
    "settings of a queue": (fields.QueueSettings, schemas.PutQueue, set()),
    "settings of a topic": (topics.TopicSettings, topic_schemas.PutTopic, set()),
    "a subscription": (topics.SubscriptionFields, topic_schemas.PutSubscription, {"queue"}),
    "the delivery to an endpoint": (topics.DeliveryFields, topic_schemas.DeliveryFields, set()),
}

#: Fields that the client names in another way.
RENAMED = {"key"}


@pytest.mark.parametrize("name", PAIRS)
def test_the_client_has_each_field_of_a_request(name: str) -> None:
    of_the_client, request, arguments = PAIRS[name]
    assert of_the_client.__annotations__.keys() - RENAMED == set(request.__struct_fields__) - arguments


def test_the_dashboard_has_each_setting_of_a_queue_with_its_default() -> None:
    """It shows the tags, and does not change them."""
    script = (ROOT / "wonderq" / "ui" / "pages" / "settings.js").read_text(encoding="utf-8")
    table = script.partition("const SETTINGS = [")[2].partition("\n];")[0]
    rows = re.findall(r'^  \["(\w+)", "\w*", ([^,]+), "', table, re.MULTILINE)
    assert len(rows) == table.count("\n")
    defaults = settings_object(QueueSettings())
    shown = {name: json.loads(value) for name, value in rows}
    assert shown.keys() == set(schemas.PutQueue.__struct_fields__) - {"tags"}
    assert shown == {name: defaults[name] for name in shown}
