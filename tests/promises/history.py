"""The messages of one queue as a journal proves them: in which state each surely was, and in which it may have been, and when.

All times are intervals. "Surely" holds for every moment at which the broker may have carried the requests out, "maybe" for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.promises.journal import Exchange, Journal

#: Allowance for durations, in seconds: the broker counts in milliseconds, and takes the system's clock at each start.
TOLERANCE_S = 0.05

NEVER = float("inf")

#: Kinds of endings after which a message is in the queue no more, or set aside.
_REMOVALS = ("delete", "hand-over", "dead", "bury")


@dataclass(frozen=True, slots=True)
class Span:
    """An interval of time."""

    begin: float
    end: float

    def overlaps(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end

    def covers(self, begin: float, end: float) -> bool:
        return self.begin <= begin and end <= self.end


@dataclass(frozen=True, slots=True)
class Sending:
    """A message in a produce."""

    exchange: Exchange
    place: int
    text: str
    id: str | None
    is_duplicate: bool
    fields: Mapping[str, Any]

    @property
    def delay_s(self) -> float:
        return float(self.fields.get("delay", 0))

    def is_before(self, other: Sending) -> bool:
        """Whether it was surely produced earlier."""
        if self.exchange is other.exchange:
            return self.place < other.place
        return self.exchange.ended_s < other.exchange.began_s


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in the answer to a consume."""

    exchange: Exchange
    place: int
    text: str
    id: str
    receipt: str
    receive_count: int
    timeout_s: float
    shown: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """A request that acts on a claim: "renew", "release", or one of the removals."""

    exchange: Exchange
    kind: str
    receipt: str
    seconds: float  # of the new timeout of a renewal, or of the delay of a release

    @property
    def began_s(self) -> float:
        return self.exchange.began_s

    @property
    def ended_s(self) -> float:
        return self.exchange.ended_s


def earliest_deadline(delivery: Delivery, renewals: Sequence[Ending]) -> float:
    """Return the earliest deadline that a claim has after these renewals, of which the refused ones do not matter."""
    done = [each for each in renewals if each.exchange.is_done]
    last = [each for each in done if not any(other.began_s > each.ended_s for other in done)]
    starts = [each.began_s + each.seconds for each in last] or [delivery.exchange.began_s + delivery.timeout_s]
    return min(starts) - TOLERANCE_S


