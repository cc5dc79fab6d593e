"""Signatures of notifications, with a key and a certificate of the broker's own.

AWS's documented check passes: a client reads the certificate at ``SigningCertURL`` and verifies the signature with its
public key. https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html

Signing takes the library `cryptography`, which the extra ``sns`` installs: a signature takes 0.3 ms with it, and 6 ms
in plain Python, during which nothing else runs. It is imported when the first notification is signed.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from wonderq.runtime.fibers import took
from wonderq.runtime.offload import BlockingPool
from wonderq_storage.disk import Disk, flush_to_medium, hand_to_owner

if TYPE_CHECKING:
    from wonderq.sns.rsa_keys import SigningKey

logger = logging.getLogger("wonderq.sns")

KEY_FILE = "sns-signing-key.pem"
"""Name of the file with the key and its certificate, in the folder of the broker."""

#: Interval at which a broker tries again to read or make the key.
RETRY_S = 10.0

#: Most reasons to remember for which notifications are not signed.
_MOST_REASONS = 10

#: Steps of `took` for a signature.
_STEPS = 260

#: Fields of a notification that are signed, in this order: those that it has.
_SIGNED = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")


def text_to_sign(notification: Mapping[str, str]) -> str:
    """Return the text whose signature a notification has: names and values of its fields, each with a line break."""
    return "".join(f"{name}\n{notification[name]}\n" for name in _SIGNED if name in notification)


class Signer:
    """Signs notifications. The key is made when it is first needed, and kept in a file that only its owner can read."""

    def __init__(
        self,
        file: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._now = now
        self._monotonic_s = monotonic_s
        self._key: SigningKey | None = None
        self._reasons: set[str] = set()
        """Reasons that were logged."""
        self._has_library = find_spec("cryptography") is not None
        self._next_try_s = 0.0  # after a failure: a disk may be full, or a file just being copied
        self._pool = BlockingPool(1)  # the library and a new key take tenths of a second; one thread makes one key

    def sign(self, notification: Mapping[str, str], version: str) -> tuple[str, str] | None:
        """Return the signature of a notification and the path of the certificate; None if this broker cannot sign.

        Whatever fails is logged, and raises nothing: messages without a signature are better than none.

        ``version`` is the signature version: ``1`` with SHA1, ``2`` with SHA256.
        """
        key = self._find()
        if key is None:
            return None
        took(_STEPS)
        try:
            return key.sign(text_to_sign(notification), version), _path_of(key)
        except Exception as error:  # noqa: BLE001 - such as that of a system that forbids SHA1
            self._warn(f"signature version {version} cannot be made: {_reason(error)}")
            return None

    def certificate(self, path: str) -> bytes | None:
        """Return the certificate at a path, as PEM; None if it is not there. This makes no key."""
        if self._key is None and not self._file.exists():
            return None
        key = self._find()
        return key.certificate if key is not None and _path_of(key) == path else None

    def _find(self) -> SigningKey | None:
        if self._has_library and self._is_due():
            self._pool.run(self._try_to_load)
        return self._key

    def _is_due(self) -> bool:
        return self._key is None and self._monotonic_s() >= self._next_try_s

    def _try_to_load(self) -> None:
        if not self._is_due():
            return  # another request has waited for it too
        try:
            self._key = self._load()
        except BaseException as error:  # noqa: BLE001 - a library that is broken panics, which is no Exception
            self._next_try_s = self._monotonic_s() + RETRY_S
            self._warn(
                f"{self._file} cannot be read or made: {_reason(error)}. Correct the cause, or remove the file if it "
                "is damaged. The broker tries again"
            )

    def _warn(self, reason: str) -> None:
        """Log why notifications are not signed, once for each reason."""
        if reason not in self._reasons:
            self._reasons = {*self._reasons, reason} if len(self._reasons) < _MOST_REASONS else {reason}
            logger.warning("notifications are not signed: %s", reason)

    def _load(self) -> SigningKey:
        """Read the file, or make it.

        Raises:
            OSError: the file cannot be read or written.
            ValueError, TypeError, UnsupportedAlgorithm: its content is damaged, encrypted, or not supported.
            BaseException: the library is broken.
        """
        rsa_keys = import_module("wonderq.sns.rsa_keys")
        try:
            data, mode = self._read()
        except FileNotFoundError:
            self._publish(rsa_keys.create(self._now()))
            data, mode = self._read()  # another process may have been faster
        loaded: SigningKey = rsa_keys.load(data)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger.warning(
                "%s: other users can read or change the key (mode %04o), and so forge notifications. Run chmod 600 on "
                "it, and if you do not trust them, remove it and restart",
                self._file,
                stat.S_IMODE(mode),
            )
        return loaded

    def _read(self) -> tuple[bytes, int]:
        """Return the content of the file and its mode.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        with open(self._file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError("not a regular file")
            return file.read(), mode

    def _publish(self, data: bytes) -> None:
        """Write the file, unless another process has written it meanwhile: the processes of a folder sign with one key.

        Raises:
            OSError: the file cannot be written.
        """
        Disk().make_folder(self._file.parent)  # a broker with its log in JetStream may have none
        unfinished = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}.tmp")
        try:
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(fd, "wb") as file:
                hand_to_owner(unfinished, self._file.parent, fd)
                file.write(data)
                file.flush()
                flush_to_medium(fd)
            _rename_unless_there(unfinished, self._file)
        finally:
            unfinished.unlink(missing_ok=True)
        Disk().sync_folder(self._file.parent)


def _rename_unless_there(old: Path, new: Path) -> None:
    """Give a file a new name, unless another file has that. ``old`` may stay as a second name."""
    try:
        os.link(old, new)
    except FileExistsError:
        pass
    except OSError:
        # The file system has no hard links. Two processes can still replace each other's file between these two calls.
        if not new.exists():
            old.rename(new)


def _reason(error: BaseException) -> str:
    """Return an error as text, without the names of temporary files, which differ each time."""
    return error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"


def _path_of(key: SigningKey) -> str:
    """Return the path of a certificate. It has its fingerprint, because clients keep a certificate for long."""
    return f"/sns/SimpleNotificationService-{sha256(key.certificate).hexdigest()[:32]}.pem"
