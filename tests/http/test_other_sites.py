"""A web page must not use its visitor's access to a broker on localhost, unless a setting allows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from falcon.testing import TestClient

from tests.support.broker_process import RunningBroker
from tests.support.http_client import Wire, check_refused
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import TrustedHosts


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
        assert (reply.status_code, reply.json["error"]["code"]) == (403, "cross_site_request")
    assert broker.count("default", "unprocessed") == 1


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}], ids=str)
def test_a_page_of_ours_and_programs_are_served(broker: Broker, headers: dict[str, str]) -> None:
    client = TestClient(create_app(broker))
    headers = {**headers, "Origin": "http://localhost:7979", "Host": "localhost:7979"}
    assert client.simulate_request("GET", "/messages/consume", headers=headers).status_code == 200


#: Headers of a browser that loads an image of any page by plain HTTP from another machine: no origin, and no site.
OLD_BROWSER = {"Host": "queue.example:7979", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}


@pytest.mark.parametrize("path", ["/messages/consume", "/queues/default/messages/consume"])
def test_a_get_that_claims_is_refused_to_a_browser_that_does_not_tell_its_page(broker: Broker, path: str) -> None:
    broker.produce("default", ["x"])
    client = TestClient(create_app(broker))
    check_refused(client.simulate_get(path, headers=OLD_BROWSER), 403, "cross_site_request")
    check_refused(client.simulate_get(path, headers={**OLD_BROWSER, "Sec-Fetch-Site": "x"}), 403, "cross_site_request")
    assert client.simulate_get("/queues", headers=OLD_BROWSER).status_code == 200, "it changes nothing"
    assert client.simulate_post(path, headers=OLD_BROWSER).json[0]["message"] == "x"


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "curl/8.5.0"},
        {"User-Agent": ""},
        {**OLD_BROWSER, "Sec-Fetch-Site": "none"},
        {**OLD_BROWSER, "Sec-Fetch-Site": "same-origin"},
        {**OLD_BROWSER, "Origin": "http://queue.example:7979"},
        {**OLD_BROWSER, "Authorization": "Bearer x"},
    ],
    ids=str,
)
def test_other_clients_claim_by_get(broker: Broker, headers: dict[str, str]) -> None:
    assert TestClient(create_app(broker)).simulate_get("/messages/consume", headers=headers).status_code == 200


def test_with_keys_a_get_that_claims_needs_one_instead(broker: Broker, tmp_path: Path) -> None:
    _, text = keys.create(tmp_path / "keys.json", name="x", roles=["consume"], queues=["*"])
    client = TestClient(create_app(broker, Access(Keys(tmp_path / "keys.json"))))
    check_refused(client.simulate_get("/messages/consume", headers=OLD_BROWSER), 401, "unauthorized")
    headers = {**OLD_BROWSER, "Authorization": f"Bearer {text}"}
    assert client.simulate_get("/messages/consume", headers=headers).status_code == 200


# The name that a broker is asked for by, which is all that tells a page whose server's name was made to point to us

OURS = [
    "localhost",
    "LocalHost:1",
    "localhost.",
    "localhost.:80",
    "a.b-c.localhost:7979",
    "127.0.0.1",
    "127.0.0.1:7979",
]
OURS += ["127.1.2.3:80", "[::1]", "[::1]:7979"]
THEIRS = [
    "evil.example",
    "evil.example:7979",
    "localhost.evil.example",
    "evillocalhost",
    "127.0.0.1.evil.example",
    "[::2]:80",
]
THEIRS += [
    "0.0.0.0:7979",
    "192.168.1.1",
    "localhost:80.evil.example",
    "127.0.0.1\n",
    "[::1].evil.example",
    ".localhost",
    "",
]


@pytest.mark.parametrize("host", OURS)
def test_names_that_mean_this_machine(broker: Broker, host: str) -> None:
    client = TestClient(create_app(broker, hosts=TrustedHosts()))
    assert client.simulate_get("/queues", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", THEIRS)
def test_other_names_are_refused(broker: Broker, host: str) -> None:
    assert not TrustedHosts().accept(host)
    if host and host == host.strip():  # no server passes on others
        client = TestClient(create_app(broker, hosts=TrustedHosts(["mine.example"])))
        for path in ("/queues", "/healthz", "/nothing"):
            reply = client.simulate_get(path, headers={"Host": host, "Origin": f"http://{host}"})
            check_refused(reply, 421, "unknown_host")
            assert "--hosts" in reply.json["error"]["message"]


def test_of_names_that_are_made_up_only_some_are_kept() -> None:
    hosts = TrustedHosts()
    for number in range(1000):
        assert not hosts.accept(f"{number}.evil.example")
    assert hosts.accept.cache_info().currsize <= 256


def test_names_that_were_set_are_served(broker: Broker) -> None:
    hosts = TrustedHosts(["Mine.example", "10.0.0.1", "fd00::1"])
    client = TestClient(create_app(broker, hosts=hosts))
    for host in ("mine.example", "MINE.example:80", "mine.example.", "10.0.0.1:7979", "[FD00::1]:7979"):
        assert client.simulate_get("/queues", headers={"Host": host}).status_code == 200
    for host in ("not.mine.example", "10.0.0.2"):
        check_refused(client.simulate_get("/queues", headers={"Host": host}), 421, "unknown_host")


def test_with_keys_the_name_does_not_matter(broker: Broker, tmp_path: Path) -> None:
    found = Keys(tmp_path / "keys.json", check_interval_s=0)
    client = TestClient(create_app(broker, Access(found), hosts=TrustedHosts()))
    there = {"Host": "queue.example"}
    check_refused(client.simulate_get("/queues", headers=there), 421, "unknown_host")
    _, text = keys.create(tmp_path / "keys.json", name="x", roles=["admin"], queues=["*"])
    client.simulate_get("/queues", headers={"Host": "localhost"})  # with which it is seen that there are keys now
    check_refused(client.simulate_get("/queues", headers=there), 401, "unauthorized")
    reply = client.simulate_get("/queues", headers={**there, "Authorization": f"Bearer {text}"})
    assert reply.status_code == 200


def test_a_real_broker(tmp_path: Path) -> None:
    def status(broker: RunningBroker, *lines: bytes, version: bytes = b"1.1") -> int:
        head = b"\r\n".join((b"GET /queues HTTP/" + version, *lines, b"", b""))
        return Wire(broker.host, broker.port).send(head).status

    with RunningBroker(tmp_path / "d", "--hosts", "mine.example, Other.example") as broker:
        for host in (b"localhost", b"127.0.0.1:1", b"mine.example", b"other.example:80"):
            assert status(broker, b"Host: " + host) == 200
        assert status(broker, b"Host: evil.example") == 421
        assert status(broker, version=b"1.0") == 200  # no browser leaves it out
    with RunningBroker(tmp_path / "d", "--listen", "0.0.0.0:0", "--insecure") as broker:
        assert Wire("127.0.0.1", broker.port).send(b"GET /queues HTTP/1.1\r\nHost: any.example\r\n\r\n").status == 200


# Pages of other sites that may


SITE = "https://app.example"


def site_client(broker: Broker, access: Access | None = None) -> TestClient:
    return TestClient(create_app(broker, access, hosts=TrustedHosts(), cors_origins=[SITE, "http://localhost:3000"]))


def cors_headers(headers: Mapping[str, str]) -> dict[str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    return {name.removeprefix("access-control-"): found[name] for name in found if name.startswith("access-control-")}


def test_a_page_of_a_site_that_was_named_is_served(broker: Broker) -> None:
    client = site_client(broker)
    headers = {"Host": "localhost", "Origin": SITE, "Sec-Fetch-Site": "cross-site"}
    for path, status in (("/queues", 200), ("/queues/none", 404), ("/nothing", 404)):
        reply = client.simulate_get(path, headers=headers)
        assert reply.status_code == status
        assert cors_headers(reply.headers) == {
            "allow-origin": SITE,
            "expose-headers": "Retry-After, WWW-Authenticate, X-Request-Id",
        }


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://app.example", "https://app.example:8443", "https://app.example.evil"],
)
def test_no_others_are(broker: Broker, origin: str) -> None:
    client = site_client(broker)
    preflight = {"Host": "localhost", "Origin": origin, "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        reply = client.simulate_request(method, "/messages/consume", headers=preflight)
        check_refused(reply, 403, "cross_site_request")
        assert not cors_headers(reply.headers)


def test_what_comes_without_an_origin_from_another_site_is_refused(broker: Broker) -> None:
    headers = {"Host": "localhost", "Sec-Fetch-Site": "cross-site"}
    check_refused(site_client(broker).simulate_get("/messages/consume", headers=headers), 403, "cross_site_request")


def test_a_page_of_a_named_site_may_call_by_get(broker: Broker) -> None:
    """Its browser states its origin, and that it is another site."""
    headers = {"Host": "localhost", "Origin": SITE, "Sec-Fetch-Site": "cross-site", "User-Agent": "Mozilla/5.0"}
    for target in ("/messages/consume", "/?Action=ListQueues", "/?Action=ListTopics"):
        assert site_client(broker).simulate_get(target, headers=headers).status_code == 200


def test_a_preflight_is_answered_without_a_key_and_does_nothing(broker: Broker, tmp_path: Path) -> None:
    _, text = keys.create(tmp_path / "keys.json", name="x", roles=["admin"], queues=["*"])
    client = site_client(broker, Access(Keys(tmp_path / "keys.json")))
    preflight = {
        "Origin": SITE,
        "Access-Control-Request-Method": "UPDATE",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    broker.produce("default", ["x"])
    reply = client.simulate_options("/messages/x", headers=preflight)
    assert reply.status_code == 200
    found = cors_headers(reply.headers)
    assert "UPDATE" in found["allow-methods"]
    assert (found["allow-origin"], found["allow-headers"]) == (SITE, "authorization,content-type")
    assert "allow-credentials" not in found
    assert broker.count("default", "unprocessed") == 1
    # A request that is not a preflight needs a key, and the page can read the reason of a refusal.
    without_method = {"Origin": SITE}
    check_refused(client.simulate_options("/messages/x", headers=without_method), 401, "unauthorized")
    refused = client.simulate_get("/queues", headers=preflight)
    check_refused(refused, 401, "unauthorized")
    assert cors_headers(refused.headers)["allow-origin"] == SITE
    assert client.simulate_get("/queues", headers={**preflight, "Authorization": f"Bearer {text}"}).status_code == 200


def test_nothing_is_allowed_unless_it_was_set(broker: Broker) -> None:
    client = TestClient(create_app(broker))
    headers = {"Host": "localhost:1", "Origin": "http://localhost:1", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        assert not cors_headers(client.simulate_request(method, "/messages/consume", headers=headers).headers)
