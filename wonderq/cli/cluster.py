"""The noun `cluster`: brokers on several machines as one."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from wonderq.cli import cluster_logs
from wonderq.cli.arguments import Parser, Verbs, add_json_option, add_verb, add_verbs, fail, text_from
from wonderq.cli.client_options import add_broker_verb, client_from, count_from, seconds_from
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.output import print_lines, write_json
from wonderq.cli.settings import add_settings, flags_of
from wonderq.config import NOT_IN_A_CLUSTER, ClusterSettings, Settings, load_cluster
from wonderq.runtime.signals import Signals
from wonderq.terminal import table

_POLL_S = 0.2


def cluster(noun: Parser) -> None:
    """Describe `wonderq cluster`."""
    verbs = add_verbs(
        noun,
        "Run a node of a cluster, look at the cluster, give shards to other nodes; copy, check and restore the logs. "
        "docs/CLUSTER.md explains clusters.",
    )
    for add in (_add_start, _add_status, _add_transfer, _add_drain, _add_balance):
        add(verbs)
    cluster_logs.add_to(verbs)


def _add_start(verbs: Verbs) -> None:
    command = add_verb(
        verbs,
        "start",
        start,
        "run a node of a cluster",
        "Run a node of a cluster until SIGTERM or Ctrl-C. Before it ends, it hands its shards over to the other nodes. "
        "It runs a NATS server of its own, unless --nats-url names others. Needs nats-server: "
        "pip install 'wonderq[cluster]'. Each option is also a variable (--peers: WONDERQ_CLUSTER_PEERS, --data: "
        "WONDERQ_DATA) and a key in the configuration file, where those of the cluster are in the table [cluster].",
    )
    add_settings(command, ClusterSettings)
    add_settings(command, Settings, NOT_IN_A_CLUSTER)
    command.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of these settings")


def start(options: argparse.Namespace) -> int:
    """Run a node of a cluster."""
    with Signals() as signals:
        return _start(options, signals)
    return OK  # stopped during the start


def _start(options: argparse.Namespace, signals: Signals) -> int:
    # Not at the top: loading the server's libraries takes longer than sending a message.
    from wonderq.logs import set_up_logging  # noqa: PLC0415
    from wonderq.serve import StartError  # noqa: PLC0415
    from wonderq.serve_cluster.serving import serve_cluster  # noqa: PLC0415

    flags = flags_of(options, {each.name for kind in (ClusterSettings, Settings) for each in fields(kind)})
    try:
        cluster, settings, sources = load_cluster(flags, os.environ, options.config)
        with closing(set_up_logging(settings.log_level, settings.log_format)):
            serve_cluster(cluster, settings, signals, sources)
    except StartError as error:
        return fail(str(error), REFUSED)
    return OK


def _add_status(verbs: Verbs) -> None:
    command = add_broker_verb(
        verbs,
        "status",
        _status,
        "show the nodes and the shards",
        "Show the nodes that are heard, and who owns each shard. The exit code is 1 if a shard has no working owner.",
    )
    add_json_option(command)


def _status(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        found = _ask(client, "GET", "/cluster")
    _show(options, found)
    return OK if all(each["status"] == "owned" for each in found["shards"]) else REFUSED


def _show(options: argparse.Namespace, found: dict[str, Any]) -> None:
    if options.json:
        write_json([found])
    else:
        print_lines(_report(found))


def _report(found: dict[str, Any]) -> list[str]:
    owned = [each["owner"] for each in found["shards"]]
    nodes = [("NODE", "ADDRESS", "VERSION", "STATE", "CLOCK MS", "SHARDS")]
    nodes += [
        (
            each["name"],
            each["url"],
            each["version"],
            each["state"],
            f"{each['clock_ahead_ms']:+d}",
            str(owned.count(each["name"])),
        )
        for each in found["nodes"]
    ]
    shards = [("SHARD", "OWNER", "STATUS", "PROBLEM", "REPLICAS", "EPOCH", "LAST GROUP")]
    shards += [
        (
            str(each["shard"]),
            each["owner"] or "-",
            each["status"],
            each["problem"] or "-",
            "-" if each["replicas"] is None else f"{each['replicas_current']} of {each['replicas']}",
            str(each["epoch"]),
            str(each["last_sequence"]),
        )
        for each in found["shards"]
    ]
    heading = f"cluster {found['cluster_id']}, as the node {found['node']} sees it"
    if not found["quorum"]:
        heading += ": it does not reach enough NATS servers"
    lines = [heading, "", *table(nodes, texts=4), "", *table(shards, texts=5)]
    for each in found["silent"]:
        lines += ["", f"not heard for {each['silent_s']:.0f} s: {each['name']} at {each['url']}"]
    if found["drained"]:
        lines += ["", f"drained: {', '.join(found['drained'])}"]
    if found["transferred"]:
        places = ", ".join(f"{shard} to {node}" for shard, node in found["transferred"].items())
        lines += ["", f"transferred: {places}"]
    return lines


def _add_transfer(verbs: Verbs) -> None:
    command = add_broker_verb(
        verbs,
        "transfer",
        _transfer,
        "give a shard to a node",
        "Give a shard to a node, wait until it owns it, and show the cluster. The shard stays there while that node "
        "can own it; 'wonderq cluster balance' ends that.",
    )
    command.add_argument("shard", metavar="SHARD", type=count_from(0), help="number of the shard")
    command.add_argument("node", metavar="NODE", type=text_from, help="name of the node")
    _add_wait(command)
    add_json_option(command)


def _transfer(options: argparse.Namespace) -> int:
    def is_there(found: dict[str, Any]) -> bool:
        return any(each["shard"] == options.shard and each["owner"] == options.node for each in found["shards"])

    fields = {"shard": options.shard, "node": options.node}
    return _change(options, "/cluster/transfer", fields, is_there)


def _add_drain(verbs: Verbs) -> None:
    command = add_broker_verb(
        verbs,
        "drain",
        _drain,
        "give all shards of a node to the others",
        "Give all shards of a node to the other nodes, wait until that is done, and show the cluster. The node owns "
        "nothing, also after a restart, until --undo. A node that is stopped with SIGTERM drains by itself.",
    )
    command.add_argument("node", metavar="NODE", type=text_from, help="name of the node")
    command.add_argument("--undo", action="store_true", help="let the node own shards again")
    _add_wait(command)
    add_json_option(command)


def _drain(options: argparse.Namespace) -> int:
    def is_drained(found: dict[str, Any]) -> bool:
        return options.undo or all(each["owner"] not in (options.node, None) for each in found["shards"])

    return _change(options, "/cluster/drain", {"node": options.node, "drained": not options.undo}, is_drained)


def _add_balance(verbs: Verbs) -> None:
    command = add_broker_verb(
        verbs,
        "balance",
        _balance,
        "forget transfers and drains",
        "Forget all transfers and drains, so that the shards spread over all nodes again, one after the other. Show "
        "the cluster as it is now.",
    )
    add_json_option(command)


def _balance(options: argparse.Namespace) -> int:
    with client_from(options) as client:
        _ask(client, "POST", "/cluster/balance")
        _show(options, _ask(client, "GET", "/cluster"))
    return OK


def _add_wait(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds_from(0, 3600),
        default=60.0,
        help="longest time to wait until it is done (default 60)",
    )


def _change(
    options: argparse.Namespace, path: str, fields: dict[str, Any], is_done: Callable[[dict[str, Any]], bool]
) -> int:
    deadline_s = time.monotonic() + options.wait
    with client_from(options) as client:
        _ask(client, "POST", path, fields)
        while not is_done(found := _ask(client, "GET", "/cluster")):
            if time.monotonic() >= deadline_s:
                return fail(
                    f"this was not done within {options.wait:g} s, and goes on. 'wonderq cluster status' shows the "
                    "shards",
                    REFUSED,
                )
            time.sleep(_POLL_S)
    _show(options, found)
    return OK


def _ask(client: Any, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
    from wonderq.client.calls import call  # noqa: PLC0415
    from wonderq.client.errors import NotFound  # noqa: PLC0415
    from wonderq.client.requests import Request  # noqa: PLC0415

    try:
        return client.do(call(Request.of(method, path, fields), dict))
    except NotFound as error:
        if error.code != "path_not_found":
            raise
        message = (
            f"the broker at {client.url} is not a node of a cluster. Give the address of a node with --url or "
            "WONDERQ_URL, or start one with 'wonderq cluster start'"
        )
        raise NotFound(message, status=error.status, code=error.code) from error
