"""The broker over a real log against a model made of dicts (`naive_broker`): after every step, after every checkpoint and
compaction, and after every restart or kill, with whatever checkpoints are left, all that a client can see must be the same.

For a longer run: WONDERQ_MODEL_EXAMPLES=2000 WONDERQ_MODEL_STEPS=100.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.broker.naive_broker import NaiveBroker
from tests.broker.naive_queue import ASIDE, HIDDEN, READY, TAKEN, Item, Line, RefusalError
from tests.broker.naive_topics import FILTER, NaiveTopic, Outcome
from tests.support.clock import FakeClock
from tests.support.states import another_receipt, small_pages
from wonderq.broker import maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.finishing import Finish, Next
from wonderq.broker.polls import Sources
from wonderq.model import errors as model_errors
from wonderq.model.errors import BrokerError, MessageNotFoundError, TooManyInFlightError
from wonderq.model.failures import ReportedError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, SendResult, Target
from wonderq.model.topics import Publication
from wonderq.state.thinning import Thinning
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

LIMITS = Limits(
    message_bytes=300, batch_messages=12, batch_bytes=700, visibility_timeout_ms=60_000, delay_ms=90_000, wait_s=0
)

BEGIN_MS = FakeClock().ms
QUEUES = ("default", "jobs", "line.fifo", "other", "dead")


def names_of(errors: Sequence[BrokerError | None]) -> list[str | None]:
    return [None if error is None else name_of(error) for error in errors]


def name_of(error: BaseException) -> str:
    """Return the class of an error. The model does not tell a message of another queue from one that was deleted."""
    return (MessageNotFoundError if isinstance(error, MessageNotFoundError) else type(error)).__name__


bodies = st.one_of(
    st.text(max_size=30), st.integers(0, 300).map("x".__mul__), st.sampled_from(["\u00e9" * 140, "\0", ""])
)
bad_bodies = st.sampled_from(["x" * 301, "\u00e9" * 151, "\ud800"])
delays = st.one_of(st.none(), st.sampled_from([0, 0, 1, 2_000, 30_000, 90_000]))
timeouts = st.one_of(st.none(), st.sampled_from([0, 1, 2_000, 10_000, 60_000]))
out_of_range = st.sampled_from([-1, 90_001])
queues = st.sampled_from(["default"] * 5 + ["line.fifo"] * 4 + ["jobs"] * 2 + ["other", "dead"])
fillings = st.sampled_from(["keep", "claim", "delete", "claim and delete", "nothing"])
upkeeps = st.lists(st.one_of(st.just("checkpoint"), fillings), max_size=3)
attributes = st.sampled_from([{}, {"a": ("String", "x")}, {"n": ("Number.int", "-1.5e3"), "b": ("Binary", b"\0\xff")}])
news = st.builds(
    NewMessage,
    st.one_of(bodies, st.sampled_from(["same", "same", "other"])),
    delay_ms=st.one_of(st.none(), st.none(), delays),
    deliver_at_ms=st.sampled_from([None, None, None, 0, BEGIN_MS + 4_000, BEGIN_MS + 120_000]),
    attributes=st.one_of(st.none(), attributes),
    system=st.sampled_from([None, None, {"traceparent": "00-1-1-01"}]),
    group=st.sampled_from(["", "", "g", "h", "i"]),
    priority=st.sampled_from([0, 0, 0, 3, 9]),
    key=st.sampled_from(["", "", "k", "l"]),
)
KINDS = (
    "id",
    "id",
    "receipt",
    "receipt",
    "receipt",
    "old receipt",
    "both",
    "mixed",
    "forged",
    "not an id",
    "junk",
    "none",
)
targets = st.tuples(st.sampled_from(KINDS), st.integers(0, 11), st.integers(0, 5))
errors = st.sampled_from(
    [ReportedError("no route", "OSError", "line 1"), ReportedError("\u00e9" * 9), ReportedError("")]
)
releases = st.one_of(
    st.sampled_from([0, 0, 2_000, 90_000]).map(lambda ms: Change(delay_ms=ms)),
    st.sampled_from([2_000, 90_001]).map(lambda ms: Change(backoff_ms=ms)),
    st.just(Change(visibility_timeout_ms=0)),
)
failures = st.one_of(
    st.one_of(st.none(), errors).map(lambda error: Change(dead=True, error=error, reporter="worker-8")),
    st.builds(lambda error, name: Change(error=error, reporter=name), errors, st.sampled_from(["", "worker-9"])),
    st.builds(
        lambda change, uncounted, error: replace(change, uncounted=uncounted, error=error),
        releases,
        st.sampled_from([True, True, False]),
        st.one_of(st.none(), errors),
    ),
)
changes = st.one_of(
    failures,
    failures,
    st.just(Change()),
    st.just(Change(bury=True)),
    st.just(Change(expire=True)),
    st.sampled_from([0, 1, 2_000, 10_000, 60_000, -1, 60_001]).map(lambda ms: Change(visibility_timeout_ms=ms)),
    st.sampled_from([0, 1, 2_000, 90_000, -1, 90_001]).map(lambda ms: Change(delay_ms=ms)),
    st.sampled_from([0, 1, 2_000, 50_000, -1, 90_001]).map(lambda ms: Change(backoff_ms=ms)),
    bodies.map(lambda body: Change(body=body)),
    st.builds(
        Change,
        visibility_timeout_ms=st.one_of(st.none(), timeouts),
        delay_ms=st.one_of(st.none(), st.none(), delays),
        body=st.one_of(st.none(), bodies),
        attributes=st.one_of(st.none(), attributes),
        bury=st.sampled_from([False, False, True]),
        expire=st.sampled_from([False, False, False, True]),
        dead=st.sampled_from([False, False, False, True]),
        uncounted=st.sampled_from([False, False, False, True]),
        error=st.one_of(st.none(), st.none(), errors),
        backoff_ms=st.none(),
        if_version=st.sampled_from([None, None, 1, 1, 2, 3]),
    ),
)
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "visibility_timeout_ms": st.sampled_from([0, 2_000, 60_000, 60_001]),
    "delay_ms": st.sampled_from([0, 2_000, -1]),
    "retention_ms": st.sampled_from([0, 0, 5_000]),
    "max_messages": st.sampled_from([0, 0, 9]),
    "max_bytes": st.sampled_from([0, 0, 600]),
    "max_message_bytes": st.sampled_from([0, 0, 40]),
    "max_receives": st.sampled_from([0, 1, 2]),
    "dead_letter_queue": st.sampled_from(["", "dead", "dead", "line.fifo", "other"]),
    "paused": st.sampled_from([False, False, True]),
    "draining": st.sampled_from([False, False, True]),
    "content_deduplication": st.booleans(),
    "deduplication_window_ms": st.sampled_from([1_000, 30_000]),
    "deduplication_per_group": st.booleans(),
    "max_in_flight": st.sampled_from([0, 0, 3]),
    "max_in_flight_per_group": st.sampled_from([0, 0, 1, 2]),
}


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.root = Path(tempfile.mkdtemp(prefix="wonderq-model-"))
        self.folder = self.root / "0"
        self.clock = FakeClock()
        self.naive = NaiveBroker(LIMITS, QUEUES)
        self.topic = NaiveTopic(self.naive)

    @initialize(
        # The smallest one holds a batch of dead letters with their errors.
        segment_bytes=st.sampled_from([8192, 8192, 16_384, 65_536]),
        policy=st.sampled_from(["always", "os", "interval:20"]),
        page_bits=st.sampled_from([1, 2, 3, 12]),
    )
    def open_first(self, segment_bytes: int, policy: str, page_bits: int) -> None:
        if page_bits != 12:
            small_pages(self.patches, page_bits, keep_below=2)
        self.segment_bytes = segment_bytes
        self.policy = SyncPolicy.parse(policy)
        self.open()
        self.naive.queues["default"] = Line("default", self.clock.ms)
        self.broker.topics.put("news", deduplication_window_ms=30_000)
        self._produce("default", ["first", "second", "third", "fourth"], None)
        self._produce("jobs", ["one", "two"], [None, 2_000])
        groups = "ghg"
        self._send("line.fifo", {"line.fifo": [NewMessage(group.upper(), group=group) for group in groups]}, None)

    def open(self) -> None:
        self.log = FileLog(self.folder, sync=self.policy, segment_bytes=self.segment_bytes)
        self.checkpoints = FileCheckpoints(self.folder)
        self.broker = Broker(self.log, checkpoints=self.checkpoints, clock=self.clock, limits=LIMITS)
        self.thinning = Thinning(self.broker.core.state)

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            self.broker.close()
        self.patches.undo()
        shutil.rmtree(self.root)

    # Helpers

    @property
    def lines(self) -> dict[str, Line]:
        return self.naive.queues

    def held(self) -> list[tuple[str, Item]]:
        """Return all messages whose newest receipt is still valid."""
        return [(queue, item) for queue, line in self.lines.items() for item in line.items.values() if item.receipt]

    def target(self, queue: str, choice: tuple[str, int, int]) -> Target:
        """Make the target that a drawn choice stands for: mostly one that is there, at times any that ever was."""
        kind, index, other = choice
        line, ids, issued = self.lines.get(queue), self.naive.ids, self.naive.issued
        items = list(line.items.values()) if line else []
        receipts = [item.receipt for item in items if item.receipt]
        some_id = items[index % len(items)].id if items else ids[-1 - index % len(ids)] if ids else "x"
        if kind in ("receipt", "forged", "both") and receipts:
            receipt = receipts[index % len(receipts)]
        else:
            receipt = list(issued)[-1 - index % len(issued)] if issued else "0" * 40
        match kind:
            case "id":
                return Target(id=some_id if other else ids[index % len(ids)] if ids else "0")
            case "receipt" | "old receipt":
                return Target(receipt=receipt)
            case "both":
                return Target(id=issued.get(receipt, some_id), receipt=receipt)
            case "mixed":
                return Target(id=some_id if other else "nothing", receipt=receipt)
            case "forged":
                return Target(receipt=another_receipt(receipt))
            case "not an id":
                return Target(
                    id=("", "x", "\u00e9", some_id[:-1], some_id + "0", "00000000-0000-8000-8000-000000000000")[other]
                )
            case "junk":
                return Target(receipt=("", "x", receipt[1:], receipt + "0", "0" * 40, "\u00e9" * 40)[other])
        return Target()

    def same(self, expected: Callable[[], Any], call: Callable[[], Any]) -> Any:
        """Run both, and require the same result or the same refusal; returns None after a refusal."""
        self.naive.now_ms = self.clock.ms
        try:
            wanted = expected()
        except RefusalError as refusal:
            refused: str | None = refusal.name
        else:
            refused = None
        if refused is not None:
            with pytest.raises(BrokerError) as caught:
                call()
            assert name_of(caught.value) == refused
            return None
        got = call()
        if wanted is not None:
            assert got == wanted
        return got

    # Steps

    @rule(queue=queues, entries=st.lists(st.tuples(bodies, delays), min_size=1, max_size=12), given=st.booleans())
    def produce(self, queue: str, entries: list[tuple[str, int | None]], given: bool) -> None:
        self._produce(queue, [body for body, _ in entries], [delay for _, delay in entries] if given else None)

    @rule(entries=st.lists(bodies, min_size=1, max_size=6))
    def produce_plainly(self, entries: list[str]) -> None:
        self._produce("default", entries, None)

    @rule(
        queue=st.sampled_from([*QUEUES, "no/name", "x" * 81, ""]),
        texts=st.lists(st.one_of(bodies, bad_bodies), max_size=14),
        delay=st.one_of(delays, out_of_range),
    )
    def produce_what_may_be_refused(self, queue: str, texts: list[str], delay: int | None) -> None:
        self._produce(queue, texts, [delay] * len(texts))

    def _produce(self, queue: str, texts: list[str], waits: list[int | None] | None) -> None:
        messages = [NewMessage(text, wait) for text, wait in zip(texts, waits or [None] * len(texts), strict=True)]

        def call() -> dict[str, Sequence[SendResult]]:
            before = self.lines[queue].next_sequence if queue in self.lines else 0
            ids = self.broker.produce(queue, texts, waits)
            assert len(ids) == len(texts)
            return {queue: self._as_sent(ids, before, self.lines.get(queue))}

        self._compare_sends(lambda: self.naive.send(queue, None, {queue: messages}), call)

    def _as_sent(self, ids: Sequence[str], first: int, line: Line | None) -> list[SendResult]:
        """Write what a produce answered as a send would have."""
        known = {known_id: sequence for known_id, sequence, _ in line.keys.values()} if line else {}
        fresh: dict[str, int] = {}
        sent: list[SendResult] = []
        for each in ids:
            again = each in self.naive.ids or each in fresh
            if not again:
                fresh[each] = first + len(fresh)
            sent.append(SendResult(each, fresh[each] if each in fresh else known[each], again))
        return sent

    @rule(queue=queues, messages=st.lists(news, min_size=1, max_size=5))
    def send(self, queue: str, messages: list[NewMessage]) -> None:
        if queue.endswith(".fifo"):
            messages = [message._replace(priority=0) for message in messages]
        self._send(queue, {queue: messages}, None)

    @rule(queue=queues, filtered=st.booleans(), skips=st.booleans(), paused=st.sampled_from([False, False, True]))
    def subscribe(self, queue: str, filtered: bool, skips: bool, paused: bool) -> None:
        fields: dict[str, Any] = {
            "filter": FILTER if filtered else None,
            "when_full": "skip" if skips else "fail",
            "paused": paused,
        }
        self.same(
            lambda: self.topic.subscribe(queue, filtered=filtered, skips=skips, paused=paused),
            lambda: self.broker.topics.subscribe("news", queue.removesuffix(".fifo"), queue=queue, **fields),
        )

    @rule(queue=queues)
    def unsubscribe(self, queue: str) -> None:
        if queue in self.topic.living():
            del self.topic.rules[queue]
            self.broker.topics.unsubscribe("news", queue.removesuffix(".fifo"))

    @rule(messages=st.lists(news, min_size=1, max_size=5))
    def publish(self, messages: list[NewMessage]) -> None:
        """Compare the outcomes. The invariants compare the queues."""
        wanted: list[tuple[list[Outcome], list[tuple[Line, Item]]]] = []
        got = self.same(
            lambda: wanted.append(self.topic.publish(messages)),
            lambda: self.broker.topics.publish("news", [Publication(each) for each in messages]),
        )
        if got is None:
            return
        [(outcomes, added)] = wanted
        assert [(each.sequence, each.is_duplicate, each.queues, each.skipped) for each in got] == outcomes
        core = self.broker.core
        for line, item in added:
            item.id = core.ids.message_id(core.state.queues[line.name].number, item.sequence)
            self.naive.add(line, item)
        self.topic.published(messages, outcomes, 30_000)
        info = self.broker.topics.get("news")
        assert (info.published, info.subscriptions) == (self.topic.next_number, len(self.topic.living()))

    @rule(
        queue=queues,
        choices=st.lists(targets, min_size=1, max_size=2),
        outputs=st.dictionaries(st.sampled_from([*QUEUES, "no/name"]), st.lists(news, max_size=3), max_size=3),
        held=st.booleans(),
    )
    def hand_over(
        self,
        queue: str,
        choices: list[tuple[str, int, int]],
        outputs: dict[str, list[NewMessage]],
        held: bool,
    ) -> None:
        mine = [item for name, item in self.held() if name == queue]
        some = [Target(receipt=mine[0].receipt)] if held and mine else [self.target(queue, each) for each in choices]
        self._send(queue, outputs, some)

    def _send(self, queue: str, outputs: Mapping[str, list[NewMessage]], some: list[Target] | None) -> None:
        def call() -> dict[str, Sequence[SendResult]]:
            if some is None:
                return {queue: self.broker.send(queue, outputs[queue])}
            return dict(self.broker.hand_over(queue, some, outputs))

        self._compare_sends(lambda: self.naive.send(queue, some, outputs), call)

    def _compare_sends(
        self, expected: Callable[[], dict[str, list[SendResult]]], call: Callable[[], dict[str, Sequence[SendResult]]]
    ) -> None:
        wanted: dict[str, list[SendResult]] = {}
        got = self.same(lambda: wanted.update(expected()), call)
        if got is None:
            return
        self.naive.sent(got)
        assert list(got) == list(wanted)
        for name, results in got.items():
            ids = {item.sequence: item.id for item in self.lines[name].items.values()}
            for result, each in zip(results, wanted[name], strict=True):
                assert result == each._replace(id=each.id or ids[each.sequence])

    @rule(
        queue=queues,
        limit=st.sampled_from([1, 1, 2, 3, 12]),
        timeout=timeouts,
        attempt=st.sampled_from([None, None, None, "one", "two"]),
        consumer=st.sampled_from(["", "", "worker-1", "\u00fc"]),
    )
    def claim(self, queue: str, limit: int, timeout: int | None, attempt: str | None, consumer: str) -> None:
        self._claim(queue, ClaimOptions(limit, timeout, attempt_id=attempt, consumer=consumer))

    @rule(queue=queues, limit=st.integers(1, 5), timeout=st.sampled_from([2_000, 10_000, 30_000]))
    def claim_for_long(self, queue: str, limit: int, timeout: int) -> None:
        self._claim(queue, ClaimOptions(limit, timeout))

    @rule(
        queue=queues,
        choices=st.lists(st.tuples(targets, st.one_of(st.none(), failures, releases)), max_size=4),
        limit=st.sampled_from([1, 2, 3, 12, 13]),
        timeout=timeouts,
        attempt=st.sampled_from([None, None, None, "one", "two"]),
        consumer=st.sampled_from(["", "", "worker-2"]),
        again=st.one_of(st.none(), st.none(), st.tuples(st.one_of(st.none(), failures, releases))),
    )
    def next(
        self,
        queue: str,
        choices: list[tuple[tuple[str, int, int], Change | None]],
        limit: int,
        timeout: int | None,
        attempt: str | None,
        consumer: str,
        again: tuple[Change | None] | None,
    ) -> None:
        """Finish messages of any queue, and claim the next ones; some receipts are not what they should be.

        ``again`` is another end of the first message.
        """
        held = [item.receipt for _, item in self.held()]
        finishes = []
        for (kind, index, other), change in choices:
            wrong = self.target(queue, (kind, index, other)).receipt or "rubbish"
            finishes.append(Finish(held[index % len(held)] or "" if held and other else wrong, change))
        if finishes and again is not None:
            finishes.append(Finish(finishes[0].receipt, *again))
        self._next(queue, finishes, ClaimOptions(limit, timeout, attempt_id=attempt, consumer=consumer))

    @rule(queue=queues, change=st.one_of(st.none(), failures, releases), limit=st.sampled_from([1, 3]))
    def next_of_all_that_is_held(self, queue: str, change: Change | None, limit: int) -> None:
        finishes = [Finish(item.receipt or "", change) for _, item in self.held()[:12]]
        self._next(queue, finishes, ClaimOptions(limit, 10_000, attempt_id="again"))
        if finishes:
            self._next(queue, finishes, ClaimOptions(limit, 10_000, attempt_id="again"))

    def _next(self, queue: str, finishes: list[Finish], options: ClaimOptions) -> None:
        naive = self.naive

        def expected() -> list[str | None]:
            naive.check_claim(options.limit, options.visibility_timeout_ms)
            return naive.finish([queue], finishes, options.attempt_id)

        if not finishes:
            self._claim(queue, options, lambda: self.broker.next(Sources((queue,)), [], options).messages)
            return
        wanted: list[str | None] = []
        done: Next | None = self.same(
            lambda: wanted.extend(expected()), lambda: self.broker.next(Sources((queue,)), finishes, options)
        )
        if done is None:
            return
        # By their codes, since a repeated request has errors of no class.
        codes = [None if name is None else getattr(model_errors, name).code for name in wanted]
        assert [None if error is None else error.code for error in done.results] == codes
        self._take_over_moves()

        def claimed() -> list[Message]:
            if done.refusal is not None:
                raise done.refusal
            return done.messages

        self._claim(queue, options, claimed)

    @rule(
        names=st.lists(queues, min_size=2, max_size=3, unique=True),
        weights=st.sampled_from([None, None, [1, 5, 1000]]),
        limit=st.sampled_from([1, 3, 12]),
        timeout=timeouts,
        consumer=st.sampled_from(["", "worker-3"]),
    )
    def poll_several_queues(
        self, names: list[str], weights: list[int] | None, limit: int, timeout: int | None, consumer: str
    ) -> None:
        naive, options = self.naive, ClaimOptions(limit, timeout, consumer=consumer)
        sources = Sources(names, None if weights is None else weights[: len(names)])
        naive.now_ms = self.clock.ms
        if not all(name in self.lines for name in names):
            self.same(lambda: [naive.line(name) for name in names], lambda: self.broker.claim_from(sources, options))
            return
        refused = False
        got: list[Message] = []
        try:
            got = self.broker.claim_from(sources, options)
        except TooManyInFlightError:
            refused = True
        given: dict[str, list[Message]] = {}
        for message in got:
            given.setdefault(message.queue, []).append(message)
        order = names if weights is None else [*given, *(name for name in names if name not in given)]
        assert list(given) == [name for name in order if name in given], "in their order"
        any_full = False
        for name in order:
            line, mine = self.lines[name], given.get(name, [])
            asked = limit
            if not limit:
                # By its weight it may have come first: then the broker has removed what was too old, and found nothing.
                if weights is None or sum(self.broker.queue(name).counts.values()) == len(line.items):
                    continue
                asked = options.limit
            naive.before_claim(name, asked, timeout)
            try:
                most = naive.room(line, asked)
            except RefusalError:
                any_full, most = True, 0
            self._take_over_dead_letters(line)
            timeout_ms = line.settings.visibility_timeout_ms if timeout is None else timeout
            later = any(each in given for each in order[: order.index(name)])
            naive.claimed(line, most, timeout_ms, None, mine, consumer=consumer, may_be_less=later)
            limit -= len(mine)
        assert refused == (any_full and not got)
        sizes = [self.lines[message.queue].items[message.id].size for message in got]
        assert sum(sizes) <= LIMITS.batch_bytes or len(sizes) == 1

    def _claim(self, queue: str, options: ClaimOptions, call: Callable[[], list[Message]] | None = None) -> None:
        naive = self.naive
        limit, timeout, attempt = options.limit, options.visibility_timeout_ms, options.attempt_id

        def expected() -> list[Message] | None:
            naive.before_claim(queue, limit, timeout)
            line = naive.line(queue)
            timeout_ms = line.settings.visibility_timeout_ms if timeout is None else timeout
            again = naive.claim_again(line, attempt, timeout_ms)
            if again is None:
                naive.room(line, limit)
            return again

        again: list[list[Message] | None] = []
        got = self.same(
            lambda: again.append(expected()), call or (lambda: self.broker.claim_from(Sources((queue,)), options))
        )
        if got is None:
            return
        if again[0] is not None:
            assert got == again[0]
            return
        line = self.lines[queue]
        most = naive.room(line, limit)
        self._take_over_dead_letters(line)
        timeout_ms = line.settings.visibility_timeout_ms if timeout is None else timeout
        naive.claimed(line, most, timeout_ms, attempt, got, consumer=options.consumer)

    def _take_over_moves(self) -> None:
        """See what became of the messages that were declared dead."""
        for line, item, reason in self.naive.moving:
            there = self.broker.messages(line.settings.dead_letter_queue)
            sources = {each.envelope.dead_letter_source: each for each in there if each.envelope is not None}
            [moved] = [each for source, each in sources.items() if source is not None and source.id == item.id]
            self.naive.arrive(line, item, reason, moved)
        self.naive.moving.clear()

    def _take_over_dead_letters(self, line: Line) -> None:
        """See which messages the claim found to be dead, and where they went."""
        target = line.settings.dead_letter_queue
        there = {message.id: message.status for message in self.broker.messages(line.name)}
        buried = [item for item in line.items.values() if there.get(item.id) == ASIDE != item.held]
        gone = {item.id: item for item in line.items.values() if item.id not in there}
        assert not (buried if target else gone)
        for item in buried:
            self.naive.bury(line, item)
        if gone:
            known = self.lines[target].items if target in self.lines else {}
            for message in [each for each in self.broker.messages(target) if each.id not in known]:
                assert message.envelope is not None
                assert message.envelope.dead_letter_source is not None
                self.naive.move(line, gone.pop(message.envelope.dead_letter_source.id), message)
        assert not gone

    @precondition(lambda self: self.held())
    @rule(index=st.integers(0, 20))
    def delete_what_is_held(self, index: int) -> None:
        held = self.held()
        queue, item = held[index % len(held)]
        self.broker.delete(queue, Target(receipt=item.receipt))
        del self.lines[queue].items[item.id]

    @precondition(lambda self: self.held())
    @rule(index=st.integers(0, 20), change=changes)
    def update_what_is_held(self, index: int, change: Change) -> None:
        held = self.held()
        queue, item = held[index % len(held)]
        self._update(queue, Target(receipt=item.receipt), change)

    @rule(queue=queues, index=st.integers(0, 20), change=changes)
    def update_by_id(self, queue: str, index: int, change: Change) -> None:
        items = list(self.lines[queue].items.values()) if queue in self.lines else []
        if items:
            self._update(queue, Target(id=items[index % len(items)].id), change)

    @rule(queue=queues, choice=targets, change=changes)
    def update_what_may_be_refused(self, queue: str, choice: tuple[str, int, int], change: Change) -> None:
        self._update(queue, self.target(queue, choice), change)

    def _update(self, queue: str, target: Target, change: Change) -> None:
        def expected() -> None:
            for refused in self.naive.update_batch(queue, [(target, change)]):
                if refused is not None:
                    raise RefusalError(refused)

        self.same(expected, lambda: self.broker.update(queue, target, change))
        self._take_over_moves()

    @rule(queue=queues, updates=st.lists(st.tuples(targets, changes), max_size=13))
    def update_batch(self, queue: str, updates: list[tuple[tuple[str, int, int], Change]]) -> None:
        chosen = [(self.target(queue, choice), change) for choice, change in updates]
        self.same(
            lambda: self.naive.update_batch(queue, chosen), lambda: names_of(self.broker.update_batch(queue, chosen))
        )
        self._take_over_moves()

    @rule(queue=queues, choices=st.lists(targets, max_size=13))
    def delete_batch(self, queue: str, choices: list[tuple[str, int, int]]) -> None:
        self._delete_batch(queue, [self.target(queue, choice) for choice in choices])

    def _delete_batch(self, queue: str, chosen: list[Target]) -> None:
        self.same(
            lambda: self.naive.delete_batch(queue, chosen), lambda: names_of(self.broker.delete_batch(queue, chosen))
        )

    @rule(queue=queues, limit=st.sampled_from([0, 1, 3, 13]))
    def kick(self, queue: str, limit: int) -> None:
        self.same(lambda: self.naive.kick(queue, limit), lambda: self.broker.kick(queue, limit))

    @rule(queue=st.sampled_from([*QUEUES, "no/name"]), given=st.fixed_dictionaries({}, optional=SETTINGS))
    def put_queue(self, queue: str, given: dict[str, Any]) -> None:
        self.same(lambda: self.naive.put_queue(queue, given), lambda: self.broker.put_queue(queue, **given)[1])

    @rule(queue=queues, name=st.sampled_from(sorted(SETTINGS)), data=st.data())
    def change_one_setting(self, queue: str, name: str, data: st.DataObject) -> None:
        given = {name: data.draw(SETTINGS[name])}
        self.same(lambda: self.naive.put_queue(queue, given), lambda: self.broker.put_queue(queue, **given)[1])

    @rule(
        queue=queues,
        step=st.sampled_from(
            ["claim none", "claim too many", "claim for ever", "purge", "purge and void", "drop", "drop"]
        ),
    )
    def do_rare_operations(self, queue: str, step: str) -> None:
        match step:
            case "claim none":
                self._claim(queue, ClaimOptions(0))
            case "claim too many":
                self._claim(queue, ClaimOptions(LIMITS.batch_messages + 1))
            case "claim for ever":
                self._claim(queue, ClaimOptions(1, LIMITS.visibility_timeout_ms + 1))
            case "purge":
                self.same(lambda: self.naive.purge(queue), lambda: self.broker.purge(queue))
            case "purge and void":
                self.same(
                    lambda: self.naive.purge(queue, void_keys=True), lambda: self.broker.purge(queue, void_keys=True)
                )
            case "drop":
                self.same(lambda: self.naive.drop_queue(queue), lambda: self.broker.drop_queue(queue))

    @rule(ms=st.sampled_from([0, 1, 1, 1_999, 2_000, 2_001, 10_000, 30_000, 90_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.ms += ms

    @rule()
    def time_passes_to_the_next_deadline(self) -> None:
        now_ms = self.clock.ms
        every = [item for line in self.lines.values() for item in line.items.values()]
        due_ms = [item.due_ms for item in every if item.status(now_ms) in (TAKEN, HIDDEN)]
        if due_ms:
            self.clock.ms = min(due_ms)

    @rule(steps=st.integers(1, 3))
    def thin(self, steps: int) -> None:
        for _ in range(steps):
            self.thinning.step()

    @rule()
    def checkpoint(self) -> None:
        maintenance.checkpoint(self.broker, self.log, self.checkpoints)

    @rule(first=fillings, segments=st.sampled_from([1, 1, 2, 50]))
    def compact(self, first: str, segments: int) -> None:
        self._fill(first)
        self._compact(segments)

    def _compact(self, segments: int) -> None:
        for _ in range(segments):
            if not compact_oldest(self.broker, self.log):
                break

    def _fill(self, step: str) -> None:
        """Go over into the next of the smallest segments, so that there is one to drop, of which more or less is kept."""
        if step == "nothing":
            return
        texts = [f"{len(self.naive.ids) + n} ".ljust(200, "-") for n in range(3)]
        for turn in range(12):
            self._produce("default", texts, None)
            if "claim" in step and turn % 2:
                self._claim("default", ClaimOptions(2, 10_000))
            if "delete" in step:
                ids = list(self.lines["default"].items)[-12:-1]
                self._delete_batch("default", [Target(id=message_id) for message_id in ids])

    @rule(before=upkeeps, killed=st.booleans(), lost=st.sampled_from(["none", "none", "none", "the newest", "all"]))
    def restart(self, before: list[str], killed: bool, lost: str) -> None:
        """Open the log again, without some of the checkpoints; after a kill, from a copy of the files as they were while
        it was open.
        """
        for step in before:
            if step == "checkpoint":
                maintenance.checkpoint(self.broker, self.log, self.checkpoints)
            else:
                self._fill(step)
                self._compact(1)
        copy = self.folder.with_name(str(int(self.folder.name) + 1))
        if killed:
            shutil.copytree(self.folder, copy)
        self.broker.close()  # after a kill, only to let go of thread and files: the copy does not see it
        if killed:
            shutil.rmtree(self.folder)
            self.folder = copy
        newest_first = sorted(self.folder.glob("*.ckpt"), reverse=True)
        assert len(newest_first) <= 2
        for path in {"none": [], "the newest": newest_first[:1], "all": newest_first}[lost]:
            path.unlink()
        self.open()

    @rule(queue=queues, index=st.integers(0, 50), limit=st.sampled_from([None, 0, 1, 3]))
    def page_through(self, queue: str, index: int, limit: int | None) -> None:
        line = self.lines.get(queue)
        if line is None or not line.items:
            return
        keys = list(line.items)
        after = index % len(keys)
        found = [message.id for message in self.broker.messages(queue, after=keys[after], limit=limit)]
        assert found == keys[after + 1 :][:limit]

    # Client-visible state

    @invariant()
    def everything_looks_the_same(self) -> None:
        if not hasattr(self, "broker"):
            return
        now_ms = self.clock.ms
        assert [info.name for info in self.broker.queues()] == sorted(self.lines)
        for name, line in self.lines.items():
            info = self.broker.queue(name)
            items = list(line.items.values())
            statuses = [item.status(now_ms) for item in items]
            assert info.settings == line.settings
            assert info.created_ms == line.created_ms
            assert info.counts == {status: statuses.count(status) for status in (READY, TAKEN, HIDDEN, ASIDE)}
            assert info.bytes == sum(item.size for item in items)
            assert info.oldest_ms == (items[0].produced_ms if items else None)
            assert info.newest_id == line.newest_id
            assert info.now_ms == now_ms
            seen = [item.seen(name, now_ms) for item in items]
            assert list(self.broker.messages(name)) == seen
            for status in (READY, TAKEN, HIDDEN, ASIDE):
                assert self.broker.count(name, status) == statuses.count(status)
                assert list(self.broker.messages(name, status=status)) == [m for m in seen if m.status == status]
            for message in (*seen[:2], *seen[-2:]):
                assert self.broker.get(name, message.id) == message
            self._receipts_count_as_they_should(name, line)

    def _receipts_count_as_they_should(self, name: str, line: Line) -> None:
        known = [item.receipt for item in line.items.values() if item.receipt] + list(self.naive.issued)[-30:]
        change = Change(delay_ms=0, visibility_timeout_ms=0)  # refused even to the holder, so it only asks
        for start in range(0, len(known), LIMITS.batch_messages):
            part = [Target(receipt=receipt) for receipt in known[start : start + LIMITS.batch_messages]]
            expected = []
            for target in part:
                try:
                    self.naive.find(line, target)
                    expected.append("InvalidValueError")
                except RefusalError as refusal:
                    expected.append(refusal.name)
            assert names_of(self.broker.update_batch(name, [(target, change) for target in part])) == expected


def lasting(examples: int) -> settings:
    """Return settings for a number of lives."""
    steps = int(os.environ.get("WONDERQ_MODEL_STEPS", "40"))
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


class TestBroker(BrokerMachine.TestCase):  # type: ignore[valid-type, misc]
    settings = lasting(20)


@pytest.mark.slow
class TestBrokerForLonger(BrokerMachine.TestCase):  # type: ignore[valid-type, misc]
    settings = lasting(int(os.environ.get("WONDERQ_MODEL_EXAMPLES", "200")))
