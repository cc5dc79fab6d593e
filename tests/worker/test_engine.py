"""The engine: polls, renewals, lost leases, retries. Its broker is a script, and time moves when a test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from tests.worker.script import LEASE_S, Scene, message, scene
from wonderq.client.errors import TooMany
from wonderq.client.messages import Contents
from wonderq.client.operations import MOST_ENTRIES
from wonderq.worker import engine
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.engine import POLL_S
from wonderq.worker.outcomes import Dead, Ending, LeaseLost, Retry, Stopping, TimedOut
from wonderq.worker.policy import Policy


def test_a_message_whose_handler_returns_is_deleted() -> None:
    with scene() as s:
        s.begin(message("a"))
        s.handler.let_go("a")

        assert s.script.settlement_of("a").ending is Ending.DELETE


def test_no_more_messages_are_asked_for_than_slots_are_free() -> None:
    with scene(concurrency=3) as s:
        s.begin(message("a"), message("b"))
        eventually(lambda: s.script.polls[-1][1] == 1)
        s.script.give(message("c"), message("d"))
        s.handler.wait_for("c")

        assert s.engine.running == 3
        polls = len(s.script.polls)
        s.handler.let_go("a")
        s.handler.wait_for("d")

        assert next(free for _, free, _ in s.script.polls[polls:]) == 1
        assert max(free for _, free, _ in s.script.polls) == 3


def test_the_next_poll_takes_the_results_of_the_last_messages_along() -> None:
    with scene(concurrency=1) as s:
        s.script.give(message("a"), message("b"))
        s.handler.wait_for("a")
        s.handler.let_go("a")
        s.handler.wait_for("b")

        taken_along = [each.message.id for settlements, _, _ in s.script.polls for each in settlements]
        assert taken_along == ["a"]
        assert s.script.beside == []


def test_tasks_that_end_at_once_share_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_GATHER_S", PATIENCE_S)
    jobs = Job("job", lambda _: None, False, Policy())
    with scene(concurrency=3, resolve=lambda _: jobs) as s:
        s.script.give(*(message(f"{number}") for number in range(9)))
        s.script.settlement_of("8")

        assert [(len(settlements), free) for settlements, free, _ in s.script.polls[:4]] == [(0, 3), *[(3, 3)] * 3]


def test_a_result_does_not_wait_for_the_end_of_a_long_poll() -> None:
    with scene(concurrency=2) as s:
        s.begin(message("a"))
        eventually(lambda: s.script.open_polls)
        s.handler.let_go("a")

        assert s.script.settlement_of("a").ending is Ending.DELETE
        assert s.script.beside
        assert s.script.open_polls == 1


def test_a_poll_waits_unless_it_settles_something() -> None:
    with scene(concurrency=2) as s:
        s.begin(message("a"))
        eventually(lambda: s.script.open_polls)
        assert [wait_s for _, _, wait_s in s.script.polls] == [POLL_S, POLL_S]


def test_a_poll_that_settles_something_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_GATHER_S", PATIENCE_S)
    jobs = Job("job", lambda _: None, False, Policy())
    with scene(concurrency=2, resolve=lambda _: jobs) as s:
        s.script.give(message("a"))
        eventually(lambda: len(s.script.polls) == 3)
        polls = [([each.message.id for each in settlements], wait_s) for settlements, _, wait_s in s.script.polls]
        assert polls == [([], POLL_S), (["a"], 0.0), ([], POLL_S)]


# Renewals


def test_all_claims_are_renewed_together_at_a_third_of_the_lease() -> None:
    with scene() as s:
        s.begin(message("a"), message("b"))
        s.wait_for_deadline(LEASE_S / 3)
        s.time.advance(LEASE_S / 3 - 0.01)
        assert s.script.renewals == []
        s.time.advance(0.01)
        eventually(lambda: s.script.renewals)

        assert s.script.renewals == [(["a", "b"], LEASE_S)]
        s.wait_for_deadline(LEASE_S / 3)
        s.time.advance(LEASE_S / 3)
        eventually(lambda: len(s.script.renewals) == 2)


def test_a_claim_that_comes_later_is_renewed_with_the_others() -> None:
    with scene() as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        s.time.advance(9)
        s.begin(message("b"))
        s.time.advance(1)

        eventually(lambda: s.script.renewals)
        assert s.script.renewals == [(["a", "b"], LEASE_S)]


def test_a_task_with_a_longer_lease_is_renewed_to_that() -> None:
    with scene(Policy(lease=300)) as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)  # it was claimed for the shortest lease of all tasks
        s.time.advance(LEASE_S / 3)
        eventually(lambda: s.script.renewals == [(["a"], 300)])
        s.wait_for_deadline(100)


def test_renewals_do_not_wait_for_handlers_or_polls() -> None:
    with scene(concurrency=1) as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        for turn in range(5):
            s.time.advance(LEASE_S / 3)
            eventually(lambda turn=turn: len(s.script.renewals) == turn + 1)  # type: ignore[misc]


def test_a_lost_claim_is_told_to_its_handler_and_not_acknowledged() -> None:
    with scene() as s:
        s.begin(message("checks-a"), message("b"))
        s.wait_for_deadline(LEASE_S / 3)
        s.script.lost.add("checks-a")
        s.time.advance(LEASE_S / 3)
        eventually(lambda: s.script.renewals)
        eventually(lambda: _raises(s, "checks-a") is LeaseLost)
        s.script.lost.clear()  # if it were settled, the script would take it
        s.handler.let_go("checks-a")
        s.handler.let_go("b")

        s.script.settlement_of("b")
        eventually(lambda: not s.engine.running)
        assert [each.message.id for each in s.script.settled] == ["b"]


def test_a_handler_that_ignores_a_lost_claim_is_not_acknowledged_either() -> None:
    with scene() as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        s.script.lost.add("a")
        s.time.advance(LEASE_S / 3)
        eventually(lambda: _raises(s, "a") is LeaseLost)
        s.script.lost.clear()
        s.handler.let_go("a")
        s.begin(message("b"))
        s.handler.let_go("b")
        s.script.settlement_of("b")

        assert [each.message.id for each in s.script.settled] == ["b"]


def test_a_claim_that_could_not_be_renewed_until_its_end_is_lost() -> None:
    with scene() as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        s.script.is_down = True
        s.time.advance(LEASE_S / 3)
        s.wait_for_deadline(2.0)  # the failed renewal is repeated soon
        assert _raises(s, "a") is None
        s.time.advance(LEASE_S * 2 / 3)

        assert _raises(s, "a") is LeaseLost
        s.handler.let_go("a")
        s.script.is_down = False
        s.time.advance(60)
        s.begin(message("b"))
        assert s.script.settled == []


def test_a_failed_renewal_is_repeated_before_the_lease_ends() -> None:
    with scene() as s:
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        s.script.is_down = True
        s.time.advance(LEASE_S / 3)
        s.wait_for_deadline(2.0)
        s.script.is_down = False
        s.time.advance(2.0)

        eventually(lambda: s.script.renewals == [(["a"], LEASE_S)])


# Retries


def test_a_failure_is_retried_with_backoff_and_its_error() -> None:
    error = ValueError("no")
    with scene(Policy(retries=5, backoff=(2, 600))) as s:
        s.begin(message("a", tries=3))
        s.handler.let_go("a", error)

        found = s.script.settlement_of("a")
        assert (found.ending, found.error) == (Ending.RETRY, error)
        assert found.delay_s == 8 * 0.75  # the random half of it is cast to its middle here


@pytest.mark.parametrize("tries", range(1, 40))
def test_the_backoff_doubles_within_its_bounds_and_its_upper_half_is_random(tries: int) -> None:
    policy = Policy(backoff=(1, 600))
    full = min(600.0, 2.0 ** (tries - 1))
    assert policy.backoff_s(tries, lambda: 0.0) == max(1.0, full / 2)
    assert policy.backoff_s(tries, lambda: 1.0) == full
    assert 1.0 <= policy.backoff_s(tries, lambda: 0.3) <= 600.0


def test_the_last_failure_is_a_dead_letter() -> None:
    with scene(Policy(retries=2)) as s:
        s.script.give(message("second", tries=2), message("third", tries=3))
        for name in ("second", "third"):
            s.handler.wait_for(name)
            s.handler.let_go(name, ValueError("no"))

        assert s.script.settlement_of("second").ending is Ending.RETRY
        assert s.script.settlement_of("third").ending is Ending.DEAD


def test_dead_and_retry_choose_the_outcome() -> None:
    with scene(Policy(retries=5)) as s:
        s.begin(message("dead"), message("retry"), message("last", tries=6))
        s.handler.let_go("dead", Dead("no such day"))
        s.handler.let_go("retry", Retry(delay=33))
        s.handler.let_go("last", Retry(delay=33))

        dead = s.script.settlement_of("dead")
        assert (dead.ending, str(dead.error)) == (Ending.DEAD, "no such day")
        retry = s.script.settlement_of("retry")
        assert (retry.ending, retry.delay_s) == (Ending.RETRY, 33)
        assert s.script.settlement_of("last").ending is Ending.DEAD


def test_a_message_that_kills_its_workers_becomes_a_dead_letter() -> None:
    """Without this, it would go round for ever: no handler ever fails."""
    with scene(Policy(retries=2)) as s:
        s.script.give(message("a", tries=4))

        found = s.script.settlement_of("a")
        assert found.ending is Ending.DEAD
        assert "did not end" in str(found.error)
        assert s.handler.started == []


def test_exit_in_a_handler_is_a_failure_of_the_handler() -> None:
    with scene() as s:
        s.begin(message("a"))
        s.handler.let_go("a", SystemExit(3))

        assert s.script.settlement_of("a").ending is Ending.RETRY


# Timeouts


def test_a_function_that_runs_too_long_has_failed_and_occupies_its_slot() -> None:
    with scene(Policy(timeout=5), concurrency=1) as s:
        s.script.give(message("checks-a"), message("b"))
        s.handler.wait_for("checks-a")
        s.wait_for_deadline(5)
        s.time.advance(5)

        found = s.script.settlement_of("checks-a")
        assert found.ending is Ending.RETRY
        assert isinstance(found.error, TimedOut)
        assert _raises(s, "checks-a") is Stopping
        s.time.advance(LEASE_S)
        assert s.script.renewals == []
        assert s.handler.started == ["checks-a"]
        s.handler.let_go("checks-a")
        s.handler.wait_for("b")
        assert [each.message.id for each in s.script.settled] == ["checks-a"]


def test_a_coroutine_that_runs_too_long_is_cancelled() -> None:
    cancelled = threading.Event()
    started = threading.Event()

    async def run(_context: Context) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    policy = Policy(timeout=5)
    with scene(resolve=lambda _: Job("job", run, True, policy)) as s:
        s.script.give(message("a"))
        eventually(started.is_set)
        s.wait_for_deadline(5)
        s.time.advance(5)

        assert isinstance(s.script.settlement_of("a").error, TimedOut)
        eventually(cancelled.is_set)
        eventually(lambda: not s.engine.running)
        assert len(s.script.settled) == 1


def test_a_coroutine_that_times_out_before_it_began_frees_its_slot() -> None:
    """Another one blocks the event loop."""
    started, goes_on = threading.Event(), threading.Event()

    async def run(_context: Context) -> None:
        started.set()
        assert goes_on.wait(PATIENCE_S)

    policy = Policy(timeout=5)
    with scene(concurrency=2, resolve=lambda _: Job("job", run, True, policy)) as s:
        s.script.give(message("a"))
        eventually(started.is_set)
        s.script.give(message("b"))
        eventually(lambda: s.engine.running == 2)
        s.wait_for_deadline(5)
        s.time.advance(5)

        assert isinstance(s.script.settlement_of("b").error, TimedOut)
        goes_on.set()
        eventually(lambda: not s.engine.running)


# Faults


def test_a_handler_times_out_while_a_renewal_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with scene(Policy(lease=LEASE_S, timeout=LEASE_S / 2)) as s:
        asked, answers = threading.Event(), threading.Event()

        def silent(messages: Sequence[Contents], _lease_s: float) -> Sequence[bool]:
            asked.set()
            assert answers.wait(PATIENCE_S)
            return [True for _ in messages]

        monkeypatch.setattr(s.script, "renew", silent)
        s.begin(message("a"))
        s.wait_for_deadline(LEASE_S / 3)
        s.time.advance(LEASE_S / 3)
        assert asked.wait(PATIENCE_S)
        s.time.advance(LEASE_S / 6)
        try:
            assert isinstance(s.script.settlement_of("a").error, TimedOut)
        finally:
            answers.set()


def test_a_queue_that_is_refused_does_not_keep_others_from_their_renewals() -> None:
    with scene() as s:
        s.script.refusing.add("bad")
        s.begin(message("a", queue="bad"), message("b"), message("c", queue="other"))
        for turn in range(4):
            s.time.advance(LEASE_S / 3)
            eventually(lambda turn=turn: len(s.script.renewals) >= 2 * (turn + 1))  # type: ignore[misc]
        assert {names for names, _ in [("".join(each), lease) for each, lease in s.script.renewals]} == {"b", "c"}
        s.handler.let_go("b")

        assert s.script.settlement_of("b").ending is Ending.DELETE
        with pytest.raises(LeaseLost):
            s.handler.contexts["a"].check()


def test_a_queue_that_is_refused_does_not_keep_the_results_of_others() -> None:
    with scene() as s:
        s.script.refusing.add("bad")
        s.begin(message("a", queue="bad"), message("b"))
        eventually(lambda: s.script.open_polls)
        s.handler.let_go("a")
        s.wait_for_deadline(0.25)
        s.handler.let_go("b")
        eventually(lambda: not s.engine.running)
        s.time.advance(0.25)

        assert s.script.settlement_of("b").ending is Ending.DELETE
        assert [each.message.id for each in s.script.settled] == ["b"]
        s.script.refusing.clear()
        s.time.advance(1)
        assert s.script.settlement_of("a").ending is Ending.DELETE
        assert [each.message.id for each in s.script.settled] == ["b", "a"]


def test_no_request_is_larger_than_the_broker_takes() -> None:
    count = MOST_ENTRIES + 500
    started, over = [], asyncio.Event()

    async def handle() -> None:
        started.append(1)
        await over.wait()

    jobs = Job("job", lambda _: handle(), True, Policy(lease=LEASE_S))
    with scene(concurrency=count, resolve=lambda _: jobs) as s:
        s.script.give(*(message(f"{number}") for number in range(count)))
        eventually(lambda: len(started) == count)
        s.wait_for_deadline(LEASE_S / 3)
        s.time.advance(LEASE_S / 3)
        eventually(lambda: len(s.script.renewals) == 2)
        s.places.loop.call(over.set)
        eventually(lambda: len(s.script.settled) == count)

        assert max(s.script.sizes) == MOST_ENTRIES


def test_results_survive_an_outage_of_the_broker() -> None:
    with scene(concurrency=1) as s:
        s.begin(message("a"))
        s.script.is_down = True
        s.handler.let_go("a")
        eventually(lambda: not s.engine.running)
        s.wait_for_deadline(0.25 * 0.75)
        s.script.is_down = False
        s.time.advance(1)

        assert s.script.settlement_of("a").ending is Ending.DELETE


def test_the_worker_waits_for_a_broker_that_is_not_there_yet() -> None:
    with scene(is_down=True) as s:
        s.wait_for_deadline(0.25 * 0.75)  # the first pause
        s.time.advance(0.25)
        s.wait_for_deadline(0.5 * 0.75)  # the second one
        s.script.is_down = False
        s.time.advance(0.5)
        s.begin(message("a"))
        assert s.script.prepared == 1


def test_a_refused_claim_is_told_and_asked_for_again_after_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    with scene(concurrency=1) as s:
        s.begin(message("a"))
        s.script.claim_error = TooMany("the queue has its most messages in flight")
        s.handler.let_go("a")
        s.wait_for_deadline(0.25 * 0.75)
        polls = len(s.script.polls)

        assert s.script.settlement_of("a").ending is Ending.DELETE
        assert [each.getMessage() for each in caplog.records if "most messages in flight" in each.getMessage()]
        s.time.advance(0.25)
        s.wait_for_deadline(0.5 * 0.75)
        assert len(s.script.polls) == polls + 1
        s.script.claim_error = None
        s.time.advance(0.5)
        s.begin(message("b"))


def test_results_do_not_wait_for_a_claim_that_is_refused() -> None:
    with scene(concurrency=2) as s:
        s.begin(message("a"), message("b"))
        s.script.claim_error = TooMany("the queue has its most messages in flight")
        s.handler.let_go("a")
        s.wait_for_deadline(0.25 * 0.75)
        s.handler.let_go("b")

        assert s.script.settlement_of("b").ending is Ending.DELETE
        assert [each.message.id for each in s.script.beside] == ["b"]


def test_a_message_that_nobody_can_resolve_does_not_stop_the_worker() -> None:
    def resolve(found: object) -> Job:
        raise KeyError("broken")

    with scene(resolve=resolve) as s:
        s.script.give(message("a"), message("b", tries=6))

        assert s.script.settlement_of("a").ending is Ending.RETRY
        assert s.script.settlement_of("b").ending is Ending.DEAD


def _raises(s: Scene, name: str) -> type[BaseException] | None:
    """Return the type of what the check of a handler raises."""
    try:
        s.handler.contexts[name].check()
    except BaseException as error:
        return type(error)
    return None


@pytest.mark.parametrize("call", ["settle", "renew"])
def test_a_defect_ends_the_worker_instead_of_leaving_it_without_one_of_its_loops(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with scene(concurrency=2) as s:
        monkeypatch.setattr(s.script, call, fail)
        s.begin(message("a"))
        eventually(lambda: s.script.open_polls and s.script.polls[-1][1] == 1)
        s.wait_for_deadline(LEASE_S / 3)
        if call == "renew":
            s.time.advance(LEASE_S / 3)
        else:
            s.handler.let_go("a")

        with pytest.raises(ZeroDivisionError):
            s.end()
