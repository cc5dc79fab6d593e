"""API keys. `wonderq key` writes them to a file, and a running broker follows changes of the file.

A key is ``wq_ID_SECRET``. The id is public and finds the entry. The file stores only a hash of the whole text.

The hash is one SHA-256, without salt or stretching. Those slow down guessing, which is not feasible with 256 random
bits: NIST SP 800-63B-3, section 5.1.2.2, requires them below 112 bits
(https://pages.nist.gov/800-63-3/sp800-63b.html#lusv).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hmac import compare_digest
from itertools import repeat
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from wonderq.auth.roles import INCLUDED, MAX_REQUESTS_PER_SECOND, ROLES, Role
from wonderq_storage.disk import Disk, flush_to_medium

logger = logging.getLogger("wonderq.keys")

#: Interval at which a running broker checks the file for changes.
CHECK_INTERVAL_S = 1.0

_PREFIX = "wq_"
_ACCESS_KEY_PREFIX = "WQIA"
_SQS_SECRET_BYTES = 20
_ID_BYTES = 6
_SECRET_BYTES = 32
_ID = slice(len(_PREFIX), len(_PREFIX) + 2 * _ID_BYTES)
_LONGEST_HEADER = 200
_NOT_FOUND = (FileNotFoundError, NotADirectoryError)
_LONGEST_FILE_BYTES = 1 << 20  # bounds how long a reload delays requests

NAME = r"\A[^\x00-\x1f\x7f-\x9f]{1,80}\Z"
"""Regular expression of the names of keys."""

PATTERN = r"\A[A-Za-z0-9_.*?!\[\]-]{1,100}\Z"
"""Regular expression of the patterns of queues that keys may use."""

Name = Annotated[str, Meta(pattern=NAME)]
Pattern = Annotated[str, Meta(pattern=PATTERN)]
Time = Annotated[datetime, Meta(tz=True)]


class KeysError(Exception):
    """The key file cannot be used; the message names the file and the reason."""


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An entry of the file: the properties of a key, without its text."""

    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{12}\Z")]
    name: Name
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    roles: Annotated[list[Role], Meta(min_length=1)]
    queues: Annotated[list[Pattern], Meta(min_length=1)]
    created_at: Time
    expires_at: Time | None = None
    requests_per_second: Annotated[int, Meta(ge=1, le=MAX_REQUESTS_PER_SECOND)] | None = None
    sqs_secret: Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")] | None = None
    """Secret that SQS clients sign with, if the key is for them. Checking a signature needs it in plain text."""

    @property
    def access_key_id(self) -> str:
        """The id by which SQS clients name the key."""
        return f"{_ACCESS_KEY_PREFIX}{self.id.upper()}"

    def has(self, role: Role) -> bool:
        """Return whether the key has a role, itself or through a role that includes it."""
        return role in self.roles or any(role in INCLUDED.get(each, ()) for each in self.roles)

    def opens(self, queue: str | None) -> bool:
        """Return whether one of the key's patterns matches a queue; for None, whether the key opens all queues."""
        if queue is None:
            return "*" in self.queues
        return any(map(fnmatchcase, repeat(queue), self.queues))

    def expired(self, now_s: float) -> bool:
        return self.expires_at is not None and self.expires_at.timestamp() <= now_s


class _File(Struct, forbid_unknown_fields=True):
    version: Literal[1]
    keys: list[Key]


_decode = msgspec.json.Decoder(_File).decode
_encode = msgspec.json.Encoder().encode

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def _placeholder(name: str, expires_at: datetime | None) -> Key:
    return Key(
        id="0" * 12,
        name=name,
        sha256="0" * 64,
        roles=["admin"],
        queues=["*"],
        created_at=_LONG_AGO,
        expires_at=expires_at,
    )


#: The key of every request to a broker that has no keys.
EVERYBODY = _placeholder("everybody", None)
#: Stands in for an unknown id, so that looking up an unknown key takes as long as a known one.
_NOBODY = _placeholder("nobody", _LONG_AGO)


