"""A group of records in memory, and its positions: one message of a stream, once it is sent."""

from __future__ import annotations

from wonderq_storage import jetstream_frame as frame
from wonderq_storage.jetstream_replay import pack_position
from wonderq_storage.log import Position

#: Size of a message around the records in it.
FRAME_BYTES = frame.HEADER_BYTES + frame.CRC_BYTES


def begin_of(sequence: int) -> Position:
    """Return the position before all records of a message, and after those of the message before."""
    return pack_position(sequence, frame.HEADER_BYTES)


class Group:
    """Records gathered in memory, to be sent as one message; or the epoch record, if it is to be sent again."""

    def __init__(self, sequence: int, envelope_bytes: int, epoch_record: bytes = b"") -> None:
        self.sequence = sequence
        self._envelope_bytes = envelope_bytes
        self.epoch_record = epoch_record
        self.records: list[bytes] = []
        self.length = 0
        self.is_due = False
        """Whether it is to be sent, with or without records."""

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return frame.HEADER_BYTES + self.length

    @property
    def begin_position(self) -> Position:
        return begin_of(self.sequence)

    @property
    def end_position(self) -> Position:
        """Position after all its records, also after an empty one, and before the next one."""
        return pack_position(self.sequence, self.end + bool(self.records))

    @property
    def stored_bytes(self) -> int:
        """Size of the message in the stream."""
        return self._envelope_bytes + (len(self.epoch_record) or FRAME_BYTES + self.length)
