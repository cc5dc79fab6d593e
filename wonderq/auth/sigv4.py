"""AWS Signature Version 4: how clients of AWS services prove that they have a secret key.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

#: Accepted difference between the time of a request and that of this machine, in either direction.
_WINDOW_S = 15 * 60

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    rf"{_ALGORITHM}\s+Credential=(?P<id>[A-Za-z0-9]{{1,128}})/(?P<scope>(?P<date>\d{{8}})/"
    r"(?P<region>[a-z0-9-]{1,40})/(?P<service>[a-z0-9-]{1,20})/aws4_request)\s*,\s*"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]{1,1000})\s*,\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_SPACES = re.compile(" +")


class SignatureError(Exception):
    """A signature that is not valid for its request; ``code`` is the name of the error in AWS' APIs."""

    code = "SignatureDoesNotMatch"


class Signed(NamedTuple):
    """The parts of an ``Authorization`` header of this scheme."""

    access_key_id: str
    scope: str
    date: str
    region: str
    service: str
    headers: list[str]
    signature: str


class Request(NamedTuple):
    """The parts of a request that a signature can cover."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Values by header name in lower case."""
    body_sha256: str
    """SHA-256 of the body, in hexadecimal digits."""


def parse(authorization: str | None) -> Signed | None:
    """Parse an ``Authorization`` header. Returns None for another scheme or a malformed header."""
    found = _AUTHORIZATION.fullmatch(authorization or "")
    if found is None:
        return None
    headers = found["headers"].split(";")
    return Signed(
        found["id"], found["scope"], found["date"], found["region"], found["service"], headers, found["signature"]
    )


def check(request: Request, signed: Signed, secret: str, now: datetime) -> None:
    """Check a request's signature.

    Raises:
        SignatureError: the signature does not match the request and the secret, or the request is too old or too new.
    """
    stamp = request.headers.get("x-amz-date", "")
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        message = "The header X-Amz-Date must have the time of the signature in the form 20261124T120000Z."
        raise SignatureError(message) from error
    if abs((now - at).total_seconds()) > _WINDOW_S or not stamp.startswith(signed.date):
        raise SignatureError(
            f"Signature expired: it was made at {stamp}, and the broker's time is {now:%Y%m%dT%H%M%SZ}."
        )
    if signed.service != "sqs":
        raise SignatureError("The signature must be for the service sqs.")
    # The action is in a header, so a signature that does not cover it would be valid for any action.
    needed = ["host", *(name for name in request.headers if name.startswith("x-amz-"))]
    missing = sorted(set(needed).difference(signed.headers))
    if missing:
        raise SignatureError(f"The signature must also cover these headers: {', '.join(missing)[:200]}.")
    expected = signature(request, signed, stamp, secret)
    if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
        raise SignatureError(
            "The request signature we calculated does not match the signature you provided. Check your secret key."
        )


def signature(request: Request, signed: Signed, stamp: str, secret: str) -> str:
    """Return the signature that is valid for a request. ``stamp`` is the value of its ``X-Amz-Date``."""
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            _canonical_query(request.query),
            *(f"{name}:{_canonical_value(request.headers.get(name, ''))}" for name in signed.headers),
            "",
            ";".join(signed.headers),
            request.body_sha256,
        )
    )
    to_sign = "\n".join((_ALGORITHM, stamp, signed.scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (signed.date, signed.region, signed.service, "aws4_request"):
        key = _hmac(key, part)
    return _hmac(key, to_sign).hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _canonical_value(value: str | None) -> str:
    return _SPACES.sub(" ", (value or "").strip())


def _canonical_query(query: str) -> str:
    """Sort the parameters, encoded as they were sent."""
    pairs: list[tuple[str, str]] = []
    for piece in query.split("&") if query else ():
        name, _, value = piece.partition("=")
        pairs.append((name, value))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers in a WSGI environment by name in lower case."""
    headers = {
        name.removeprefix("HTTP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if name in environ:
            headers[name.lower().replace("_", "-")] = environ[name]
    return headers
