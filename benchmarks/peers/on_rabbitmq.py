"""RabbitMQ: one quorum queue, publisher confirms per batch, one acknowledgement per hundred deliveries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import amqp

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port

_QUEUE = "queue"
_PREFETCH_MESSAGES = 200  # the server sends the next hundred while the client acknowledges these
_QUIET_S = 0.1  # longest wait of a claim for a full batch
_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the script on the PATH runs only as the user rabbitmq
_LOOPBACK = "127.0.0.1"


class RabbitMQ:
    name = "rabbitmq"
    durability = "quorum queue of one, fsync before every confirm"
    share = 1

    def __init__(self) -> None:
        self._servers: list[Server] = []

    def installed(self) -> str | None:
        return None if _SCRIPT.exists() else "no rabbitmq-server: apt-get install rabbitmq-server"

    def start(self, folder: Path) -> str:
        port, epmd_port = free_port(), free_port()
        plugins = folder / "enabled_plugins"
        plugins.write_text("[].\n", encoding="utf-8")
        environment = {
            **os.environ,
            "HOME": str(folder),  # for the Erlang cookie
            "ERL_EPMD_ADDRESS": _LOOPBACK,
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": "peers@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": _LOOPBACK,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RUNNING_UNDER_SYSTEMD": "true",  # the script execs the server, so it has the pid of the script
        }
        # Started here, because an epmd that Erlang starts keeps running after the server.
        names = Server(["epmd", "-address", _LOOPBACK, "-port", str(epmd_port)], folder, environment=environment)
        self._servers.append(names)
        names.wait_until(lambda: accepts(epmd_port))
        server = Server([str(_SCRIPT)], folder, environment=environment)
        self._servers.append(server)
        server.wait_until(lambda: accepts(port) and _answers(port))
        connection = _connect(port)
        connection.channel().queue_declare(
            _QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
        connection.close()
        return f"{_LOOPBACK}:{port}"

    def stop(self) -> None:
        while self._servers:
            self._servers.pop().stop()

    def connect(self, address: str) -> Connection:
        return _Channel(_connect(int(address.rpartition(":")[2])))


def _connect(port: int) -> amqp.Connection:
    connection = amqp.Connection(f"{_LOOPBACK}:{port}", connect_timeout=5, read_timeout=CALL_TIMEOUT_S)
    connection.connect()
    return connection


def _answers(port: int) -> bool:
    try:
        _connect(port).close()
    except (OSError, amqp.AMQPError):
        return False
    return True


class _Channel:
    def __init__(self, connection: amqp.Connection) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_confirm)
        self._channel.events["basic_nack"].add(self._on_refusal)
        self._published = 0
        self._unconfirmed: set[int] = set()
        self._deliveries: list[Any] = []
        self._consuming = False

    def _on_confirm(self, tag: int, multiple: bool) -> None:
        self._unconfirmed = (
            {each for each in self._unconfirmed if each > tag} if multiple else self._unconfirmed - {tag}
        )

    def _on_refusal(self, tag: int, _multiple: bool) -> None:
        raise RuntimeError(f"message {tag} was refused")

    def produce(self, bodies: list[str]) -> None:
        self._unconfirmed = set(range(self._published + 1, self._published + len(bodies) + 1))
        self._published += len(bodies)
        for body in bodies:
            self._channel.basic_publish(amqp.Message(body, delivery_mode=2), routing_key=_QUEUE)
        while self._unconfirmed:
            self._connection.drain_events(timeout=CALL_TIMEOUT_S)

    def consume(self, limit: int) -> Claimed:
        if not self._consuming:
            self._consuming = True
            self._channel.basic_qos(0, _PREFETCH_MESSAGES, False)
            self._channel.basic_consume(_QUEUE, callback=self._deliveries.append)
        while len(self._deliveries) < limit:
            try:
                self._connection.drain_events(timeout=_QUIET_S)
            except TimeoutError:
                break
        claimed, self._deliveries[:limit] = self._deliveries[:limit], []
        return Claimed([each.body for each in claimed], [each.delivery_tag for each in claimed])

    def delete(self, handles: list[Any]) -> None:
        self._channel.basic_ack(handles[-1], multiple=True)
        # AMQP does not confirm acknowledgements. The reply to a later call shows that the server has read this one.
        self._channel.basic_qos(0, _PREFETCH_MESSAGES, False)

    def left(self) -> int:
        return int(self._channel.queue_declare(_QUEUE, passive=True).message_count)

    def close(self) -> None:
        self._connection.close()
