"""A client of the REST API that writes a journal. It speaks HTTP itself, so that it shares no code with the product."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from tests.promises.journal import Exchange, Journal
from tests.promises.lives import Lives
from tests.support.waiting import PATIENCE_S

#: Pause after a refused connection, in seconds.
_PAUSE_S = 0.05


class Client:
    """One actor's connection to the broker. It waits for the next broker when there is none."""

    def __init__(self, lives: Lives, journal: Journal, actor: str) -> None:
        self._lives = lives
        self._journal = journal
        self.actor = actor
        self._connection: http.client.HTTPConnection | None = None
        self._life = 0

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def journal(self) -> Journal:
        """The journal it writes, for clients of other protocols beside it."""
        return self._journal

    @property
    def lives(self) -> Lives:
        """The lives of the broker."""
        return self._lives

    def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        time.sleep(seconds)

    def _connected(self) -> http.client.HTTPConnection:
        while self._connection is None:
            host, port, self._life = self._lives.current()
            connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
            try:
                connection.connect()
            except OSError:
                time.sleep(_PAUSE_S)
            else:
                self._connection = connection
        return self._connection

    def call(
        self, kind: str, method: str, path: str, queue: str = "", body: Mapping[str, Any] | None = None, **named: Any
    ) -> Exchange:
        """Send a request and write it down with its answer.

        ``named`` are values of the path that the journal has beside the fields of the body.

        Raises:
            AssertionError: the broker gave no answer within a long time, or cut the connection and lived on.
        """
        connection = self._connected()
        life, number = self._life, self._journal.number()
        data = None if body is None else json.dumps(body).encode()
        began_s = time.monotonic()
        status: int | None = None
        answer: Any = None
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            response = connection.getresponse()
            if response.length is None and not response.chunked:
                raise http.client.HTTPException("the head of the answer was cut")
            raw = response.read()
            ended_s = time.monotonic()
            status = response.status
            answer = json.loads(raw) if raw else None
            if response.will_close:
                self.close()
        except TimeoutError:
            raise AssertionError(f"no answer within {PATIENCE_S:.0f} s to {method} {path}") from None
        except (OSError, http.client.HTTPException):
            self.close()
            assert self._lives.wait_for_end(life), (
                f"the connection of {method} {path} was cut by a broker that lives on"
            )
            ended_s = time.monotonic()
        exchange = Exchange(
            number, self.actor, life, kind, queue, {**(body or {}), **named}, began_s, ended_s, status, answer
        )
        self._journal.add(exchange)
        return exchange

    def produce(self, queue: str, messages: Sequence[Mapping[str, Any]]) -> Exchange:
        """Produce one message, or a batch of several."""
        body = messages[0] if len(messages) == 1 else {"messages": messages}
        return self.call("produce", "POST", f"/queues/{queue}/messages/produce", queue, body)

    def consume(self, queue: str, *, visibility_timeout: float, most: int = 10, **fields: Any) -> Exchange:
        """Claim messages."""
        body = {"max": most, "visibility_timeout": visibility_timeout, **fields}
        return self.call("consume", "POST", f"/queues/{queue}/messages/consume", queue, body)

    def delete(self, queue: str, message: Mapping[str, Any]) -> Exchange:
        """Delete a message by the receipt of its claim."""
        path = f"/queues/{queue}/messages/{message['id']}?{urlencode({'receipt': message['receipt']})}"
        return self.call("delete", "DELETE", path, queue, id=message["id"], receipt=message["receipt"])

    def update(self, queue: str, message: Mapping[str, Any], **fields: Any) -> Exchange:
        """Update a message by the receipt of its claim."""
        body = {"receipt": message["receipt"], **fields}
        return self.call("update", "PUT", f"/queues/{queue}/messages/{message['id']}", queue, body, id=message["id"])

    def hand_over(self, queue: str, receipts: Sequence[str], outputs: Sequence[Mapping[str, Any]]) -> Exchange:
        """Delete the messages of these receipts from a queue, and produce others."""
        body = {"receipts": list(receipts), "produce": list(outputs)}
        return self.call("hand-over", "POST", f"/queues/{queue}/messages/hand-over", queue, body)

    def listing(self, queue: str) -> Exchange:
        """List all messages of a queue."""
        return self.call("listing", "GET", f"/queues/{queue}/dev/messages", queue)

    def queue(self, queue: str) -> Exchange:
        """Read the settings and the counts of a queue."""
        return self.call("queue", "GET", f"/queues/{queue}", queue)

    def configure(self, queue: str, **settings: Any) -> Exchange:
        """Create a queue, or change it."""
        exchange = self.call("configure", "PUT", f"/queues/{queue}", queue, settings)
        assert exchange.is_done, exchange.line()
        return exchange

    def total(self, queue: str) -> int:
        """Return the number of messages of a queue. Asks until it gets an answer."""
        while not (exchange := self.queue(queue)).is_done:
            self.pause(_PAUSE_S)
        return sum(exchange.answer["counts"].values())
