"""Log lines and counters of a worker."""

from __future__ import annotations

import logging
from typing import Protocol

from wonderq.worker.claims import Claim
from wonderq.worker.outcomes import Ending, Settlement

log = logging.getLogger("wonderq.worker")


class Metrics(Protocol):
    """Counters of a worker."""

    def started(self) -> None:
        """Count a handler that starts."""

    def ended(self, name: str, outcome: str, seconds: float) -> None:
        """Count a handler that ended."""

    def not_run(self, outcome: str) -> None:
        """Count a message that no handler could run."""


class Reports:
    """Writes one line for each handler that ends, with its figures as ``fields`` for JSON logs, and counts it."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics

    def started(self) -> None:
        if self._metrics is not None:
            self._metrics.started()

    def ended(self, claim: Claim, error: BaseException | None, seconds: float) -> None:
        """Report a handler that ended."""
        settlement = claim.settlement
        outcome = "lost" if settlement is None else settlement.ending.value
        failed = settlement is not None and settlement.ending in (Ending.RETRY, Ending.DEAD)
        if log.isEnabledFor(level := logging.WARNING if failed else logging.INFO):
            self._log_end(level, claim, outcome, error, seconds)
        if self._metrics is not None:
            self._metrics.ended(claim.job.name, outcome, seconds)

    def _log_end(self, level: int, claim: Claim, outcome: str, error: BaseException | None, seconds: float) -> None:
        name, message, settlement = claim.job.name, claim.message, claim.settlement
        text = f"{name} {message.id} {outcome} after {seconds:.3f} s, try {message.tries}"
        if settlement is not None and settlement.ending is Ending.RETRY:
            text += f", again in {settlement.delay_s:.0f} s"
        fields = {
            "task": name,
            "queue": message.queue,
            "id": message.id,
            "tries": message.tries,
            "outcome": outcome,
            "seconds": round(seconds, 6),
        }
        if error is not None:
            text += f": {type(error).__name__}: {error}"
            fields["error"] = type(error).__name__
        log.log(level, "%s", text, exc_info=error if level == logging.WARNING else None, extra={"fields": fields})

    def not_run(self, settlement: Settlement) -> None:
        """Report a message that no handler could run."""
        message, error = settlement.message, settlement.error
        log.warning("%s of %s was not run (%s): %s", message.id, message.queue, settlement.ending.value, error)
        if self._metrics is not None:
            self._metrics.not_run(settlement.ending.value)

    def lost(self, claim: Claim) -> None:
        log.warning("%s %s: the lease was lost, so its result will not count", claim.job.name, claim.message.id)

    def refused(self, settlement: Settlement, error: Exception) -> None:
        message = settlement.message
        log.warning("%s of %s was not acknowledged (%s): %s", message.id, message.queue, settlement.ending.value, error)

    def still_runs(self, claim: Claim) -> None:
        log.warning(
            "%s %s runs longer than %s s. A thread cannot be ended, so it occupies its slot until it returns",
            claim.job.name,
            claim.message.id,
            claim.job.policy.timeout,
        )

    def repeats(self, what: str, error: Exception, pause_s: float) -> None:
        log.warning("%s failed, and is repeated in %.1f s: %s", what, pause_s, error)
