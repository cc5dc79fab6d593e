"""Addresses of NATS servers, and of logs in NATS JetStream."""

from __future__ import annotations

import pytest

from wonderq_storage.nats.address import Address, parse_addresses, parse_log_address


def test_addresses_are_read() -> None:
    assert parse_addresses("nats://a, tls://us%40er:p%3Aw@b:99 ,nats://tok@[::1]:7/") == [
        Address("a", 4222, tls=False),
        Address("b", 99, tls=True, user="us@er", password="p:w"),
        Address("::1", 7, tls=False, token="tok"),
    ]
    shown = [str(each) + repr(each) for each in parse_addresses("tls://user:word@b:99,nats://sesame@[::1]")]
    assert shown[0].startswith("tls://b:99")
    assert shown[1].startswith("nats://[::1]:4222")
    assert not any(secret in text for secret in ("user:", "word@", "'word'", "sesame") for text in shown)


@pytest.mark.parametrize(
    "text",
    ["", "a:4222", "http://a", "nats://", "nats://a,", "nats://a:x", "nats://a:70000", "nats://a/b", "nats://a?b"],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NATS server"):
        parse_addresses(text)


@pytest.mark.parametrize(
    ("text", "shown", "credentials"),
    [
        ("nats://h", "nats://h:4222/wonderq", [(None, None, None)]),
        ("nats://u:p@h:1,h2:3/NAME", "nats://h:1,h2:3/NAME", [("u", "p", None)] * 2),
        ("nats://u:p@h,v:q@i/", "nats://h:4222,i:4222/wonderq", [("u", "p", None), ("v", "q", None)]),
        ("tls://token@h1,tls://h2:5/a_b-C", "tls://h1:4222,h2:5/a_b-C", [(None, None, "token")] * 2),
        ("nats://u:p%2Cq@[::1]:9,h", "nats://[::1]:9,h:4222/wonderq", [("u", "p,q", None)] * 2),
    ],
)
def test_addresses_of_logs(text: str, shown: str, credentials: list[tuple[str | None, ...]]) -> None:
    found = parse_log_address(text, default_stream="wonderq")
    assert str(found) == shown
    assert [(each.user, each.password, each.token) for each in found.servers] == credentials
    assert "token" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "http://h",
        "nats://",
        "nats://secret@",
        "nats://a/b/c",
        "nats://a/x.y",
        "nats://a,,b",
        f"nats://a/{'x' * 65}",
    ],
)
def test_what_is_no_address_of_a_log(text: str) -> None:
    with pytest.raises(ValueError, match=r"nats://host|1 to 64") as refused:
        parse_log_address(text, default_stream="wonderq")
    assert "secret" not in str(refused.value)
