"""AWS's documented check of a notification's signature passes with the certificate that the broker serves."""

from __future__ import annotations

import errno
import json
import logging
import os
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import urlopen

import pytest
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.sns_clients import Sns, serving_sns
from wonderq.broker.broker import Broker
from wonderq.sns import rsa_keys, signing
from wonderq.sns.signing import Signer


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key, which takes long to make."""
    path = tmp_path_factory.mktemp("key") / signing.KEY_FILE
    assert Signer(path).sign({}, "1") is not None
    return path


@pytest.fixture(scope="module")
def signed(key_file: Path) -> Iterator[Sns]:
    with serving_sns(Broker(MemoryLog(), clock=FakeClock()), signer=Signer(key_file)) as served:
        served.subscribe(served.topic(), served.queue())
        yield served


def check(notification: dict[str, Any]) -> None:
    """Do what the documentation of SNS says, with the fields in the order of the alphabet.

    https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
    """
    with urlopen(notification["SigningCertURL"]) as reply:
        key = load_pem_x509_certificate(reply.read()).public_key()
    assert isinstance(key, RSAPublicKey)
    names = ["Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{notification[name]}\n" for name in names if name in notification)
    digest = SHA1() if notification["SignatureVersion"] == "1" else SHA256()
    key.verify(b64decode(notification["Signature"]), text.encode(), PKCS1v15(), digest)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "Süd"}])
def test_the_documented_check_passes(signed: Sns, version: str, subject: dict[str, str]) -> None:
    topic = signed.topic()
    signed("SetTopicAttributes", TopicArn=topic, AttributeName="SignatureVersion", AttributeValue=version)
    signed("Publish", TopicArn=topic, Message="é\n2", **subject)
    [body] = map(json.loads, signed.bodies())
    assert body["SignatureVersion"] == version
    check(body)
    for name in ("Message", "MessageId", "Timestamp", "TopicArn", "Type", *subject):
        with pytest.raises(InvalidSignature):
            check({**body, name: body[name] + "x"})


def test_only_the_certificate_is_served(signed: Sns, key_file: Path) -> None:
    signed("Publish", TopicArn=signed.topic(), Message="x")
    [body] = map(json.loads, signed.bodies())
    with urlopen(body["SigningCertURL"]) as reply:
        content = reply.read()
    assert content in key_file.read_bytes()
    assert b"PRIVATE" not in content
    for path in ("/sns/other.pem", "/sns/SimpleNotificationService-.pem", f"/sns/{signing.KEY_FILE}"):
        assert signed.served("GET", path).status == 404


def test_the_key_is_kept_and_only_its_owner_reads_it(key_file: Path) -> None:
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in key_file.parent.iterdir()] == [signing.KEY_FILE]
    first, second = (Signer(key_file).sign({"Type": "Notification"}, "2") for _ in range(2))
    assert first == second


def test_the_folder_is_made_too(tmp_path: Path) -> None:
    """A broker with its log in JetStream may have no folder."""
    file = tmp_path / "data" / signing.KEY_FILE
    assert Signer(file).sign({"Type": "Notification"}, "1") is not None
    assert file.exists()
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_requests_at_once_make_one_key(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "key")
    with ThreadPoolExecutor(4) as pool:
        signatures = list(pool.map(lambda _: signer.sign({"Type": "Notification"}, "1"), range(4)))
    assert signatures[0] is not None
    assert set(signatures) == {Signer(tmp_path / "key").sign({"Type": "Notification"}, "1")}


def during_the_next(call: str, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Act just before the next call of a function of `signing` or `rsa_keys` does its work."""
    module = signing if hasattr(signing, call) else rsa_keys
    actual = getattr(module, call)

    def act_first(*arguments: Any) -> Any:
        monkeypatch.setattr(module, call, actual)
        act()
        return actual(*arguments)

    monkeypatch.setattr(module, call, act_first)


@pytest.mark.parametrize("call", ["create", "flush_to_medium"])
def test_two_processes_that_make_a_key_at_once_sign_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = tmp_path / "key"
    first, second = Signer(file), Signer(file)
    signatures = []
    during_the_next(call, lambda: signatures.append(second.sign({"Type": "Notification"}, "1")), monkeypatch)
    signatures.append(first.sign({"Type": "Notification"}, "1"))
    assert signatures[0] is not None
    assert {*signatures} == {Signer(file).sign({"Type": "Notification"}, "1")}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_hard_links_has_a_key_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr("os.link", mock.Mock(side_effect=OSError(code, os.strerror(code))))
    file = tmp_path / "key"
    first, second = Signer(file), Signer(file)
    signatures = []
    during_the_next("create", lambda: signatures.append(second.sign({"Type": "Notification"}, "1")), monkeypatch)
    signatures.append(first.sign({"Type": "Notification"}, "1"))
    assert signatures[0] is not None
    assert {*signatures} == {Signer(file).sign({"Type": "Notification"}, "1")}
    assert list(tmp_path.iterdir()) == [file]


