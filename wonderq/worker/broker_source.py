"""The messages of a broker, by the client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from wonderq.client import calls, changes
from wonderq.client.claims import Release, ToDeadLetters, release_update
from wonderq.client.engine_options import this_process
from wonderq.client.errors import Forbidden, NotFound, Refused
from wonderq.client.messages import Contents
from wonderq.client.polls import Poll
from wonderq.client.sync import Client
from wonderq.worker.outcomes import Ending, Settlement
from wonderq.worker.source import Next, Refusal

log = logging.getLogger("wonderq.worker")


class BrokerSource:
    """Queues of one broker."""

    def __init__(
        self,
        client: Client,
        queues: Sequence[str] | Mapping[str, int],
        lease_s: float,
        dead_letters: Mapping[str, str],
        prepare: Callable[[], None],
    ) -> None:
        """``dead_letters`` are the dead-letter queues by queue; ``prepare`` is called when the queues exist."""
        self._client = client
        self._queues = queues
        self._lease_s = lease_s
        self._dead_letters = dead_letters
        self._prepare = prepare
        self._poll = Poll()
        self._consumer: str | None = None

    def prepare(self) -> None:
        """Create the queues that do not exist, set their dead-letter queues, and do what the caller asked for.

        A key may lack the role for this. Then the worker uses the queues, schedules and subscriptions that there are.
        """
        self._consumer = self._client.options.consumer or this_process()
        for queue in self._queues:
            self._try_to(f"create the queue {queue!r}", partial(self._prepare_queue, queue))
        self._try_to("keep the schedules and subscriptions", self._prepare)
        log.info("receiving from %s at %s as %s", ", ".join(self._queues), self._client.url, self._consumer)

    def _prepare_queue(self, name: str) -> None:
        queue = self._client.queue(name)
        dead_letters = self._dead_letters.get(name)
        try:
            settings = queue.info().settings
        except NotFound:
            queue.configure()
            settings = {}
        if dead_letters is not None and settings.get("dead_letter_queue") != dead_letters:
            queue.configure(dead_letter_queue=dead_letters)

    def _try_to(self, what: str, function: Callable[[], None]) -> None:
        try:
            function()
        except Forbidden as error:
            log.warning("the API key does not permit the worker to %s: %s", what, error)

    def next(self, settlements: Sequence[Settlement], free: int, wait_s: float) -> Next:
        groups = _Groups(settlements)
        answer = self._client.next(
            self._queues,
            delete=[each.message for each in groups.delete],
            release=[_release(each) for each in groups.release],
            dead=[ToDeadLetters(each.message, _error_of(each)) for each in groups.dead],
            limit=free,
            wait=wait_s,
            lease=self._lease_s,
            consumer=self._consumer,
            poll=self._poll,
        )
        results = answer.results
        refused = (
            *_refusals(groups.delete, results.delete),
            *_refusals(groups.release, results.release),
            *_refusals(groups.dead, results.dead),
        )
        return Next(answer.messages, refused, answer.claim_error)

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Refusal]:
        queue = settlements[0].message.queue
        groups = _Groups(settlements)
        others = [*groups.release, *groups.dead]
        try:
            deleted = self._client.queue(queue).delete([each.message for each in groups.delete])
            updated = self._client.do(calls.update(queue, list(map(_update, others)))) if others else []
        except NotFound as error:
            return [Refusal(each, error) for each in settlements]
        return [*_refusals(groups.delete, deleted), *_refusals(others, updated)]

    def renew(self, messages: Sequence[Contents], lease_s: float) -> Sequence[bool]:
        return [error is None for error in self._client.renew(messages, lease_s)]

    def cancel(self) -> None:
        self._poll.cancel()


class _Groups:
    """Settlements by the list of a request that they belong to."""

    def __init__(self, settlements: Sequence[Settlement]) -> None:
        self.delete = [each for each in settlements if each.ending is Ending.DELETE]
        self.dead = [each for each in settlements if each.ending is Ending.DEAD]
        self.release = [each for each in settlements if each.ending in (Ending.RETRY, Ending.GIVE_BACK)]


def _release(settlement: Settlement) -> Release:
    is_uncounted = settlement.ending is Ending.GIVE_BACK
    return Release(settlement.message, settlement.delay_s, uncounted=is_uncounted, error=settlement.error)


def _error_of(settlement: Settlement) -> BaseException:
    assert settlement.error is not None, "only a failure makes a dead letter"
    return settlement.error


def _update(settlement: Settlement) -> Any:
    if settlement.ending is Ending.DEAD:
        message = settlement.message
        return changes.dead(message.claim_receipt, _error_of(settlement), message.consumer).entry
    return release_update(_release(settlement))


def _refusals(settlements: Sequence[Settlement], errors: Sequence[Refused | None]) -> list[Refusal]:
    return [Refusal(each, error) for each, error in zip(settlements, errors, strict=True) if error is not None]