class Keys:
    """The current keys of a file. A request checks the file for changes if the last check is a second ago.

    Without keys every request is permitted, until the first key is created. From then on each request needs a key, even
    when no key is left. If the file becomes unreadable, the keys read last stay in use. A missing file has no keys.

    Raises:
        KeysError: the file cannot be read at the start.
    """

    def __init__(
        self, path: Path, *, check_interval_s: float = CHECK_INTERVAL_S, now_s: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.required = False
        """Whether requests need a key: the file has, or had, one."""
        self._check_interval_s = check_interval_s
        self._now_s = now_s
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, ...] | None = None  # of the file that the keys were read from
        self._last_error = ""
        self._next_check_s = 0.0
        self._load()

    @property
    def count(self) -> int:
        """Number of keys."""
        return len(self._keys)

    def all(self) -> list[Key]:
        """Return all keys, in the order in which they were created."""
        return sorted(self._keys.values(), key=lambda each: (each.created_at, each.id))

    def find(self, authorization: str | None) -> Key | None:
        """Return the valid key in an ``Authorization`` header, or None; `EVERYBODY` if no key is required."""
        if time.monotonic() >= self._next_check_s:
            self._reload_if_changed()
        if not self.required:
            return EVERYBODY
        if authorization is None or len(authorization) > _LONGEST_HEADER:
            authorization = ""
        # A repeated header arrives as one value with a comma, which no key contains.
        scheme, _, text = authorization.partition(" ")
        text = text.strip(" ")
        key = self._keys.get(text[_ID], _NOBODY)
        # Compare bytes, because compare_digest raises an error for non-ASCII text.
        same = compare_digest(_hash(text).digest(), bytes.fromhex(key.sha256))
        return key if same and scheme.lower() == "bearer" and not key.expired(self._now_s()) else None

    def find_by_id(self, key_id: str) -> Key | None:
        """Return the valid key with an id, for a client that has shown the key before."""
        if time.monotonic() >= self._next_check_s:
            self._reload_if_changed()
        key = self._keys.get(key_id)
        return None if key is None or key.expired(self._now_s()) else key

    def find_signed(self, access_key_id: str) -> Key | None:
        """Return the valid key for SQS clients that has this id, or None."""
        if time.monotonic() >= self._next_check_s:
            self._reload_if_changed()
        key = self._keys.get(access_key_id.removeprefix(_ACCESS_KEY_PREFIX).lower())
        is_valid = key is not None and key.sqs_secret is not None and not key.expired(self._now_s())
        return key if is_valid else None

    def reload(self) -> None:
        """Read the file now, whether it has changed or not. If that fails, the keys read before stay in use."""
        self._stamp = ()
        self._reload_if_changed()

    def _reload_if_changed(self) -> None:
        """Read the file again if it has changed."""
        self._next_check_s = time.monotonic() + self._check_interval_s
        try:
            if _stamp(self.path) != self._stamp:
                self._load()
                logger.info("read %s again: %d keys", self.path, self.count)
                if self.required and not self._keys:
                    logger.warning("no keys are left, so every request is refused")
            self._last_error = ""
        except (OSError, KeysError) as error:
            if str(error) != self._last_error:
                logger.error("%s. The keys read before stay in use", error)  # noqa: TRY400 - nothing to trace
            self._last_error = str(error)

    def _load(self) -> None:
        """Read the file.

        Raises:
            KeysError: the file cannot be read, or every user can change it, and so create keys.
        """
        keys, stamp = read(self.path)
        mode = stamp[-1] if stamp else 0
        if mode & stat.S_IWOTH:
            raise KeysError(
                f"{self.path}: every user of this machine can change the keys (mode {stat.S_IMODE(mode):04o}). Run "
                "chmod 600 on it, and check that the keys are yours"
            )
        if mode & (stat.S_IWGRP | stat.S_IROTH):
            logger.warning(
                "%s: other users can read or change the keys (mode %04o). Run chmod 600 on it",
                self.path,
                stat.S_IMODE(mode),
            )
        self._keys = {key.id: key for key in keys}
        self.required = self.required or bool(keys)
        # Last: SIGHUP may have had newer keys read meanwhile. The next check then finds that the stamp is not theirs.
        self._stamp = stamp


def _hash(text: str) -> hashlib._Hash:
    return hashlib.sha256(text.encode(errors="replace"))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return a value that changes when the file is replaced, with its mode at the end; None if there is no file."""
    try:
        return _stamp_of(os.stat(path))
    except _NOT_FOUND:
        return None


def _stamp_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def read(path: Path) -> tuple[list[Key], tuple[int, ...] | None]:
    """Return the keys of a file and its stamp; for a missing file, no keys and None.

    Raises:
        KeysError: the file cannot be read, or does not contain keys.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeysError(f"{path}: the keys cannot be read: not a regular file")
            data = file.read(_LONGEST_FILE_BYTES + 1)
    except _NOT_FOUND:
        return [], None
    except OSError as error:
        raise KeysError(f"{path}: the keys cannot be read: {error.strerror}") from error
    try:
        return _parse(data), _stamp_of(found)
    except ValueError as error:
        raise KeysError(f"{path}: the keys cannot be read: {error}") from error


