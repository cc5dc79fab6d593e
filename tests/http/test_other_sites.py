"""A web page must not use its visitor's access to a broker on localhost."""

from __future__ import annotations

import pytest
from falcon.testing import TestClient

from wonderq.app import create_app
from wonderq.broker import Broker


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_other_sites_are_refused(broker: Broker, headers: dict[str, str]) -> None:
    broker.produce("default", ["x"])
    client = TestClient(create_app(broker))
    for method, path in (
        ("GET", "/messages/consume"),
        ("POST", "/messages/consume"),
        ("POST", "/queues/default/purge"),
    ):
        reply = client.simulate_request(method, path, headers=headers)
        assert (reply.status_code, reply.json["error"]["code"]) == (403, "cross_site")
    assert broker.count("default", "unprocessed") == 1


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}], ids=str)
def test_a_page_of_ours_and_programs_are_served(broker: Broker, headers: dict[str, str]) -> None:
    client = TestClient(create_app(broker))
    headers = {**headers, "Origin": "http://localhost:7979", "Host": "localhost:7979"}
    assert client.simulate_request("GET", "/messages/consume", headers=headers).status_code == 200
