"""The names of consumers that hold claims of a queue.

A name is kept by the token of its claim, as long as one message of the claim is claimed. So a claim without a name
costs nothing, and a batch costs as much as a single message.
"""

from __future__ import annotations

from collections.abc import Iterable


class ClaimNames:
    """Names by token."""

    def __init__(self) -> None:
        self.by_token: dict[int, str] = {}
        self._messages: dict[int, int] = {}  # number of claimed messages, by token

    def begin(self, token: int, name: str, messages: int = 1) -> None:
        """Add claimed messages to the claim with a token."""
        self.by_token[token] = name
        self._messages[token] = self._messages.get(token, 0) + messages

    def end(self, tokens: Iterable[int]) -> None:
        """Remove messages that are claimed no more, given by their tokens; tokens of other claims are ignored."""
        for token in tokens:
            left = self._messages.get(token)
            if left is None:
                continue
            if left > 1:
                self._messages[token] = left - 1
            else:
                del self._messages[token], self.by_token[token]

    def rows(self) -> list[tuple[int, str, int]]:
        """Return the arguments of the calls of `begin` that restore the names."""
        return [(token, name, self._messages[token]) for token, name in self.by_token.items()]
