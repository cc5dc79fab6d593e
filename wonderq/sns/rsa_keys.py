"""Keys and certificates for signatures, with the library `cryptography`. Only `wonderq.sns.signing` imports this."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import (
    CertificateBuilder,
    Name,
    NameAttribute,
    load_pem_x509_certificate,
    random_serial_number,
)
from cryptography.x509.oid import NameOID

_KEY_BITS = 2048
_LIFETIME = timedelta(days=20 * 365)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class SigningKey(NamedTuple):
    """A key and its certificate."""

    key: RSAPrivateKey
    certificate: bytes
    """The certificate, as PEM."""

    def sign(self, text: str, version: str) -> str:
        """Return the signature of a text in base64: with SHA1 for version ``1``, as SNS defines, else with SHA256."""
        digest = SHA256() if version == "2" else SHA1()  # noqa: S303 - version 1 is defined with it
        return b64encode(self.key.sign(text.encode(), PKCS1v15(), digest)).decode()


def create(now: datetime) -> bytes:
    """Return a new key and its certificate, which the key itself signs, as PEM."""
    key = generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    name = Name([NameAttribute(NameOID.COMMON_NAME, "WonderQ notifications")])
    builder = CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + _LIFETIME)
    certificate = builder.sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def load(data: bytes) -> SigningKey:
    """Return a key and its certificate.

    Raises:
        ValueError: the data are damaged.
        TypeError: the key is encrypted.
        UnsupportedAlgorithm: the library or the system does not support the kind of key.
    """
    key_data, separator, rest = data.partition(_CERTIFICATE)
    key = load_pem_private_key(key_data, None)
    certificate = separator + rest
    if not isinstance(key, RSAPrivateKey) or key.public_key() != load_pem_x509_certificate(certificate).public_key():
        raise ValueError("the key and the certificate do not belong together")
    return SigningKey(key, certificate)
