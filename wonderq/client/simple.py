"""A client for one queue over one connection, without retries and types. The command line and the demo use it.

::

    with Client("http://127.0.0.1:7979") as client:
        client.produce("hello")
        for message in client.consume(wait=20):
            print(message["message"])
            client.delete(message["receipt"])
"""

from __future__ import annotations

import errno
import http.client
import re
import select
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

_T = TypeVar("_T")

_Object = dict[str, Any]

_KEY = re.compile("[!-~]+")

#: A larger body is sent as msgpack, which escapes no characters: as JSON, a message that the broker accepts could be
#: six times as large, and so exceed the limit on the size of a request.
_LARGEST_JSON_BYTES = 2 << 20


class UnreachableError(Exception):
    """The broker did not answer. It is unknown whether it carried out the request."""


class RefusedError(Exception):
    """The broker answered with an error. Nothing was changed, unless `outcome_unknown` is true."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have been carried out: the broker failed while it wrote its log."""
        return self.code in ("log_failed", "internal_error")


class InvalidKeyError(ValueError):
    """The text cannot be an API key. The message does not repeat it."""


# The fields of answers that the client needs. An answer without them is not from a WonderQ broker.


class _Produced(msgspec.Struct):
    id: str


class _BatchProduced(msgspec.Struct):
    ids: list[str]


class _Results(msgspec.Struct):
    results: list[_Object]


class _Counted(msgspec.Struct):
    count: int


class _Purged(msgspec.Struct):
    deleted: int


class _Kicked(msgspec.Struct):
    kicked: int


class _HandedOver(msgspec.Struct):
    ids: list[str]


class _Error(msgspec.Struct):
    code: str
    message: str


class _Refusal(msgspec.Struct, rename="camel"):
    status_code: int
    error: _Error

    def to_exception(self) -> RefusedError:
        return RefusedError(self.status_code, self.error.code, self.error.message)


# msgspec builds its decoder for a type at the first use, and crashes if two threads do so at once (0.22).
for _reply in (_Produced, _BatchProduced, _Results, _Counted, _Purged, _Kicked, _HandedOver, _Refusal):
    msgspec.json.Decoder(_reply)


