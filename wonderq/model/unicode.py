"""Surrogates: halves of a character, which JSON can spell with an escape and which no encoding has.

`json.loads` joins the two halves of a character. A half that is left over is in no text that a response can have.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")

#: The beginning of the escape of one.
_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def without_surrogates(text: str) -> str:
    """Return a text with a replacement character for each surrogate."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def load_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or has a surrogate without its other half.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(text)
    if _ESCAPE.search(text) is not None:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def clean_json(text: str) -> str:
    """Return a JSON text with a replacement character for each surrogate that lacks its other half."""
    if _ESCAPE.search(text) is None:
        return text
    return json.dumps(json.loads(without_surrogates(json.dumps(json.loads(text), ensure_ascii=False))))
