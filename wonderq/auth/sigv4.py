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
from urllib.parse import parse_qsl, quote

#: Accepted difference between the time of a request and that of this machine, in either direction.
_WINDOW_S = 15 * 60

_ALGORITHM = "AWS4-HMAC-SHA256"
_CREDENTIAL = re.compile(
    r"(?P<id>[A-Za-z0-9]{1,128})/(?P<scope>(?P<date>\d{8})/(?P<region>[^/\s,]{0,64})/(?P<service>[a-z0-9-]{1,20})/"
    r"aws4_request)"
)
_REGION = re.compile(r"Credential=[A-Za-z0-9]{1,128}(?:/|%2F)\d{8}(?:/|%2F)([^/%&\s,]{0,64})(?:/|%2F)", re.IGNORECASE)
_SIGNED_HEADERS = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:;[!#$%&'*+.^_`|~0-9a-z-]+)*")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]*)")
_MAX_HEADERS_CHARACTERS = 1000

#: Longest validity of a request that is signed in its query string.
_MAX_EXPIRY_S = 7 * 86_400

_SPACES = re.compile(" +")


class SignatureError(Exception):
    """A signature that is not valid for its request; ``code`` is the name of the error in AWS' APIs."""

    code = "SignatureDoesNotMatch"


class IncompleteSignatureError(SignatureError):
    """A signature that lacks a part, or has a malformed one."""

    code = "IncompleteSignature"


class Signed(NamedTuple):
    """The parts of an ``Authorization`` header of this scheme, or of the same in a query string."""

    access_key_id: str
    scope: str
    date: str
    region: str
    service: str
    headers: list[str]
    signature: str
    stamp: str | None = None
    """Time of a signature in the query string. That of another is in the header ``X-Amz-Date``."""
    expires_s: int = 0
    """Validity of a signature in the query string."""


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
    """Parse an ``Authorization`` header. Returns None for another scheme.

    Raises:
        SignatureError: it is malformed.
    """
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme == _ALGORITHM:
        return _signed(dict(_FIELD.findall(rest)), "the header Authorization")
    if scheme.startswith("AWS"):
        raise IncompleteSignatureError(f"The request is signed with {scheme[:40]}. Sign it with {_ALGORITHM} (SigV4).")
    return None


def region_in(text: str) -> str:
    """Return the region in an ``Authorization`` header or a query string, without checking anything; empty if none."""
    found = _REGION.search(text)
    return "" if found is None else found[1]


def parse_query(query: str) -> Signed | None:
    """Parse the signature in a query string, as of a presigned URL. Returns None if there is none.

    Raises:
        SignatureError: it is malformed.
    """
    if "X-Amz-Signature=" not in query and "X-Amz-Algorithm=" not in query:
        return None
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if fields.get("X-Amz-Algorithm") != _ALGORITHM:
        raise IncompleteSignatureError(f"X-Amz-Algorithm must be {_ALGORITHM}.")
    parts = {name: fields.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}
    expires = fields.get("X-Amz-Expires", "")
    if not (expires.isascii() and expires.isdigit()) or len(expires) > 6 or not 1 <= int(expires) <= _MAX_EXPIRY_S:
        raise IncompleteSignatureError(f"X-Amz-Expires must be from 1 to {_MAX_EXPIRY_S} seconds.")
    signed = _signed(parts, "the query string")
    return signed._replace(stamp=fields.get("X-Amz-Date", ""), expires_s=int(expires))


def _signed(fields: Mapping[str, str], place: str) -> Signed:
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not fields.get(name)]
    if missing:
        raise IncompleteSignatureError(f"The signature in {place} lacks {', '.join(missing)}.")
    credential = _CREDENTIAL.fullmatch(fields["Credential"])
    if credential is None:
        raise IncompleteSignatureError(
            f"The Credential in {place} must have the form KEYID/YYYYMMDD/REGION/sqs/aws4_request."
        )
    headers = fields["SignedHeaders"]
    if len(headers) > _MAX_HEADERS_CHARACTERS or not _SIGNED_HEADERS.fullmatch(headers):
        raise IncompleteSignatureError(
            f"The SignedHeaders in {place} must be names of headers in lower case, separated by semicolons, in at most "
            f"{_MAX_HEADERS_CHARACTERS} characters."
        )
    if not _SIGNATURE.fullmatch(fields["Signature"]):
        raise IncompleteSignatureError(f"The Signature in {place} must have 64 hexadecimal digits in lower case.")
    parts = credential["id"], credential["scope"], credential["date"], credential["region"], credential["service"]
    return Signed(*parts, headers.split(";"), fields["Signature"])


def check(request: Request, signed: Signed, secret: str, now: datetime, service: str = "sqs") -> None:
    """Check a request's signature.

    Raises:
        SignatureError: the signature does not match the request and the secret, or the request is too old or too new.
    """
    stamp = _check_time(request, signed, now)
    if signed.service != service:
        raise SignatureError(f"The signature must be for the service {service}.")
    # The action is in a header, so a signature that does not cover it would be valid for any action.
    needed = ["host", *(name for name in request.headers if name.startswith("x-amz-"))]
    missing = sorted(set(needed).difference(signed.headers))
    if missing:
        raise SignatureError(f"The signature must also cover these headers: {', '.join(missing)[:200]}.")
    dropped = [name for name in signed.headers if "_" in name]
    if dropped:
        raise SignatureError(
            f"The signature covers {', '.join(dropped)[:200]}. WonderQ ignores headers with an underscore in their "
            "name, since proxies do not treat all of them alike: send the header without one, or do not sign it."
        )
    expected = signature(request, signed, stamp, secret)
    if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
        raise SignatureError(
            "The request signature we calculated does not match the signature you provided. Check your secret key."
        )


def _check_time(request: Request, signed: Signed, now: datetime) -> str:
    """Return the time of a signature as it was written.

    Raises:
        SignatureError: it is malformed, or too far from ``now``.
    """
    stamp = request.headers.get("x-amz-date", "") if signed.stamp is None else signed.stamp
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        message = "X-Amz-Date must have the time of the signature in the form 20261124T120000Z."
        raise SignatureError(message) from error
    age_s = (now - at).total_seconds()
    if not -_WINDOW_S <= age_s <= (signed.expires_s or _WINDOW_S) or not stamp.startswith(signed.date):
        raise SignatureError(
            f"Signature expired: it was made at {stamp}, and the broker's time is {now:%Y%m%dT%H%M%SZ}."
        )
    return stamp


def signature(request: Request, signed: Signed, stamp: str, secret: str) -> str:
    """Return the signature that is valid for a request. ``stamp`` is the value of its ``X-Amz-Date``."""
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            _canonical_query(request.query, signed),
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


def _canonical_query(query: str, signed: Signed) -> str:
    """Sort the parameters, encoded as they were sent. A signature in the query string does not cover itself."""
    pairs: list[tuple[str, str]] = []
    for piece in query.split("&") if query else ():
        name, _, value = piece.partition("=")
        if signed.stamp is None or name != "X-Amz-Signature":
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
