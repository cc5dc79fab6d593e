"""Real nodes, one of which is not heard by the others although it hears them."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster_processes import NodeOnNats
from tests.support.nats_servers import needs_nats, start
from tests.support.waiting import eventually
from wonderq_storage.nats.local_servers import LocalServer, free_ports

pytestmark = [pytest.mark.slow, needs_nats]

SHARDS = 6


def accounts(muted: str = "") -> str:
    """Return the accounts of a server with a user for each node. What ``muted`` announces is dropped."""
    deny = ', permissions: { publish: { deny: ["wonderq.*.nodes"] } }'
    users = ", ".join(f"{{ user: {name}, password: word{deny if name == muted else ''} }}" for name in "abc")
    return f"""accounts {{
  SYS {{ exports: [{{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: stream }}] }}
  WONDERQ {{
    jetstream: enabled
    users: [{users}]
    imports: [{{ service: {{ account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" }} }}]
  }}
}}
system_account: SYS"""


def set_up(server: LocalServer, muted: str) -> None:
    """Change the configuration of a server that runs."""
    server.accounts = accounts(muted)
    (server.folder / "nats.conf").write_text(server.configuration())
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def test_a_node_that_the_others_do_not_hear_owns_nothing_until_they_do(tmp_path: Path) -> None:
    server = LocalServer("n1", tmp_path / "n1", free_ports(1)[0], accounts=accounts())
    with ExitStack() as stack:
        start(server)
        stack.callback(server.kill)
        nodes = []
        for name in "abc":
            url = f"nats://{name}:word@127.0.0.1:{server.port}"
            options = ("--nats-url", url, "--shards", str(SHARDS), "--log-bytes", str(64 << 20))
            nodes.append(NodeOnNats(tmp_path, name, *options))
            stack.callback(nodes[-1].kill)
        first, *_ = nodes

        def own(*names: str) -> bool:
            views = [each.owners() for each in nodes]
            return all(view and view == views[0] and set(view) == set(names) for view in views)

        eventually(lambda: own("a", "b", "c"), "all nodes to own shards")
        for number in range(SHARDS):
            assert first("POST", f"/queues/q{number}/messages/produce", {"message": "x"}).status == 201
        set_up(server, "a")
        eventually(lambda: own("b", "c"), "the others to own all shards")
        eventually(lambda: "Fewer than half" in str(first("GET", "/readyz").json), "the node to say why")
        assert first("GET", "/readyz?strict=false").status == 503, "a load balancer uses the others"
        set_up(server, "")
        eventually(lambda: own("a", "b", "c"), "all nodes to own shards again")
        eventually(lambda: first("GET", "/readyz").status == 200, "the node to be ready")
        for number in range(SHARDS):
            [message] = first("GET", f"/queues/q{number}/messages/consume?wait=20").json
            assert message["message"] == "x"
        assert all("Traceback" not in each.log() for each in nodes)
