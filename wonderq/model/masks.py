"""Masks: regular expressions whose matches are hidden in texts, in time that is linear in the length of the text.

Python's `re` tries one way to match after another. For some texts that takes exponential time, during which no other
thread runs, and producers choose the texts. A `Mask` follows all ways at once instead (K. Thompson, "Regular Expression
Search Algorithm", CACM 11/6, 1968): each character costs at most one step for each state of the mask.

It hides each character that belongs to some match, however matches overlap, so at least all that `re` would replace. In
a repetition ``?`` for "as few as possible" has no effect.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

#: Stands for the hidden part of a text. It has one length, so it does not show that of the part.
SIGN = "•••"

#: Longest mask, and most states of all masks together: each character of a text may take a step for each state.
MAX_CHARACTERS = 500
MAX_STATES = 2000

#: Characters after the end of a preview that are read to decide about a match that began before it.
LOOKAHEAD = 4096

#: Steps between two calls of ``pause``.
_STEPS_PER_PAUSE = 200

#: Characters in which a match cannot begin, and that are passed over between two calls of ``pause``.
_SKIPPED_PER_PAUSE = 5000

#: Characters whose properties are remembered.
_REMEMBERED = 10_000

_TOKEN = re.compile(
    r"""(?P<repeat>(?:[*+?]|\{(?:[0-9]+,?[0-9]*|,[0-9]*)\})[?+]?)
    |(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<bar>\|)|(?P<boundary>\\[bB])
    |(?P<item>\[\^?\]?(?:\\.|[^\]\\])*\]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[dDwWsStnrfva]|\\[^0-9A-Za-z]|[^\\^$[])""",
    re.VERBOSE | re.DOTALL,
)
_SUPPORTED = "characters, classes such as [0-9] and \\d, groups, |, *, +, ?, {m,n}, \\b, and (?i) at the beginning"


class _State(NamedTuple):
    """A state of the mask, in which it waits for a character or has alternatives."""

    item: int
    """Index of the characters that lead from here to ``next``; -1 for none."""
    next: list[int]
    """The next states: after the character, or without one."""
    boundary: bool | None = None
    """Without a character: whether the place must be at the boundary of a word, or None if it does not matter."""


class Mask:
    """One or several regular expressions, the matches of any of which are hidden.

    Raises:
        ValueError: an expression is malformed, matches the empty text, or has a part that a mask does not support.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self._states: list[_State] = []
        self._items: dict[str, int] = {}
        self._accepting = self._new_state(-1, [])
        starts = [_Parser(pattern, self._new_state, self._item).start(self._accepting) for pattern in patterns]
        self._start = self._new_state(-1, starts)
        self._matchers = [re.compile(source).match for source in self._items]
        self._remembered: dict[str, frozenset[int]] = {}
        self._has_boundaries = any(each.boundary is not None for each in self._states)
        self._closures = [
            [self._closure(state, is_boundary) for state in range(len(self._states))] for is_boundary in (False, True)
        ]
        if any(self._accepting in closure[self._start] for closure in self._closures):
            raise ValueError("it matches the empty text; let it begin with what precedes the secret, as in 'card=\\d+'")
        sources = list(self._items)
        first = {self._states[each].item for closure in self._closures for each in closure[self._start]}
        self._first = re.compile("|".join(sources[item] for item in sorted(first - {-1})) or "(?!)")

    def hide(self, text: str, most: int | None = None, pause: Callable[[int], None] = lambda _: None) -> str:
        """Return a text, or the beginning of it that has ``most`` characters, with `SIGN` for each hidden part.

        ``pause`` is called with a number of steps of about a microsecond, before others follow.
        """
        end = len(text) if most is None else min(most, len(text))
        pieces: list[str] = []
        shown = 0
        for start, stop in _united(self._matches(text, end, pause)):
            pieces += (text[shown:start], SIGN)
            shown = stop
        pieces.append(text[shown:end])
        return "".join(pieces)

    def _matches(self, text: str, end: int, pause: Callable[[int], None]) -> Iterator[tuple[int, int]]:
        """Yield where matches that begin before ``end`` start and stop, in the order of their stops.

        Of matches with one stop, it is the longest.
        """
        waiting: dict[int, int] = {}  # for each state, the first place from which a way leads there
        at = steps = 0
        while True:
            while not waiting:
                found = self._first.search(text, at, min(at + _SKIPPED_PER_PAUSE, end))
                at = min(at + _SKIPPED_PER_PAUSE, end) if found is None else found.start()
                if found is not None:
                    break
                if at == end:
                    return
                pause(_STEPS_PER_PAUSE)
            if at >= end + LOOKAHEAD:
                yield min(waiting.values()), at  # to hide too much is better than too little
                return
            reached: dict[int, int] = {}
            if at < end:
                waiting[self._start] = min(at, waiting.get(self._start, at))
            closures = self._closures[self._has_boundaries and _is_boundary(text, at)]
            for state, start in waiting.items():
                for each in closures[state]:
                    if reached.get(each, at + 1) > start:
                        reached[each] = start
            if self._accepting in reached and reached[self._accepting] < at:
                yield reached[self._accepting], at
            if at == len(text):
                return
            steps += 1 + len(reached)
            kinds = self._kinds(text[at])
            waiting = {}
            for state, start in reached.items():
                item, after, _ = self._states[state]
                if item in kinds and waiting.get(after[0], at) >= start:
                    waiting[after[0]] = start
            at += 1
            if steps >= _STEPS_PER_PAUSE:
                pause(steps)
                steps = 0

    def _kinds(self, character: str) -> frozenset[int]:
        """Return the items that match a character."""
        found = self._remembered.get(character)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            found = frozenset(item for item, matches in enumerate(self._matchers) if matches(character))
            self._remembered[character] = found
        return found

    def _closure(self, state: int, is_boundary: bool) -> list[int]:
        """Return the states that wait for a character, or accept, and are reached from a state without one."""
        found: dict[int, None] = {}
        open_states = [state]
        while open_states:
            each = open_states.pop()
            if each in found:
                continue
            found[each] = None
            item, after, boundary = self._states[each]
            if item < 0 and boundary in (None, is_boundary):
                open_states += after
        return [each for each in found if self._states[each].item >= 0 or each == self._accepting]

    def _new_state(self, item: int, after: list[int], boundary: bool | None = None) -> int:
        if len(self._states) >= MAX_STATES:
            raise ValueError("the masks are too long; repeat less, as in \\d+ instead of \\d{1,999}")
        self._states.append(_State(item, after, boundary))
        return len(self._states) - 1

    def _item(self, source: str) -> int:
        return self._items.setdefault(source, len(self._items))


