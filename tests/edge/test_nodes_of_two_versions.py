"""Answers of all shards while nodes of two versions run: one adds fields, leaves them out, or has them in another order."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.edge_cluster import EdgeCluster
from tests.support.nats_servers import needs_nats
from wonderq.cluster import overviews
from wonderq.cluster.edge import Forwarding
from wonderq.cluster.listings import Listings
from wonderq.cluster.overviews import merged_broker, merged_history, merged_overview

pytestmark = needs_nats

Part = dict[str, Any]
Merge = Callable[[list[Part]], Part]

#: Values that a field of a newer version may have.
_NEW_VALUES = (7, 0.5, None, True, "text", ["a"], {"a": 1})

#: Objects that have numbers by name, and nothing else.
_NUMBERS = ("counts", "per_second")

_PROBLEM = {"code": "clock", "severity": "error", "message": "late", "queue": None, "topic": None}
_AGES = {"bounds": [0.1, 1.0, 10.0], "counts": [4, 3, 2, 1], "sum": 40.0, "p50": 1.0, "p90": 10.0, "p99": None}

#: Target, its merge, and values that a young broker does not have yet.
_MERGES: dict[str, tuple[Merge, Part]] = {
    "/overview": (merged_overview, {"problems": [_PROBLEM]}),
    "/overview/history": (merged_history, {"is_kept": True, "time_to_claim": _AGES, "lifetime": _AGES}),
    "/overview/broker": (merged_broker, {"checkpoint": {"written_at": "2026-01-01", "bytes": 5, "lag_bytes": 3}}),
}


def parts_of(cluster: EdgeCluster, target: str, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Return the answers of all shards to a request, as the edge gets them."""
    found: list[bytes] = []
    ask_for = Forwarding.ask_for

    def asked(*arguments: Any) -> bytes:
        found.append(ask_for(*arguments))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Forwarding, "ask_for", asked)
        assert cluster.nodes["a"]("GET", target).status == 200
    return [json.loads(each) for each in found]


def changed(part: Part) -> Iterator[tuple[str, Part]]:
    """Yield an answer as nodes of other versions may give it, with the name of the field at the top that has changed."""
    yield "", reordered(part)
    yield "", {}
    for path in paths(part):
        without = copy.deepcopy(part)
        at = place(without, path[:-1])
        if at[path[-1]] is not None and path[-1] != "name":  # which tells what an entry is
            del at[path[-1]]
            yield path[0], without
    for path in [(), *paths(part)]:
        if isinstance(place(part, path), dict):
            for value in _NEW_VALUES[:2] if path and path[0] in _NUMBERS else _NEW_VALUES:
                more = copy.deepcopy(part)
                place(more, path)["new"] = value
                yield path[0] if path else "", more


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the places of all fields, also of the objects in lists."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        if isinstance(value, dict) or isinstance(inner, dict):
            if isinstance(value, dict):
                yield (step,)
            yield from ((step, *rest) for rest in paths(inner))


