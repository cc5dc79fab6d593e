"""Send what the OpenAPI document allows, and what it does not, to a real broker, and compare each answer with the document:

    python -m tests.fuzz.http [--cases N] [--seed N]

Half of the cases are sent to a broker without keys and half to one with keys, by clients with each kind of key. Ids and
receipts that were answered are used again, so that what was produced is looked at, and what was consumed is renewed, released
and deleted. A seed gives the same requests, but for ids and receipts, which are the broker's. Exit code 1 if an answer was not
as described.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.broker_process import RunningBroker
from tests.support.mechanisms import NOT_WHOLE, Mechanisms
from tests.support.waiting import PATIENCE_S
from wonderq.auth import keys
from wonderq.auth.roles import INCLUDED, ROLES
from wonderq.httpd.errors import JSON, MSGPACK
from wonderq.openapi.document import as_json, role_of
from wonderq.rest.error_codes import BY_ANY_CALL

CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]

#: A case may have no more than this to wait for.
MAX_WAIT_S = 0.002

_QUEUES = ("default", "mail", "orders.fifo", "A-1_b")
_CALLERS = ("admin",) * 5 + ("nobody", *ROLES)
_DULL = 10  # of calls that take nothing only one of so many is made
_IN_ROUND = 50  # cases of an operation between others: what the broker holds differs from round to round

_QUIET = settings(database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


class UndescribedError(AssertionError):
    """The broker answered something that the document does not have."""


def strict_document() -> dict[str, Any]:
    """Return the document, made to forbid in answers what it does not name, which clients are told to pass over."""
    document: dict[str, Any] = json.loads(as_json())
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema:
            document["components"]["schemas"][name] = {"additionalProperties": False, **schema}
    return document


@schemathesis.serializer(MSGPACK)
def _to_msgpack(_context: object, value: Any) -> dict[str, bytes]:
    try:
        return {"data": msgspec.msgpack.encode(value)}
    except (OverflowError, TypeError, ValueError):
        return {"data": b"\xc1"}  # no msgpack for it, so something that is none


@schemathesis.deserializer(MSGPACK)
def _from_msgpack(_context: object, response: Response) -> Any:
    return msgspec.msgpack.decode(response.content)


@dataclass
class Caller:
    """Makes the calls, and judges the answers."""

    url: str
    keys: dict[str, str]
    """Keys by role; empty for a broker without keys."""
    session: requests.Session
    calls: Counter[str] = field(default_factory=Counter)
    """Counts by operation and status."""
    known: dict[str, deque[tuple[str, str]]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=20)))
    """Ids of messages by queue, with their receipts."""

    def call(self, case: Case, who: str, accept: str, chance: random.Random) -> None:
        allowed = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
        _tame(case)
        if allowed:
            self._recall(case, chance)
        if case.method == "PATCH" and chance.randrange(2):
            case.method = "UPDATE"  # the same call, for which the document has no place
        headers = {"Accept": accept}
        if who in self.keys:
            headers["Authorization"] = f"Bearer {self.keys[who]}"
        response = case.call(
            base_url=self.url, session=self.session, headers=headers, timeout=PATIENCE_S, allow_redirects=False
        )
        method, path = case.operation.method.upper(), case.operation.path
        self.calls[f"{case.method} {path} {response.status_code}"] += 1
        try:
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 500 and response.status_code not in (503, 507):
                raise UndescribedError("the broker made a mistake")
            value = _value(response)
            code = value["error"]["code"] if response.status_code >= 400 and value else None
            self._check_access(role_of(method, path), response.status_code, code, who)
            if allowed and response.status_code in (400, 415) and code not in _UNKNOWABLE:
                raise UndescribedError("the document allows this")
            if response.status_code < 300:
                self._remember(case, value)
        except (Exception, FailureGroup) as error:
            request = response.request
            raise UndescribedError(
                f"{error}\n{request.method} {request.url}\n{dict(request.headers)}\n{request.body!r}\n"
                f"answered {response.status_code} {dict(response.headers)}\n{response.content[:2000]!r}"
            ) from error

    def _check_access(self, role: str, status: int, code: str | None, who: str) -> None:
        """A caller without permission is told so, unless the input is not a request at all."""
        permitted = role == "anybody" or who == role or any(who == key and role in has for key, has in INCLUDED.items())
        if not self.keys or permitted or code in BY_ANY_CALL:
            return
        wanted = 401 if who == "nobody" else 403
        if status != wanted and code != "path_not_found":
            raise UndescribedError(f"{who} may not do this, and was not told {wanted}")

    def _remember(self, case: Case, value: Any) -> None:
        known = self.known[case.path_parameters.get("queue", "default")]
        if isinstance(value, list):
            known += [(each["id"], each["receipt"]) for each in value if "receipt" in each]
        elif case.operation.path.endswith("/produce"):
            known += [(each, "") for each in value.get("ids", [value.get("id")])]

    def _recall(self, case: Case, chance: random.Random) -> None:
        """Make a case one about queues and messages that are there, mostly."""
        queue = "default"
        if "queue" in case.path_parameters:
            queue = chance.choice((*_QUEUES, case.path_parameters["queue"]))
            case.path_parameters["queue"] = queue
        known = self.known[queue] or self.known["default"]
        if not known or not chance.randrange(4):
            return
        message_id, receipt = chance.choice(known)
        if "message_id" in case.path_parameters:
            case.path_parameters["message_id"] = message_id
        for fields in (case.query, case.body):
            if isinstance(fields, dict):
                for entry in (fields, *fields.get("entries", ())):
                    _fill(entry, *chance.choice(((message_id, receipt), chance.choice(known))))
                for name, place in (("ids", 0), ("receipts", 1)):
                    if name in fields:
                        fields[name] = [chance.choice(known)[place] for _ in fields[name]]


def _fill(fields: dict[str, Any], message_id: str, receipt: str) -> None:
    for name, value in (("receipt", receipt), ("id", message_id), ("after", message_id)):
        if name in fields:
            fields[name] = value


def _tame(case: Case) -> None:
    """Take out of a case what would only take time, and what the document can say only in words."""
    for fields in (case.query, case.body):
        if isinstance(fields, dict) and isinstance(fields.get("wait"), int | float):
            fields["wait"] = min(fields["wait"], MAX_WAIT_S)
        if isinstance(fields, dict) and "{queue}" in case.operation.path:
            fields.pop("queues", None)  # a path that names a queue takes no others
        released = fields.get("release") if isinstance(fields, dict) else None
        for entry in released if isinstance(released, list) else ():
            if isinstance(entry, dict) and "delay" in entry:
                entry.pop("backoff", None)  # one of both
    if isinstance(case.body, dict) and case.query and case.meta.generation.mode is GenerationMode.POSITIVE:
        case.query = {}  # fields are in one of both


def _value(response: Response) -> Any:
    content_type = response.headers.get("content-type", [""])[0]
    codec = {JSON: msgspec.json, MSGPACK: msgspec.msgpack}.get(content_type)
    return codec.decode(response.content) if codec is not None and response.content else None


#: With which codes a request may be refused that the document allows: whether a receipt is one, only the broker can know.
_UNKNOWABLE = {"invalid_value", "bad_request"}


def fuzz(caller: Caller, cases: int, seed_number: int) -> None:
    """Make at least this number of calls. Raises UndescribedError at the first answer that is not as described."""
    schema = schemathesis.openapi.from_dict(strict_document())
    operations = [found.ok() for found in schema.get_all_operations()]
    dull = sum(map(_is_dull, operations))
    left = math.ceil(cases / (len(operations) - dull + dull / _DULL))
    numbers = random.Random(seed_number)
    while left:
        count = min(left, _IN_ROUND)
        for operation in operations:
            _fuzz_operation(caller, operation, count, numbers.randrange(1 << 32))
        left -= count


def _is_dull(operation: Any) -> bool:
    """Tell whether a call takes nothing, so that there is nothing to get wrong."""
    return not (operation.path_parameters or operation.query or operation.body)


def _fuzz_operation(caller: Caller, operation: Any, count: int, seed_number: int) -> None:
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    if _is_dull(operation):
        modes, count = modes[:1], math.ceil(count / _DULL)
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @seed(seed_number)
    @settings(_QUIET, max_examples=count)
    @given(cases, st.sampled_from(_CALLERS), st.sampled_from([JSON, MSGPACK]), st.integers(0, (1 << 32) - 1))
    def one(case: Case, who: str, accept: str, number: int) -> None:
        if not failures:  # Hypothesis would try it again, on a broker that holds something else by now
            try:
                caller.call(case, who, accept, random.Random(number))
            except UndescribedError as error:
                failures.append(error)

    failures: list[UndescribedError] = []
    one()
    for failure in failures:
        raise failure


@contextmanager
def a_broker(folder: Path, *, with_keys: bool) -> Iterator[Caller]:
    """Run a broker, with a key for each role or with none."""
    folder.mkdir()
    made: dict[str, str] = {}
    if with_keys:
        for role in ROLES:
            made[role] = keys.create(folder / "keys.json", name="test", roles=[role], queues=["*"])[1]
    with RunningBroker(folder / "data", "--keys", str(folder / "keys.json"), "--fsync", "os") as broker:
        with requests.Session() as session:
            session.trust_env = False
            yield Caller(broker.url, made, session)
        if broker.terminate() != 0 or "Traceback" in broker.log():
            raise UndescribedError(f"the broker logged\n{broker.log()[-4000:]}")


def run(cases: int, seed_number: int) -> Counter[str]:
    """Fuzz both brokers; returns how often each operation was answered with each status."""
    calls: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for with_keys in (False, True):
            with a_broker(Path(folder) / f"keys-{with_keys}", with_keys=with_keys) as caller:
                fuzz(caller, cases // 2, seed_number + with_keys)
                calls += caller.calls
    return calls


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--slice", action="store_true", help="a short run, which need not make every call")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    try:
        calls = run(arguments.cases, arguments.seed)
    except UndescribedError as error:
        print(f"UNDESCRIBED: {error}")
        return 1
    for name, count in sorted(calls.items()):
        print(f"{count:9,}  {name}")
    mechanisms = Mechanisms(
        f"{method.upper()} {path}"
        for path, item in json.loads(as_json())["paths"].items()
        for method in item
        if method != "parameters"
    )
    for name, count in calls.items():
        mechanisms.counts[name.rpartition(" ")[0]] += count
    verdict, is_whole = mechanisms.verdict(is_slice=arguments.slice)
    took_s = time.monotonic() - began
    print(verdict)
    print(f"{calls.total():,} calls, all answered as described, {took_s:.0f} s")
    return 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
