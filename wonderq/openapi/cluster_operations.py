"""The calls that only a node of a cluster has, and those to which it gives another answer than a broker."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wonderq.openapi.operation import SUCCESS, Operation, Response
from wonderq.openapi.response_schemas import Count
from wonderq.rest import schemas

_NodeState = Annotated[
    Literal["able", "draining", "unable"],
    Meta(
        description=(
            "Whether the node can own shards. `draining`: it gives its shards to others, because it stops or was "
            "drained. `unable`: its clock is wrong, or fewer than half of the nodes hear it."
        )
    ),
]


class NodeReadiness(Struct):
    """The state of a node that serves requests."""

    status: Annotated[Literal["ready", "degraded"], Meta(description="`degraded`: some shards have no owner.")]
    node: str
    quorum: Annotated[bool, Meta(description="Whether NATS stores something, as far as the node knows.")]
    state: _NodeState
    clock_ahead_ms: Annotated[
        int | None, Meta(description="Time by which its clock is ahead of most others; null without others.")
    ]
    shards: Annotated[dict[str, str], Meta(description="Shards without a working owner, with the reason.")]
    warnings: Annotated[list[str], Meta(description="Problems that an operator must solve.")]


class ClusterNode(Struct):
    """A node of a cluster."""

    name: str
    url: Annotated[str, Meta(description="Address at which clients reach it.")]
    version: str
    state: _NodeState
    clock_ahead_ms: Annotated[int, Meta(description="Time by which its clock is ahead of that of the node you asked.")]


class SilentNode(Struct):
    """A node of a cluster that was heard once, and is not heard any more."""

    name: str
    url: Annotated[str, Meta(description="Address at which clients reached it.")]
    version: str
    silent_s: Annotated[float, Meta(description="Seconds since it was heard last.")]


class ClusterShard(Struct):
    """A shard of a cluster."""

    shard: Count
    status: Annotated[
        Literal["owned", "unavailable", "damaged"],
        Meta(description="`unavailable`: no node is heard to own it. `damaged`: its log cannot be read."),
    ]
    owner: str | None
    epoch: Annotated[Count, Meta(description="Number of the newest ownership.")]
    last_sequence: Annotated[Count, Meta(description="Number of the newest group of its log that is known.")]
    wanted: Annotated[str | None, Meta(description="Node that should own it.")]
    problem: str | None
    log_bytes: Annotated[int | None, Meta(description="Size of its log; null if no owner tells it.")]
    waiting_ms: Annotated[
        int | None,
        Meta(description="Time that its oldest unacknowledged group has waited; null if not known."),
    ]
    replicas: Annotated[int | None, Meta(description="NATS servers that are to have its log; null if not known.")]
    replicas_current: Annotated[int | None, Meta(description="NATS servers that have all of it; null if not known.")]


class Cluster(Struct):
    """The state of a cluster, as one node sees it."""

    cluster_id: str
    node: Annotated[str, Meta(description="Name of the node that answers.")]
    quorum: bool
    nodes: Annotated[list[ClusterNode], Meta(description="The nodes that it hears, and itself.")]
    silent: Annotated[list[SilentNode], Meta(description="Nodes that it has heard since its start, and hears no more.")]
    shards: list[ClusterShard]
    drained: Annotated[list[str], Meta(description="Nodes that shall own nothing.")]
    transferred: Annotated[dict[str, str], Meta(description="Nodes of the shards that were transferred.")]


_READINESS = {
    "status": "ready",
    "node": "a",
    "quorum": True,
    "state": "able",
    "clock_ahead_ms": 2,
    "shards": {},
    "warnings": [],
}
_CLUSTER = {
    "cluster_id": "6f1c2a9be04d7735",
    "node": "a",
    "quorum": True,
    "nodes": [
        {"name": "a", "url": "http://10.0.0.1:7979", "version": "0.1.0", "state": "able", "clock_ahead_ms": 0},
        {"name": "b", "url": "http://10.0.0.2:7979", "version": "0.1.0", "state": "able", "clock_ahead_ms": -3},
    ],
    "silent": [{"name": "c", "url": "http://10.0.0.3:7979", "version": "0.1.0", "silent_s": 41.2}],
    "shards": [
        {
            "shard": 0,
            "status": "owned",
            "owner": "b",
            "epoch": 4,
            "last_sequence": 1207,
            "wanted": "b",
            "problem": None,
            "log_bytes": 5_308_416,
            "waiting_ms": 0,
            "replicas": 3,
            "replicas_current": 2,
        }
    ],
    "drained": [],
    "transferred": {"0": "b"},
}

TAG = {"Cluster": "State of a cluster, and the places of its shards. Only a node of a cluster has these calls."}

#: Calls of a node; they take the place of a broker's with the same method and path.
CLUSTER = [
    Operation(
        "GET",
        "/readyz",
        "getReadiness",
        "Health",
        "Check whether the node serves requests.",
        {200: Response(NodeReadiness, _READINESS, "It does.")},
        ("not_ready", "invalid_value"),
        "The node reaches a quorum of the NATS servers, can own shards, and each shard has an owner. The answer of 503 "
        "has the same fields, and the error.",
        query=schemas.Readiness,
    ),
    Operation(
        "GET",
        "/cluster",
        "getCluster",
        "Cluster",
        "Get the nodes and the shards.",
        {200: Response(Cluster, _CLUSTER, "The cluster, as the node that you asked sees it.")},
    ),
    Operation(
        "POST",
        "/cluster/transfer",
        "transferShard",
        "Cluster",
        "Give a shard to a node.",
        {200: SUCCESS},
        description=(
            "The answer does not wait for the hand-over: `GET /cluster` shows the owner. The shard stays at that node "
            "while the node can own it."
        ),
        body=schemas.Transfer,
        body_required=True,
        examples={"a shard": {"shard": 0, "node": "a"}},
    ),
    Operation(
        "POST",
        "/cluster/drain",
        "drainNode",
        "Cluster",
        "Give all shards of a node to the others.",
        {200: SUCCESS},
        description="The node owns nothing until `drained` is set to false. At least one other node must be able to.",
        body=schemas.Drain,
        body_required=True,
        examples={"let it own shards again": {"node": "a", "drained": False}},
    ),
    Operation(
        "POST",
        "/cluster/balance",
        "balanceShards",
        "Cluster",
        "Forget all transfers and drains.",
        {200: SUCCESS},
    ),
]
