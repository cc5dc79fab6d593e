"""Middleware and spans around handlers."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.broker_process import RunningBroker
from tests.support.commands import clean_environment
from tests.support.waiting import eventually
from tests.worker.script import message, scene
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.middleware import Middleware
from wonderq.worker.outcomes import Ending
from wonderq.worker.policy import Policy

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = "b7ad6b7169203331"


class Noted(Middleware):
    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls

    def before(self, context: Context) -> None:
        self.calls.append(f"before {self.name} {context.id}")

    def after(self, context: Context) -> None:
        self.calls.append(f"after {self.name} {context.id}")

    def on_failure(self, context: Context, error: BaseException) -> None:
        self.calls.append(f"failure {self.name} {context.id} {error}")


@pytest.mark.parametrize("is_async", [False, True])
def test_middleware_runs_around_the_handler(is_async: bool) -> None:
    calls: list[str] = []

    def run(context: Context) -> None:
        calls.append(f"run {context.id}")
        if context.id == "bad":
            raise ValueError("no")

    async def run_async(context: Context) -> None:
        await asyncio.sleep(0)
        run(context)

    job = Job("job", run_async if is_async else run, is_async, Policy())
    with scene(resolve=lambda _: job, middleware=[Noted("1", calls), Noted("2", calls)]) as s:
        s.script.give(message("good"))
        s.script.settlement_of("good")
        assert calls == ["before 1 good", "before 2 good", "run good", "after 2 good", "after 1 good"]
        calls.clear()
        s.script.give(message("bad"))
        s.script.settlement_of("bad")
        assert calls == ["before 1 bad", "before 2 bad", "run bad", "failure 2 bad no", "failure 1 bad no"]


def test_an_error_of_middleware_is_a_failure_of_the_handler() -> None:
    class Refusing(Middleware):
        def before(self, context: Context) -> None:
            raise ValueError("not today")

    with scene(middleware=[Refusing()]) as s:
        s.script.give(message("a"))
        found = s.script.settlement_of("a")
        assert (found.ending, str(found.error)) == (Ending.RETRY, "not today")
        assert s.handler.started == []


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_a_span_continues_the_trace_of_the_message(spans: InMemorySpanExporter) -> None:
    spans.clear()
    with scene() as s:
        s.script.give(message("a", traceparent=f"00-{_TRACE}-{_PARENT}-01"))
        s.handler.wait_for("a")
        s.handler.let_go("a", ValueError("no"))
        s.script.settlement_of("a")
        [span] = eventually(spans.get_finished_spans)

    assert span.name == "process job"
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (_TRACE, _PARENT)
    assert span.attributes is not None
    assert span.attributes["messaging.message.id"] == "a"
    assert not span.status.is_ok


def test_a_message_without_a_trace_begins_one(spans: InMemorySpanExporter) -> None:
    spans.clear()
    with scene() as s:
        s.script.give(message("a"))
        s.handler.wait_for("a")
        s.handler.let_go("a")
        [span] = eventually(spans.get_finished_spans)
    assert span.parent is None


def test_tasks_run_without_the_libraries_of_the_extras(broker: RunningBroker, name: str) -> None:
    program = f"""
import sys
for each in ("aiohttp", "cryptography", "dramatiq", "opentelemetry"):
    sys.modules[each] = None  # as if it were not installed
import wonderq
app = wonderq.App(queue={name!r})

@app.task()
def work(ctx: wonderq.Context) -> None:
    print("trace", ctx.message.traceparent)

work.send()
app.run_until_empty()
"""
    environment = clean_environment({"WONDERQ_URL": broker.url})
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("trace None\n", "", 0)
