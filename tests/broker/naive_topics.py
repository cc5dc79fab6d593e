"""A topic and its subscriptions, as `naive_broker` models queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.broker.naive_broker import NaiveBroker
from tests.broker.naive_queue import Item, Line, RefusalError
from wonderq.model.messages import NewMessage, size_of
from wonderq.state.record import encode_entry

FILTER = {"a": ["x"]}


class Rule(NamedTuple):
    """A subscription."""

    line: Line
    filtered: bool
    """Whether it has `FILTER`."""
    skips: bool
    paused: bool

    def wants(self, message: NewMessage) -> bool:
        return not self.paused and (not self.filtered or (message.attributes or {}).get("a") == ("String", "x"))


class Outcome(NamedTuple):
    """The outcome of publishing one message."""

    number: int
    is_duplicate: bool
    queues: int
    skipped: int


@dataclass
class NaiveTopic:
    naive: NaiveBroker
    rules: dict[str, Rule] = field(default_factory=dict)
    keys: dict[tuple[bool, str], tuple[int, int]] = field(default_factory=dict)
    """Number of the publication, and until when it is remembered."""
    next_number: int = 0

    def living(self) -> dict[str, Rule]:
        """Return the subscriptions whose queue is still there."""
        self.rules = {
            name: rule for name, rule in self.rules.items() if self.naive.queues.get(rule.line.name) is rule.line
        }
        return self.rules

    def subscribe(self, queue: str, *, filtered: bool, skips: bool, paused: bool) -> None:
        line = self.naive.line(queue)
        self.living()[queue] = Rule(line, filtered, skips, paused)

    def publish(self, messages: Sequence[NewMessage]) -> tuple[list[Outcome], list[tuple[Line, Item]]]:
        """Return the outcomes, and the new messages of the queues, which have no ids yet. Nothing is added."""
        naive = self.naive
        naive.check_contents([(message.body, message.headers()) for message in messages])
        known = {key: number for key, (number, until_ms) in self.keys.items() if until_ms > naive.now_ms}
        numbers: list[tuple[int, bool]] = []
        fresh: list[int] = []
        for index, message in enumerate(messages):
            key = message.key_of_batch, message.key
            if message.key and key in known:
                numbers.append((known[key], True))
                continue
            numbers.append((self.next_number + len(fresh), False))
            known[key] = numbers[-1][0]
            fresh.append(index)
        queues, skipped = [0] * len(messages), [0] * len(messages)
        added: list[tuple[Line, Item]] = []
        for rule in self.living().values():
            wanted = [index for index in fresh if rule.wants(messages[index])]
            taken = self._taken(rule, messages, wanted)
            for place, index in enumerate(taken):
                added.append((rule.line, naive._new_item(rule.line, messages[index], rule.line.next_sequence + place)))
                queues[index] += 1
            for index in set(wanted).difference(taken):
                skipped[index] += 1
        for index in fresh:
            naive.check_range(naive._delay_ms(messages[index]), naive.limits.delay_ms)
        return [Outcome(*numbers[at], queues[at], skipped[at]) for at in range(len(messages))], added

    def _taken(self, rule: Rule, messages: Sequence[NewMessage], wanted: list[int]) -> list[int]:
        """Return those of the messages that the queue takes."""
        settings = rule.line.settings
        most_bytes = settings.max_message_bytes
        try:
            if wanted and settings.draining:
                raise RefusalError("QueueDrainingError")
            fitting = [
                at
                for at in wanted
                if not most_bytes or size_of(messages[at].body, messages[at].attributes) <= most_bytes
            ]
            if len(fitting) < len(wanted) and not rule.skips:
                raise RefusalError("MessageTooLargeError")
            if fitting:
                sizes = [len(encode_entry(messages[at].body, messages[at].headers())) for at in fitting]
                rule.line.check_room(len(fitting), sum(sizes))
        except RefusalError:
            if not rule.skips:
                raise
            return []
        return fitting

    def published(self, messages: Sequence[NewMessage], outcomes: Sequence[Outcome], window_ms: int) -> None:
        """Take over that messages were published."""
        for message, outcome in zip(messages, outcomes, strict=True):
            if not outcome.is_duplicate:
                self.next_number += 1
                if message.key:
                    self.keys[message.key_of_batch, message.key] = outcome.number, self.naive.now_ms + window_ms
