"""Certificates for localhost: one that openssl makes, and those of an authority."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.waiting import PATIENCE_S
from wonderq_storage.nats.tls_files import TlsFiles


class Certificate(NamedTuple):
    """A certificate that is its own authority, and its key."""

    chain: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """Return the context of a client that trusts it, and nothing else."""
        return ssl.create_default_context(cafile=str(self.chain))

    def serving(self) -> ssl.SSLContext:
        """Return the context of a server that has it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate for localhost in a folder; skip the test where openssl is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(made.key), "-out", str(made.chain)),
        ],
        check=True,
        capture_output=True,
    )
    return made


class Authority:
    """An authority, whose certificates are for localhost and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority in {folder.name}")])
        self.file = folder / "authority.pem"
        own = x509.BasicConstraints(ca=True, path_length=None)
        self.file.write_bytes(self._signed(self._name, self._key.public_key(), own))

    def issue(self, name: str) -> TlsFiles:
        """Write a certificate and its key, perhaps over former ones with that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        files = TlsFiles(self.file, self._folder / f"{name}.pem", self._folder / f"{name}.key")
        assert files.certificate is not None
        assert files.key is not None
        files.certificate.write_bytes(self._signed(subject, key.public_key(), x509.SubjectAlternativeName(places)))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> bytes:
        now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def options_of(files: TlsFiles) -> tuple[str, ...]:
    """Return the options with which a node of a cluster uses these files."""
    named = {"ca": files.authority, "cert": files.certificate, "key": files.key}
    return tuple(word for name, file in named.items() for word in (f"--tls-{name}-file", str(file)))


def certificate_at(port: int, files: TlsFiles) -> bytes:
    """Return the certificate, in DER, of a server that speaks TLS from the first byte on, to a client with these files.

    Raises:
        OSError: it does not, or the two do not trust each other.
    """
    context = files.context()
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        found = tls.getpeercert(binary_form=True)
        assert found is not None
        return found


def certificate_in(files: TlsFiles) -> bytes:
    """Return the certificate of these files, in DER."""
    assert files.certificate is not None
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
