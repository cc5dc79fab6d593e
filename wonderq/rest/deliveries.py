"""Messages that a claim delivers, as an array of a response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import msgspec

from wonderq.broker.reader import Batch
from wonderq.model.envelope import envelope_of
from wonderq.model.status import CLAIMED, STATUS_NAMES
from wonderq.model.times import iso_time
from wonderq.rest.arrays import MANY, Format, Template
from wonderq.rest.objects import MessageObject, add_envelope
from wonderq.runtime.fibers import took

#: Stand-ins for the fields in which the messages of a batch differ. The first fields of an object have no such text.
_ID, _BODY, _TIME, _RECEIPT = "~" * 36, "~", "~" * 24, "~" * 40

#: Bytes of entries up to which all are encoded in one turn: texts, and objects with attributes.
_TEXT_BYTES, _OBJECT_BYTES = 1 << 18, 1 << 16

#: Steps of `took` for encoding: for a message and for an attribute; and bytes of a text that are encoded in one.
_STEPS_PER_MESSAGE, _STEPS_PER_ATTRIBUTE, _BYTES_PER_STEP = 15, 3, 300

_DELIVERED = STATUS_NAMES[CLAIMED]


def delivered(batches: Sequence[Batch], form: Format) -> list[bytes]:
    """Return the pieces of an array of all messages. Others have their turn while it encodes many."""
    pieces = [form.begin(sum([len(batch.bodies) for batch in batches]))]
    for batch in batches:
        if len(pieces) > 1:
            pieces.append(form.separator)
        pieces += _filled(batch, form) if _are_alike(batch) else _encoded_objects(batch, form)
    pieces.append(form.end)
    return pieces


def _are_alike(batch: Batch) -> bool:
    """Return whether the messages of a batch differ in nothing but ids, texts and times of production."""
    state, count = batch.state, len(batch.bodies)
    if count < MANY or any(state.updates) or len(set(state.receives)) > 1:
        return False
    same_headers = len(batch.headers) == count and len(set(map(id, batch.headers.values()))) == 1
    return same_headers or not batch.headers


def _filled(batch: Batch, form: Format) -> list[bytes]:
    state = batch.state
    consumer = (batch.consumers[0] if batch.consumers else "") or msgspec.UNSET
    until = iso_time(state.due_ms[0])
    sample = MessageObject(_ID, _BODY, _DELIVERED, state.receives[0], _TIME, until, batch.queue, _RECEIPT, consumer)
    if batch.headers:
        _add_envelope(batch, 0, sample)
    template = Template(form, sample, _ID.encode(), form.encode(_BODY), _TIME.encode(), _RECEIPT.encode())
    times = {time_ms: iso_time(time_ms).encode() for time_ms in set(state.produced_ms)}
    produced_at = map(times.__getitem__, state.produced_ms)
    if sum(state.length) > _TEXT_BYTES:
        return template.fill(batch.ids, _encoded_in_turns(batch.bodies, form), produced_at, batch.receipts)
    return [b"".join(template.fill(batch.ids, map(form.encode, batch.bodies), produced_at, batch.receipts))]


def _encoded_in_turns(bodies: Iterable[str], form: Format) -> Iterator[bytes]:
    for body in bodies:
        took(len(body) // _BYTES_PER_STEP)
        yield form.encode(body)


def _encoded_objects(batch: Batch, form: Format) -> list[bytes]:
    """Return messages of any kind, with separators between them."""
    if sum(batch.state.length) <= _OBJECT_BYTES:
        return [form.separator.join(map(form.encode, _objects(batch)))]
    pieces: list[bytes] = []
    for each in _objects(batch):
        attributes = 0 if isinstance(each.attributes, msgspec.UnsetType) else len(each.attributes)
        took(_STEPS_PER_MESSAGE + _STEPS_PER_ATTRIBUTE * attributes + len(each.message) // _BYTES_PER_STEP)
        pieces += (form.separator, form.encode(each))
    return pieces[1:]


def _objects(batch: Batch) -> Iterator[MessageObject]:
    """Yield the objects of messages. Each is made when it is asked for."""
    state = batch.state
    times = state.produced_ms, state.due_ms
    columns = batch.ids, batch.bodies, state.receives, *times, batch.receipts, batch.consumers or repeat("")
    rows = zip(*columns, strict=False)
    have_envelopes = batch.headers or any(state.updates)
    for index, (message_id, body, receives, produced_ms, due_ms, receipt, consumer) in enumerate(rows):
        value = MessageObject(
            message_id.decode(),
            body,
            _DELIVERED,
            receives,
            iso_time(produced_ms),
            iso_time(due_ms),
            batch.queue,
            receipt.decode(),
            consumer or msgspec.UNSET,
        )
        if have_envelopes:
            _add_envelope(batch, index, value)
        yield value


def _add_envelope(batch: Batch, index: int, value: MessageObject) -> None:
    envelope = envelope_of(batch.headers.get(index, {}), batch.state.updates[index])
    if envelope is not None:
        add_envelope(value, envelope)
