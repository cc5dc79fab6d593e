"""The API keys of a cluster are the same on all nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_values import MemoryValues
from wonderq.auth import keys as key_file
from wonderq.auth.keys import Key, KeysError
from wonderq.cluster import keys as shared_keys
from wonderq.cluster.keys import KEYS, REVOKED, SYNCED_FILE, SharedKeys, merge
from wonderq.serve import StartError
from wonderq.serve_cluster.serving import begin_with_keys
from wonderq_storage import StorageError


def key(number: int) -> Key:
    return Key(
        id=f"{number:012x}",
        name="key",
        sha256="0" * 64,
        roles=["admin"],
        queues=["*"],
        created_at=datetime(2026, 1, 1, 0, 0, number % 60, tzinfo=UTC),
    )


NUMBERS = st.frozensets(st.integers(0, 20))


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_local_changes_are_made_to_the_shared_keys(
    base: frozenset[int], local: frozenset[int], shared: frozenset[int], revoked: frozenset[int]
) -> None:
    at_base, here, at_all = ([key(number) for number in sorted(each)] for each in (base, local, shared))
    merged = merge(at_base, here, at_all, {key(number).id for number in revoked})
    expected = (shared | (local - base - revoked)) - (base - local)
    assert [each.id for each in merged] == [key(number).id for number in sorted(expected)]


class Nodes:
    """Nodes with a folder each, which share their values."""

    def __init__(self, folder: Path) -> None:
        self.values = MemoryValues()
        self.folder = folder
        self.by_name: dict[str, SharedKeys] = {}

    def file(self, name: str) -> Path:
        return self.folder / name / "keys.json"

    def node(self, name: str) -> SharedKeys:
        if name not in self.by_name:
            self.by_name[name] = SharedKeys(self.values, self.file(name), self.folder / name)
            self.by_name[name].begin()
        return self.by_name[name]

    def create(self, name: str) -> str:
        return key_file.create(self.file(name), name="test", roles=["admin"], queues=["*"])[0].id

    def sync(self, *names: str) -> None:
        for name in names:
            self.node(name).sync()

    def keys(self, name: str) -> set[str]:
        return {each.id for each in key_file.read(self.file(name))[0]}


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


def test_without_keys_nothing_is_written(nodes: Nodes) -> None:
    nodes.sync("a", "b")
    assert nodes.values.values == {}
    assert not nodes.file("a").exists()


def test_a_key_of_one_node_is_one_of_all(nodes: Nodes) -> None:
    nodes.sync("a", "b")
    new = nodes.create("a")
    nodes.sync("a", "b")
    assert nodes.keys("a") == nodes.keys("b") == {new}
    assert nodes.file("b").stat().st_mode & 0o777 == 0o600


def test_a_node_that_starts_has_the_keys_before_its_first_request(nodes: Nodes) -> None:
    new = nodes.create("a")
    nodes.node("a")
    nodes.node("b")
    assert nodes.keys("b") == {new}


def test_a_key_that_is_revoked_on_one_node_is_gone_on_all(nodes: Nodes) -> None:
    first, second = nodes.create("a"), nodes.create("a")
    nodes.sync("a", "b", "c")
    key_file.revoke(nodes.file("b"), [first])
    nodes.sync("b", "a", "c")
    assert nodes.keys("a") == nodes.keys("b") == nodes.keys("c") == {second}
    nodes.sync("a", "b", "c")
    assert nodes.keys("a") == {second}, "it does not come back"


def test_changes_of_two_nodes_at_a_time_are_merged(nodes: Nodes) -> None:
    old = nodes.create("a")
    nodes.sync("a", "b")
    new = nodes.create("a")
    key_file.revoke(nodes.file("b"), [old])
    nodes.sync("a", "b", "a")
    assert nodes.keys("a") == nodes.keys("b") == {new}


def test_a_change_that_meets_another_one_is_made_later(nodes: Nodes) -> None:
    nodes.sync("a", "b")
    first, second = nodes.create("a"), nodes.create("b")

    def be_faster() -> None:
        nodes.values.before_put = lambda: None
        nodes.sync("b")

    nodes.values.before_put = be_faster
    with pytest.raises(StorageError):
        nodes.sync("a")
    nodes.sync("a", "b")
    assert nodes.keys("a") == nodes.keys("b") == {first, second}


def test_a_change_while_the_node_was_down_is_found_at_its_start(nodes: Nodes) -> None:
    first, second = nodes.create("a"), nodes.create("a")
    nodes.sync("a", "b")
    del nodes.by_name["a"]
    key_file.revoke(nodes.file("a"), [first])
    nodes.sync("a", "b")
    assert nodes.keys("b") == {second}


def test_a_node_whose_key_file_is_gone_gets_the_keys_and_revokes_none(nodes: Nodes) -> None:
    new = nodes.create("a")
    nodes.sync("a", "b")
    nodes.file("b").unlink()
    nodes.sync("b", "a")
    assert nodes.keys("a") == nodes.keys("b") == {new}
    nodes.file("b").unlink()
    del nodes.by_name["b"]
    nodes.sync("b", "a")
    assert nodes.keys("a") == nodes.keys("b") == {new}


def test_a_node_that_is_given_another_key_file_which_is_not_there_revokes_none(nodes: Nodes) -> None:
    new = nodes.create("a")
    nodes.sync("a", "b")
    other = nodes.folder / "etc" / "keys.json"
    SharedKeys(nodes.values, other, nodes.folder / "b").begin()
    nodes.sync("a")
    assert nodes.keys("a") == {each.id for each in key_file.read(other)[0]} == {new}


def test_all_keys_can_be_revoked(nodes: Nodes) -> None:
    new = nodes.create("a")
    nodes.sync("a", "b")
    key_file.revoke(nodes.file("b"), [new])
    nodes.sync("b", "a")
    assert nodes.keys("a") == nodes.keys("b") == set()
    nodes.file("b").unlink()
    nodes.sync("b", "a")
    assert nodes.keys("a") == nodes.keys("b") == set()


def test_a_key_that_was_revoked_before_the_folder_was_emptied_stays_revoked(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key file may be elsewhere, and outlive the folder, and so many keys were revoked since that none is listed."""
    monkeypatch.setattr(shared_keys, "MOST_REVOKED", 1)
    old, newer, other = (nodes.create("a") for _ in range(3))
    kept = nodes.folder / "vault" / "keys.json"
    nodes.sync("a")
    SharedKeys(nodes.values, kept, nodes.folder / "b").begin()
    for each in (old, newer):
        key_file.revoke(nodes.file("a"), [each])
        nodes.sync("a")
    (nodes.folder / "b" / SYNCED_FILE).unlink()
    SharedKeys(nodes.values, kept, nodes.folder / "b").begin()
    nodes.sync("a")
    assert nodes.keys("a") == {each.id for each in key_file.read(kept)[0]} == {other}
    assert f"{kept}" in caplog.text
    assert old in caplog.text
    assert other not in caplog.text


