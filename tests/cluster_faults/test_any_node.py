"""The client of the campaign repeats what surely was not done, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.any_node import AnyNode
from tests.support.history.calls import NOT_CARRIED_OUT, OUTCOME_UNKNOWN
from wonderq.client.errors import NotFound, Refused, Unreachable, WonderQError


class ScriptedNode:
    """Fails with each error of a list, then answers."""

    def __init__(self, *errors: WonderQError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def call(self, *_arguments: Any, **_options: Any) -> dict[str, Any]:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return {}


def client_of(*nodes: ScriptedNode, patience_s: float = 60) -> AnyNode:
    client = AnyNode(["http://127.0.0.1:1"] * len(nodes), timeout_s=1, patience_s=patience_s)
    client._nodes = list(nodes)  # type: ignore[arg-type]
    return client


@pytest.mark.parametrize("code", sorted([*NOT_CARRIED_OUT, "shutting_down"]))
def test_what_a_node_surely_did_not_do_is_sent_again(code: str) -> None:
    node = ScriptedNode(Refused("x", status=503, code=code), Unreachable("x", outcome_unknown=False))
    assert client_of(node).call("POST", "/x", dict[str, Any]) == {}
    assert node.calls == 3


def test_a_lost_answer_is_an_unknown_outcome_and_not_sent_again() -> None:
    node = ScriptedNode(Unreachable("x", outcome_unknown=True))
    with pytest.raises(Refused) as caught:
        client_of(node).call("POST", "/x", dict[str, Any])
    assert caught.value.code == OUTCOME_UNKNOWN
    assert caught.value.outcome_unknown
    assert node.calls == 1


def test_other_refusals_are_final() -> None:
    node = ScriptedNode(NotFound("x", status=404, code="message_not_found"))
    with pytest.raises(NotFound):
        client_of(node).call("POST", "/x", dict[str, Any])
    assert node.calls == 1


def test_patience_ends() -> None:
    node = ScriptedNode(*[Unreachable("x", outcome_unknown=False)] * 2)
    with pytest.raises(Unreachable):
        client_of(node, patience_s=0).call("POST", "/x", dict[str, Any])


def test_requests_go_to_all_nodes() -> None:
    nodes = [ScriptedNode() for _ in range(3)]
    client = client_of(*nodes)
    for _ in range(100):
        client.call("GET", "/x", dict[str, Any])
    assert all(each.calls for each in nodes)
