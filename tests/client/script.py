"""A broker that answers by a script, in the place of HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from wonderq.client.operations import Operation
from wonderq.client.polls import Poll
from wonderq.client.requests import Answer, NoAnswer, Request
from wonderq.client.retries import Pause, Steps

T = TypeVar("T")

LOST = NoAnswer("the connection broke", outcome_unknown=True)
UNSENT = NoAnswer("connection refused", outcome_unknown=False)

MESSAGE = {
    "id": "1",
    "message": "x",
    "queue": "q",
    "status": "processing",
    "receive_count": 1,
    "produced_at": "2026-01-01T00:00:00Z",
    "receipt": "r",
}


def answer(status: int, body: Any, **more: Any) -> Answer:
    return Answer(status, json.dumps(body).encode(), **more)


def refusal(status: int, code: str, message: str = "no", field: str | None = None, **more: Any) -> Answer:
    error = {"code": code, "message": message, **({} if field is None else {"field": field})}
    return answer(status, {"success": False, "statusCode": status, "error": error}, **more)


def fields_of(request: Request) -> Any:
    assert request.body is not None
    return json.loads(request.body)


def play(steps: Steps[Any], broker: Callable[[Request], Answer | NoAnswer]) -> list[Request | Pause]:
    """Run steps against a broker; return all requests and pauses."""
    return _run(steps, broker)[0]


def result_of(steps: Steps[T], broker: Callable[[Request], Answer | NoAnswer]) -> T:
    """Run steps against a broker; return their result."""
    return _run(steps, broker)[1]


def _run(steps: Steps[T], broker: Callable[[Request], Answer | NoAnswer]) -> tuple[list[Request | Pause], T]:
    done: list[Request | Pause] = []
    outcome: Answer | NoAnswer | None = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            return done, end.value
        done.append(step)
        outcome = broker(step) if isinstance(step, Request) else None


class Gate:
    """An HTTP pool whose answers wait until the test lets them go."""

    def __init__(self, respond: Callable[[Request], Answer | NoAnswer]) -> None:
        self.requests: list[Request] = []
        self._respond = respond
        self._arrived = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        self.requests.append(request)
        self._arrived.release()
        assert self._open.acquire(timeout=120)
        return self._respond(request)

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def wait_for_request(self) -> None:
        assert self._arrived.acquire(timeout=120)

    def let_go(self, requests: int = 1) -> None:
        self._open.release(requests)


def produced(request: Request) -> Answer:
    """Accept all messages of a send. The id of each is its text."""
    return answer(201, {"ids": [each["message"] for each in fields_of(request)["messages"]]})


def operations(*entries: Any, ends_claim: bool = False) -> list[Operation]:
    return [Operation(entry, ends_claim=ends_claim) for entry in entries]
