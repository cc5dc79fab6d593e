"""The WSGI application of a node: answers each request, whatever node owns the queue.

A request for a shard of this node goes straight to the application of that shard, which checks the key and everything
else as that of a single broker does. All other requests go to the application of the edge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import falcon

from wonderq.auth.access import Access, unauthorized
from wonderq.auth.keys import EVERYBODY, Key
from wonderq.cluster import routing
from wonderq.cluster.applications import Applications, Outcome, Response, call
from wonderq.cluster.carrying import Carrier, outcome_unknown
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster.wire import ForwardedRequest
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.errors import RequestError
from wonderq.httpd.forwarded import WAITED_S
from wonderq.httpd.room import RESPONSE_SHARE, whole_body
from wonderq.sqs.authentication import region_of
from wonderq.sqs.errors import SqsError
from wonderq.sqs.names import name_in_arn, name_in_url
from wonderq.sqs.wire import JSON_TYPE, media_type_of

#: Largest body of a request to a cluster. It has to fit into one message of NATS, with its headers.
MOST_BODY_BYTES = 4 << 20

#: Largest body of an SQS client that is decoded to find its queue, before it is authenticated.
_PEEKED_BYTES = 64 << 10

#: Key in the environment of the outcome of a first try, until the request is tried again.
_FIRST = "wonderq.first_outcome"

_UI = "HTTP_X_WONDERQ_UI"


class Edge:
    """The application."""

    def __init__(self, shards: int, apps: Applications, app: Callable[..., Iterable[bytes]]) -> None:
        """``shards`` is the number of shards, and ``app`` the application of the edge."""
        self._shards = shards
        self._apps = apps
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = _name_of(environ)
        owned = None if name is None else self._apps.find_usable(shard_of(name, self._shards))
        if owned is None or int(environ.get("CONTENT_LENGTH") or 0) > MOST_BODY_BYTES:
            return self._app(environ, start_response)
        began_s = time.monotonic()
        outcome = call(owned, environ)
        if outcome.verdict != "done":
            environ[_FIRST] = outcome
            environ[WAITED_S] = time.monotonic() - began_s
            environ["wsgi.input"].seek(0)
            return self._app(environ, start_response)
        assert outcome.response is not None
        start_response(outcome.response.status, outcome.response.headers)
        return outcome.response.body


def take_unknown_outcome(environ: dict[str, Any]) -> RequestError | None:
    """Return the error for a request that was not tried again, if the outcome of its first try is unknown.

    The application of the edge may refuse a request before it tries it again, for example because its key has ended
    meanwhile. Such a refusal would tell the client that nothing was carried out.
    """
    first: Outcome | None = environ.pop(_FIRST, None)
    if first is None:
        return None
    if first.response is not None:
        first.response.close()
    return outcome_unknown("The node that owned the shard", first.reason) if first.verdict == "unknown" else None


def _name_of(environ: dict[str, Any]) -> str | None:
    """Return the name that the shard of a request depends on, or None if that is not quick to tell."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if path == "/":
        return _sqs_name(environ) if method == "POST" else None
    if routing.names_queues_in_body(method, path):
        return routing.first_source(environ.get("CONTENT_TYPE", ""), _peek(environ))
    return routing.name_in_path(method, path)


def _sqs_name(environ: dict[str, Any]) -> str | None:
    if media_type_of(environ) != JSON_TYPE or int(environ.get("CONTENT_LENGTH") or 0) > _PEEKED_BYTES:
        return None
    try:
        return queue_of_sqs(routing.sqs_names(_peek(environ)))
    except SqsError:
        return None


def queue_of_sqs(parameters: Any) -> str | None:
    """Return the queue that the parameters of an action of SQS name, or None if they name none.

    Raises:
        SqsError: its URL or ARN is malformed.
    """
    if isinstance(url := parameters.get("QueueUrl"), str) and url:
        return name_in_url(url)
    if isinstance(name := parameters.get("QueueName"), str) and name:
        return name
    if isinstance(arn := parameters.get("SourceArn"), str) and arn:
        return name_in_arn(arn, "SourceArn")
    return None


def _peek(environ: dict[str, Any]) -> bytes:
    body = whole_body(environ)
    environ["wsgi.input"].seek(0)
    return body