@dataclass(slots=True)
class Message:
    """All that a journal has about a message, which is known by its text."""

    sending: Sending
    unknown_claims: Sequence[Span]
    deliveries: list[Delivery] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    was_listed: bool = False

    @property
    def text(self) -> str:
        return self.sending.text

    @property
    def exists(self) -> bool:
        """Whether it surely was added."""
        return self.sending.exchange.is_done or self.was_listed or bool(self.deliveries)

    @property
    def evidence(self) -> list[Exchange]:
        """All exchanges about it."""
        of_claims = [delivery.exchange for delivery in self.deliveries]
        return [self.sending.exchange, *of_claims, *(ending.exchange for ending in self.endings)]

    def of_claim(self, delivery: Delivery) -> list[Ending]:
        """Return the endings with the receipt of a claim."""
        return [each for each in self.endings if each.receipt == delivery.receipt]

    def latest_end(self, delivery: Delivery) -> float:
        """Return the time at which a claim surely has ended."""
        mine = [each for each in self.of_claim(delivery) if each.exchange.is_possible]
        ended = [each.ended_s for each in mine if each.kind != "renew" and each.exchange.is_done]
        if ended:
            return min(ended)
        # A repeated attempt starts the timeout again, with the same receipt.
        starts = [
            each.exchange.ended_s + each.timeout_s for each in self.deliveries if each.receipt == delivery.receipt
        ]
        renewed = [each.ended_s + each.seconds for each in mine if each.kind == "renew"]
        return max([*starts, *renewed]) + TOLERANCE_S

    def earliest_end(self, delivery: Delivery) -> float:
        """Return the time up to which a claim surely lasts, if nobody but its holder ends it."""
        renewals = [each for each in self.of_claim(delivery) if each.kind == "renew"]
        cuts = [
            each.began_s
            for each in self.of_claim(delivery)
            if (each.kind != "renew" and each.exchange.is_possible) or each.exchange.is_unknown
        ]
        return min([earliest_deadline(delivery, renewals), *cuts])

    def maybe_claimed(self) -> list[Span]:
        return [Span(each.exchange.began_s, self.latest_end(each)) for each in self.deliveries]

    def surely_claimed(self) -> list[Span]:
        """Return spans in which it was claimed. They may leave gaps, where a claim was renewed."""
        spans = []
        for delivery in self.deliveries:
            cuts = [each.began_s for each in self.of_claim(delivery) if each.exchange.is_possible]
            starts = [(delivery.exchange, delivery.timeout_s)]
            starts += [
                (e.exchange, e.seconds) for e in self.of_claim(delivery) if e.kind == "renew" and e.exchange.is_done
            ]
            for exchange, seconds in starts:
                end = min([exchange.began_s + seconds - TOLERANCE_S, *(cut for cut in cuts if cut > exchange.began_s)])
                if end > exchange.ended_s:
                    spans.append(Span(exchange.ended_s, end))
        return spans

    def maybe_delayed(self) -> list[Span]:
        spans = []
        if self.sending.delay_s:
            spans.append(
                Span(self.sending.exchange.began_s, self.sending.exchange.ended_s + self.sending.delay_s + TOLERANCE_S)
            )
        return spans + [
            Span(each.began_s, each.ended_s + each.seconds + TOLERANCE_S)
            for each in self.endings
            if each.kind == "release" and each.seconds and each.exchange.is_possible
        ]

    def surely_delayed(self) -> list[Span]:
        spans = []
        if self.sending.delay_s and self.exists:
            sent = self.sending.exchange
            spans.append(Span(sent.ended_s, sent.began_s + self.sending.delay_s - TOLERANCE_S))
        return spans + [
            Span(each.ended_s, each.began_s + each.seconds - TOLERANCE_S)
            for each in self.endings
            if each.kind == "release" and each.seconds and each.exchange.is_done
        ]

    def maybe_gone_from(self) -> float:
        """Return the time from which it may have been removed."""
        return min((e.began_s for e in self.endings if e.kind in _REMOVALS and e.exchange.is_possible), default=NEVER)

    def surely_gone_from(self) -> float:
        """Return the time from which it surely has been removed."""
        return min((e.ended_s for e in self.endings if e.kind in _REMOVALS and e.exchange.is_done), default=NEVER)

    def hidden(self) -> list[Span]:
        """Return all spans in which it may not have been available. The first two answer most questions."""
        sent = self.sending.exchange
        spans = [Span(-NEVER, sent.ended_s if self.exists else NEVER), Span(self.maybe_gone_from(), NEVER)]
        return [*spans, *self.maybe_claimed(), *self.maybe_delayed()]

    def states(self, begin: float, end: float) -> set[str]:
        """Return the states of which it had one, at a moment between ``begin`` and ``end``; "absent" is one of them."""
        sent = self.sending.exchange
        may_exist = (self.exists or sent.is_possible) and sent.began_s <= end and self.surely_gone_from() >= begin
        if not may_exist:
            return {"absent"}
        is_surely_there = self.exists and sent.ended_s <= begin and self.maybe_gone_from() > end
        found = set() if is_surely_there else {"absent"}
        if any(span.covers(begin, end) for span in self.surely_claimed()):
            return found | {"processing"}
        if any(span.covers(begin, end) for span in self.surely_delayed()):
            return found | {"delayed"}
        found.add("unprocessed")
        if any(span.overlaps(begin, end) for span in (*self.maybe_claimed(), *self.unknown_claims)):
            found.add("processing")
        if any(span.overlaps(begin, end) for span in self.maybe_delayed()):
            found.add("delayed")
        return found


