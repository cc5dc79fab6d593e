"""Small values with names in JetStream, which several processes change without losing each other's changes.

The stream is a bucket as other clients of NATS make them, so `nats kv` shows the values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from wonderq_storage.errors import StorageError
from wonderq_storage.jetstream_stream import Pauses, patiently
from wonderq_storage.nats import ApiError, JetStream
from wonderq_storage.nats.jetstream import STREAM_NOT_FOUND, WRONG_LAST_SEQUENCE

#: Limits of each call, and of its repetitions.
_CALL_S, _PATIENCE_S = 2.0, 5.0


class ValueChangedError(StorageError):
    """Another process has changed the value since it was read."""


class StoredValue(NamedTuple):
    """A value."""

    data: bytes
    revision: int
    """Number of its last change, in the order of all changes of the bucket."""


class JetStreamValues:
    """The values of one bucket.

    Threads: any number may call any method. All raise `LogFailedError` if JetStream does not answer or refuses.
    """

    def __init__(self, jetstream: JetStream, bucket: str, *, patience_s: float = _PATIENCE_S) -> None:
        self._jetstream = jetstream
        self._bucket = bucket
        self._stream = f"KV_{bucket}"
        self._patience_s = patience_s

    def _patiently(self, call: Any) -> Any:
        return patiently(self._stream, call, Pauses(self._patience_s))

    @property
    def exists(self) -> bool:
        """Whether the bucket was made."""
        return self._patiently(self._replicas) is not None

    def _replicas(self) -> int | None:
        try:
            config = self._jetstream.stream_info(self._stream, timeout_s=_CALL_S).config
        except ApiError as error:
            if error.error_code == STREAM_NOT_FOUND:
                return None
            raise
        return int(config.get("num_replicas", 1))

    def make(self, replicas: int) -> None:
        """Make the bucket. If another process makes it at the same time, nothing else happens."""
        config: dict[str, Any] = {
            "name": self._stream,
            "subjects": [f"$KV.{self._bucket}.>"],
            "num_replicas": replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_bytes": 16 << 20,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
        }
        self._patiently(lambda: self._jetstream.create_stream(config, timeout_s=_CALL_S))

    def get(self, name: str) -> StoredValue | None:
        """Return a value as the leader has it, or None if it was never stored."""
        found = self._patiently(lambda: self._jetstream.get_last(self._stream, self._subject(name), timeout_s=_CALL_S))
        return None if found is None else StoredValue(found.payload, found.sequence)

    def put(self, name: str, data: bytes, *, revision: int) -> None:
        """Store a value, if ``revision`` is still that of the present one (0 if there is none).

        Raises:
            ValueChangedError: it is not.
        """
        headers = {
            "Nats-Expected-Stream": self._stream,
            "Nats-Expected-Last-Subject-Sequence": str(revision),
        }

        def attempt() -> bool:
            try:
                self._jetstream.publish(self._stream, self._subject(name), data, headers, timeout_s=_CALL_S)
            except ApiError as error:
                if error.error_code == WRONG_LAST_SEQUENCE:
                    return False
                raise
            return True

        if not self._patiently(attempt):
            found = self.get(name)
            if found is None or found.data != data:  # otherwise an earlier attempt was stored after all
                raise ValueChangedError(f"the value {name} of {self._bucket} was changed meanwhile")

    def _subject(self, name: str) -> str:
        return f"$KV.{self._bucket}.{name}"
