"""Answers with an ETag, and answers that many readers share, such as open dashboards that ask the same again and again.

A request says with ``Cache-Control: max-age=SECONDS`` how old its answer may be (RFC 9111, section 5.2.1.1), so only
those that say so get an answer made for others. Every other answer is of its own moment.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import Any, NamedTuple

import falcon

from wonderq.rest.bodies import accepts_msgpack, body_of

#: Answers that are kept, and bytes of the largest one of them.
_KEPT = 64
_LARGEST_BYTES = 256 << 10

_MAX_AGE = re.compile(r"(?:^|[ ,])max-age=(\d{1,9})(?:$|[ ,])")


class Answer(NamedTuple):
    """The body of an answer, and the tag of what it says."""

    data: bytes
    media_type: str
    etag: str
    """A weak ETag (RFC 9110, section 8.8.1): what else differs, such as the broker's time, does not matter."""

    def send(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set the response to this answer, or to 304 if the client has one with this tag."""
        resp.set_header("ETag", self.etag)
        if self.etag in (req.get_header("If-None-Match") or ""):
            resp.status = 304
        else:
            resp.content_type = self.media_type
            resp.data = self.data


def answer_of(req: falcon.Request, value: Any) -> Answer:
    """Return a value as an answer, in the format that the client accepts, of which everything matters."""
    data, media_type = body_of(req, value)
    return Answer(data, media_type, etag_of(data))


def etag_of(data: bytes) -> str:
    """Return the weak ETag of an answer's data, or of the part of it that matters."""
    return f'W/"{blake2b(data, digest_size=12).hexdigest()}"'


class SharedAnswers:
    """The newest answers of a resource. A request gets one of them only if it is from an equal reader, and young."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._answers: dict[Hashable, tuple[float, Answer]] = {}

    def respond(self, req: falcon.Request, resp: falcon.Response, reader: Hashable, make: Callable[[], Answer]) -> None:
        """Set the response to a kept answer, or to a new one by ``make``.

        Readers are equal if the same question has the same answer for them.
        """
        age_s = _age_s(req)
        if age_s is None:
            make().send(req, resp)
            return
        question = (reader, req.path, req.query_string, accepts_msgpack(req))
        began_s = self._now_s()
        made_s, answer = self._answers.get(question, (0.0, None))
        if answer is None or began_s - made_s >= age_s:
            answer = make()
            self._keep(question, began_s, answer)
        answer.send(req, resp)

    def _keep(self, question: Hashable, began_s: float, answer: Answer) -> None:
        self._answers.pop(question, None)  # so that the oldest come first
        if len(answer.data) <= _LARGEST_BYTES:
            self._answers[question] = began_s, answer
        while len(self._answers) > _KEPT:
            del self._answers[next(iter(self._answers))]


def _age_s(req: falcon.Request) -> int | None:
    """Return how old the answer to a request may be, or None if the request does not say that it may be old."""
    found = _MAX_AGE.search(req.get_header("Cache-Control") or "")
    return None if found is None else int(found[1])
