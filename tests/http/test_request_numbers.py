"""Requests that a producer may repeat: by its number, and by the header ``Idempotency-Key``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_client import Client, check_refused


def produce(client: Client, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    reply = client("POST", "/messages/produce", json=fields, headers=headers)
    assert reply.status_code == 201, reply.text
    return reply.json


def texts(client: Client) -> list[str]:
    return [message["message"] for message in client("GET", "/dev/messages").json]


@pytest.mark.parametrize("fields", [{"message": "a"}, {"messages": ["a", {"message": "b", "priority": 3}]}])
def test_a_repeated_request_gets_the_same_response(client: Client, fields: dict[str, Any]) -> None:
    first = produce(client, **fields, producer_id="p", request_number=1)
    before = texts(client)
    assert produce(client, **fields, producer_id="p", request_number=1) == first
    assert texts(client) == before
    produce(client, **fields, producer_id="p", request_number=2)
    assert len(texts(client)) == 2 * len(before)


def test_an_earlier_number_is_refused(client: Client) -> None:
    produce(client, message="a", producer_id="p", request_number=2)
    reply = client("POST", "/messages/produce", json={"message": "b", "producer_id": "p", "request_number": 1})
    check_refused(reply, 409, "request_superseded")
    assert texts(client) == ["a"]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"producer_id": "p"}, "missing_field", "request_number"),
        ({"request_number": 1}, "missing_field", "producer_id"),
        ({"producer_id": "", "request_number": 1}, "invalid_value", "producer_id"),
        ({"producer_id": "p" * 65, "request_number": 1}, "invalid_value", "producer_id"),
        ({"producer_id": "p", "request_number": 0}, "invalid_value", "request_number"),
        ({"producer_id": "p", "request_number": 1 << 54}, "invalid_value", "request_number"),
    ],
)
def test_both_fields_are_checked(client: Client, fields: dict[str, Any], code: str, field: str) -> None:
    reply = client("POST", "/messages/produce", json={"message": "a", **fields})
    check_refused(reply, 400, code, field)
    assert texts(client) == []


@pytest.mark.parametrize("header", ["k 1", '"k 1"'])
def test_the_header_is_the_key_of_a_message(client: Client, header: str) -> None:
    first = produce(client, {"Idempotency-Key": header}, message="a")
    again = produce(client, message="a", idempotency_key="k 1")
    assert again == {**first, "duplicate": True}


def test_a_quoted_header_may_have_escapes(client: Client) -> None:
    produce(client, {"Idempotency-Key": r'"a\"\\b"'}, message="a")
    assert produce(client, message="a", idempotency_key='a"\\b')["duplicate"]


def test_the_header_is_the_key_of_a_batch(client: Client) -> None:
    first = produce(client, {"Idempotency-Key": '"k"'}, messages=["a", "b"])
    again = produce(client, {"Idempotency-Key": '"k"'}, messages=["a", "b"])
    assert again == {**first, "duplicates": [0, 1]}


def test_a_key_in_the_body_comes_first(client: Client) -> None:
    produce(client, {"Idempotency-Key": "header"}, message="a", idempotency_key="body")
    assert produce(client, message="a", idempotency_key="body")["duplicate"]
    assert "duplicate" not in produce(client, message="a", idempotency_key="header")


@pytest.mark.parametrize("header", ['""', "k" * 129])
def test_a_header_out_of_range_is_refused(client: Client, header: str) -> None:
    reply = client("POST", "/messages/produce", json={"message": "a"}, headers={"Idempotency-Key": header})
    check_refused(reply, 400, "invalid_value", "idempotency_key")
