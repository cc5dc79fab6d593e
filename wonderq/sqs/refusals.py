"""Refusals of requests that reach no action, in the form of errors of SQS, so that SDKs show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from wonderq.auth import sigv4
from wonderq.httpd.addresses import may_be_of_other_site
from wonderq.httpd.errors import ErrorResponse, RequestError
from wonderq.sqs import wire
from wonderq.sqs.errors import SqsError

NOT_SIGNED = "The request must be signed with a key of this broker. Create one with: wonderq key create NAME --sqs"

UNKNOWN_KEY = "The security token included in the request is invalid."

#: Beginnings of an ``Authorization`` header with a signature of any version.
_SIGNED = ("AWS4-", "AWS ")

#: Paths of the endpoint besides ``/``: `wonderq.auth.roles.SQS_ADDRESSES`.
_ADDRESS = re.compile(r"(?:/queue/[^/]+)?/[0-9]{12}/[^/]*/?|/queue/[^/]*/?")

#: Codes of the HTTP layer to the names of SQS, or of any service of AWS, and their status if it differs.
_NAMES: dict[str, tuple[str, int | None]] = {
    "unauthorized": ("InvalidClientTokenId", 403),
    "forbidden": ("AccessDenied", None),
    "cross_site_request": ("AccessDenied", None),
    "path_not_found": ("InvalidAddress", None),
    "method_not_allowed": ("InvalidAction", None),
    "request_timeout": ("RequestTimeout", None),
    "body_too_large": ("RequestEntityTooLarge", None),
}


GetHeader = Callable[[str], str | None]
"""Returns the value of a header by its name in upper case with ``_`` for ``-``, or None."""


def header_of(environ: Mapping[str, Any]) -> GetHeader:
    """Return a function that finds the headers of a WSGI environment."""
    return lambda name: environ.get(name if name == "CONTENT_TYPE" else f"HTTP_{name}")


def is_for_sqs(method: str, path: str, header: GetHeader) -> bool:
    """Return whether an SQS client sent a request, as far as its head shows that."""
    if header("X_AMZ_TARGET") is not None or (header("AUTHORIZATION") or "").startswith(_SIGNED):
        return True
    if (header("CONTENT_TYPE") or "").lower().startswith(wire.JSON_TYPE):
        return True
    return (method == "POST" and path == "/") or is_address(path)


def is_address(path: str) -> bool:
    """Return whether a path is that of a queue in the SQS protocol."""
    return _ADDRESS.fullmatch(path) is not None


def render(error: RequestError, header: GetHeader) -> ErrorResponse:
    """Return a refusal in the wire format of an SQS client. See `is_for_sqs` for ``header``."""
    name, status = _NAMES.get(error.code, ("", None))
    if error.status == 429:
        name, status = "RequestThrottled", 403
    if not name:
        name = {500: "InternalFailure", 503: "ServiceUnavailable"}.get(error.status, "InvalidHttpRequest")
    text = str(error)
    if error.code == "unauthorized":
        try:
            signed = sigv4.parse(header("AUTHORIZATION"))
            name, text = ("MissingAuthenticationToken", NOT_SIGNED) if signed is None else (name, UNKNOWN_KEY)
        except sigv4.SignatureError as reason:
            name, text = reason.code, str(reason)
    found = SqsError(name, text, status or error.status)
    environ = {"CONTENT_TYPE": header("CONTENT_TYPE") or ""}
    target = header("X_AMZ_TARGET")
    if target is not None:
        environ["HTTP_X_AMZ_TARGET"] = target
    request_id = wire.new_request_id()
    body, media_type = wire.write_error(found, request_id, is_json=wire.is_json(environ))
    headers = {**error.headers, "x-amzn-RequestId": request_id, "x-amzn-query-error": found.header}
    return ErrorResponse(found.status, media_type, body, headers)


def render_if_for_sqs(method: str, path: str, headers: Mapping[str, str], error: RequestError) -> ErrorResponse | None:
    """Return a refusal if its client is one of SQS, else None. This is the `RenderError` of the HTTP server."""
    return render(error, headers.get) if is_for_sqs(method, path, headers.get) else None


def check_get(environ: Mapping[str, Any]) -> None:
    """Refuse a GET that a page of another site may have made a browser send.

    Raises:
        SqsError: the request is refused.
    """
    if may_be_of_other_site(environ):
        text = (
            "A web browser sent this GET request, and does not state that it is from a page of this broker. Send the "
            "action as POST, or sign the request in its Authorization header."
        )
        raise SqsError("AccessDenied", text, 403)
