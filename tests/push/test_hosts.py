"""The broker delivers only to names and networks that its operator has listed."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from tests.push.conftest import Pushing, pushing
from tests.support.clock import FakeClock
from tests.support.hook_server import HookServer, answer, hook_server
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.broker.pushes import Pushed, PushKey
from wonderq.model.errors import InvalidValueError
from wonderq.model.push import parse_endpoint
from wonderq.model.push_hosts import PushHosts, is_public

NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "2001::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_must_be_listed(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert not is_public(found)
    assert not PushHosts(("*", "hooks.example")).permits_address(found)
    assert PushHosts.anywhere().permits_address(found)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_needs_no_network(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert is_public(found)
    assert PushHosts(("hooks.example",)).permits_address(found)
    assert not PushHosts(("hooks.example",)).permits_host(address)  # but nobody has named it
    assert PushHosts(("*",)).permits_host(address)


def test_a_network_holds_its_mapped_addresses() -> None:
    hosts = PushHosts(("10.0.0.0/8",))
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        assert hosts.permits_address(ipaddress.ip_address(address))
        assert hosts.permits_host(address)
    assert not hosts.permits_host("11.1.2.3")


@pytest.mark.parametrize(
    ("items", "permitted", "refused"),
    [
        (("hooks.example.com",), ["hooks.example.com", "HOOKS.example.com", "hooks.example.com."], ["example.com"]),
        (("*.example.com",), ["a.example.com", "a.b.example.com"], ["example.com", "badexample.com", "a.example.org"]),
        (("*",), ["anything.example", "localhost"], ["127.0.0.1", "::1", "10.0.0.1"]),
        ((), [], ["hooks.example.com", "8.8.8.8"]),
    ],
)
def test_names_are_compared_whole(items: Sequence[str], permitted: list[str], refused: list[str]) -> None:
    hosts = PushHosts(items)
    assert [each for each in permitted if not hosts.permits_host(each)] == []
    assert [each for each in refused if hosts.permits_host(each)] == []


@pytest.mark.parametrize("item", ["https://a.example", "a.example:80", "10.0.0.0/33", "10.0.0", "a..b", "*.*.b", "a/8"])
def test_what_is_neither_a_name_nor_a_network_is_refused(item: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor a network"):
        PushHosts((item,))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.example/", "//a.example/", "a.example", "http:a.example", "http:///x", "http://"),
        *("http://user@a.example/", "http://a.example/#part", "http://a.example:0/", "http://a.example:70000/"),
        *("http://a b/", "http://ä.example/", "http://[::1/", "http://[fe80::1%25eth0]/", "http://-a.example/"),
        *("http://a.example/\r\nX: y", f"http://a.example/{'x' * 2050}", "http://a..example/", "http://a_b..c/"),
    ],
)
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidValueError, match="The URL of the endpoint is invalid"):
        parse_endpoint(url)


def test_without_hosts_endpoints_are_refused(broker: Broker) -> None:
    broker.topics.put("orders")
    with pytest.raises(InvalidValueError, match="Start it with --push-hosts"):
        broker.topics.subscribe("orders", "mail", endpoint="https://hooks.example.com/")
    broker.pushes.hosts = PushHosts(("hooks.example.com",))
    broker.topics.subscribe("orders", "mail", endpoint="https://hooks.example.com/")
    with pytest.raises(InvalidValueError, match=r"does not deliver to the host 127\.1"):
        broker.topics.subscribe("orders", "mail", endpoint="https://127.1/")


LISTED = ("hooks.example",)


def url_of(hook: HookServer) -> str:
    return f"http://hooks.example:{hook.port}/hook"


def test_a_name_that_leads_into_the_network_gets_no_connection(
    broker: Broker, clock: FakeClock, hook: HookServer
) -> None:
    found = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo", "nonsense"]
    with pushing(broker, clock, hosts=LISTED, lookup=lambda _: found) as push:
        push.broker.put_queue("dead")
        push.subscribe("mail", url_of(hook), dead_letter_queue="dead", delivery={"retries": 0})
        push.publish("secret")
        [dead] = eventually(lambda: list(push.broker.messages("dead")))
        assert dead.envelope is not None
        assert dead.envelope.dead_letter_source is not None
        assert "hooks.example leads to 127.0.0.1" in dead.envelope.dead_letter_source.reason
    assert not hook.received


def test_the_connection_is_made_to_the_address_that_was_checked(
    broker: Broker, clock: FakeClock, hook: HookServer
) -> None:
    """A second lookup could have another answer. `hooks.example` exists for the first one only."""
    asked: list[str] = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.7", "127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    with pushing(broker, clock, hosts=(*LISTED, "127.0.0.0/30"), lookup=look_up) as push:
        push.subscribe("mail", url_of(hook))
        push.publish("text")
        eventually(lambda: hook.received)
        eventually(lambda: not push.counts("mail"))
    assert asked == ["hooks.example"]
    assert hook.received[0].headers["host"] == f"hooks.example:{hook.port}"


def test_another_address_of_the_host_is_tried(broker: Broker, clock: FakeClock, hook: HookServer) -> None:
    with pushing(broker, clock, hosts=(*LISTED, "127.0.0.0/8"), lookup=lambda _: ["127.9.9.9", "127.0.0.1"]) as push:
        push.subscribe("mail", url_of(hook))
        push.publish("text")
        eventually(lambda: hook.received)


def test_a_host_that_is_not_found_is_a_fault(broker: Broker, clock: FakeClock, hook: HookServer) -> None:
    def look_up(host: str) -> list[str]:
        raise OSError(f"{host} is unknown")

    with pushing(broker, clock, hosts=LISTED, lookup=look_up) as push:
        push.subscribe("mail", url_of(hook))
        push.publish("text")
        eventually(lambda: push.counts("mail") == {"delayed": 1})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(push: Pushing, hook: HookServer, status: int) -> None:
    with hook_server() as elsewhere:
        hook.behavior = answer(status, f"Location: {elsewhere.url}")
        push.subscribe("mail", hook.url, delivery={"retries": 0})
        push.publish("text")
        eventually(lambda: push.counts("mail") == {"buried": 1})
        assert not elsewhere.received


def test_an_endpoint_that_is_listed_no_longer_gets_nothing_and_loses_nothing(
    broker: Broker, clock: FakeClock, hook: HookServer
) -> None:
    with pushing(broker, clock) as push:
        push.subscribe("mail", hook.url)
        push.subscribe("log", hook.url.replace("127.0.0.1", "127.0.0.2"))
    with pushing(broker, clock, hosts=("127.0.0.2",)) as push:
        push.publish("text")
        eventually(lambda: push.counts("log") == {"delayed": 1})  # nobody listens there
        assert push.counts("mail") == {"unprocessed": 1}
    assert not hook.received
    with pushing(broker, clock) as push:
        eventually(lambda: hook.received)


def test_an_endpoint_that_moves_to_a_listed_host_while_its_old_one_is_refused_gets_its_messages(
    push: Pushing, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    push.wait_for_start()
    find = push.broker.pushes.find

    def find_and_move(key: PushKey) -> Pushed | None:
        monkeypatch.setattr(push.broker.pushes, "find", find)
        found = find(key)
        push.broker.pushes.hosts = PushHosts(("localhost",))
        push.subscribe("mail", hook.url.replace("127.0.0.1", "localhost"))
        push.publish("text")
        return found

    monkeypatch.setattr(push.broker.pushes, "find", find_and_move)
    push.subscribe("mail", hook.url)
    eventually(lambda: hook.texts == ["text"])
