"""The faults. Each comes while clients work at all nodes, and leaves three nodes that run."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from functools import partial

from tests.cluster_faults.crew import CROSSING
from tests.cluster_faults.nodes import Node
from tests.cluster_faults.run import ClusterFaultRun, Fault
from tests.support.cluster_processes import SURE_REFUSALS
from tests.support.shared_processes import NOT_SENT, Reply

_WRONG_CLOCK_MS = 600_000

#: Some of these times end before the others notice, some after they have taken over.
_FROZEN_S = (0.3, 6.0)
_AWAY_S = (0.0, 3.0)
_CUT_S = (0.5, 8.0)

#: A node without the others gives its shards up before the longest of these times is over.
_ALONE_S = (0.5, 8.0)

#: Time after which messages cross all the time, between the arrival of one and the arrival of the next.
_CROSSING_S = (0.3, 1.0)


# Nodes


def node_is_killed(run: ClusterFaultRun) -> None:
    _kill(run, [run.any_node()])


def two_nodes_are_killed(run: ClusterFaultRun) -> None:
    _kill(run, run.random.sample(run.nodes.all, 2))


def all_nodes_are_killed(run: ClusterFaultRun) -> None:
    _kill(run, run.nodes)


def end_of_crossings_is_killed(run: ClusterFaultRun, name: str) -> None:
    """Kill the node that sends messages to other shards, or one that gets them, while many cross.

    Some have arrived, and are still in the outbox. ``name`` is a topic or queue of the node.
    """
    with run.crew.publishing(run.traffic, run.nodes.url):
        time.sleep(run.random.uniform(*_CROSSING_S))
        _kill(run, [run.owner_of(name)])


def _kill(run: ClusterFaultRun, nodes: Iterable[Node]) -> None:
    """Kill the processes of nodes, not their NATS servers, and start them again."""
    for each in nodes:
        each.kill()
    time.sleep(run.random.uniform(*_AWAY_S))
    for each in nodes:
        each.start()


def node_is_frozen(run: ClusterFaultRun) -> None:
    _freeze(run, node=True)


def _freeze(run: ClusterFaultRun, *, node: bool = False, nats: bool = False) -> None:
    """Stop processes of a machine in the middle of what they do, and let them go on."""
    chosen = run.any_node()
    if node:
        chosen.freeze()
    if nats:
        chosen.signal_nats(signal.SIGSTOP)
    try:
        time.sleep(run.random.uniform(*_FROZEN_S))
    finally:
        if nats:
            chosen.signal_nats(signal.SIGCONT)
        if node:
            chosen.thaw()


def node_is_stopped(run: ClusterFaultRun) -> None:
    """Let a node hand its shards over and end, and start it again."""
    node = run.any_node()
    _stop(run, node)
    time.sleep(run.random.uniform(*_AWAY_S))
    node.start()


def _stop(run: ClusterFaultRun, node: Node) -> None:
    code = node.stop()
    run.demand(code == 0, f"the node {node.name} stopped with exit code {code}: {node.log()[-2000:]}")


# Machines and NATS servers


def nats_is_killed(run: ClusterFaultRun) -> None:
    run.any_node().signal_nats(signal.SIGKILL)


def machine_is_killed(run: ClusterFaultRun) -> None:
    _end(run, [run.any_node()])


def two_machines_are_killed(run: ClusterFaultRun) -> None:
    """Leave one machine alone: it can store nothing until another one is back."""
    _end(run, run.random.sample(run.nodes.all, 2), away_s=_ALONE_S)


def all_machines_are_killed(run: ClusterFaultRun) -> None:
    _end(run, run.nodes)


def _end(run: ClusterFaultRun, nodes: Iterable[Node], away_s: tuple[float, float] = _AWAY_S) -> None:
    for each in nodes:
        each.end()
    time.sleep(run.random.uniform(*away_s))
    for each in nodes:
        each.start()


def folder_is_wiped(run: ClusterFaultRun) -> None:
    """Start a machine again with an empty folder: it gets the keys and all copies from the others.

    The others acknowledge something in each shard meanwhile, so both have all that was acknowledged. After a machine was
    replaced, no other one may fail until all copies are whole.
    """
    node = run.any_node()
    node.end()
    run.progress(run.traffic)
    node.lose_folder()
    node.start()
    run.wait_for(lambda: node.are_copies_whole, f"{node.name} to get all copies")


# Moves


def shard_is_transferred(run: ClusterFaultRun) -> None:
    """Give some shards to nodes that a person chose."""
    for _ in range(3):
        shard, node = run.random.choice(range(run.shards)), run.any_node()
        _ask(run, "/cluster/transfer", {"shard": shard, "node": node.name})
        run.wait_for(partial(_owns, run, node, shard), f"{node.name} to own shard {shard}")
    _ask(run, "/cluster/balance")


def _owns(run: ClusterFaultRun, node: Node, shard: int) -> bool:
    placed = run.placed()
    return placed is not None and placed.owners[shard][0] == node.name


def node_is_drained(run: ClusterFaultRun) -> None:
    """Let a node give all its shards away, and undo that."""
    node = run.any_node()
    _ask(run, "/cluster/drain", {"node": node.name})
    run.wait_for(lambda: not any(_owns(run, node, shard) for shard in range(run.shards)), f"{node.name} to own nothing")
    _ask(run, "/cluster/drain", {"node": node.name, "drained": False})


def _ask(run: ClusterFaultRun, path: str, body: dict[str, object] | None = None) -> None:
    """Ask any node to change the place of shards, until one does it."""
    answers: list[Reply] = []

    def is_done() -> bool:
        reply = run.any_node()("POST", path, body)
        answers.append(reply)
        if reply.status == 503:
            assert reply.json["error"]["code"] in SURE_REFUSALS, reply
        assert reply.status in (200, 400, 503, 0, NOT_SENT), reply
        return reply.status == 200

    run.wait_for(is_done, f"{path} to be done")


# Clocks


def clock_is_wrong(run: ClusterFaultRun, ahead_ms: int) -> None:
    """Let a node run with a wrong clock for some time."""
    node = run.any_node()
    _stop(run, node)
    node.set_clock(ahead_ms)
    node.start()
    run.wait_for(lambda: _is_unable(node), f"{node.name} to find its clock wrong")
    run.progress(run.traffic)
    placed = next(each for each in run.nodes if each is not node).placed()
    run.demand(
        placed is not None and node.name not in {owner for owner, _ in placed.owners},
        f"the node {node.name} owns shards with a wrong clock: {placed}",
    )
    node.set_clock(0)
    _kill(run, [node])


def _is_unable(node: Node) -> bool:
    found = node("GET", "/readyz").json
    return isinstance(found, dict) and found.get("state") == "unable"


# Networks


def machine_is_cut_off(run: ClusterFaultRun, *, outgoing: bool = True, incoming: bool = True) -> None:
    """Cut a node with its NATS server off from the others. Clients still reach all of them."""
    node = run.any_node()
    run.nodes.cut_off(node, outgoing=outgoing, incoming=incoming)
    try:
        time.sleep(run.random.uniform(*_CUT_S))
    finally:
        run.nodes.heal(node, outgoing=outgoing, incoming=incoming)


def two_nodes_are_parted(run: ClusterFaultRun) -> None:
    """Let two nodes, and their NATS servers, not hear each other. The third one hears both."""
    one, other = run.random.sample(run.nodes.all, 2)
    run.nodes.part(one, other)
    try:
        time.sleep(run.random.uniform(*_CUT_S))
    finally:
        run.nodes.rejoin(one, other)


FAULTS = {
    "node killed": Fault(node_is_killed),
    "two nodes killed": Fault(two_nodes_are_killed),
    "all nodes killed": Fault(all_nodes_are_killed),
    "sender of crossing messages killed": Fault(partial(end_of_crossings_is_killed, name=CROSSING.topic)),
    "receiver of crossing messages killed": Fault(partial(end_of_crossings_is_killed, name=CROSSING.queues[0])),
    "node frozen": Fault(node_is_frozen),
    "node stopped": Fault(node_is_stopped),
    "NATS server killed": Fault(nats_is_killed),
    "NATS server frozen": Fault(partial(_freeze, nats=True)),
    "machine killed": Fault(machine_is_killed),
    "machine frozen": Fault(partial(_freeze, node=True, nats=True)),
    "two machines killed": Fault(two_machines_are_killed),
    "all machines killed": Fault(all_machines_are_killed),
    "folder wiped": Fault(folder_is_wiped),
    "shards transferred": Fault(shard_is_transferred),
    "node drained": Fault(node_is_drained),
    "clock ten minutes ahead": Fault(partial(clock_is_wrong, ahead_ms=_WRONG_CLOCK_MS)),
    "clock ten minutes behind": Fault(partial(clock_is_wrong, ahead_ms=-_WRONG_CLOCK_MS)),
    "machine cut off": Fault(machine_is_cut_off, apart=True),
    "machine cannot send": Fault(partial(machine_is_cut_off, incoming=False), apart=True),
    "machine cannot receive": Fault(partial(machine_is_cut_off, outgoing=False), apart=True),
    "two nodes parted": Fault(two_nodes_are_parted, apart=True),
}