def _parse(data: bytes) -> list[Key]:
    """Return the keys in a file's content. Raises ValueError if the content is not valid."""
    if len(data) > _LONGEST_FILE_BYTES:
        raise ValueError(f"the file has more than {_LONGEST_FILE_BYTES} bytes")
    try:
        keys = _decode(data).keys
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("two of the keys have the same id")
    return keys


def _format(keys: Sequence[Key]) -> bytes:
    """Return a file's content, with one line per key. Raises ValueError if `read` would not accept it."""
    data = b'{"version":1,"keys":[\n%s\n]}\n' % b",\n".join(map(_encode, keys))
    _parse(data)
    return data


def create(
    path: Path,
    *,
    name: str,
    roles: Sequence[Role],
    queues: Sequence[str],
    expires_at: datetime | None = None,
    requests_per_second: int | None = None,
    for_sqs: bool = False,
) -> tuple[Key, str]:
    """Add a key to the file, which is created if necessary.

    Returns the entry and the text of the key, which is stored nowhere. With ``for_sqs`` the entry also has a secret for
    SQS clients, in plain text.

    Raises:
        KeysError: a value is not valid, or the file cannot be read or written.
    """
    key_id = secrets.token_hex(_ID_BYTES)
    text = f"{_PREFIX}{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
    now = datetime.now(UTC).replace(microsecond=0)
    key = Key(
        id=key_id,
        name=name,
        sha256=_hash(text).hexdigest(),
        roles=[role for role in ROLES if role in roles],
        queues=list(dict.fromkeys(queues)),
        created_at=now,
        expires_at=expires_at,
        requests_per_second=requests_per_second,
        sqs_secret=secrets.token_hex(_SQS_SECRET_BYTES) if for_sqs else None,
    )
    with _changing(path, make_folder=True) as keys:
        keys.append(key)
    return key, text


def revoke(path: Path, ids: Sequence[str]) -> int:
    """Remove keys from the file, all or none, and return the number of keys left.

    An id may also be the text of its key.

    Raises:
        KeysError: an id is unknown, or the file cannot be read or written.
    """
    revoked = {each[_ID] if each.startswith(_PREFIX) else each for each in ids}
    with _changing(path) as keys:
        unknown = revoked - {key.id for key in keys}
        if unknown:
            raise KeysError(f"{path} has no key with the id {min(unknown)}. Nothing was changed")
        keys[:] = [key for key in keys if key.id not in revoked]
    return len(keys)


def change(path: Path, change: Callable[[list[Key]], Sequence[Key]]) -> None:
    """Replace the keys of a file, which is created if necessary, by those that ``change`` returns for the present ones.

    Raises:
        KeysError: the file cannot be read or written.
    """
    with _changing(path, make_folder=True) as keys:
        keys[:] = change(list(keys))


def encode(keys: Sequence[Key]) -> bytes:
    """Return keys as the content of a file. Raises ValueError if there are too many."""
    return _format(keys)


def decode(data: bytes) -> list[Key]:
    """Return the keys in the content of a file. Raises ValueError if it is not valid."""
    return _parse(data)


@contextmanager
def _changing(path: Path, *, make_folder: bool = False) -> Iterator[list[Key]]:
    """Yield the keys of a file for changes, then write the file atomically. Waits for other writers."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        if make_folder:
            Disk().make_folder(path.parent)
        fd = _lock(unfinished)
        try:
            try:
                keys, _ = read(path)
                yield keys
                _write(fd, path, _format(keys))
            except BaseException:
                os.unlink(unfinished)
                raise
            os.rename(unfinished, path)
            Disk().sync_folder(path.parent)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise KeysError(f"{path}: the keys cannot be written: {reason}") from error


def _lock(unfinished: Path) -> int:
    """Open and lock the temporary file that is renamed to the key file, waiting for another writer.

    The temporary file is also the lock. A file that a crash left behind is not locked. The folder cannot be the lock,
    because a running broker holds its lock.
    """
    while True:
        fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(unfinished)):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the other writer has renamed it


def _write(fd: int, path: Path, data: bytes) -> None:
    os.ftruncate(fd, 0)
    os.fchmod(fd, 0o600)
    if os.geteuid() == 0:  # the broker, which may run as another user, must be able to read the file
        owner = os.stat(path if path.exists() else path.parent)
        os.fchown(fd, owner.st_uid, owner.st_gid)
    while data:
        data = data[os.write(fd, data) :]
    flush_to_medium(fd)
