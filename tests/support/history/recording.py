"""A client that records its calls and their outcomes."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from tests.support.history.calls import (
    ABANDONED,
    Call,
    Consume,
    Create,
    Delete,
    Delivery,
    Drop,
    Listing,
    Outcome,
    Produce,
    Publish,
    Purge,
    Seen,
    Update,
    brief,
)
from tests.support.queue_client import QueueClient
from wonderq.broker.broker import Broker
from wonderq.client.errors import Refused, Unreachable
from wonderq.rest.objects import message_object

CallT = TypeVar("CallT", bound=Call)

_numbers = itertools.count(1)


def request(client: QueueClient, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a call for which `Client` has no method."""
    return client._call(method, path, dict[str, Any], body)


class AbandonedError(Unreachable):
    """The client hung up before the answer; the broker may be well, and may still do what it was asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """A message to delete or update, with or without a receipt."""

    id: str
    receipt: str | None = None

    @property
    def fields(self) -> dict[str, str]:
        return {"id": self.id} if self.receipt is None else {"id": self.id, "receipt": self.receipt}


@dataclass(frozen=True, slots=True)
class Sources:
    """The queues of one poll, in strict order, or with weights."""

    queues: Sequence[str]
    weights: Sequence[int] = ()

    @property
    def field(self) -> list[Any]:
        """The field of a request."""
        weighted = zip(self.queues, self.weights, strict=False)
        return [{"queue": queue, "weight": weight} for queue, weight in weighted] or list(self.queues)

    def asked(self, limit: int, deliveries: Mapping[str, tuple[Delivery, ...]]) -> list[tuple[str, int]]:
        """Return the queues that the claim certainly asked, and for how many messages each.

        ``deliveries`` has the messages of an answer, by queue in the order in which it gave them.
        """
        left, asked = limit, []
        order = list(deliveries) if self.weights else self.queues
        for queue in order:
            if left:
                asked.append((queue, left))
                left -= len(deliveries.get(queue, ()))
        return asked + [(queue, left) for queue in self.queues if left and queue not in order]


class RecordingClient:
    """Calls one queue; every method returns what it recorded, and ``lost`` is set once the connection died.

    ``make`` may give a client that sends otherwise. A call that it abandons is recorded without an end.
    """

    def __init__(
        self, url: str, queue: str, *, timeout_s: float = 30, make: Callable[..., QueueClient] = QueueClient
    ) -> None:
        self.client = make(url, queue=queue, timeout=timeout_s)
        self.queue = queue
        self.calls: list[Call] = []
        self.lost = False
        self.hung = False
        """Whether a call got no answer although the connection was open."""

    def produce(self, bodies: Sequence[str], delay_s: float | None = None, *, single: bool = False) -> Produce:
        def ask() -> dict[str, Any]:
            if single:
                return {"ids": (self.client.produce(bodies[0], delay=delay_s),)}
            return {"ids": tuple(self.client.produce_batch(bodies, delay=delay_s))}

        return self._record(
            lambda **about: Produce(bodies=tuple(map(brief, bodies)), delay_s=delay_s or 0, **about), ask
        )

    def publish(self, topic: str, bodies: Sequence[str], key: str, queues: Sequence[str]) -> list[Publish]:
        """Publish a batch to a topic with these queues. Recorded as one call for each of them, with the same times."""
        fields: dict[str, Any] = {"messages": list(bodies), "idempotency_key": key}
        shares = [
            Publish(queue=queue, start_s=0, end_s=0, bodies=tuple(map(brief, bodies)), key=key) for queue in queues
        ]

        def ask() -> list[Any]:
            self.client._client.call("POST", f"/topics/{topic}/publish", dict[str, Any], fields)
            return [{"success": True}] * len(shares)

        return self._record_batch(shares, ask)

    def consume(self, *, limit: int, visibility_timeout_s: float, wait_s: float = 0, consumer: str = "") -> Consume:
        def make(**about: Any) -> Consume:
            claim = {"limit": limit, "visibility_timeout_s": visibility_timeout_s, "wait_s": wait_s}
            return Consume(**{**claim, "consumer": consumer, **about})

        def ask() -> dict[str, Any]:
            body = _claim_fields(make(queue=self.queue, start_s=0, end_s=0))
            found = self.client._call("POST", "/messages/consume", list[dict[str, Any]], body, wait=wait_s)
            return {"deliveries": tuple(map(_delivery, found))}

        return self._record(make, ask)

    def delete(self, target: Target) -> Delete:
        path = f"/messages/{target.id}" + ("" if target.receipt is None else f"?receipt={target.receipt}")
        return self._record(
            lambda **about: Delete(id=target.id, receipt=target.receipt, **about),
            lambda: request(self.client, "DELETE", path),
        )

    def delete_batch(self, targets: Sequence[Target]) -> list[Delete]:
        """Delete all by receipt or all by id. Recorded as one delete per message, with the same times."""
        if targets[0].receipt is None:
            body = {"ids": [each.id for each in targets]}
        else:
            body = {"receipts": [str(each.receipt) for each in targets]}
        return self._record_batch(
            [Delete(queue=self.queue, start_s=0, end_s=0, id=each.id, receipt=each.receipt) for each in targets],
            lambda: request(self.client, "POST", "/messages/delete", body)["results"],
        )

    def next(
        self,
        ends: Sequence[Delete | Update],
        *,
        limit: int,
        visibility_timeout_s: float,
        wait_s: float = 0,
        consumer: str = "",
        sources: Sources | None = None,
    ) -> list[Consume]:
        """End claims by receipt, and claim, from this client's queue or from several.

        Recorded as one call for each message that it ends, and a consume for each queue that it asks, all with the same times.
        """
        claim = Consume(
            queue=self.queue,
            start_s=time.monotonic(),
            end_s=0,
            limit=limit,
            visibility_timeout_s=visibility_timeout_s,
            wait_s=wait_s,
            consumer=consumer,
            request=next(_numbers),
        )
        body = {**_lists(ends), **_claim_fields(claim)}
        found: dict[str, tuple[Delivery, ...]] = {}
        outcome, code = Outcome.OK, None
        codes: list[tuple[Outcome, str | None]] = [(Outcome.OK, None)] * len(ends)
        try:
            if sources is None:
                answer = self.client._call("POST", "/messages/next", dict[str, Any], body, wait=wait_s)
            else:
                body["queues"] = sources.field
                answer = self.client._client.call("POST", "/messages/next", dict[str, Any], body, wait=wait_s)
            for each in answer["messages"]:
                found[each["queue"]] = (*found.get(each["queue"], ()), _delivery(each))
            if "claim_error" in answer:
                outcome, code = Outcome.REFUSED, answer["claim_error"]["code"]
            codes = _codes_of(ends, answer.get("results"))
        except (Refused, Unreachable) as error:
            outcome, code = self._failed(error)
            codes = [(outcome, code)] * len(ends)
        claim = replace(claim, end_s=self._end_s(code), outcome=outcome, code=code)
        times: dict[str, Any] = {"start_s": claim.start_s, "end_s": claim.end_s, "request": claim.request}
        for end, (each, reason) in zip(ends, codes, strict=True):
            self.calls.append(replace(end, outcome=each, code=reason, **times))
        polled = sources or Sources((self.queue,))
        asked = polled.asked(limit, found) if outcome is Outcome.OK else [(each, limit) for each in polled.queues]
        claims = [replace(claim, queue=queue, limit=most, deliveries=found.get(queue, ())) for queue, most in asked]
        self.calls += claims
        return claims

    def update(self, update: Update, *, implied_timeout: bool = False) -> Update:
        """Make the change that ``update`` describes (its times and outcome are replaced by the real ones)."""
        return self._record(
            lambda **about: replace(_noted(update), **about),
            lambda: request(self.client, "UPDATE", f"/messages/{update.id}", _fields(update, implied_timeout)),
        )

    def update_batch(self, updates: Sequence[Update]) -> list[Update]:
        body = {"entries": [{"id": update.id, **_fields(update)} for update in updates]}
        return self._record_batch(
            list(map(_noted, updates)), lambda: request(self.client, "POST", "/messages/update", body)["results"]
        )

    def list_all(self) -> Listing:
        return self._record(
            Listing,
            lambda: {"messages": tuple(map(seen, self.client.messages(page=100_000)))},
        )

    def create_queue(self) -> Create:
        return self._record(Create, lambda: request(self.client, "PUT", "", {}))

    def purge(self) -> Purge:
        return self._record(Purge, lambda: {"deleted": self.client.purge()})

    def drop_queue(self) -> Drop:
        return self._record(Drop, lambda: request(self.client, "DELETE", ""))

    def _record(self, make: Callable[..., CallT], ask: Callable[[], dict[str, Any]]) -> CallT:
        result: dict[str, Any] = {}
        about: dict[str, Any] = {"queue": self.queue, "start_s": time.monotonic(), "outcome": Outcome.OK}
        try:
            answer = ask()
            result = {name: answer[name] for name in ("ids", "deliveries", "messages", "deleted") if name in answer}
        except (Refused, Unreachable) as error:
            about["outcome"], about["code"] = self._failed(error)
        about["end_s"] = self._end_s(about.get("code"))
        call = make(**about)
        if result:
            call = replace(call, **result)
        self.calls.append(call)
        return call

    def _record_batch(self, calls: Sequence[CallT], ask: Callable[[], list[dict[str, Any]]]) -> list[CallT]:
        start_s, number = time.monotonic(), next(_numbers)
        codes: list[tuple[Outcome, str | None]]
        try:
            codes = list(map(_outcome_of, ask()))
            assert len(codes) == len(calls)
        except (Refused, Unreachable) as error:
            codes = [self._failed(error)] * len(calls)
        end_s = self._end_s(codes[0][1])
        done = [
            replace(call, start_s=start_s, end_s=end_s, outcome=outcome, code=code, request=number)
            for call, (outcome, code) in zip(calls, codes, strict=True)
        ]
        self.calls.extend(done)
        return done

    def _failed(self, error: Refused | Unreachable) -> tuple[Outcome, str | None]:
        """Return the outcome and the code of a call that failed as a whole."""
        if isinstance(error, Refused):
            return Outcome.UNKNOWN if error.outcome_unknown else Outcome.REFUSED, error.code
        return Outcome.UNKNOWN, self._lose(error)

    def _lose(self, error: Unreachable) -> str | None:
        """Note that an answer will not come; returns the code of the call."""
        if isinstance(error, AbandonedError):
            return ABANDONED
        self.lost = True
        self.hung = self.hung or isinstance(error.__cause__, TimeoutError)
        return None

    @staticmethod
    def _end_s(code: str | None) -> float:
        return float("inf") if code == ABANDONED else time.monotonic()

    def close(self) -> None:
        self.client.close()


def _outcome_of(result: dict[str, Any]) -> tuple[Outcome, str | None]:
    """Return the outcome and the code of an entry of a batch."""
    return (Outcome.OK, None) if result["success"] else (Outcome.REFUSED, result["error"]["code"])


def _noted(update: Update) -> Update:
    return update if update.body is None else replace(update, body=brief(update.body))


def _fields(update: Update, implied_timeout: bool = False) -> dict[str, Any]:
    fields = {
        "receipt": update.receipt,
        "visibility_timeout": None if implied_timeout else update.visibility_timeout_s,
        "delay": update.delay_s,
        "message": update.body,
        "error": None if update.error is None else {"message": update.error},
        "dead": update.dead or None,
        "uncounted": update.uncounted or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _claim_fields(claim: Consume) -> dict[str, Any]:
    """Return the fields of a request that claims."""
    fields = {
        "max": claim.limit,
        "visibility_timeout": claim.visibility_timeout_s,
        "wait": claim.wait_s,
        "consumer": claim.consumer or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _list_of(end: Delete | Update) -> str:
    """Return the list of a `next` in which a claim is ended."""
    return "delete" if isinstance(end, Delete) else "dead" if end.dead else "release"


def _lists(ends: Sequence[Delete | Update]) -> dict[str, list[Any]]:
    """Return the lists of a `next`."""
    lists: dict[str, list[Any]] = {}
    for end in ends:
        entry = end.receipt if isinstance(end, Delete) else _fields(replace(end, dead=False))
        lists.setdefault(_list_of(end), []).append(entry)
    return lists


def _codes_of(
    ends: Sequence[Delete | Update], results: dict[str, list[Any]] | None
) -> list[tuple[Outcome, str | None]]:
    """Return what became of each claim that a `next` ended; without results, all went well."""
    if results is None:
        return [(Outcome.OK, None)] * len(ends)
    lists = {name: iter(found) for name, found in results.items()}
    return [_outcome_of(next(lists[_list_of(end)])) for end in ends]


def _delivery(message: dict[str, Any]) -> Delivery:
    return Delivery(
        message["id"],
        brief(message["message"]),
        message["receipt"],
        message["receive_count"],
        to_ms(message["claimed_until"]),
        *_more(message),
    )


def seen(message: dict[str, Any]) -> Seen:
    """Return a message of a listing as the history keeps it."""
    due = message["claimed_until"] or message.get("delayed_until")
    return Seen(
        message["id"],
        brief(message["message"]),
        message["status"],
        message["receive_count"],
        None if due is None else to_ms(due),
        *_more(message),
    )


def _more(message: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Return the consumer of a message, its last error and the former id of a dead letter."""
    error, source = message.get("last_error", {}), message.get("dead_letter", {})
    return message.get("consumer", ""), error.get("message"), source.get("id")


def seen_in(broker: Broker, queue: str) -> tuple[Seen, ...]:
    """Return the messages of a queue of a broker in this process.

    A broker ends claims and delays in portions. Right after a start that may be more than one, so all are ended here.
    """
    with broker.core.transaction as now_ms:
        broker.core.advance(broker.core.find_queue(queue), now_ms, sys.maxsize)
    return tuple(seen(msgspec.to_builtins(message_object(message))) for message in broker.messages(queue))


def to_ms(text: str) -> int:
    """Convert a time in ISO 8601 to ms since 1970."""
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return round(since.total_seconds() * 1000)
