"""The dashboard of a node whose other nodes a test plays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.played_node import PlayedNode, Seen
from tests.support.waiting import eventually
from wonderq.app import add_dashboard, create_app
from wonderq.broker.broker import Broker
from wonderq.cluster import steward
from wonderq.cluster.placement import Placement, wish
from wonderq.cluster.resources import add_node_routes
from wonderq.model.limits import Limits

#: Figures of the shards of the nodes b and c: size of the log, wait of the oldest group, replicas, complete ones.
FIGURES = {"b": (48_300_000, 0, 3, 3), "c": (31_900_000, 2, 3, 3)}

#: Addresses of the nodes.
URLS = {"a": "http://10.0.0.1:7979", "b": "http://10.0.0.2:7979", "c": "http://10.0.0.3:7979"}

#: Time after which a node counts as silent, which is longer than any test takes.
SILENT_S = 3600.0


@contextmanager
def playing(count: int) -> Iterator[PlayedNode]:
    """Run the node ``a``; the nodes ``b`` and ``c`` need not speak again. Each shard is where it is wanted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steward, "SUSPECT_S", 0.01)  # it need not listen for long
        patch.setattr("wonderq.cluster.roster.SUSPECT_S", SILENT_S)
        play = PlayedNode(count, URLS["a"])
        play.peers.seen, play.peers.urls = Seen(3, 3), URLS
        wanted = wish(count, "abc", Placement())
        shards = {name: [shard for shard in range(count) if wanted[shard] == name] for name in "bc"}
        for name, owned in shards.items():
            play.peers.say(name, *((shard, "owner", 3) for shard in owned), state="unable")
        play.node.start()
        own = ["owned" if each == "a" else "none" for each in wanted]
        eventually(lambda: play.phases == own, "a to own its part")
        for name, owned in shards.items():
            play.peers.say(name, *((shard, "owner", 3) for shard in owned), figures=FIGURES[name])
        eventually(lambda: all(each.replicas for each in play.node.statuses()), "all copies to be looked at")
        yield play
        play.node.stop()


def fall_silent(play: PlayedNode, name: str, silent_s: float) -> None:
    """Let the newest message of a node be as old as this."""
    assert silent_s > SILENT_S
    play.node._roster._peers[f"token of {name}"].heard_s = time.monotonic() - silent_s


@contextmanager
def serving_node(play: PlayedNode, *app_arguments: Any) -> Iterator[ServedBroker]:
    """Serve the dashboard of a node, with the queues of a broker apart."""
    broker = Broker(MemoryLog())
    app = create_app(broker, *app_arguments)
    add_node_routes(app, play.node, Limits())
    add_dashboard(app, is_of_cluster=True)
    with serving(broker, app) as served:
        yield served
    broker.close()