class QueueHistory:
    """The messages of a queue, by their texts. Scenarios never send a text twice, unless with an idempotency key."""

    def __init__(self, journal: Journal, queue: str) -> None:
        self.queue = queue
        self.sendings = list(sendings(journal, queue))
        self.deliveries = list(deliveries(journal, queue))
        self.consumes = journal.of("consume", queue)
        self.unknown_claims = [
            Span(each.began_s, each.ended_s + float(each.sent["visibility_timeout"]) + TOLERANCE_S)
            for each in self.consumes
            if each.is_unknown
        ]
        self.messages: dict[str, Message] = {}
        for sending in self.sendings:
            if sending.exchange.is_possible:
                self.messages.setdefault(sending.text, Message(sending, self.unknown_claims))
        self.strangers: list[Delivery] = []
        by_receipt: dict[str, Message] = {}
        for delivery in self.deliveries:
            message = self.messages.get(delivery.text)
            if message is None:
                self.strangers.append(delivery)
            else:
                message.deliveries.append(delivery)
                by_receipt[delivery.receipt] = message
        for ending in endings(journal):
            if ending.receipt in by_receipt:
                by_receipt[ending.receipt].endings.append(ending)
        for text in listed(journal, queue):
            if text in self.messages:
                self.messages[text].was_listed = True

    @cached_property
    def _hidden(self) -> dict[str, list[Span]]:
        return {text: message.hidden() for text, message in self.messages.items()}

    def available(self, begin: float, end: float) -> Iterable[Message]:
        """Yield the messages that surely could be claimed at every moment of an interval."""
        if any(span.overlaps(begin, end) for span in self.unknown_claims):
            return
        for text, message in self.messages.items():
            if not any(span.overlaps(begin, end) for span in self._hidden[text]):
                yield message


def sendings(journal: Journal, queue: str) -> Iterable[Sending]:
    """Yield each message of each produce to a queue."""
    for exchange in journal.of("produce", queue):
        sent, answer = exchange.sent, exchange.answer if exchange.is_done else {}
        batch = sent.get("messages")
        each = [sent] if batch is None else batch
        ids = [answer.get("id")] if batch is None else answer.get("ids", [None] * len(each))
        duplicates = ({0} if answer.get("duplicate") else set()) if batch is None else {*answer.get("duplicates", ())}
        for place, fields in enumerate(each):
            yield Sending(exchange, place, str(fields["message"]), ids[place], place in duplicates, fields)


def deliveries(journal: Journal, queue: str) -> Iterable[Delivery]:
    """Yield each message of a queue in each answer to a consume, or to a `next`, which may have several queues."""
    for exchange in journal:
        if not exchange.is_done or exchange.kind not in ("consume", "next"):
            continue
        messages = exchange.answer["messages"] if exchange.kind == "next" else exchange.answer
        for place, shown in enumerate(messages):
            if (shown["queue"] if exchange.kind == "next" else exchange.queue) != queue:
                continue
            yield Delivery(
                exchange,
                place,
                shown["message"],
                shown["id"],
                shown["receipt"],
                shown["receive_count"],
                float(exchange.sent["visibility_timeout"]),
                shown,
            )


def endings(journal: Journal) -> Iterable[Ending]:
    """Yield each request that acts on a claim, by its receipt."""
    for exchange in journal:
        sent = exchange.sent
        if exchange.kind == "delete":
            yield Ending(exchange, "delete", sent["receipt"], 0)
        elif exchange.kind == "hand-over":
            yield from (Ending(exchange, "hand-over", receipt, 0) for receipt in sent["receipts"])
        elif exchange.kind == "next":
            results = (exchange.answer or {}).get("results", {}).get("delete") if exchange.is_done else None
            for place, receipt in enumerate(sent.get("delete", ())):
                if results is None or results[place]["success"]:
                    yield Ending(exchange, "delete", receipt, 0)
        elif exchange.kind == "update":
            yield Ending(exchange, *_kind_of_update(sent))


def _kind_of_update(sent: Mapping[str, Any]) -> tuple[str, str, float]:
    receipt = str(sent["receipt"])
    for kind in ("dead", "bury"):
        if sent.get(kind):
            return kind, receipt, 0
    if "delay" in sent:
        return "release", receipt, float(sent["delay"])
    seconds = float(sent["visibility_timeout"])
    return ("renew", receipt, seconds) if seconds else ("release", receipt, 0)


def listed(journal: Journal, queue: str) -> Iterable[str]:
    """Yield the texts of all listings of a queue."""
    for exchange in journal.of("listing", queue):
        if exchange.is_done:
            yield from (str(shown["message"]) for shown in exchange.answer)