def place(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def reordered(value: Any) -> Any:
    """Return the same answer with the fields of each object, and the entries that have names, the other way round."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [reordered(each) for each in reversed(value)]
    return value


def in_order(value: Any) -> Any:
    """Return a value with entries that have names in the order of these."""
    return sorted(value, key=repr) if isinstance(value, list) and value and isinstance(value[0], dict) else value


@pytest.mark.parametrize("target", _MERGES)
def test_whatever_a_node_of_another_version_tells_the_other_fields_are_joined(
    cluster: EdgeCluster, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge, values = _MERGES[target]
    parts = [json.loads(json.dumps(each | values)) for each in parts_of(cluster, target, monkeypatch)]
    assert len(parts) == cluster.count
    whole = merge(parts)
    assert {*paths(whole)} == {*paths(parts[0])}, "nothing that all nodes tell is left out"
    count = 0
    for at in (0, 1):
        for field, other in changed(parts[at]):
            found = merge([*parts[:at], other, *parts[at + 1 :]])
            assert found.keys() == whole.keys()
            if other:
                assert {name for name in whole if in_order(found[name]) != in_order(whole[name])} <= {field}, other
            count += 1
    assert count > 50


def test_an_overview_of_older_nodes_alone_has_the_fields_of_this_version(
    cluster: EdgeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dashboard of a node that owns nothing yet shows what the others tell."""
    parts = parts_of(cluster, "/overview", monkeypatch)
    for each in parts:
        del each["more_problems"]
    assert merged_overview(parts)["more_problems"] == 0


def test_a_count_that_an_older_node_does_not_know_is_that_of_the_others(
    cluster: EdgeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(cluster, "/overview", monkeypatch)
    parts[1]["counts"]["scheduled"] = 2
    parts[3]["counts"]["scheduled"] = 5
    assert merged_overview(parts)["counts"]["scheduled"] == 7


@pytest.mark.parametrize("shard", [0, 2])
def test_a_sum_that_would_be_too_small_is_left_out(
    cluster: EdgeCluster, shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview, broker = (parts_of(cluster, target, monkeypatch) for target in ("/overview", "/overview/broker"))
    rates, limits = merged_overview(overview)["per_second"], merged_broker(broker)["limits"]
    overview[shard]["per_second"] = {"1h": overview[shard]["per_second"]["10s"], **overview[shard]["per_second"]}
    broker[shard]["limits"].insert(0, {"name": "new", "used": 1, "limit": 9})
    assert merged_overview(overview)["per_second"] == rates
    assert merged_broker(broker)["limits"] == limits


def test_limits_are_joined_by_name() -> None:
    parts = [
        {"limits": [{"name": "connections", "used": 4, "limit": 9}, {"name": "queues", "used": 1, "limit": 10}]},
        {"limits": [{"name": "queues", "used": 2, "limit": 10}, {"name": "connections", "used": 5, "limit": 9}]},
    ]
    assert merged_broker(parts)["limits"] == [
        {"name": "connections", "used": 5, "limit": 9},
        {"name": "queues", "used": 3, "limit": 20},
    ]
    parts[1]["limits"][0]["limit"] = None
    assert merged_broker(parts)["limits"][1]["limit"] is None


def test_ages_with_other_bounds_are_counted_up_to_the_bounds_that_all_have() -> None:
    finer = {"bounds": [0.1, 0.5, 1.0, 10.0, 60.0], "counts": [1, 2, 3, 4, 5, 6], "sum": 60.0}
    parts = [{"lifetime": _AGES}, {"lifetime": finer}, {"lifetime": None}]
    ages = merged_history(parts)["lifetime"]
    assert (ages["bounds"], ages["counts"], ages["sum"]) == ([0.1, 1.0, 10.0], [5, 8, 6, 12], 100.0)
    assert ages["p50"] == 10.0


def test_a_problem_may_have_a_list() -> None:
    problem = {**_PROBLEM, "queues": ["a", "b"]}
    parts = [{"problems": [problem]}, {"problems": [reordered(problem), {**problem, "queues": ["a"]}]}]
    assert merged_overview(parts)["problems"] == [problem, {**problem, "queues": ["a"]}]


@pytest.mark.parametrize("order", ["unprocessed", "bytes", "oldest_waiting", "produced"])
@pytest.mark.parametrize("field", ["counts", "bytes", "figures", "figures.per_second", "figures.oldest_waiting_age"])
def test_queues_are_put_in_order_although_some_do_not_have_the_figure(
    cluster: EdgeCluster, order: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = [cluster.queue_of(shard) for shard in range(cluster.count)]
    for queue in queues:
        assert cluster.nodes["a"]("PUT", f"/queues/{queue}").status == 201
        cluster.nodes["a"]("POST", f"/queues/{queue}/messages/produce", json={"messages": ["1"]})
    everything = Listings.everything

    def without(*arguments: Any) -> list[Any]:
        found = everything(*arguments)
        *way, last = field.split(".")
        del place(next(each for each in found if each["queue"] == queues[1]), tuple(way))[last]
        return found

    monkeypatch.setattr(Listings, "everything", without)
    for figures in ("true", "false"):
        reply = cluster.nodes["a"]("GET", f"/queues?sort={order}&figures={figures}")
        assert reply.status == 200, reply.content
        assert {each["queue"] for each in reply.json} == {*queues, "default"}


def test_redrives_without_a_time_are_the_last(cluster: EdgeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"id": "a"}, {"id": "b", "started_at": "2026-01-01"}]
    monkeypatch.setattr(Listings, "everything", lambda *_: found)
    assert [each["id"] for each in cluster.nodes["a"]("GET", "/redrives").json] == ["b", "a"]


def test_answers_of_another_version_are_no_failure_of_the_request(
    cluster: EdgeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merges are what the calls answer with."""
    parts = overviews._MergedResource.parts

    def empty(*arguments: Any) -> list[Part]:
        return [{} for _ in parts(*arguments)]

    monkeypatch.setattr(overviews._MergedResource, "parts", empty)
    for target in _MERGES:
        assert cluster.nodes["a"]("GET", target).status == 200
