"""The files of TLS with which NATS servers, and their clients, prove to each other who they are."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple


class TlsFiles(NamedTuple):
    """Files in PEM format. Each side checks the certificate of the other one."""

    authority: Path
    """Certificates of the authorities that the other side's certificate must come from."""
    certificate: Path | None = None
    """The own certificate, with those between it and the authority. A client without one proves nothing."""
    key: Path | None = None
    """The key of the certificate, without a passphrase."""

    def context(self) -> ssl.SSLContext:
        """Return the context of a client.

        Raises:
            OSError: a file cannot be read, is no such file, or the key belongs to another certificate. The message
                names the file.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody yet, and checks the name of the server
        for each in self:
            if each is not None:
                each.read_bytes()  # the errors of the calls below do not name the file
        try:
            context.load_verify_locations(self.authority)
        except ssl.SSLError as error:
            raise OSError(f"{self.authority} has no certificate of an authority: {error}") from error
        if self.certificate is None:
            return context
        try:
            context.load_cert_chain(self.certificate, self.key, password="")  # or OpenSSL asks the terminal
        except ssl.SSLError as error:
            raise OSError(f"{self.key} is not the key of {self.certificate}: {error}") from error
        return context


class ClientTls:
    """TLS of a client, whose files can be read again.

    Raises, from the constructor:
        OSError: see `TlsFiles.context`.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._context = files.context()

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection that begins now."""
        return self._context

    def reload(self) -> None:
        """Read the files again. The connections that begin from now on use them.

        Raises:
            OSError: see `TlsFiles.context`. The former files stay in use.
        """
        # A new context: one that exists keeps each authority it has had, and half of what cannot be used.
        self._context = self._files.context()
