"""The nodes of a cluster tell each other their state."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonderq.cluster.announcements import ROLES, STATES, Announcement, OfShard, decode
from wonderq.config import load_cluster
from wonderq.serve_cluster.serving import url_of_node

NUMBERS = st.integers(0, (1 << 63) - 1)
TEXTS = st.text(max_size=128)
SHARDS = st.dictionaries(
    st.integers(0, 255), st.builds(OfShard, st.sampled_from(ROLES), NUMBERS, TEXTS, NUMBERS, *[NUMBERS] * 4)
)
ANNOUNCEMENTS = st.builds(
    Announcement,
    node=TEXTS,
    token=TEXTS,
    state=st.sampled_from(STATES),
    version=TEXTS,
    url=TEXTS,
    time_ms=NUMBERS,
    offered=st.none() | st.tuples(NUMBERS, TEXTS),
    warm=st.lists(NUMBERS, max_size=5),
    shards=SHARDS,
    heard=st.dictionaries(TEXTS, NUMBERS, max_size=5),
    owners=st.dictionaries(st.integers(0, 255), TEXTS, max_size=5),
)

SHARD = OfShard("owner", 3, "aa", 7)
GOOD = Announcement("a", "t", "able", "1", "http://a", 5, (1, "b"), [2], {0: SHARD}, {"b": 100}, {1: "b"})


@given(ANNOUNCEMENTS)
def test_an_announcement_arrives_as_it_was_sent(said: Announcement) -> None:
    assert decode(said.encode()) == said


@pytest.mark.parametrize(
    "setting",
    [
        {"public_url": f"https://{'x' * 255}:65535"},
        {"listen": "0.0.0.0:7979", "peers": f"a={'x' * 255}:65535"},
    ],
)
def test_a_node_is_heard_with_the_longest_address_that_its_settings_may_give(setting: dict[str, str]) -> None:
    cluster, settings, _ = load_cluster({"name": "a", **setting}, {})
    said = GOOD._replace(url=url_of_node(cluster, settings, 65535))
    assert "x" * 255 in said.url
    assert decode(said.encode()) == said


@given(st.binary(max_size=200))
def test_other_bytes_are_no_announcement(data: bytes) -> None:
    assert decode(data) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node", 1),
        ("node", "x" * 129),
        ("url", "x" * 301),
        ("url", 1),
        ("state", 1),
        ("time_ms", -1),
        ("time_ms", True),
        ("offered", 3),
        ("offered", ["1", "b"]),
        ("offered", [1]),
        ("warm", "12"),
        ("warm", [1.5]),
        ("shards", []),
        ("shards", {"x": ["owner", 1, "", 0]}),
        ("shards", {"-1": ["owner", 1, "", 0]}),
        ("shards", {"1": [5, 1, "", 0]}),
        ("shards", {"1": ["x" * 129, 1, "", 0]}),
        ("shards", {"1": ["owner", 1, ""]}),
        ("shards", {"1": ["owner", 1 << 64, "", 0]}),
        ("heard", ["b"]),
        ("heard", {"b": -1}),
        ("heard", {"b": "1"}),
        ("heard", {"x" * 129: 1}),
        ("heard", {str(number): 1 for number in range(65)}),
        ("owners", ["b"]),
        ("owners", {"x": "b"}),
        ("owners", {"-1": "b"}),
        ("owners", {"1": 5}),
        ("shards", {"1": ["owner", 1, "", 0, -1]}),
        ("shards", {"1": ["owner", 1, "", 0, 1, 1, 3, "2"]}),
    ],
)
def test_a_wrong_field_makes_an_announcement_none(field: str, value: Any) -> None:
    assert decode(GOOD.encode()) == GOOD
    assert decode(json.dumps({**json.loads(GOOD.encode()), field: value}).encode()) is None


@pytest.mark.parametrize("field", Announcement._fields)
def test_what_another_version_may_leave_out_is_empty(field: str) -> None:
    fields = json.loads(GOOD.encode())
    del fields[field]
    empty: dict[str, Any] = {"version": "", "url": "", "offered": None, "warm": [], "owners": {}}
    expected = GOOD._replace(**{field: empty[field]}) if field in empty else None  # the others are never left out
    assert decode(json.dumps(fields).encode()) == expected


def test_what_another_version_tells_is_no_obstacle() -> None:
    """Nodes of two versions run at a time while a cluster is upgraded."""
    fields = json.loads(GOOD.encode())
    assert decode(json.dumps({**fields, "something new": [1]}).encode()) == GOOD
    for told in (["owner", 3, "aa", 7], ["owner", 3, "aa", 7, 0, 0, 0, 0, "something new"]):
        assert decode(json.dumps({**fields, "shards": {"0": told}}).encode()) == GOOD
    reordered = dict(reversed(fields.items()))
    assert decode(json.dumps(reordered).encode()) == GOOD


def test_a_role_or_a_state_of_a_newer_version_claims_nothing() -> None:
    """The rest of the announcement counts: the node may own other shards."""
    fields = json.loads(GOOD.encode())
    fields["shards"]["4"] = ["archiving", 9, "bb", 8]
    assert decode(json.dumps(fields).encode()) == GOOD._replace(shards={0: SHARD, 4: OfShard("other", 9, "bb", 8)})
    assert decode(json.dumps({**json.loads(GOOD.encode()), "state": "asleep"}).encode()) == GOOD._replace(
        state="unable"
    )
