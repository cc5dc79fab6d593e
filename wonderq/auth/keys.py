"""API keys: who may use a broker. They are in a file that `wonderq keys` writes, and that a running broker follows.

A key is ``wq_ID_SECRET``. The id is public, and finds the entry; the file has only a hash of the whole text.

The hash is one SHA-256, without salt or stretching: those make guessing slower, and nobody guesses 256 random bits. NIST SP
800-63B-3, section 5.1.2.2, draws that line at 112 bits (https://pages.nist.gov/800-63-3/sp800-63b.html#lusv).
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

from wonderq.auth.roles import MAX_REQUESTS_PER_SECOND, ROLES, Role
from wonderq_storage.disk import Disk

logger = logging.getLogger("wonderq.keys")

#: How long a running broker may go on with what the file said before.
LOOK_EVERY_S = 1.0

_PREFIX = "wq_"
_ACCESS_KEY_PREFIX = "WQIA"
_SQS_SECRET_BYTES = 20
_ID_BYTES = 6
_SECRET_BYTES = 32
_ID = slice(len(_PREFIX), len(_PREFIX) + 2 * _ID_BYTES)
_LONGEST_HEADER = 200
_NOT_THERE = (FileNotFoundError, NotADirectoryError)
_LONGEST_FILE_BYTES = 1 << 20  # so that reading it holds up no request for long

Name = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]{1,80}\Z")]
Pattern = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.*?!\[\]-]{1,100}\Z")]
Time = Annotated[datetime, Meta(tz=True)]


class KeysError(Exception):
    """The file of keys cannot be used; the message says which file, and why."""


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An entry of the file: what is known of a key, without the key."""

    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{12}\Z")]
    name: Name
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    roles: Annotated[list[Role], Meta(min_length=1)]
    queues: Annotated[list[Pattern], Meta(min_length=1)]
    created_at: Time
    expires_at: Time | None = None
    requests_per_second: Annotated[int, Meta(ge=1, le=MAX_REQUESTS_PER_SECOND)] | None = None
    sqs_secret: Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")] | None = None
    """The secret that SQS' clients sign with, if the key is for them: to check a signature one has to have it as it is."""

    @property
    def access_key_id(self) -> str:
        """By which SQS' clients name it."""
        return f"{_ACCESS_KEY_PREFIX}{self.id.upper()}"

    def has(self, role: Role) -> bool:
        return role in self.roles or "admin" in self.roles

    def opens(self, queue: str) -> bool:
        return any(map(fnmatchcase, repeat(queue), self.queues))

    def expired(self, now_s: float) -> bool:
        return self.expires_at is not None and self.expires_at.timestamp() <= now_s


class _File(Struct, forbid_unknown_fields=True):
    version: Literal[1]
    keys: list[Key]


_decode = msgspec.json.Decoder(_File).decode
_encode = msgspec.json.Encoder().encode

_LONG_AGO = datetime.fromtimestamp(0, UTC)


def _stand_in(name: str, expires_at: datetime | None) -> Key:
    return Key(
        id="0" * 12,
        name=name,
        sha256="0" * 64,
        roles=["admin"],
        queues=["*"],
        created_at=_LONG_AGO,
        expires_at=expires_at,
    )


#: Who uses a broker that has no keys.
EVERYBODY = _stand_in("everybody", None)
#: Takes the place of the key that an unknown id does not have, so that it takes the same work.
_NOBODY = _stand_in("nobody", _LONG_AGO)


