"""The files of TLS: what is refused, and what a client accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.certificates import Authority
from wonderq_storage.nats.tls_files import TlsFiles


def test_good_files_are_accepted(tmp_path: Path) -> None:
    files = Authority(tmp_path / "authority").issue("a")
    context = files.context()
    assert [each["subject"] for each in context.get_ca_certs()] == [((("commonName", "authority in authority"),),)]
    assert context.check_hostname


@pytest.mark.parametrize("damaged", ["authority", "certificate", "key"])
@pytest.mark.parametrize("how", ["missing", "nonsense", "of another"])
def test_files_that_cannot_be_used_are_named(tmp_path: Path, damaged: str, how: str) -> None:
    files = Authority(tmp_path / "authority").issue("a")
    other = Authority(tmp_path / "other").issue("other")
    file = getattr(files, damaged)
    if how == "missing":
        file.unlink()
    elif how == "nonsense":
        file.write_text("nonsense")
    elif damaged == "authority":
        return  # whose certificates the other side has shows only when they meet
    else:
        file.write_bytes(getattr(other, damaged).read_bytes())
    with pytest.raises(OSError, match=file.name):
        files.context()


def test_a_client_may_have_no_certificate(tmp_path: Path) -> None:
    TlsFiles(Authority(tmp_path / "authority").file).context()


def test_a_key_with_a_passphrase_is_refused_without_a_question(tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal, and a node has none."""
    files = Authority(tmp_path / "authority").issue("a")
    assert files.key is not None
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(OSError, match=files.key.name):
        files.context()
