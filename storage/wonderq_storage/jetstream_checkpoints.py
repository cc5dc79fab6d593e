"""Checkpoints of a log in JetStream, in a stream of their own, so that a process on another machine can use them.

A checkpoint is a run of messages, its pieces, and one last message, the manifest::

    NAME.checkpoint.END-TOKEN.piece      the chunks, each after its length (4 bytes), cut at 1 MiB; then a crc
    NAME.checkpoint.END-TOKEN.manifest   msgpack: version, mark, first sequence, number and bytes of the pieces, crc

``END`` is the position of the mark in decimal, ``TOKEN`` is random. The crc of a piece is CRC-32 of the piece,
continued from that of the piece before; the manifest has that of the last one. Integers are little-endian.

A checkpoint without a manifest is unfinished. The next one of a later mark removes it, whoever writes that. A former
owner may still write one while its successor works: it is of a beginning that both agree on, so it is as good as any
other, or pieces of it were removed and it is known to be damaged.
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgpack

from wonderq_storage.checksum import crc32
from wonderq_storage.errors import DamagedCheckpointError, DiskFullError, LogFailedError
from wonderq_storage.jetstream_stream import Pauses, patiently
from wonderq_storage.log import Mark
from wonderq_storage.nats import ApiError, JetStream, NatsError, StoredMessage
from wonderq_storage.nats.jetstream import STREAM_DIFFERS, STREAM_NOT_FOUND, is_full

logger = logging.getLogger("wonderq.storage")

T = TypeVar("T")

VERSION = 1

#: Size at which the chunks are cut.
PIECE_BYTES = 1 << 20

#: Number of checkpoints kept. If the newest is damaged, the one before it still saves most of the work.
KEPT = 2

_CALL_S = 2.0

#: Patience of a `write` with each call. An election may take longer, but a stop of the broker waits for the write, and
#: it is tried again if nobody stops.
_WRITE_S = 5.0

#: Patience of a start with the list of checkpoints, and with each of them. An election takes longer, and without any
#: checkpoint the log is read from its beginning meanwhile.
_READ_S = 2.0

_LENGTH_BYTES, _CRC_BYTES = 4, 4

#: Messages of one batch, and the patience with replicas that do not have a piece yet.
_BATCH_PIECES = 64
_REPLICA_S = 2.0


class _Manifest(NamedTuple):
    version: int
    end: int
    place: bytes
    first_sequence: int
    pieces: int
    size: int
    crc: int


class JetStreamCheckpoints:
    """A `wonderq_storage.log.Checkpoints` beside the log in the stream ``stream``.

    The caller owns the connection of ``jetstream``. ``patience_s`` limits the repetitions of a call.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        *,
        replicas: int = 1,
        patience_s: float = _WRITE_S,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._jetstream = jetstream
        self._name = f"{stream}-checkpoints"
        self._prefix = f"{stream}.checkpoint"
        self._replicas = replicas
        self._patience_s = patience_s
        self._piece_bytes = piece_bytes
        self._proved: set[str] = set()
        """Names of the checkpoints that this object wrote, and of those that a start used and a `write` has kept."""
        self._proved_ends: set[int] = set()
        """Ends of the checkpoints that a start used since the last `write`."""

    def write(self, mark: Mark, chunks: Iterable[bytes]) -> int:
        self._patiently(self._create)
        name = f"{mark.end:020d}-{secrets.token_hex(4)}"
        try:
            manifest = self._write_pieces(name, mark, chunks)
            self._publish(f"{self._prefix}.{name}.manifest", f"{name}:manifest", _with_crc(msgpack.packb(manifest)))
        except BaseException:
            with contextlib.suppress(NatsError):
                self._purge(name)
            raise
        # Also those that an owner left unfinished when it was killed.
        older = [each for each in self._names("*") if _end_of(each) <= mark.end and each != name]
        kept = [each for each in older if each in self._proved or _end_of(each) in self._proved_ends][: KEPT - 1]
        for each in older:
            if each not in kept:
                self._patiently(partial(self._purge, each))
        self._proved, self._proved_ends = {name, *kept}, set()
        return manifest.size

    def _create(self) -> None:
        """Make the stream, unless there is one.

        It may have been made with another number of replicas. Without checkpoints, each start would read all of the
        log, and they are a cache, so it is good enough as it is.
        """
        config = {
            "name": self._name,
            "subjects": [f"{self._prefix}.>"],
            "num_replicas": self._replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "allow_direct": True,
        }
        try:
            self._jetstream.create_stream(config, timeout_s=_CALL_S)
        except ApiError as error:
            if error.error_code != STREAM_DIFFERS:
                raise

    def _write_pieces(self, name: str, mark: Mark, chunks: Iterable[bytes]) -> _Manifest:
        crc = pieces = size = first_sequence = 0
        for piece in _pieces(chunks, self._piece_bytes):
            crc = crc32(piece, crc)
            data = piece + crc.to_bytes(_CRC_BYTES, "little")
            sequence = self._publish(f"{self._prefix}.{name}.piece", f"{name}:{pieces}", data)
            first_sequence = first_sequence or sequence
            pieces += 1
            size += len(data)
        return _Manifest(VERSION, mark.end, mark.place, first_sequence, pieces, size, crc)

    def _publish(self, subject: str, message_id: str, data: bytes) -> int:
        """Append a message, and return its sequence. A repetition with the same id is recognized."""
        headers = {"Nats-Msg-Id": message_id}
        return self._patiently(
            lambda: self._jetstream.publish(self._name, subject, data, headers, timeout_s=_CALL_S)
        ).sequence

    def prove(self, mark: Mark) -> None:
        # A start that has taken the log over calls this, and must not wait for a leader of this stream.
        self._proved_ends.add(mark.end)

    def newest_first(self) -> Iterator[tuple[Mark, Iterator[bytes]]]:
        try:
            names = self._names("manifest", _READ_S)
        except LogFailedError as error:
            logger.warning("the whole log is read, because its checkpoints cannot be reached: %s", error)
            return
        for name in names:
            try:
                manifest = self._manifest(name)
            except (LogFailedError, DamagedCheckpointError, ValueError, TypeError) as error:
                logger.warning("skipping the checkpoint %s: %s", name, error)
                continue
            with contextlib.closing(self._chunks(name, manifest)) as chunks:
                yield Mark(manifest.end, manifest.place), chunks

    def _manifest(self, name: str) -> _Manifest:
        subject = f"{self._prefix}.{name}.manifest"
        found = self._patiently(lambda: self._jetstream.get_last(self._name, subject, timeout_s=_CALL_S), _READ_S)
        if found is None:
            raise DamagedCheckpointError("it was removed meanwhile")
        data, crc = found.payload[:-_CRC_BYTES], found.payload[-_CRC_BYTES:]
        if crc32(data).to_bytes(_CRC_BYTES, "little") != crc:
            raise DamagedCheckpointError("its manifest does not verify")
        manifest = _Manifest(*msgpack.unpackb(data))
        if manifest.version != VERSION:
            raise DamagedCheckpointError(f"it has version {manifest.version}, and this WonderQ reads {VERSION}")
        return manifest

    def _chunks(self, name: str, manifest: _Manifest) -> Generator[bytes, None, None]:
        """Yield the chunks.

        Raises:
            DamagedCheckpointError: the next one does not verify, or is missing.
        """
        buffer = bytearray()
        crc = 0
        for stored in self._stored_pieces(name, manifest):
            piece = stored.payload[:-_CRC_BYTES]
            crc = crc32(piece, crc)
            if stored.payload[-_CRC_BYTES:] != crc.to_bytes(_CRC_BYTES, "little"):
                raise DamagedCheckpointError(f"the piece in message {stored.sequence} does not verify")
            buffer += piece
            at = 0
            while (start := at + _LENGTH_BYTES) <= len(buffer):
                stop = start + int.from_bytes(buffer[at:start], "little")
                if stop > len(buffer):
                    break
                yield bytes(buffer[start:stop])
                at = stop
            del buffer[:at]
        if buffer or crc != manifest.crc:
            raise DamagedCheckpointError("it ends too early")

    def _stored_pieces(self, name: str, manifest: _Manifest) -> Iterator[StoredMessage]:
        """Yield as many pieces as there are, from any replica."""
        subject, sequence, left = f"{self._prefix}.{name}.piece", manifest.first_sequence, manifest.pieces
        pauses = Pauses(_REPLICA_S)
        while left:
            before = left
            with contextlib.suppress(NatsError):
                batch = self._jetstream.get_batch(
                    self._name,
                    sequence,
                    subject=subject,
                    messages=min(left, _BATCH_PIECES),
                    max_bytes=_BATCH_PIECES * (self._piece_bytes + _CRC_BYTES),
                    timeout_s=_CALL_S,
                )
                with contextlib.closing(batch):
                    for stored in batch:
                        yield stored
                        sequence, left = stored.sequence + 1, left - 1
            if left == before and not pauses.wait():
                raise DamagedCheckpointError(f"{left} of its {manifest.pieces} pieces are missing")

    def remove_unfinished(self) -> None:
        finished = set(self._names("manifest"))
        for name in self._names("piece"):
            if name not in finished:
                self._patiently(partial(self._purge, name))

    def _names(self, kind: str, patience_s: float = math.inf) -> list[str]:
        """Return the names of the checkpoints that have a message of a kind, the one of the latest mark first.

        ``*`` stands for any kind.
        """
        body = {"subjects_filter": f"{self._prefix}.*.{kind}"}

        def call() -> dict[str, Any]:
            try:
                return self._jetstream.read(f"STREAM.INFO.{self._name}", body, timeout_s=_CALL_S)
            except ApiError as error:
                if error.error_code == STREAM_NOT_FOUND:
                    return {}
                raise

        subjects = (self._patiently(call, patience_s).get("state") or {}).get("subjects") or {}
        names = {each.removeprefix(f"{self._prefix}.").partition(".")[0] for each in subjects}
        return sorted(filter(_is_ours, names), reverse=True)

    def _purge(self, name: str) -> None:
        self._jetstream.call(f"STREAM.PURGE.{self._name}", {"filter": f"{self._prefix}.{name}.*"}, timeout_s=_CALL_S)

    def _patiently(self, call: Callable[[], T], patience_s: float = math.inf) -> T:
        def call_while_there_is_room() -> T:
            try:
                return call()
            except NatsError as error:
                if is_full(error):
                    raise DiskFullError(f"no room for a checkpoint in JetStream: {error}") from error
                raise

        return patiently(self._name, call_while_there_is_room, Pauses(min(patience_s, self._patience_s)))


def _pieces(chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    """Yield the chunks, each after its length, cut into pieces of one size; the last one is shorter."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += len(chunk).to_bytes(_LENGTH_BYTES, "little") + chunk
        while len(buffer) >= piece_bytes:
            yield bytes(buffer[:piece_bytes])
            del buffer[:piece_bytes]
    if buffer:
        yield bytes(buffer)


def _with_crc(data: bytes) -> bytes:
    return data + crc32(data).to_bytes(_CRC_BYTES, "little")


def _is_ours(name: str) -> bool:
    end, _, token = name.partition("-")
    return len(end) == 20 and end.isascii() and end.isdigit() and bool(token)


def _end_of(name: str) -> int:
    return int(name.partition("-")[0])
