"""Calls of the HTTP API on one queue, for tests of the broker: messages are the API's objects, and nothing is repeated.

A test that looks for lost or doubled messages must see each lost answer, and must not depend on what the client of the
product makes of it. `wonderq.Client` without repetitions carries the requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

from wonderq.client.errors import refused
from wonderq.client.sync import Client

T = TypeVar("T")

Object = dict[str, Any]


class QueueClient:
    """A client for one queue. Times are in seconds. Every call may raise `Refused` and `Unreachable`."""

    def __init__(self, url: str, *, queue: str = "default", timeout: float = 60, key: str | None = None) -> None:
        self.queue = queue
        self._client = Client(url, key=key, retries=0, timeout=timeout, read_timeout=timeout)

    @property
    def url(self) -> str:
        """Address of the broker."""
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    # Messages

    def produce(self, message: str, *, delay: float | None = None, **fields: Any) -> str:
        """Produce a message and return its id."""
        body = {"message": message, **fields} if delay is None else {"message": message, "delay": delay, **fields}
        return str(self._call("POST", "/messages/produce", Object, body)["id"])

    def produce_batch(
        self, messages: Sequence[str | Object], *, delay: float | None = None, idempotency_key: str | None = None
    ) -> list[str]:
        """Produce messages, all or none, and return their ids in order."""
        body = _given(messages=messages, delay=delay, idempotency_key=idempotency_key)
        ids: list[str] = self._call("POST", "/messages/produce", Object, body)["ids"]
        return ids

    def consume(
        self,
        *,
        limit: int = 10,
        wait: float = 0,
        visibility_timeout: float | None = None,
        attempt_id: str | None = None,
    ) -> list[Object]:
        """Claim up to ``limit`` messages; wait up to ``wait`` seconds for the first."""
        body = _given(max=limit, wait=wait, visibility_timeout=visibility_timeout, attempt_id=attempt_id)
        return self._call("POST", "/messages/consume", list[Object], body, wait=wait)

    def delete(self, receipt: str) -> None:
        """Delete a consumed message, if the claim with this receipt is still valid."""
        result = self.delete_batch(receipts=[receipt])[0]
        if not result["success"]:
            raise refused(result["statusCode"], result["error"]["code"], result["error"]["message"])

    def delete_batch(self, *, ids: Sequence[str] = (), receipts: Sequence[str] = ()) -> list[Object]:
        """Delete messages by id or by receipt; return a result for each."""
        return self._results("/messages/delete", {"ids": ids} if ids else {"receipts": receipts})

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
        """Change a message. With only a receipt, renew its claim."""
        body = _given(receipt=receipt, visibility_timeout=visibility_timeout, delay=delay, message=message) | more
        self._call("UPDATE", f"/messages/{quote(message_id, safe='')}", Object, body)

    def release(self, receipts: Sequence[str]) -> list[Object]:
        """Release claims; return a result for each."""
        entries = [{"receipt": receipt, "visibility_timeout": 0} for receipt in receipts]
        return self._results("/messages/update", {"entries": entries})

    def kick(self, limit: int = 10) -> int:
        """Make up to ``limit`` buried messages available again, and return their number."""
        return int(self._call("POST", "/messages/kick", Object, {"max": limit})["kicked"])

    def hand_over(self, receipts: Sequence[str], produce: Sequence[Object]) -> list[str]:
        """Delete consumed messages and produce others in one step; return the new ids."""
        fields = {"receipts": receipts, "produce": produce}
        ids: list[str] = self._call("POST", "/messages/hand-over", Object, fields)["ids"]
        return ids

    def get(self, message_id: str) -> Object:
        """Return a message without claiming it."""
        return self._call("GET", f"/messages/{quote(message_id, safe='')}", Object)

    def messages(
        self, *, status: str | None = None, after: str | None = None, page: int = 1000, **only: str
    ) -> Iterator[Object]:
        """Yield the queue's messages, oldest first, without claiming them."""
        path = "/dev/messages" if status is None else "/dev/messages/status"
        while True:
            query = urlencode(_given(status=status, after=after, limit=page, **only))
            found = self._call("GET", f"{path}?{query}", list[Object])
            yield from found
            if len(found) < page:
                return
            after = found[-1]["id"]

    def count(self, status: str) -> int:
        """Return the number of messages with a status."""
        return int(self._call("GET", f"/dev/messages/count?status={status}", Object)["count"])

    # Queues

    def queues(self, *, prefix: str = "", page: int = 1000) -> list[Object]:
        """Return the queues whose names begin with ``prefix``, ordered by name."""
        queues: list[Object] = []
        while True:
            query = {"prefix": prefix, "after": queues[-1]["queue"] if queues else "", "limit": page}
            found = self._client.call("GET", f"/queues?{urlencode(query)}", list[Object])
            queues += found
            if len(found) < page:
                return queues

    def queue_info(self) -> Object:
        """Return the client's queue."""
        return self._call("GET", "", Object)

    def put_queue(self, **settings: Any) -> Object:
        """Create the client's queue, or change the given settings; return the queue."""
        return self._call("PUT", "", Object, settings)

    def drop_queue(self) -> None:
        """Delete the client's queue and all its messages."""
        self._call("DELETE", "", Object)

    def purge(self) -> int:
        """Delete all messages of the queue and return their number."""
        return int(self._call("POST", "/purge", Object)["deleted"])

    # Tasks

    def redrive(self, **fields: Any) -> Object:
        """Start moving the messages of the client's queue, and return the redrive."""
        return self._call("POST", "/redrive", Object, fields)

    def redrives(self) -> list[Object]:
        """Return the redrives of the client's queue, newest first."""
        return self._call("GET", "/redrive", list[Object])

    def get_redrive(self, redrive_id: str) -> Object:
        """Return a redrive of the client's queue."""
        return self._call("GET", f"/redrive/{redrive_id}", Object)

    def cancel_redrive(self, redrive_id: str) -> Object:
        """Cancel a redrive of the client's queue, and return it."""
        return self._call("DELETE", f"/redrive/{redrive_id}", Object)

    def schedules(self) -> list[Object]:
        """Return the schedules."""
        return self._client.call("GET", "/schedules", list[Object])

    def put_schedule(self, name: str, **fields: Any) -> Object:
        """Create a schedule, or change the given fields of one, and return it."""
        return self._client.call("PUT", f"/schedules/{quote(name, safe='')}", Object, fields)

    def get_schedule(self, name: str) -> Object:
        """Return a schedule."""
        return self._client.call("GET", f"/schedules/{quote(name, safe='')}", Object)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._client.delete_schedule(name)

    def ready(self) -> bool:
        """Return whether the broker accepts work."""
        return self._client.ready()

    def _results(self, path: str, body: Object) -> list[Object]:
        results: list[Object] = self._call("POST", path, Object, body)["results"]
        return results

    def _call(self, method: str, path: str, kind: type[T], body: Object | None = None, *, wait: float = 0) -> T:
        return self._client.call(method, f"/queues/{quote(self.queue, safe='')}{path}", kind, body, wait=wait)


def _given(**fields: Any) -> Object:
    return {name: value for name, value in fields.items() if value is not None}
