"""What a node answers by itself: its health, the state of the cluster, and changes of the places of shards."""

from __future__ import annotations

from typing import Any

import falcon

from wonderq.cluster.node import Node
from wonderq.cluster.placement import Placement, PlacementUnknownError
from wonderq.httpd.errors import RequestError, error_response
from wonderq.model.limits import Limits
from wonderq.rest import schemas
from wonderq.rest.bodies import read_body, read_query, render
from wonderq.rest.error_codes import ERROR_CODES
from wonderq.runtime.offload import BlockingPool
from wonderq_storage import StorageError

_RETRY_AFTER = str(ERROR_CODES["not_ready"].retry_after_s)


class NodeHealth:
    """``/healthz``: the process responds. ``/readyz``: this node serves requests, and every shard has an owner.

    ``/readyz?strict=false`` passes over shards without an owner, so that a load balancer takes a node out only if it is
    itself in trouble.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        render(req, resp, {"status": "ok"})

    on_head = on_get

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        node = self._node
        strict = req.get_param("strict", default="true")
        if strict not in ("true", "false"):
            raise RequestError(400, "invalid_value", "strict must be true or false.", "strict")
        shards = {
            str(each.shard): each.problem or "no node owns it" for each in node.statuses() if each.status != "owned"
        }
        has_quorum = node.has_quorum
        state = node.state
        is_ready = has_quorum and state != "unable" and not (strict == "true" and shards)
        value: dict[str, Any] = {
            "status": "ready" if is_ready and not shards else "degraded",
            "node": node.node,
            "quorum": has_quorum,
            "state": state,
            "clock_ahead_ms": node.clock_ahead_ms,
            "shards": shards,
            "warnings": node.warnings,
        }
        if is_ready:
            render(req, resp, value)
            return
        reason = "it does not reach enough NATS servers" if not has_quorum else " ".join(node.warnings)
        text = f"This node cannot serve all requests: {reason or f'shards without a working owner: {len(shards)}'}"
        render(req, resp, {**value, **error_response(503, "not_ready", text)}, 503)
        resp.set_header("Retry-After", _RETRY_AFTER)

    on_head_ready = on_get_ready


class ClusterResource:
    """``/cluster``: the nodes and the shards; and below it, changes of the places of shards."""

    def __init__(self, node: Node, limits: Limits) -> None:
        self._node = node
        self._limits = limits
        self._pool = BlockingPool(1)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        node = self._node
        render(
            req,
            resp,
            {
                "cluster_id": node.cluster_id,
                "node": node.node,
                "quorum": node.has_quorum,
                "nodes": [each._asdict() for each in node.nodes()],
                "silent": [each._asdict() for each in node.silent_nodes()],
                "shards": [each._asdict() for each in node.statuses()],
                "drained": sorted(node.placement.drained),
                "transferred": {str(shard): to for shard, to in sorted(node.placement.pins.items())},
            },
        )

    def on_post_transfer(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = read_body(req, schemas.Transfer, self._limits)
        if not 0 <= body.shard < self._node.count:
            raise RequestError(
                400,
                "invalid_value",
                f"The shards of this cluster have the numbers 0 to {self._node.count - 1}.",
                "shard",
            )
        self._check_able(body.node)
        self._place(req, resp, lambda present: present.transfer(body.shard, body.node))

    def on_post_drain(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = read_body(req, schemas.Drain, self._limits)
        if body.drained:
            self._check_known(body.node)
            if not [each for each in self._able() if each != body.node]:
                raise RequestError(
                    400, "invalid_value", f"No other node than {body.node} can own shards at present.", "node"
                )
            self._place(req, resp, lambda present: present.drain(body.node))
        else:
            self._place(req, resp, lambda present: present.undrain(body.node))

    def on_post_balance(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        self._place(req, resp, lambda _: Placement())

    def _able(self) -> list[str]:
        return [each.name for each in self._node.nodes() if each.state == "able"]

    def _check_known(self, name: str) -> None:
        names = [each.name for each in self._node.nodes()]
        if name not in names:
            raise RequestError(
                400, "invalid_value", f"No node {name[:80]!r} is heard at present, only {', '.join(names)}.", "node"
            )

    def _check_able(self, name: str) -> None:
        self._check_known(name)
        if name not in self._able():
            raise RequestError(
                400, "invalid_value", f"The node {name} cannot own shards at present: it is drained or unable.", "node"
            )

    def _place(self, req: falcon.Request, resp: falcon.Response, change: Any) -> None:
        try:
            self._pool.run(lambda: self._node.place(change))
        except PlacementUnknownError as error:
            message = f"The change may or may not have been stored: {error}. Send it again."
            raise RequestError(503, "outcome_unknown", message, headers={"Retry-After": "1"}) from error
        except StorageError as error:
            raise RequestError(
                503, "no_quorum", f"Nothing was changed: {error}", headers={"Retry-After": "1"}
            ) from error
        render(req, resp, {"success": True})


def add_node_routes(app: falcon.App[falcon.Request, falcon.Response], node: Node, limits: Limits) -> None:
    """Add what a node answers by itself to its application."""
    health = NodeHealth(node)
    app.add_route("/healthz", health)
    app.add_route("/readyz", health, suffix="ready")
    cluster = ClusterResource(node, limits)
    app.add_route("/cluster", cluster)
    for change in ("transfer", "drain", "balance"):
        app.add_route(f"/cluster/{change}", cluster, suffix=change)
