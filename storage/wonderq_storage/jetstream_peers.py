"""Messages between the processes that share a log in JetStream, and a look at its stream from time to time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from wonderq_storage.nats import JetStream, NatsError

#: Longest wait for the servers. A call that takes longer is as good as one that fails.
_CALL_S = 1.0


class Look(NamedTuple):
    """The state of a stream."""

    last_sequence: int
    replicas: int
    replicas_current: int
    """Number of replicas that have all that was acknowledged."""
    clock_ahead_ms: int
    """By how much the clock of this machine is at least ahead of that of the stream's leader; negative if behind."""


class JetStreamPeers:
    """The processes whose log is in the same stream. Their messages are not stored.

    Threads: any number may call any method.
    """

    def __init__(self, jetstream: JetStream, stream: str) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._subject = f"{stream}.nodes"

    @property
    def connected_s(self) -> float:
        """How long this process has been connected to NATS; 0 if it is not."""
        return self._jetstream.connection.connected_s

    def listen(self, callback: Callable[[bytes], None]) -> None:
        """Have what the others announce passed on. ``callback`` must not wait or raise."""
        self._jetstream.connection.subscribe(self._subject, callback)

    def announce(self, data: bytes) -> None:
        """Tell the others something. It is lost without a connection."""
        if not self.connected_s:
            return
        with contextlib.suppress(NatsError):
            self._jetstream.connection.publish(self._subject, data, timeout_s=_CALL_S)

    def look(self) -> Look | None:
        """Return the state of the stream, or None if no leader of it answers."""
        if not self.connected_s:
            return None
        before_ms = _now_ms()
        try:
            info = self._jetstream.stream_info(self._stream, timeout_s=_CALL_S)
        except NatsError:
            return None
        after_ms = _now_ms()
        try:
            server_ms = _parse_ms(info.now)
        except ValueError:
            return None
        ahead_ms = max(before_ms - server_ms, 0) + min(after_ms - server_ms, 0)
        replicas = info.config.get("num_replicas", 1)
        return Look(info.last_sequence, replicas, info.replicas_current, round(ahead_ms))


def _now_ms() -> float:
    return time.time() * 1000


def _parse_ms(text: str) -> float:
    """Return a time in UTC, as JetStream writes it, in ms since 1970."""
    if not text.endswith("Z"):
        raise ValueError(f"{text!r} is no time in UTC")
    return datetime.fromisoformat(text).timestamp() * 1000
