"""A certificate for localhost, made by openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


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