class Client:
    """A client for one queue of one broker. Use it from one thread at a time.

    Messages are dicts, as in the HTTP API. Times are in seconds. Every call may raise `RefusedError` and
    `UnreachableError`. The client never retries a call, because an unanswered produce may have been carried out.
    """

    def __init__(self, url: str, *, queue: str = "default", timeout: float = 60, key: str | None = None) -> None:
        """``timeout`` is in seconds and must exceed any ``wait``. ``key`` is for a broker that requires API keys.

        Raises:
            ValueError: the URL is not http://HOST:PORT.
            InvalidKeyError: the key is empty, or contains characters that no key has.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError as error:
            raise ValueError(f"{url!r} is not a broker's address: {error}") from error
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is not a broker's address: expected http://HOST:PORT")
        if key is not None and not _KEY.fullmatch(key):  # http.client would include the key in its error
            raise InvalidKeyError(
                "the API key is invalid: it is empty, or contains characters that no key has. "
                "Pass it as 'wonderq keys create' printed it"
            )
        self.url = url
        self.queue = queue
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # Messages

    def produce(self, message: str, *, delay: float | None = None, **fields: Any) -> str:
        """Produce a message and return its id.

        ``fields`` are the optional fields of a message: ``deliver_at``, ``attributes``, ``group``, ``priority``,
        ``idempotency_key``, ``traceparent``, ``tracestate``. If the idempotency key was used before, no message is
        added, and the id is that of the earlier message.
        """
        if not isinstance(message, str):
            raise TypeError(f"a message must be a str, not {type(message).__name__}")
        body = {"message": message, **fields} if delay is None else {"message": message, "delay": delay, **fields}
        return self._call("POST", "/messages/produce", _Produced, body).id

    def produce_batch(
        self, messages: Sequence[str | _Object], *, delay: float | None = None, idempotency_key: str | None = None
    ) -> list[str]:
        """Produce up to 1000 messages, all or none, and return their ids in order.

        Each is a body, or a dict with ``message`` and optional fields (see `produce`).
        """
        for message in messages:
            if not isinstance(message, str | dict):
                raise TypeError(f"a message must be a str or a dict, not {type(message).__name__}")
        body: _Object = {"messages": messages}
        if delay is not None:
            body["delay"] = delay
        if idempotency_key is not None:
            body["idempotency_key"] = idempotency_key
        return self._call("POST", "/messages/produce", _BatchProduced, body).ids

    def consume(
        self,
        *,
        limit: int = 10,
        wait: float = 0,
        visibility_timeout: float | None = None,
        attempt_id: str | None = None,
    ) -> list[_Object]:
        """Claim up to ``limit`` messages; wait up to ``wait`` seconds for the first.

        If an answer was lost, repeat the call with the same ``attempt_id`` within five minutes to get the same
        messages.
        """
        body: _Object = {"max": limit, "wait": wait}
        if visibility_timeout is not None:
            body["visibility_timeout"] = visibility_timeout
        if attempt_id is not None:
            body["attempt_id"] = attempt_id
        return self._call("POST", "/messages/consume", list[_Object], body)

    def delete(self, receipt: str) -> None:
        """Delete a consumed message, if the claim with this receipt is still valid."""
        result = self.delete_batch(receipts=[receipt])[0]
        if not result["success"]:
            raise msgspec.convert(result, _Refusal).to_exception()

    def delete_batch(self, *, ids: Sequence[str] = (), receipts: Sequence[str] = ()) -> list[_Object]:
        """Delete messages by id, even if claimed, or by receipt; return a result for each."""
        if ids and receipts:
            raise ValueError("pass either ids or receipts, not both")
        body = {"ids": ids} if ids else {"receipts": receipts}
        return self._call("POST", "/messages/delete", _Results, body).results

    def update(
        self,
        message_id: str,
        *,
        receipt: str | None = None,
        visibility_timeout: float | None = None,
        delay: float | None = None,
        message: str | None = None,
        **more: Any,
    ) -> None:
        """Change a message. With only a receipt, renew its claim.

        ``more`` are further fields: ``attributes``, ``backoff``, ``bury``, ``if_version``.
        """
        fields = {"receipt": receipt, "visibility_timeout": visibility_timeout, "delay": delay, "message": message}
        body = {name: value for name, value in fields.items() if value is not None} | more
        self._call("UPDATE", f"/messages/{quote(message_id, safe='')}", _Object, body)

    def release(self, receipts: Sequence[str]) -> list[_Object]:
        """Release claims, so that their messages are available at once; return a result for each."""
        entries = [{"receipt": receipt, "visibility_timeout": 0} for receipt in receipts]
        return self._call("POST", "/messages/update", _Results, {"entries": entries}).results

    def kick(self, limit: int = 10) -> int:
        """Make up to ``limit`` buried messages available again, and return their number."""
        return self._call("POST", "/messages/kick", _Kicked, {"max": limit}).kicked

    def hand_over(self, receipts: Sequence[str], produce: Sequence[_Object]) -> list[str]:
        """Delete consumed messages and produce others in one atomic step; return the new ids.

        Each message to ``produce`` is a dict with ``queue``, ``message`` and optional fields (see `produce`).
        """
        return self._call("POST", "/messages/hand-over", _HandedOver, {"receipts": receipts, "produce": produce}).ids

    def get(self, message_id: str) -> _Object:
        """Return a message without claiming it."""
        return self._call("GET", f"/messages/{quote(message_id, safe='')}", _Object)

    def messages(
        self, *, status: str | None = None, after: str | None = None, page: int = 1000, **only: str
    ) -> Iterator[_Object]:
        """Yield the queue's messages, oldest first, without claiming them. They are fetched ``page`` at a time.

        ``only`` are filters: ``contains`` (text), ``attribute`` (``name`` or ``name=value``), ``group``.
        """
        path = "/dev/messages" if status is None else "/dev/messages/status"
        while True:
            query = {"status": status, "after": after, "limit": page, **only}
            given = {name: value for name, value in query.items() if value is not None}
            found = self._call("GET", path, list[_Object], query=given)
            yield from found
            if len(found) < page:
                return
            after = found[-1]["id"]

    def count(self, status: str) -> int:
        return self._call("GET", "/dev/messages/count", _Counted, query={"status": status}).count

    # Queues

    def queues(self, *, prefix: str = "", page: int = 1000) -> list[_Object]:
        """Return the queues whose names begin with ``prefix``, ordered by name. They are fetched ``page`` at a time."""
        queues: list[_Object] = []
        while True:
            query = {"prefix": prefix, "after": queues[-1]["queue"] if queues else "", "limit": page}
            found = self._request("GET", f"/queues?{urlencode(query)}", list[_Object])
            queues += found
            if len(found) < page:
                return queues

    def overview(self) -> _Object:
        """Return the sums, rates and problems of all queues that the key opens."""
        return self._request("GET", "/overview", _Object)

    def largest_queues(self, sort: str, limit: int, *, prefix: str = "") -> list[_Object]:
        """Return the queues with the largest figure, with their rates. ``sort`` is one of `GET /queues`."""
        query = urlencode({"sort": sort, "limit": limit, "prefix": prefix, "figures": "true"})
        return self._request("GET", f"/queues?{query}", list[_Object])

    def queue_info(self) -> _Object:
        """Return the client's queue: settings, counts, bytes, age of the oldest message in seconds."""
        return self._call("GET", "", _Object)

    def put_queue(self, **settings: Any) -> _Object:
        """Create the client's queue, or change the given settings; return the queue as `queue_info` does.

        Settings have the names of the HTTP API (docs/API.md): ``visibility_timeout``, ``delay``, ``max_receives`` etc.
        """
        return self._call("PUT", "", _Object, settings)

    def drop_queue(self) -> None:
        """Delete the client's queue and all its messages."""
        self._call("DELETE", "", _Object)

    def purge(self) -> int:
        """Delete all messages of the queue and return their number."""
        return self._call("POST", "/purge", _Purged).deleted

    # Redrive

    def redrive(self, **fields: Any) -> _Object:
        """Start moving the messages of the client's queue, and return the redrive.

        ``fields`` are ``destination`` (default: the source queue of each message), ``per_second``, ``limit``,
        ``contains``, ``attribute`` and ``dry_run``.
        """
        return self._call("POST", "/redrive", _Object, fields)

    def redrives(self) -> list[_Object]:
        """Return the redrives of the client's queue, newest first."""
        return self._call("GET", "/redrive", list[_Object])

    def get_redrive(self, redrive_id: str) -> _Object:
        return self._call("GET", f"/redrive/{quote(redrive_id, safe='')}", _Object)

    def cancel_redrive(self, redrive_id: str) -> _Object:
        """Cancel a redrive of the client's queue, and return it."""
        return self._call("DELETE", f"/redrive/{quote(redrive_id, safe='')}", _Object)

    # Schedules

    def schedules(self) -> list[_Object]:
        return self._request("GET", "/schedules", list[_Object])

    def put_schedule(self, name: str, **fields: Any) -> _Object:
        """Create a schedule, or change the given fields of one, and return it.

        A new one needs ``cron``, ``queue`` and ``message``. Optional fields are ``timezone``, ``attributes``,
        ``group``, ``priority``, ``delay``, ``missed`` and ``paused``.
        """
        return self._request("PUT", f"/schedules/{quote(name, safe='')}", _Object, fields)

    def get_schedule(self, name: str) -> _Object:
        return self._request("GET", f"/schedules/{quote(name, safe='')}", _Object)

    def delete_schedule(self, name: str) -> None:
        self._request("DELETE", f"/schedules/{quote(name, safe='')}", _Object)

    def ready(self) -> bool:
        """Return whether the broker accepts work. A broker that cannot be reached does not."""
        try:
            self._request("GET", "/readyz", _Object)
        except (RefusedError, UnreachableError):
            return False
        return True

    def _call(
        self, method: str, path: str, reply: type[_T], body: _Object | None = None, query: _Object | None = None
    ) -> _T:
        path = f"/queues/{quote(self.queue, safe='')}{path}"
        return self._request(method, f"{path}?{urlencode(query)}" if query else path, reply, body)

    def _request(self, method: str, target: str, reply: type[_T], body: _Object | None = None) -> _T:
        data, headers = None, self._headers
        if body is not None:
            data, media_type = _encode(body)
            headers = {**headers, "Content-Type": media_type}
        try:
            self._connect()
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise UnreachableError(f"{self.url} did not answer: {_reason(error)}") from error
        except BaseException:
            self._connection.close()  # a late answer must not be taken for that of the next request
            raise
        try:
            if response.status >= 400:
                raise msgspec.json.decode(answer, type=_Refusal).to_exception()
            return msgspec.json.decode(answer, type=reply)
        except msgspec.DecodeError as error:
            raise UnreachableError(
                f"{self.url} is not a WonderQ broker: it answered {response.status} {answer[:60]!r}"
            ) from error

    def _connect(self) -> None:
        """Connect, unless connected. A connection that the broker closed while idle would lose the next request."""
        sock: socket.socket | None = self._connection.sock
        if sock is not None:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            if not poll.poll(0):
                return
            self._connection.close()
        self._connection.connect()
        if self._connection.sock.getsockname() == self._connection.sock.getpeername():
            # If nothing listens on an ephemeral port, a client can connect to itself.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def _encode(body: _Object) -> tuple[bytes, str]:
    """Return the body of a request, and its media type."""
    data = msgspec.json.encode(body)
    if len(data) <= _LARGEST_JSON_BYTES:
        return data, "application/json"
    return msgspec.msgpack.encode(msgspec.to_builtins(body)), "application/msgpack"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
