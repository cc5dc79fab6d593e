"""The page of the error codes, each with its remedy."""

from __future__ import annotations

from http import HTTPStatus

from tools.reference.markdown import NOTICE
from tools.reference.remedies import REMEDIES
from wonderq.rest.error_codes import ERROR_CODES

_HEAD = """# Error codes

An error of the HTTP API is an object with a stable `code` and a sentence for people:

```json
{"success": false, "statusCode": 404, "error": {"code": "message_not_found", "message": "..."}}
```

This page lists each code with its meaning and its remedy. After an error nothing has changed, unless its
section states otherwise. `Retry-After` is a header of the response, in seconds. The Python client raises an exception
for each code: [PYTHON.md](../PYTHON.md#errors). Errors of the SQS endpoint are in
[SQS.md](../SQS.md#keys-and-signatures).
"""


def errors() -> str:
    """Return the page. A code without a remedy is a `KeyError`."""
    parts = [NOTICE, _HEAD]
    for code, row in ERROR_CODES.items():
        statuses = " or ".join(f"{status} {_phrase(status)}" for status in row.statuses)
        retry = f" `Retry-After: {row.retry_after_s}`." if row.retry_after_s is not None else ""
        parts += [f"## {code}\n", f"**{statuses}.** {row.meaning}{retry}\n", f"**Remedy:** {REMEDIES[code]}\n"]
    return "\n".join(parts)


def _phrase(status: int) -> str:
    # Python 3.13 renamed three phrases after RFC 9110.
    return {413: "Content Too Large", 414: "URI Too Long"}.get(status) or HTTPStatus(status).phrase