class Forwarding:
    """Carries out requests that the application of the edge has authenticated."""

    def __init__(self, shards: int, carrier: Carrier, access: Access | None, address: PublicAddress) -> None:
        self.shards = shards
        self._carrier = carrier
        self._access = access
        self._address = address

    def shard_of(self, name: str) -> int:
        """Return the shard of a queue, topic or schedule."""
        return shard_of(name, self.shards)

    def key_of(self, req: falcon.Request) -> Key | None:
        """Return the key of a request that is authorized, or None if none is needed.

        Raises:
            RequestError: the key has become invalid since it was authorized.
        """
        if self._access is None:
            return None
        key = self._access.find(req.auth)
        if key is None:  # which would stand for a request that needs none
            raise unauthorized()
        return key

    def request_of(self, req: falcon.Request, key: Key | None, body: bytes = b"") -> ForwardedRequest:
        """Return a request as it is passed on.

        Raises:
            RequestError: the body is too large.
        """
        if len(body) > MOST_BODY_BYTES:
            message = (
                f"The body has {len(body):,} bytes, and a cluster takes at most {MOST_BODY_BYTES:,}. Send fewer "
                "messages in each request."
            )
            raise RequestError(413, "body_too_large", message)
        found = ForwardedRequest.of(
            req.env,
            body,
            key_id=None if key is None or key is EVERYBODY else key.id,
            base_url=self._address.of(req.env),
            region=region_of(req.env),
            is_of_ui=_UI in req.env,
        )
        found.waited_s = req.env.get(WAITED_S, 0.0)
        return found

    def ask(
        self,
        req: falcon.Request,
        shard: int,
        request: ForwardedRequest,
        is_repeatable: Callable[[], bool] = lambda: False,
    ) -> Response:
        """Carry a request out for a client.

        Raises:
            RequestError: see `Carrier.carry_out`; or the key has become invalid meanwhile.
        """
        first: Outcome | None = req.env.pop(_FIRST, None)
        client_gone: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
        with self._explaining(request):
            return self._carrier.carry_out(shard, request, client_gone, is_repeatable, first)

    @contextmanager
    def _explaining(self, request: ForwardedRequest) -> Iterator[None]:
        """Tell a client that its key has become invalid, if that may be why nobody has carried out its request.

        The owner may know so a moment earlier than this node.
        """
        try:
            yield
        except RequestError as error:
            access, was_not_done = self._access, error.code == "shard_unavailable"
            if was_not_done and access is not None and not access.knows(request.key_id):
                raise unauthorized() from error
            raise

    def ask_all(self, request: ForwardedRequest) -> list[bytes]:
        """Carry out a request that only reads at each shard in turn, and return the bodies of the responses.

        Raises:
            RequestError: a shard does not answer.
            ShardRefusal: a shard refuses the request.
        """
        return [self.ask_for(shard, request) for shard in range(self.shards)]

    def ask_for(self, shard: int, request: ForwardedRequest) -> bytes:
        """Carry out a request that only reads at one shard, and return the body. Raises what `ask_all` does."""
        with self._explaining(request):
            response = self._carrier.carry_out(shard, request, lambda: False, lambda: True)
        body = response.read()
        if response.code >= 400:
            raise ShardRefusal(shard, Response(response.status, response.headers, [body]))
        return body


class ShardRefusal(RequestError):  # noqa: N818
    """A shard has refused a request that goes to all of them. Its response is that of the whole request."""

    def __init__(self, shard: int, response: Response) -> None:
        message = f"Shard {shard} has answered {response.status}."
        super().__init__(response.code, "shard_refusal", message)
        self.response = response


def respond(req: falcon.Request, resp: falcon.Response, response: Response) -> None:
    """Set a response to that of a shard."""
    body = response.read()
    share = req.env.get(RESPONSE_SHARE)
    if share is not None:
        share.take(len(body))  # messages in it may be claimed, so it is not refused for want of room
    resp.status = response.status
    for name, value in response.headers:
        if name.lower() == "content-type":
            resp.content_type = value
        elif name.lower() != "content-length":
            resp.append_header(name, value)
    resp.data = body
