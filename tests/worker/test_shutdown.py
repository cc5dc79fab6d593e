"""Stopping an engine: the grace, messages that are given back, and hurrying."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from queue import SimpleQueue

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from tests.worker.script import LEASE_S, message, scene
from wonderq.worker import engine
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.outcomes import Ending, Stopping
from wonderq.worker.policy import Policy
from wonderq.worker.signals import stop_signals


def test_an_open_poll_is_cancelled_and_the_engine_ends() -> None:
    with scene() as s:
        eventually(lambda: s.script.open_polls)
        s.engine.stop()
        s.end()
        assert len(s.script.polls) == 1


def test_a_silent_broker_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CALL_S", 0.1)
    with scene() as s:
        monkeypatch.setattr(s.script, "cancel", lambda: None)
        eventually(lambda: s.script.open_polls)
        s.engine.stop()
        s.end()
        assert s.script.open_polls == 1
        s.script.give(message("late"))
        eventually(lambda: not s.script.open_polls)
    assert s.handler.started == []


def test_a_handler_that_ends_within_the_grace_is_acknowledged() -> None:
    with scene(grace_s=20) as s:  # longer than it would wait for settlements
        s.begin(message("a"))
        s.engine.stop()
        s.wait_for_deadline(20)
        s.time.advance(19.9)
        s.handler.let_go("a")
        s.end()

        assert [(each.message.id, each.ending) for each in s.script.settled] == [("a", Ending.DELETE)]


def test_a_failure_within_the_grace_counts() -> None:
    with scene(grace_s=10) as s:
        s.begin(message("a"))
        s.engine.stop()
        s.handler.let_go("a", ValueError("no"))
        s.end()

        assert s.script.settlement_of("a").ending is Ending.RETRY


def test_after_the_grace_the_rest_is_given_back_without_counting() -> None:
    with scene(grace_s=10) as s:
        s.begin(message("slow"), message("quick"))
        s.engine.stop()
        s.handler.let_go("quick")
        s.script.settlement_of("quick")
        s.wait_for_deadline(10)
        s.time.advance(10)
        s.end()

        assert s.script.settlement_of("slow").ending is Ending.GIVE_BACK
        s.handler.let_go("slow")  # too late
        eventually(lambda: not s.engine.running)
        assert len(s.script.settled) == 2


def test_a_second_stop_gives_back_at_once() -> None:
    with scene(grace_s=1000) as s:
        s.begin(message("a"))
        s.engine.stop()
        s.wait_for_deadline(1000)
        s.engine.stop(at_once=True)
        s.end()

        assert s.script.settlement_of("a").ending is Ending.GIVE_BACK


def test_claims_are_renewed_during_the_grace() -> None:
    with scene(grace_s=1000) as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        s.engine.stop()
        s.wait_for_deadline(1000)
        s.time.advance(LEASE_S / 3)
        eventually(lambda: s.script.renewals == [(["a"], LEASE_S)])


def test_a_handler_that_checks_stops_early_and_its_try_does_not_count() -> None:
    with scene(grace_s=1000) as s:
        s.begin(message("checks-a"))
        s.engine.stop()
        s.handler.let_go("checks-a")
        s.end()

        assert s.script.settlement_of("checks-a").ending is Ending.GIVE_BACK


def test_except_exception_does_not_stop_an_interrupt() -> None:
    assert not issubclass(Stopping, Exception)


def test_coroutines_are_cancelled_after_the_grace_and_may_clean_up() -> None:
    cleaned_up = threading.Event()
    started = threading.Event()

    async def run(_context: Context) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()

    with scene(grace_s=10, resolve=lambda _: Job("job", run, True, Policy())) as s:
        s.script.give(message("a"))
        eventually(started.is_set)
        s.engine.stop()
        s.wait_for_deadline(10)
        s.time.advance(10)
        s.end()

        assert s.script.settlement_of("a").ending is Ending.GIVE_BACK
        assert cleaned_up.is_set()


def test_messages_of_a_poll_that_was_cancelled_too_late_are_given_back() -> None:
    with scene() as s:
        eventually(lambda: s.script.open_polls)
        with s.script._condition:  # the poll is answered before the engine sees that it stops
            s.engine._stop_s = s.time.now_s()
            s.script.give(message("a"))
        s.engine.stop()
        s.end()

        assert s.handler.started == []
        assert s.script.settlement_of("a").ending is Ending.GIVE_BACK


def test_a_program_has_its_own_signal_handlers_again_when_its_worker_has_ended() -> None:
    stopping = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(each) for each in stopping]
    wakeup_fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup_fd)
    seen: list[int] = []
    with stop_signals(seen.append):
        for each in stopping:
            signal.raise_signal(each)
    assert seen == list(stopping)
    assert [signal.getsignal(each) for each in stopping] == before
    assert signal.set_wakeup_fd(wakeup_fd) == wakeup_fd


def test_a_signal_is_seen_by_a_main_thread_that_waits_already() -> None:
    """The system may give it to any thread, and the main one may be between its last look at signals and its wait."""
    events: SimpleQueue[int] = SimpleQueue()

    def wait() -> int:
        return events.get(timeout=PATIENCE_S)

    def interrupt() -> None:
        main, line = threading.main_thread().ident or 0, wait.__code__.co_firstlineno + 1
        # It has left the GIL within `get`, so it runs no handler any more.
        eventually(lambda: (frame := sys._current_frames()[main]).f_code is wait.__code__ and frame.f_lineno == line)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with stop_signals(events.put):
        threading.Thread(target=interrupt).start()
        assert wait() == signal.SIGTERM
