"""Authentication of requests as clients of AWS make them: signatures of version 4, or ``Authorization: Bearer``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import falcon

from wonderq.auth import sigv4
from wonderq.auth.access import Access
from wonderq.auth.keys import EVERYBODY, Key
from wonderq.httpd.forwarded import REGION, SQS_COUNTED
from wonderq.runtime.fibers import yield_to_others
from wonderq.sqs.errors import SqsError
from wonderq.sqs.names import DEFAULT_REGION
from wonderq.sqs.refusals import NOT_SIGNED, UNKNOWN_KEY, check_get

#: Bytes of a body that are hashed in one step.
_HASHED_BYTES = 1 << 20


def authenticate(access: Access | None, req: falcon.Request, body: bytes, service: str = "sqs") -> Key:
    """Return the key of a request: that of its signature, or ``Authorization: Bearer`` like in the REST API.

    While the broker has no keys, signatures are not even parsed. A signature must be for the ``service`` of AWS.

    Raises:
        SqsError: the request has no valid key, or the key exceeds its rate.
    """
    if access is None or access.open_to_all:
        if req.method == "GET":
            check_get(req.env)
        return EVERYBODY
    if access.grants.has(req.auth):
        granted = access.find(req.auth)
        if granted is None:
            raise SqsError("InvalidClientTokenId", UNKNOWN_KEY, 403)
        return granted
    try:
        signed = sigv4.parse(req.auth) or sigv4.parse_query(req.query_string)
    except sigv4.SignatureError as error:
        raise SqsError(error.code, str(error), 403) from error
    if signed is None:
        key = access.find(req.auth)
        if key is None:
            raise SqsError("MissingAuthenticationToken", NOT_SIGNED, 403)
    else:
        key = access.find_signed(signed.access_key_id)
        if key is None or key.sqs_secret is None:
            raise SqsError("InvalidClientTokenId", UNKNOWN_KEY, 403)
        request = sigv4.Request(req.method, req.path, req.query_string, sigv4.headers_of(req.env), _sha256(body))
        try:
            sigv4.check(request, signed, key.sqs_secret, datetime.now(UTC), service)
        except sigv4.SignatureError as error:
            raise SqsError(error.code, str(error), 403) from error
    if SQS_COUNTED not in req.env:
        too_fast = access.check_rate(key)
        if too_fast is not None:
            raise SqsError("RequestThrottled", str(too_fast))
        req.env[SQS_COUNTED] = True
    return key


def region_of(environ: Mapping[str, Any]) -> str:
    """Return the region for which the client signed a request, given as a WSGI environment."""
    region: str | None = environ.get(REGION)
    if region is not None:
        return region
    return sigv4.region_in(environ.get("HTTP_AUTHORIZATION") or environ.get("QUERY_STRING", "")) or DEFAULT_REGION


def _sha256(body: bytes) -> str:
    """Return the SHA-256 of a body; let other requests run while that takes long."""
    digest = sha256()
    for at in range(0, len(body), _HASHED_BYTES):
        if at:
            yield_to_others()
        digest.update(memoryview(body)[at : at + _HASHED_BYTES])
    return digest.hexdigest()
