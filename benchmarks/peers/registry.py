"""The peers by name. A missing Python package affects only its own peer."""

from __future__ import annotations

import importlib
from typing import cast

from benchmarks.peers.peer import Peer

PEERS = {
    "wonderq": "benchmarks.peers.on_wonderq:WonderQ",
    "wonderq-json": "benchmarks.peers.on_wonderq:WonderQJson",
    "redis": "benchmarks.peers.on_redis:RedisStreams",
    "rabbitmq": "benchmarks.peers.on_rabbitmq:RabbitMQ",
    "nats": "benchmarks.peers.on_nats:JetStream",
    "beanstalkd": "benchmarks.peers.on_beanstalkd:Beanstalkd",
    "postgres": "benchmarks.peers.on_postgres:Postgres",
    "moto": "benchmarks.peers.on_moto:MotoSqs",
}


class NotInstalledError(Exception):
    """A peer cannot run here. The message names the missing program or package, and the command that installs it."""


def load(spec: str) -> Peer:
    """Return the peer that ``module:Class`` names.

    Raises:
        NotInstalledError: the server or the client library is missing.
    """
    module, _, attribute = spec.partition(":")
    try:
        peer = cast("Peer", getattr(importlib.import_module(module), attribute)())
    except ModuleNotFoundError as error:
        raise NotInstalledError(f"no Python package {error.name}: pip install --group peers") from error
    missing = peer.installed()
    if missing is not None:
        raise NotInstalledError(missing)
    return peer
