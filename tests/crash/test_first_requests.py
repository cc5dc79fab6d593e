"""The first requests after a start come in many threads at once, and nothing may depend on who is first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S

#: msgspec (0.22) plans how to read a type at the first use of it, and two threads that do so at once end the process with
#: SIGSEGV. Each round has a type that nobody used before, and threads that change places as often as they can.
_ROUNDS = """
import sys, threading
from typing import Annotated

import falcon.testing
from msgspec import UNSET, Meta, UnsetType

from wonderq.model.limits import Limits
from wonderq.rest import schemas
from wonderq.rest.bodies import read_body, read_query

sys.setswitchinterval(1e-6)
threads = 6
for _ in range(150):
    class Asked(schemas.Body):
        max: Annotated[int, Meta(ge=1, le=1000)] = 10
        wait: schemas.Wait = 0
        visibility_timeout: schemas.VisibilityTimeout | UnsetType = UNSET

    start = threading.Barrier(threads)
    read = []

    def ask():
        if sys.argv[1] == "body":
            request = falcon.testing.create_req(
                method="POST", body='{"max": 1, "wait": 2, "visibility_timeout": 3}',
                headers={"Content-Type": "application/json"},
            )
            start.wait()
            read.append(read_body(request, Asked, Limits()))
        else:
            request = falcon.testing.create_req(query_string="max=1&wait=2&visibility_timeout=3")
            start.wait()
            read.append(read_query(request, Asked))

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert read == [Asked(1, 2, 3)] * threads, read
"""


@pytest.mark.parametrize("source", ["body", "query"])
def test_requests_that_come_first_together_do_not_crash_the_process(source: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ROUNDS, source],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
