"""The applications of the shards that this node owns, and what came of a request to one of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

from wonderq.auth.access import Access
from wonderq.broker.broker import Broker
from wonderq.cluster import shard_calls
from wonderq.cluster.shards import Shards
from wonderq.cluster.wire import ForwardedRequest
from wonderq.httpd.errors import RequestError, ResponseCutError
from wonderq.model.masks import Mask
from wonderq.rest.masks import MASK
from wonderq.rest.overview import READ_ONLY
from wonderq.runtime.fibers import begin_action, has_acted
from wonderq_storage import StorageError

Obstacle = Callable[[int], RequestError | None]
"""Returns why no request of a shard can be carried out at present although it may have an owner, such as a lost quorum
or damage; None if there is no such reason."""


def no_obstacle(_: int) -> RequestError | None:
    """Be an `Obstacle` that there never is."""
    return None


AppOf = Callable[[Broker], Any]
"""Returns the WSGI application of a broker, or None if the broker has ended meanwhile.

Each application has an `Access` with routes of its own.
"""


class Response(NamedTuple):
    """A response of an application."""

    status: str
    """Status line, such as ``200 OK``."""
    headers: list[tuple[str, str]]
    body: Iterable[bytes]
    owner_url: str = ""
    """Address of the node that gave it, if that is another one and its address is known."""

    @property
    def code(self) -> int:
        """The status as a number."""
        return int(self.status[:3])

    def read(self) -> bytes:
        """Return the whole body."""
        try:
            return b"".join(self.body)
        finally:
            self.close()

    def close(self) -> None:
        """End a body that is made while it is read."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()


class Outcome(NamedTuple):
    """What came of a request."""

    verdict: str
    """``done``: there is a response. ``not_done``: the request was surely not carried out. ``unknown``: it may have
    been."""
    response: Response | None = None
    """With ``not_done`` and ``unknown``, what the application said, if it did."""
    reason: str = ""
    """Why there is no response, as a sentence."""


NOT_OWNER = Outcome("not_done", reason="The node does not own the shard.")

#: A new key reaches the nodes one after the other.
_UNKNOWN_KEY = Outcome("not_done", reason="The node that owns the shard does not have this key yet.")


class _Owned(NamedTuple):
    broker: Broker
    app: Any


class Applications:
    """An application for each shard that this node owns.

    Threads: any number may call any method.
    """

    def __init__(
        self,
        shards: Shards,
        app_of: AppOf,
        access: Access | None,
        *,
        mask: Mask | None = None,
        is_read_only: bool = False,
        obstacle: Obstacle = no_obstacle,
    ) -> None:
        """``mask`` and ``is_read_only`` are those of the dashboard; see `wonderq.app.create_app`."""
        self._shards = shards
        self._app_of = app_of
        self._access = access
        self._obstacle = obstacle
        self._of_ui = {MASK: mask, READ_ONLY: is_read_only} if mask is not None else {READ_ONLY: is_read_only}
        self._lock = threading.Lock()
        self._owned: dict[int, _Owned] = {}
        self.stop = shards.changed(self._prepare)
        """Ends the calls of ``shards``."""

    def _prepare(self, shard: int) -> None:
        """Make the application of a shard that this node has taken over, before the first request."""
        self.find(shard)

    def find_usable(self, shard: int) -> _Owned | None:
        """Do what `find` does, but return None while there is an obstacle."""
        found = self.find(shard)
        return None if found is None or self._obstacle(shard) is not None else found

    def find(self, shard: int) -> _Owned | None:
        """Return the broker of a shard and its application, or None if another node owns it."""
        broker = self._shards.local(shard)
        found = self._owned.get(shard)
        if broker is None:
            if found is not None:
                self._owned.pop(shard, None)
            return None
        if found is not None and found.broker is broker:
            return found
        with self._lock:  # falcon and msgspec build their tables at the first use
            found = self._owned.get(shard)
            if found is None or found.broker is not broker:
                app = self._app_of(broker)
                if app is None:
                    return None
                found = self._owned[shard] = _Owned(broker, app)
        return found

    def carry_out(self, request: ForwardedRequest, client_gone: Callable[[], bool]) -> Outcome:
        """Carry out a request that this node or another one has authenticated."""
        owned = self.find(request.shard)
        if owned is None:
            return NOT_OWNER
        obstacle = self._obstacle(request.shard)
        if obstacle is not None:
            return Outcome("not_done", reason=str(obstacle))
        if self._access is not None and not self._access.knows(request.key_id):
            return _UNKNOWN_KEY
        if request.method == shard_calls.METHOD:
            return _answer(owned.broker, request)
        authorization = "" if self._access is None else self._access.grants.header_of(request.key_id)
        environ = request.environ(authorization, BytesIO(request.body), client_gone)
        if request.is_of_ui:
            environ.update(self._of_ui)
        return _whole(call(owned, environ))


def _whole(outcome: Outcome) -> Outcome:
    """Return an outcome whose body is read. Another try repeats a listing whose shard is lost meanwhile."""
    if outcome.response is None:
        return outcome
    try:
        return outcome._replace(response=outcome.response._replace(body=[outcome.response.read()]))
    except ResponseCutError as error:
        verdict = "unknown" if has_acted() else "not_done"
        return Outcome(verdict, reason=f"The response was cut off: {error}")


def _answer(broker: Broker, request: ForwardedRequest) -> Outcome:
    """Carry out a call of another shard."""
    try:
        status, body = shard_calls.answer(broker, request)
    except StorageError as error:
        return Outcome("unknown", reason=f"The shard has failed: {error}")
    return Outcome("done", Response(status, [], [body]))


def call(owned: _Owned, environ: Mapping[str, Any]) -> Outcome:
    """Call the application of a shard, and judge its response.

    A broker that stops, or has lost its shard, answers early: with an empty list, or an error. Unless it appended a
    record for the request, the request may be made again at the next owner, whatever the response is.
    """
    begin_action()
    head: list[Any] = []
    body = owned.app(environ, lambda status, headers, _=None: head.extend((status, headers)))
    response = Response(head[0], head[1], body)
    if owned.broker.unready is None:
        return Outcome("done", response)
    if not has_acted():
        return Outcome("not_done", response, "The shard is being taken over.")
    if response.code == 503:
        return Outcome("unknown", response, "The shard was lost while the request was under way.")
    return Outcome("done", response)