class Keys:
    """The keys of a file, as it is now: it is looked at again once a second, when a request comes.

    Without keys at the start everybody gets in, until there is one. From then on nobody gets in without a key, also if none
    is left. Where the file cannot be read any more, the keys read last stay in use.

    Raises KeysError if it cannot be read at the start. A file that is not there has no keys.
    """

    def __init__(
        self, path: Path, *, look_every_s: float = LOOK_EVERY_S, now_s: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.required = False
        """Whether there is, or was, a key."""
        self._look_every_s = look_every_s
        self._now_s = now_s
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, ...] | None = None  # of the file that these were read from
        self._trouble = ""
        self._look_again_s = 0.0
        self._load()

    @property
    def count(self) -> int:
        return len(self._keys)

    def find(self, authorization: str | None) -> Key | None:
        """Return the key that an ``Authorization`` header brings, or None if it brings none that counts."""
        if time.monotonic() >= self._look_again_s:
            self._look()
        if not self.required:
            return EVERYBODY
        if authorization is None or len(authorization) > _LONGEST_HEADER:
            authorization = ""
        # Two such headers come as one with a comma in it, which no key has.
        scheme, _, text = authorization.partition(" ")
        text = text.strip(" ")
        key = self._keys.get(text[_ID], _NOBODY)
        # Of bytes, since compare_digest raises an error for text that is not ASCII.
        same = compare_digest(_hash(text).digest(), bytes.fromhex(key.sha256))
        return key if same and scheme.lower() == "bearer" and not key.expired(self._now_s()) else None

    def find_signed(self, access_key_id: str) -> Key | None:
        """Return the key that SQS' clients call this, or None if there is none that counts and is for them."""
        if time.monotonic() >= self._look_again_s:
            self._look()
        key = self._keys.get(access_key_id.removeprefix(_ACCESS_KEY_PREFIX).lower())
        is_valid = key is not None and key.sqs_secret is not None and not key.expired(self._now_s())
        return key if is_valid else None

    def _look(self) -> None:
        """Read the file again if it is another one than before."""
        self._look_again_s = time.monotonic() + self._look_every_s
        try:
            if _stamp(self.path) != self._stamp:
                self._load()
                logger.info("%s has changed: %d keys", self.path, self.count)
                if self.required and not self._keys:
                    logger.warning("no keys are left, so nobody gets in")
            self._trouble = ""
        except (OSError, KeysError) as error:
            if str(error) != self._trouble:
                logger.error("%s. The keys that were read before stay in use", error)  # noqa: TRY400 - nothing to trace
            self._trouble = str(error)

    def _load(self) -> None:
        keys, self._stamp = read(self.path)
        self._keys = {key.id: key for key in keys}
        self.required = self.required or bool(keys)


def _hash(text: str) -> hashlib._Hash:
    return hashlib.sha256(text.encode(errors="replace"))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file from the one that takes its place, or None if there is none."""
    try:
        return _stamp_of(os.stat(path))
    except _NOT_THERE:
        return None


def _stamp_of(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read(path: Path) -> tuple[list[Key], tuple[int, ...] | None]:
    """Return the keys of a file, and its stamp; of a file that is not there, no keys and None.

    Raises:
        KeysError: it cannot be read, or does not hold keys.
    """
    try:
        # Opening a pipe would wait for somebody to write to it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeysError(f"{path}: the keys cannot be read: this is no file")
            data = file.read(_LONGEST_FILE_BYTES + 1)
    except _NOT_THERE:
        return [], None
    except OSError as error:
        raise KeysError(f"{path}: the keys cannot be read: {error.strerror}") from error
    try:
        return _parse(data), _stamp_of(found)
    except ValueError as error:
        raise KeysError(f"{path}: the keys cannot be read: {error}") from error


def _parse(data: bytes) -> list[Key]:
    """Return the keys in a file's content. Raises ValueError if it is not one."""
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
    """Return a file's content, a line for each key. Raises ValueError if it would not be read again."""
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
    """Add a key to the file, which is made if it is not there; returns the entry, and the text that nobody gets again.

    With ``for_sqs`` it has a secret for SQS' clients too, which stands in the file as it is.

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
    """Remove keys from the file, all or none, and return how many are left. An id may also be the whole text of its key.

    Raises:
        KeysError: one of them is not there, or the file cannot be read or written.
    """
    gone = {each[_ID] if each.startswith(_PREFIX) else each for each in ids}
    with _changing(path) as keys:
        unknown = gone - {key.id for key in keys}
        if unknown:
            raise KeysError(f"{path} has no key with the id {min(unknown)}. Nothing was changed")
        keys[:] = [key for key in keys if key.id not in gone]
    return len(keys)


@contextmanager
def _changing(path: Path, *, make_folder: bool = False) -> Iterator[list[Key]]:
    """Give the keys of a file to be changed, and then write them; one at a time, and as a whole or not at all."""
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
    """Open the file that is written before it takes the other's name, and wait until nobody else writes it.

    It is the lock itself, so none is left lying about: what a crash leaves is locked by nobody. The folder cannot be one, as
    a running broker holds that.
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
        os.close(fd)  # whoever had it has renamed it


def _write(fd: int, path: Path, data: bytes) -> None:
    os.ftruncate(fd, 0)
    os.fchmod(fd, 0o600)
    if os.geteuid() == 0:  # whoever runs the broker has to be able to read what the administrator writes
        owner = os.stat(path if path.exists() else path.parent)
        os.fchown(fd, owner.st_uid, owner.st_gid)
    while data:
        data = data[os.write(fd, data) :]
    os.fsync(fd)