class _Parser:
    """Turns an expression into states, from its end to its beginning."""

    def __init__(self, pattern: str, new_state: Callable[..., int], item: Callable[[str], int]) -> None:
        self._new_state = new_state
        self._item = item
        self._flag = "(?i:%s)" if pattern.startswith("(?i)") else "(?:%s)"
        self._tokens = _tokens(pattern)
        self._at = 0

    def start(self, after: int) -> int:
        """Return the state in which the expression begins; ``after`` is the one that follows it."""
        return self._alternatives()(after)

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _alternatives(self) -> Callable[[int], int]:
        branches = [self._sequence()]
        while self._next()[0] == "bar":
            self._at += 1
            branches.append(self._sequence())
        return lambda after: self._new_state(-1, [branch(after) for branch in branches])

    def _sequence(self) -> Callable[[int], int]:
        parts: list[Callable[[int], int]] = []
        while self._next()[0] not in ("bar", "close", "end"):
            parts.append(self._repeated(self._part()))

        def build(after: int) -> int:
            for part in reversed(parts):
                after = part(after)
            return after

        return build

    def _part(self) -> Callable[[int], int]:
        kind, source = self._next()
        self._at += 1
        if kind == "open":
            inner = self._alternatives()
            self._at += 1
            return inner
        if kind == "boundary":
            return lambda after: self._new_state(-1, [after], source == "\\b")
        item = self._item(self._flag % source)
        return lambda after: self._new_state(item, [after])

    def _repeated(self, part: Callable[[int], int]) -> Callable[[int], int]:
        kind, source = self._next()
        if kind != "repeat":
            return part
        self._at += 1
        least, most = _bounds(source)

        def build(after: int) -> int:
            if most is None:
                choices = [after]
                loop = self._new_state(-1, choices)
                choices.append(part(loop))
                after = loop
            else:
                done = after
                for _ in range(most - least):
                    after = self._new_state(-1, [done, part(after)])
            for _ in range(least):
                after = part(after)
            return after

        return build


def _tokens(pattern: str) -> list[tuple[str, str]]:
    """Return the kinds and sources of the parts of an expression.

    Raises:
        ValueError: it is malformed, or has an unsupported part.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise ValueError(f"a mask may have {MAX_CHARACTERS} characters, and this has {len(pattern)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # a class that later versions of Python may read differently
            re.compile(pattern)
    except (re.error, FutureWarning, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not a regular expression: {error}") from error
    at = len("(?i)") if pattern.startswith("(?i)") else 0
    found = []
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None or (token.lastgroup == "open" and pattern.startswith("?", token.end())):
            raise ValueError(f"a mask cannot have {pattern[at : at + 3]!r}; it may have {_SUPPORTED}")
        assert token.lastgroup is not None
        found.append((token.lastgroup, token[0]))
        at = token.end()
    return found


def _bounds(repeat: str) -> tuple[int, int | None]:
    """Return how often a part is repeated, at least and at most."""
    if repeat[0] != "{":
        return (1, None) if repeat[0] == "+" else (0, None if repeat[0] == "*" else 1)
    least, comma, most = repeat[1 : repeat.index("}")].partition(",")
    if not comma:
        return int(least), int(least)
    return int(least or 0), int(most) if most else None


def _is_boundary(text: str, at: int) -> bool:
    """Return whether a word begins or ends at a place."""
    return (at > 0 and _is_of_word(text[at - 1])) != (at < len(text) and _is_of_word(text[at]))


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _united(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans, given in the order of their ends, with those that overlap or touch made one."""
    united: list[tuple[int, int]] = []
    for start, stop in spans:
        first = start
        while united and united[-1][1] >= start:
            first = min(first, united.pop()[0])
        united.append((first, stop))
    return united
