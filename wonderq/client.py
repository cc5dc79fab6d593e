"""A small client for a WonderQ broker, over one kept connection. The command line is built on it.

with Client("http://127.0.0.1:7979") as client:
client.produce("hello")
for message in client.consume(wait=20):
print(message["message"])
client.delete(message["receipt"])
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import msgspec


class UnreachableError(Exception):
    """The broker did not answer. Whether it did what it was asked is unknown."""


class RefusedError(Exception):
    """The broker answered with an error; nothing was changed."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Client:
    """Calls one queue of one broker. Use a client from one thread at a time.

    Message objects are dicts as the HTTP API gives them; times are seconds. Every call may raise `RefusedError` and
    `UnreachableError`. No call is ever tried twice, since a produce that was not answered may have been done.
    """

    def __init__(self, url: str, *, queue: str = "default", timeout: float = 60) -> None:
        """``timeout`` is in seconds, and has to be longer than any ``wait``.

        Raises:
            ValueError: the URL is not http://HOST:PORT.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{url!r} is not a broker's address: expected http://HOST:PORT")
        self.url = url
        self.queue = queue
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    # Messages

    def produce(self, message: str, *, delay: float | None = None) -> str:
        """Add a message and return its id."""
        body = {"message": message} if delay is None else {"message": message, "delay": delay}
        message_id: str = self._call("POST", "/messages/produce", body)["id"]
        return message_id

    def produce_batch(self, messages: Sequence[str], *, delay: float | None = None) -> list[str]:
        """Add up to 1000 messages, all or none, and return their ids in order."""
        body: dict[str, Any] = {"messages": messages}
        if delay is not None:
            body["delay"] = delay
        ids: list[str] = self._call("POST", "/messages/produce", body)["ids"]
        return ids

    def consume(
        self, *, limit: int = 10, wait: float = 0, visibility_timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Claim up to ``limit`` messages, waiting up to ``wait`` seconds for the first."""
        body: dict[str, Any] = {"max": limit, "wait": wait}
        if visibility_timeout is not None:
            body["visibility_timeout"] = visibility_timeout
        messages: list[dict[str, Any]] = self._call("POST", "/messages/consume", body)
        return messages

    def delete(self, receipt: str) -> None:
        """Delete a message that was consumed, if the claim with this receipt still counts."""
        result = self.delete_batch(receipts=[receipt])[0]
        if not result["success"]:
            raise _refused(result)

    def delete_batch(self, *, ids: Sequence[str] = (), receipts: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Delete messages by id (whoever holds them) or by receipt, and return a result for each."""
        body = {"ids": ids} if ids else {"receipts": receipts}
        results: list[dict[str, Any]] = self._call("POST", "/messages/delete", body)["results"]
        return results

    def update(
        self,
        message_id: str,
        *,
        receipt: str | None = None,
        visibility_timeout: float | None = None,
        delay: float | None = None,
        message: str | None = None,
    ) -> None:
        """Change a message; with no field but the receipt it renews the claim."""
        fields = {"receipt": receipt, "visibility_timeout": visibility_timeout, "delay": delay, "message": message}
        body = {name: value for name, value in fields.items() if value is not None}
        self._call("UPDATE", f"/messages/{quote(message_id, safe='')}", body)

    def get(self, message_id: str) -> dict[str, Any]:
        """Return a message without touching it."""
        message: dict[str, Any] = self._call("GET", f"/messages/{quote(message_id, safe='')}")
        return message

    def messages(
        self, *, status: str | None = None, after: str | None = None, page: int = 1000
    ) -> Iterator[dict[str, Any]]:
        """Go through the queue's messages, oldest first, without touching them."""
        path = "/dev/messages" if status is None else "/dev/messages/status"
        while True:
            query = {"status": status, "after": after, "limit": page}
            found = self._call("GET", path, query={name: value for name, value in query.items() if value is not None})
            yield from found
            if len(found) < page:
                return
            after = found[-1]["id"]

    def count(self, status: str) -> int:
        count: int = self._call("GET", "/dev/messages/count", query={"status": status})["count"]
        return count

    # Queues

    def queues(self) -> list[dict[str, Any]]:
        queues: list[dict[str, Any]] = self._request("GET", "/queues")
        return queues

    def queue_info(self) -> dict[str, Any]:
        """Return this client's queue: settings, counts, bytes, age of the oldest message in seconds."""
        info: dict[str, Any] = self._call("GET", "")
        return info

    def purge(self) -> int:
        """Delete all messages of the queue and return how many there were."""
        deleted: int = self._call("POST", "/purge")["deleted"]
        return deleted

    def ready(self) -> bool:
        """Tell whether the broker takes work; no is also the answer of one that cannot be reached."""
        try:
            self._request("GET", "/readyz")
        except (RefusedError, UnreachableError):
            return False
        return True

    def _call(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        path = f"/queues/{quote(self.queue, safe='')}{path}"
        return self._request(method, f"{path}?{urlencode(query)}" if query else path, body)

    def _request(self, method: str, target: str, body: Any = None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise UnreachableError(f"{self.url} did not answer: {error}") from error
        try:
            value = msgspec.json.decode(answer)
        except msgspec.DecodeError as error:
            raise UnreachableError(f"{self.url} is not a WonderQ broker: it answered {answer[:80]!r}") from error
        if response.status >= 400:
            raise _refused(value)
        return value


def _refused(value: dict[str, Any]) -> RefusedError:
    return RefusedError(value["statusCode"], value["error"]["code"], value["error"]["message"])
