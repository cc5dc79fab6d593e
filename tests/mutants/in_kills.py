"""Bugs that a slice of the kills of workers has to notice. Quick tests notice most of them too."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TESTS = ("tests/worker/test_kill_cycles.py::test_every_task_is_handled_though_workers_and_broker_are_killed",)

MUTANTS = [
    Mutant(
        "kills_send_has_no_number",
        "A task whose answer was lost is sent twice.",
        "wonderq/client/operations.py",
        '{"messages": messages, **number}',
        '{"messages": messages}',
        _TESTS,
    ),
    Mutant(
        "kills_claim_has_no_attempt",
        "A claim whose answer was lost counts as a try.",
        "wonderq/client/claims.py",
        '{"max": self.limit, "attempt_id": os.urandom(8).hex()}',
        '{"max": self.limit}',
        _TESTS,
    ),
    Mutant(
        "kills_stopped_worker_keeps_its_messages",
        "Each deployment holds up the running tasks until the end of their leases, and uses up a try.",
        "wonderq/worker/engine.py",
        "            given_back = list(self._claims.held())\n",
        "            given_back: list[Claim] = []\n",
        _TESTS,
    ),
    Mutant(
        "kills_clean_stop_counts_a_try",
        "Tasks become dead letters because of deployments.",
        "wonderq/worker/broker_source.py",
        "is_uncounted = settlement.ending is Ending.GIVE_BACK",
        "is_uncounted = False",
        _TESTS,
    ),
    Mutant(
        "kills_renewal_comes_late",
        "A busy worker loses its claims to another one.",
        "wonderq/worker/claims.py",
        "RENEW_AT = 1 / 3\n",
        "RENEW_AT = 1\n",
        _TESTS,
    ),
    Mutant(
        "kills_lost_claim_is_acknowledged",
        "A worker that was cut off acknowledges a task that another one may run.",
        "wonderq/worker/claims.py",
        "        self.state = State.LOST\n        return True\n",
        "        return True\n",
        _TESTS,
    ),
    Mutant(
        "kills_error_is_not_kept",
        "A dead letter does not show why its task gave up.",
        "wonderq/client/claims.py",
        'with_error({"receipt": receipt_of(each.message)}, each.error, _consumer_of(each.message))',
        '{"receipt": receipt_of(each.message)}',
        _TESTS,
    ),
]
