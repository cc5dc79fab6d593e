"""MD5 of bodies and attributes, and signatures, against what others say they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from wonderq.auth import sigv4
from wonderq.model.attributes import Attribute
from wonderq.sqs import message_attributes

# MD5


def test_md5_of_a_body() -> None:
    # https://www.rfc-editor.org/rfc/rfc1321#appendix-A.5
    assert message_attributes.md5("message digest") == "f96b697d7cb7938d525a2f31aaf161d0"
    assert message_attributes.md5("") == "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("given", "digest"),
    [
        # Output of md5sum for these bytes, laid out by the rules of the SQS Developer Guide:
        # printf '\0\0\0\001a\0\0\0\006String\001\0\0\0\001b'
        # printf '\0\0\0\001b\0\0\0\006Binary\002\0\0\0\002\0\377\0\0\0\001n\0\0\0\012Number.int\001\0\0\0\0011'
        ({"a": ("String", "b")}, "bef8bf215374a0a228d67533b1a488be"),
        ({"n": ("Number.int", "1"), "b": ("Binary", b"\0\xff")}, "9f2a22a65565037e6ffe7103413de96b"),
    ],
)
def test_md5_of_attributes(given: dict[str, Attribute], digest: str) -> None:
    assert message_attributes.md5_of_attributes(given) == digest


# Signatures

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
STAMP = "20150830T123600Z"


def signed_by_suite(signature: str, headers: str, service: str = "service") -> sigv4.Signed:
    found = sigv4.parse(
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders={headers}, "
        f"Signature={signature}"
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("method", "query", "more", "body", "signature"),
    [
        # The AWS Signature Version 4 test suite: get-vanilla, get-vanilla-query-order-key-case, post-vanilla,
        # post-x-www-form-urlencoded.
        ("GET", "", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET", "Param2=value2&Param1=value1", {}, b"", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("POST", "", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST", "", {"content-type": "application/x-www-form-urlencoded"}, b"Param1=value1",
         "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
    ],
)  # fmt: skip
def test_vectors_of_aws(method: str, query: str, more: dict[str, str], body: bytes, signature: str) -> None:
    headers = {"host": "example.amazonaws.com", "x-amz-date": STAMP, **more}
    request = sigv4.Request(method, "/", query, headers, sha256(body).hexdigest())
    signed = signed_by_suite(signature, ";".join(sorted(headers)))
    assert sigv4.signature(request, signed, STAMP, SECRET) == signature


def botocore_request(
    path: str = "/", body: bytes = b'{"QueueName":"x"}', /, **headers: str
) -> tuple[sigv4.Request, str]:
    """Return a request as botocore signs it, now, and its header ``Authorization``."""
    request = AWSRequest("POST", "http://localhost:7979" + path, headers={"Content-Type": "x", **headers}, data=body)
    request.context["timestamp"] = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    SigV4Auth(Credentials("KEY", SECRET), "sqs", "eu-central-1").add_auth(request)
    sent: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
    authorization = sent.pop("authorization")
    raw, _, query = path.partition("?")
    return sigv4.Request(
        "POST", raw, query, {"host": "localhost:7979", **sent}, sha256(body).hexdigest()
    ), authorization


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"X-Amz-Target": "AmazonSQS.ListQueues", "x-amzn-query-mode": "true"}),
        ("/000000000000/jobs.fifo", {}),
        ("/?b=2&a=1&a=0", {"X-Amz-Target": "  two   spaces "}),
    ],
)
def test_what_botocore_signs(path: str, headers: dict[str, str]) -> None:
    request, authorization = botocore_request(path, **headers)
    signed = sigv4.parse(authorization)
    assert signed is not None
    assert (signed.access_key_id, signed.region, signed.service) == ("KEY", "eu-central-1", "sqs")
    sigv4.check(request, signed, SECRET, datetime.now(UTC))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"path": "/000000000000/x"},
        {"query": "a=1"},
        {"body_sha256": sha256(b'{"QueueName":"y"}').hexdigest()},
        {"headers": {"host": "other"}},
        {"headers": {"x-amz-target": "AmazonSQS.DeleteQueue"}},
        {"headers": {"content-type": "y"}},
        {"headers": {"x-amz-security-token": "not signed"}},
        {"headers": {"x-amz-date": "20150830T123600Z"}},
        {"headers": {"x-amz-date": "soon"}},
        {"headers": {"x-amz-date": ""}},
    ],
    ids=str,
)
def test_what_was_changed_on_the_way(change: dict[str, Any]) -> None:
    request, authorization = botocore_request(**{"X-Amz-Target": "AmazonSQS.ListQueues"})
    signed = sigv4.parse(authorization)
    assert signed is not None
    changed = {**change, "headers": {**request.headers, **change.get("headers", {})}}
    with pytest.raises(sigv4.SignatureError) as caught:
        sigv4.check(request._replace(**changed), signed, SECRET, datetime.now(UTC))
    assert caught.value.code == "SignatureDoesNotMatch"


def test_another_secret_service_or_time() -> None:
    request, authorization = botocore_request()
    signed = sigv4.parse(authorization)
    assert signed is not None
    made = datetime.strptime(str(request.headers["x-amz-date"]), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    for secret, its, at in (
        (SECRET + "x", signed, made),
        (SECRET, signed._replace(service="s3"), made),
        (SECRET, signed._replace(date="20150830"), made),
        (SECRET, signed, made + timedelta(seconds=901)),
        (SECRET, signed, made - timedelta(seconds=901)),
    ):
        with pytest.raises(sigv4.SignatureError, match=r"."):
            sigv4.check(request, its, secret, at)
    sigv4.check(request, signed, SECRET, made + timedelta(seconds=900))
    sigv4.check(request, signed, SECRET, made - timedelta(seconds=900))


def test_what_says_what_is_done_must_be_signed() -> None:
    """Otherwise a reader of a request could use its body for another action."""
    request, authorization = botocore_request()
    signed = sigv4.parse(authorization)
    assert signed is not None
    target = {"x-amz-target": "AmazonSQS.DeleteQueue"}
    with pytest.raises(sigv4.SignatureError, match="x-amz-target"):
        sigv4.check(request._replace(headers={**request.headers, **target}), signed, SECRET, datetime.now(UTC))
    without_host = signed._replace(headers=[name for name in signed.headers if name != "host"])
    with pytest.raises(sigv4.SignatureError, match="host"):
        sigv4.check(request, without_host, SECRET, datetime.now(UTC))


@pytest.mark.parametrize("authorization", [None, "", "Bearer x", "Basic x"])
def test_headers_that_are_no_signature(authorization: str | None) -> None:
    assert sigv4.parse(authorization) is None


def header(credential: str = "A/20150830/r/sqs/aws4_request", headers: str = "host", signature: str = "0" * 64) -> str:
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"


@pytest.mark.parametrize(
    ("authorization", "what"),
    [
        ("AWS4-HMAC-SHA256", "lacks Credential, SignedHeaders, Signature"),
        ("AWS4-HMAC-SHA256 Credential=A/20150830/r/sqs/aws4_request", "lacks SignedHeaders, Signature"),
        (header("A/2015083/r/sqs/aws4_request"), "Credential"),
        (header("A/20150830/sqs/aws4_request"), "Credential"),
        (header("A/20150830/a/b/sqs/aws4_request"), "Credential"),
        (header("A/20150830/" + "r" * 65 + "/sqs/aws4_request"), "Credential"),
        (header(headers=""), "lacks SignedHeaders"),
        (header(headers="Host"), "SignedHeaders"),
        (header(headers="host;;date"), "SignedHeaders"),
        (header(headers="h" * 1001), "SignedHeaders"),
        (header(signature="0" * 63), "Signature"),
        (header(signature="G" * 64), "Signature"),
        ("AWS4-ECDSA-P256-SHA256 Credential=A/20150830/sqs/aws4_request", "AWS4-HMAC-SHA256"),
        ("AWS AKID:signature", "AWS4-HMAC-SHA256"),
    ],
)
def test_a_malformed_signature_is_no_missing_one(authorization: str, what: str) -> None:
    """The client has a key, so it is told its mistake. AWS calls it IncompleteSignature ("Common errors")."""
    with pytest.raises(sigv4.SignatureError, match=what) as caught:
        sigv4.parse(authorization)
    assert caught.value.code == "IncompleteSignature"


@pytest.mark.parametrize("region", ["", "eu.central.1", "EU", "local"])
@pytest.mark.parametrize("name", ["host", "x-my.header", "x-my!header"])
def test_any_region_and_any_name_of_a_header(region: str, name: str) -> None:
    signed = sigv4.parse(header(f"A/20150830/{region}/sqs/aws4_request", f"host;{name}"))
    assert signed is not None
    assert (signed.region, signed.headers) == (region, ["host", name])


def test_a_header_that_the_server_drops() -> None:
    request, authorization = botocore_request(x_my_header="1")
    signed = sigv4.parse(authorization)
    assert signed is not None
    with pytest.raises(sigv4.SignatureError, match=r"covers x_my_header.*ignores headers with an underscore"):
        sigv4.check(request, signed, SECRET, datetime.now(UTC))


# Signatures in the query string


def presigned(expires_s: int = 60) -> sigv4.Request:
    request = AWSRequest(method="GET", url="http://localhost/000000000000/jobs?Action=ReceiveMessage")
    SigV4QueryAuth(Credentials("KEY", SECRET), "sqs", "eu-central-1", expires=expires_s).add_auth(request)
    parts = urlsplit(request.url)
    return sigv4.Request("GET", parts.path, parts.query, {"host": "localhost"}, sha256().hexdigest())


def check_query(request: sigv4.Request, at: datetime) -> None:
    signed = sigv4.parse_query(request.query)
    assert signed is not None
    sigv4.check(request, signed, SECRET, at)


def test_a_presigned_query_is_valid_until_it_expires() -> None:
    """As AWS signs them: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html."""
    now = datetime.now(UTC)
    check_query(presigned(), now)
    check_query(presigned(7 * 86_400), now + timedelta(days=6))
    for request, at in (
        (presigned(), now + timedelta(seconds=90)),
        (presigned(7 * 86_400), now + timedelta(days=8)),
        (presigned(), now - timedelta(minutes=16)),
        (presigned()._replace(method="POST"), now),
        (presigned()._replace(path="/000000000000/other"), now),
        (presigned()._replace(query=presigned().query.replace("ReceiveMessage", "PurgeQueue")), now),
        (presigned()._replace(query=presigned().query + "&a=b"), now),
        (presigned()._replace(headers={"host": "other"}), now),
    ):
        with pytest.raises(sigv4.SignatureError) as caught:
            check_query(request, at)
        assert caught.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Expires=60", "X-Amz-Expires=0"),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=60", "X-Amz-Expires=soon"),
        ("X-Amz-Expires=60", "a=b"),
        ("AWS4-HMAC-SHA256", "AWS4"),
        ("X-Amz-Algorithm=", "a="),
        ("X-Amz-Signature=", "a="),
        ("X-Amz-Credential=", "a="),
    ],
)
def test_a_malformed_presigned_query(old: str, new: str) -> None:
    query = presigned().query
    assert old in query
    with pytest.raises(sigv4.SignatureError) as caught:
        sigv4.parse_query(query.replace(old, new))
    assert caught.value.code == "IncompleteSignature"


def test_a_query_without_a_signature() -> None:
    assert sigv4.parse_query("Action=ListQueues") is None