def test_without_the_library_envelopes_are_not_signed(tmp_path: Path) -> None:
    with mock.patch.object(signing, "find_spec", return_value=None):
        signer = Signer(tmp_path / "key")
    assert signer.sign({}, "1") is None
    assert list(tmp_path.iterdir()) == []


def other_key(path: Path) -> bytes:
    assert Signer(path).sign({}, "1") is not None
    return path.read_bytes()


def test_a_damaged_file_is_reported_once(tmp_path: Path, key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    own, other = key_file.read_bytes(), other_key(tmp_path / "other")
    half = own.index(b"-----BEGIN CERTIFICATE")
    for data in (
        b"",
        b"nonsense",
        own[:half],
        own[:half] + other[other.index(b"-----BEGIN CERTIFICATE") :],
        encrypted(own),
    ):
        path = tmp_path / "damaged"
        path.write_bytes(data)
        signer = Signer(path)
        with caplog.at_level(logging.WARNING):
            assert signer.sign({}, "1") is None
            assert signer.sign({}, "1") is None
        assert path.read_bytes() == data
        assert len(caplog.records) == 1
        assert str(path) in caplog.text
        caplog.clear()


def test_signing_begins_once_the_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 1000.0
    signer = Signer(tmp_path / "key", monotonic_s=lambda: now_s)
    outcomes = [OSError(errno.ENOSPC, "no space", "a")] * 2 + [OSError(errno.EMFILE, "no descriptors"), None]
    write = mock.Mock(side_effect=outcomes)
    monkeypatch.setattr(signing, "flush_to_medium", write)
    monkeypatch.setattr("wonderq_storage.disk.flush_to_medium", lambda fd: None)
    with caplog.at_level(logging.WARNING):
        for tries in (1, 2, 3):
            assert signer.sign({}, "1") is None
            now_s += signing.RETRY_S - 0.1
            assert signer.sign({}, "1") is None
            assert write.call_count == tries
            assert list(tmp_path.iterdir()) == []
            now_s += 0.1
    assert ["no space" in each.message for each in caplog.records] == [True, False]
    assert "no descriptors" in caplog.records[1].message
    assert signer.sign({}, "1") is not None
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_a_certificate_is_served_once_its_file_is_whole(tmp_path: Path, key_file: Path) -> None:
    """A node gets the file of another one while clients ask it for the certificate."""
    now_s = 1000.0
    signed = Signer(key_file).sign({}, "1")
    assert signed is not None
    copy = tmp_path / "key"
    copy.write_bytes(key_file.read_bytes()[:1000])
    signer = Signer(copy, monotonic_s=lambda: now_s)
    assert signer.certificate(signed[1]) is None
    copy.write_bytes(key_file.read_bytes())
    now_s += signing.RETRY_S
    assert signer.certificate(signed[1]) is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_read_or_change_is_reported(
    tmp_path: Path, key_file: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    file = tmp_path / "key"
    file.write_bytes(key_file.read_bytes())
    file.chmod(mode)
    signer = Signer(file)
    with caplog.at_level(logging.WARNING):
        assert signer.sign({}, "1") == Signer(key_file).sign({}, "1")
        assert signer.sign({}, "1") is not None
    [record] = caplog.records
    assert f"{file}: other users can read or change the key (mode {mode:04o})" in record.message


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_reported_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "key")
    with caplog.at_level(logging.WARNING):
        assert Signer(tmp_path / "key").sign({}, "1") is None
    assert len(caplog.records) == 1


def encrypted(data: bytes) -> bytes:
    """Return a key in the same file with a password."""
    how = BestAvailableEncryption(b"password")
    key = load_pem_private_key(data, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    return key + data[data.index(b"-----BEGIN CERTIFICATE") :]


class Panic(BaseException):
    """Stands for pyo3_runtime.PanicException, which a broken `cryptography` raises. It is no `Exception`."""


@pytest.mark.parametrize("error", [ImportError("no module"), UnsupportedAlgorithm("no such curve"), Panic("broken")])
def test_a_library_that_fails_means_that_nothing_is_signed(
    tmp_path: Path,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    monkeypatch.setattr(signing, "import_module", mock.Mock(side_effect=error))
    signer = Signer(key_file)
    with caplog.at_level(logging.WARNING):
        assert signer.sign({}, "1") is None
        assert signer.certificate("/sns/x.pem") is None
    assert [str(error) in each.message for each in caplog.records] == [True]


def test_a_system_that_forbids_sha1_signs_with_version_two_only(
    key_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some distributions, and the FIPS mode of OpenSSL, do."""
    monkeypatch.setattr(rsa_keys, "SHA1", mock.Mock(side_effect=UnsupportedAlgorithm("sha1 is not supported")))
    signer = Signer(key_file)
    with caplog.at_level(logging.WARNING):
        assert signer.sign({}, "1") is None
        assert signer.sign({}, "2") is not None
        assert signer.sign({}, "1") is None
    assert ["sha1 is not supported" in each.message for each in caplog.records] == [True]


def test_a_certificate_request_makes_no_key(tmp_path: Path) -> None:
    assert Signer(tmp_path / "key").certificate("/sns/x.pem") is None
    assert list(tmp_path.iterdir()) == []
