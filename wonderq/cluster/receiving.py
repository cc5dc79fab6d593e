"""The owner's side of forwarding: carries out the requests that other nodes pass on, each on a fiber."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from wonderq.cluster import wire
from wonderq.cluster.applications import Applications, Outcome, Response
from wonderq.cluster.wire import ForwardedRequest, Part
from wonderq.runtime.fibers import Fiber, Hub
from wonderq_storage.nats import Connection, NatsError

logger = logging.getLogger("wonderq.cluster")


class FiberRunner(Protocol):
    """Runs work on fibers, such as `wonderq.httpd.server.Server`."""

    def submit(self, work: Callable[[], Any]) -> None:
        """Run ``work`` on a fiber soon. May be called from any thread."""


class _Work:
    """A request that is under way."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.fiber: Fiber | None = None

    def client_gone(self) -> bool:
        return self.is_cancelled

    def cancel(self) -> None:
        self.is_cancelled = True
        fiber = self.fiber
        if fiber is not None:
            fiber.hub.recheck(fiber)


class Receiver:
    """Carries out the requests of other nodes.

    ``connection`` may be shared with `wonderq.cluster.forwarding.Forwarder`. ``prefix`` begins the subjects of the
    cluster, ``node`` is the name of this node, and ``token`` that of this process.
    """

    def __init__(self, connection: Connection, prefix: str, node: str, apps: Applications, *, token: str) -> None:
        self._connection = connection
        self._token = token
        self._subjects = [wire.node_subject(prefix, node, what) for what in ("requests", "cancels")]
        self._apps = apps
        self._runner: FiberRunner
        self._works: dict[str, _Work] = {}

    @property
    def is_busy(self) -> bool:
        """Whether requests of other nodes are under way."""
        return bool(self._works)

    def start(self, runner: FiberRunner) -> None:
        """Begin to receive requests, and carry them out on the fibers of ``runner``."""
        self._runner = runner
        requests, cancels = self._subjects
        self._connection.subscribe_to_requests(requests, self._receive)
        self._connection.subscribe(cancels, self._cancel)

    def _receive(self, payload: bytes, reply_to: str) -> None:
        try:
            request = wire.decode_request(payload)
        except (msgspec.DecodeError, msgspec.ValidationError):
            logger.warning("a request of another node cannot be read: does it have another version of WonderQ?")
            return
        if request.token not in ("", self._token):
            return  # another process of this name has it, too. An answer from here would be taken for its answer
        for each in request.former_ids:
            self._end(each)
        work = self._works[request.id] = _Work()
        self._runner.submit(lambda: self._run(request, work, reply_to))

    def _cancel(self, payload: bytes) -> None:
        self._end(payload.decode("latin-1"))

    def _end(self, request_id: str) -> None:
        work = self._works.get(request_id)
        if work is not None:
            work.cancel()

    def _run(self, request: ForwardedRequest, work: _Work, reply_to: str) -> None:
        """Carry a request out, unless nobody waits for it any more. Runs on a fiber."""
        work.fiber = Hub.current()
        try:
            # A deadline that is over may be one that this node's clock was set past, and the other node still waits.
            if time.time_ns() // 1_000_000 > request.deadline_ms or work.is_cancelled:
                self._connection.post(reply_to, wire.encode(Part(0, "not_done")))
                return
            for part in parts_of(self._apps.carry_out(request, work.client_gone)):
                self._connection.post(reply_to, wire.encode(part))
        except NatsError as error:
            logger.info("a response cannot be sent to the node that asked: %s", error)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            with contextlib.suppress(NatsError):  # the edge finds out that the connection is lost
                self._connection.post(reply_to, wire.encode(Part(0, "unknown")))
        finally:
            work.fiber = None
            self._works.pop(request.id, None)


def parts_of(outcome: Outcome) -> list[Part]:
    """Return the messages that tell an outcome."""
    response = outcome.response or Response("", [], ())
    body = response.read()
    cuts = range(0, max(len(body), 1), wire.PART_BYTES)
    parts = [Part(number, "more", body[at : at + wire.PART_BYTES]) for number, at in enumerate(cuts)]
    parts[-1].verdict, parts[-1].status, parts[-1].headers = outcome.verdict, response.status, response.headers
    return parts
