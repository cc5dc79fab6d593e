"""Comparing the output that a page shows with the output of a command.

Ids, receipts, keys and times differ in each run. An id of the page stands for the id that came in its place, also in later
commands and outputs, so a page that mixes two ids up fails. Three dots on the page stand for any text.
"""

from __future__ import annotations

import difflib
import re

#: Texts that name something. Each name of a page stands for one name of the run.
_NAME = r"wq_[0-9a-f]{12}_[0-9a-f]{64}|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b"
_TIME = r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
_DOTS = r"\.\.\."
_NUMBER = r"\d[\d,.]*(?<=\d)"
_FIGURE = rf" *{_NUMBER}"  # with the spaces that align it
_TOKEN = re.compile(f"(?P<name>{_NAME})|(?P<time>{_TIME})|(?P<dots>{_DOTS})|(?P<figure> *(?!{_NAME}|{_TIME}){_NUMBER})")


class Names:
    """The names of a run that stand for those of a page."""

    def __init__(self) -> None:
        self._of_the_run: dict[str, str] = {}

    def in_command(self, command: str) -> str:
        """Return a command of the page with the names of the run."""
        return re.sub(_NAME, lambda match: self._of_the_run.get(match[0], match[0]), command)

    def difference(self, shown: list[str], printed: list[str], *, figures_vary: bool = False) -> str:
        """Compare output, and learn the names in it. Return an empty text if it agrees, or else both as a diff."""
        left, right = _stripped(shown), _stripped(printed)
        pattern, new = self._pattern("\n".join(left), figures_vary)
        match = re.fullmatch(pattern, "\n".join(right), re.DOTALL)
        if match is None:
            return "\n".join(difflib.unified_diff(left, right, "the page shows", "the command printed", lineterm=""))
        self._of_the_run.update({name: match[group] for group, name in new.items()})
        return ""

    def _pattern(self, shown: str, figures_vary: bool) -> tuple[str, dict[str, str]]:
        """Return an expression for the output, and which of its groups are names that are new."""
        parts: list[str] = []
        new: dict[str, str] = {}
        at = 0
        for token in _TOKEN.finditer(shown):
            parts.append(re.escape(shown[at : token.start()]))
            at = token.end()
            text = token[0]
            if token["name"]:
                group = next((each for each, name in new.items() if name == text), None)
                if text in self._of_the_run:
                    parts.append(re.escape(self._of_the_run[text]))
                elif group is not None:
                    parts.append(f"(?P={group})")
                else:
                    group = f"name{len(new)}"
                    new[group] = text
                    parts.append(f"(?P<{group}>{_NAME})")
            elif token["time"]:
                parts.append(_TIME)
            elif token["dots"]:
                parts.append(".*?")
            else:
                parts.append(_FIGURE if figures_vary else re.escape(text))
        parts.append(re.escape(shown[at:]))
        return "".join(parts), new


def _stripped(lines: list[str]) -> list[str]:
    text = "\n".join(line.rstrip() for line in lines)
    return text.strip("\n").split("\n")
