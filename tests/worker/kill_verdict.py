"""The requirements of `tests.worker.kill_cycles` for the notes of its handlers and for the dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from tests.worker.kill_tasks import Note, begins
from tests.worker.sender import Sent
from wonderq.client.messages import Contents


def of_sends(begun: AbstractSet[str], acknowledged: Mapping[str, Sent], notes: Sequence[Note]) -> Iterator[str]:
    """Yield what is wrong: each send is there at most once, and each acknowledged one was handled to its end."""
    ids: dict[str, set[str]] = {}
    for note in notes:
        ids.setdefault(note.name, set()).add(note.id)
    ended = {note.id for note in notes if note.what == "ended"}
    for name, sent in acknowledged.items():
        if sent.id not in ended:
            yield f"the acknowledged send {name} ({sent.id}) was not handled"
        elif ids[name] != {sent.id}:
            yield f"the send {name} was acknowledged as {sent.id}, and is there as {ids[name]}"
    for name, found in ids.items():
        if len(found) > 1:
            yield f"the send {name} was added {len(found)} times"
        if name not in begun:
            yield f"nobody sent {name}"


def of_first_tries(notes: Iterable[Note]) -> Iterator[str]:
    """Yield what is wrong if nothing was killed: each handler has the first try, and the one that fails has two."""
    burnt = [note for note in begins(notes) if note.tries > (2 if note.what == "failed" else 1)]
    if burnt:
        yield f"clean stops counted {len(burnt)} tries: {burnt[:5]}"


def of_dead_letters(
    hopeless: AbstractSet[str], letters: Sequence[Contents], handled: AbstractSet[str]
) -> Iterator[str]:
    """Yield what is wrong: each hopeless message is one dead letter, with its error and the name of its worker."""
    sources = Counter(each.dead_letter.id for each in letters if each.dead_letter is not None)
    lost, twice = hopeless - sources.keys(), [source for source, count in sources.items() if count > 1]
    if lost or twice or sources.keys() - handled:
        yield f"lost dead letters {lost}, doubled {twice}, never handled {sources.keys() - handled}"
    for each in letters:
        source, error = each.dead_letter, each.last_error
        expected = None if source is None else (f"{source.id} is hopeless", source.receive_count)
        if error is None or (error.message, error.attempt) != expected:
            yield f"a dead letter has another error than was raised: {each}"
        elif not error.consumer:
            yield f"a dead letter does not name its worker: {each}"


def of_stopped_workers(workers: AbstractSet[int], held: Iterable[Contents]) -> Iterator[str]:
    """Yield what is wrong: workers that were stopped cleanly, given by their processes, hold no message."""
    for each in held:
        if each.consumer is not None and int(each.consumer.rpartition(":")[2]) in workers:
            yield f"the worker {each.consumer} was stopped, and did not give back {each.id}"


def of_lost_claims(lost: Iterable[Note], notes: Iterable[Note]) -> Iterator[str]:
    """Yield what is wrong: a handler whose claim was lost is not acknowledged, so a later try handles its message."""
    last: dict[str, int] = {}
    for note in notes:
        if note.what == "ended":
            last[note.id] = max(last.get(note.id, 0), note.tries)
    for note in lost:
        if last.get(note.id, 0) <= note.tries:
            yield f"the try {note.tries} of {note.id} was acknowledged after its claim was lost"


def of_healthy_handlers(notes: Iterable[Note], log: str) -> Iterator[str]:
    """Yield what is wrong: a worker that runs keeps its claims, however busy its handlers are."""
    again = [note for note in begins(notes) if note.tries > 1]
    if again or "the lease was lost" in log:
        yield f"a healthy worker lost claims: {again[:5]}, {log[-2000:]}"