def fail_to_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no node record which keys it has in common with the cluster."""
    change = key_file.change

    def fail(path: Path, changed: Callable[[list[Key]], Sequence[Key]]) -> None:
        if path.name == SYNCED_FILE:
            raise KeysError("no room")
        change(path, changed)

    monkeypatch.setattr(key_file, "change", fail)


def test_a_revoked_key_does_not_come_back_from_a_node_that_could_not_record_that_it_has_it(nodes: Nodes) -> None:
    """For this node, the key looks like one that was created there. It may also have been killed between two writes."""
    first = nodes.create("a")
    nodes.sync("a", "b", "c")
    second = nodes.create("a")
    nodes.sync("a")
    with pytest.MonkeyPatch.context() as monkeypatch:
        fail_to_record(monkeypatch)
        nodes.sync("b")
    assert second in nodes.keys("b")
    key_file.revoke(nodes.file("a"), [second])
    nodes.sync("a", "b", "a", "c")
    assert nodes.keys("a") == nodes.keys("b") == nodes.keys("c") == {first}
    third = nodes.create("b")
    nodes.sync("b", "a", "c")
    assert nodes.keys("a") == nodes.keys("b") == nodes.keys("c") == {first, third}


def test_an_old_key_file_does_not_bring_revoked_keys_back(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    first, second = nodes.create("a"), nodes.create("a")
    nodes.sync("a", "b")
    old = nodes.file("b").read_bytes()
    key_file.revoke(nodes.file("a"), [first])
    nodes.sync("a", "b")
    nodes.file("b").write_bytes(old)
    nodes.sync("b", "a")
    assert nodes.keys("a") == nodes.keys("b") == {second}
    [told] = [each.getMessage() for each in caplog.records if "revoked" in each.getMessage()]
    assert first in told
    assert str(nodes.file("b")) in told


def test_a_revocation_that_was_not_stored_to_its_end_is_stored_later(nodes: Nodes) -> None:
    first, second = nodes.create("a"), nodes.create("a")
    nodes.sync("a", "b")
    key_file.revoke(nodes.file("a"), [first])
    puts = iter(range(1))

    def fail_at_the_second() -> None:
        if next(puts, None) is None:
            raise StorageError("no answer")

    nodes.values.before_put = fail_at_the_second
    with pytest.raises(StorageError):
        nodes.sync("a")
    nodes.sync("b")
    assert nodes.keys("b") == {first, second}
    nodes.values.before_put = lambda: None
    nodes.sync("a", "b")
    assert nodes.keys("b") == {second}


def test_the_newest_revoked_keys_are_remembered(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_keys, "MOST_REVOKED", 3)
    created = [nodes.create("a") for _ in range(5)]
    nodes.sync("a")
    for each in created:
        key_file.revoke(nodes.file("a"), [each])
        nodes.sync("a")
    assert json.loads(nodes.values.values[REVOKED].data)["ids"] == created[2:]


def test_an_earlier_version_reads_the_keys_after_a_revocation(nodes: Nodes) -> None:
    """It accepts no other fields."""
    first, second = nodes.create("a"), nodes.create("a")
    nodes.sync("a")
    key_file.revoke(nodes.file("a"), [first])
    nodes.sync("a")
    value = json.loads(nodes.values.values[KEYS].data)
    assert value.keys() == {"version", "keys"}
    assert [each["id"] for each in value["keys"]] == [second]


def test_a_damaged_list_of_revoked_keys_changes_nothing(nodes: Nodes) -> None:
    first = nodes.create("a")
    nodes.sync("a", "b")
    nodes.values.put(REVOKED, b"no list", revision=0)
    nodes.create("a")
    nodes.sync("a", "b")
    assert nodes.keys("b") == {first}


def test_keys_that_the_cluster_never_had_are_not_revoked(nodes: Nodes) -> None:
    """A restored cluster may have none, and a node may have those of before."""
    new = nodes.create("a")
    nodes.sync("a")
    nodes.values.values.clear()
    nodes.sync("a", "b")
    assert nodes.keys("a") == nodes.keys("b") == {new}


def test_a_node_that_cannot_store_the_keys_does_not_start(nodes: Nodes) -> None:
    nodes.create("a")
    nodes.sync("a")
    nodes.file("b").parent.write_bytes(b"")
    keys = SharedKeys(nodes.values, nodes.file("b"), nodes.folder / "data")
    with pytest.raises(StartError, match=r"cannot be written.*does not start without the keys"):
        begin_with_keys(keys)


@pytest.mark.parametrize("name", ["keys.json", SYNCED_FILE])
@pytest.mark.parametrize("content", [b"", b"no keys"])
def test_a_node_that_cannot_read_its_keys_does_not_start(nodes: Nodes, name: str, content: bytes) -> None:
    """An empty file is one that was not written to its end. Nobody has revoked anything."""
    new = nodes.create("a")
    nodes.sync("a", "b")
    (nodes.folder / "b" / name).write_bytes(content)
    del nodes.by_name["b"]
    with pytest.raises(KeysError, match="cannot be read"):
        nodes.sync("b")
    nodes.sync("a")
    assert nodes.keys("a") == {new}


def test_without_nats_the_keys_stay(nodes: Nodes) -> None:
    new = nodes.create("a")
    nodes.sync("a", "b")
    nodes.values.error = StorageError("no answer")
    with pytest.raises(StorageError):
        nodes.sync("b")
    assert nodes.keys("b") == {new}


@pytest.mark.parametrize("content", [b"", b"no keys", b'{"version":2,"keys":[]}'])
def test_a_file_or_a_value_that_is_damaged_changes_nothing(nodes: Nodes, content: bytes) -> None:
    new = nodes.create("a")
    nodes.sync("a", "b")
    nodes.file("a").write_bytes(content)
    nodes.sync("a", "b")
    assert nodes.keys("b") == {new}
    assert nodes.file("a").read_bytes() == content
    stored = nodes.values.values[KEYS]
    nodes.values.values[KEYS] = stored._replace(data=content)
    nodes.sync("b")
    assert nodes.keys("b") == {new}
