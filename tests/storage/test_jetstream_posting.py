"""Groups of a log that are posted: nobody waits for their acknowledgements on a thread, unless one stays away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.support.log_streams import LogStream, Publish, replayed
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import LogFailedError, LogLostError, Position
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import (
    Ack,
    ApiError,
    Connection,
    ConnectionLostError,
    JetStream,
    NatsError,
    NatsTimeoutError,
    NatsUnreachableError,
)

__all__ = ["connection"]

pytestmark = needs_nats

SOON_S = 0.1

Answer = Callable[[Ack | NatsError], None]


@pytest.fixture
def stream(connection: Connection) -> LogStream:
    return LogStream(connection)


class Posts:
    """The connection of a stream for what is posted. A test takes the answers into its hands."""

    def __init__(self, stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: list[Callable[[], None]] = []
        """Sends and answers each post that is held."""
        self.holds = False
        self.count = 0
        self._post = stream.jetstream.post
        monkeypatch.setattr(stream.jetstream, "post", self.post)

    def post(
        self, stream: str, subject: str, payload: bytes, headers: dict[str, str], answer: Answer, *, timeout_s: float
    ) -> None:
        self.count += 1

        def send() -> None:
            self._post(stream, subject, payload, headers, answer, timeout_s=timeout_s)

        if self.holds:
            self.held.append(send)
        else:
            send()

    def let_go(self) -> None:
        """Send what is held, and hold nothing more."""
        self.holds = False
        while self.held:
            self.held.pop(0)()


@pytest.fixture
def posts(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> Posts:
    return Posts(stream, monkeypatch)


@pytest.fixture
def log(stream: LogStream, posts: Posts) -> Iterator[JetStreamLog]:
    assert not posts.count
    with closing(stream.start(posting=stream.jetstream)) as log:
        yield log


class Told:
    """Somebody who is told when a record is durable, and what `wait` does then."""

    def __init__(self, log: JetStreamLog, position: Position) -> None:
        self._log = log
        self._position = position
        self.thread: threading.Thread | None = None
        self.times = 0
        assert log.call_when_durable(position, self._call)

    def _call(self) -> None:
        self.thread = threading.current_thread()
        self.times += 1

    def wait(self) -> None:
        """Wait until the call, and ask the log then."""
        eventually(lambda: self.times, "the call")
        assert self.times == 1
        self._log.wait(self._position)


def test_without_a_connection_for_posts_the_caller_waits(stream: LogStream) -> None:
    with closing(stream.start()) as log:
        position = log.append(b"x")
        assert not log.call_when_durable(position, lambda: None)
        log.wait(position)


def test_a_record_is_durable_without_a_thread_that_waits(stream: LogStream, log: JetStreamLog, posts: Posts) -> None:
    placed = []
    for number in range(20):
        record = b"record %d" % number
        placed.append((log.append(record), record))
        Told(log, placed[-1][0]).wait()
    assert posts.count == 20
    assert replayed(stream.open()) == placed


def test_who_asks_for_what_is_durable_is_called_at_once(log: JetStreamLog, posts: Posts) -> None:
    position = log.append(b"x")
    Told(log, position).wait()
    told = Told(log, position)
    assert told.thread is threading.current_thread()
    assert posts.count == 1


def test_a_position_after_all_records_means_all_of_them(log: JetStreamLog, posts: Posts) -> None:
    Told(log, log.end() + 1000)
    told = [Told(log, log.append(b"x")), Told(log, log.end() + 1000)]
    for each in told:
        eventually(lambda each=each: each.times)  # type: ignore[misc]
    assert posts.count == 1


def test_what_gathers_while_a_group_is_under_way_shares_the_next_one(log: JetStreamLog, posts: Posts) -> None:
    posts.holds = True
    told = [Told(log, log.append(b"%d" % number)) for number in range(9)]
    assert (posts.count, [each.times for each in told]) == (1, [0] * 9)
    posts.let_go()
    for each in told:
        each.wait()
    assert posts.count == 2


def test_a_thread_that_waits_is_served_by_the_posts(log: JetStreamLog, posts: Posts) -> None:
    posts.holds = True
    told = Told(log, log.append(b"posted"))
    calls = [Call(log.wait, log.append(b"waited for %d" % number)) for number in range(3)]
    later = Told(log, log.append(b"posted later"))
    posts.let_go()
    for call in calls:
        call.result()
    told.wait()
    later.wait()
    assert posts.count == 2


def test_a_thread_leads_when_nobody_else_wants_to_know(log: JetStreamLog, posts: Posts) -> None:
    posts.holds = True
    told = Told(log, log.append(b"posted"))
    call = Call(log.wait, log.append(b"waited for"))
    posts.let_go()
    told.wait()
    call.result()
    assert posts.count == 1


def test_posts_go_on_after_a_thread_has_led(stream: LogStream, log: JetStreamLog, posts: Posts) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def hold(publish: Publish) -> Ack:
        stream.jetstream.interfere = None
        arrived.set()
        assert go_on.wait(PATIENCE_S)
        return publish()

    stream.jetstream.interfere = hold
    call = Call(log.wait, log.append(b"of the thread"))
    assert arrived.wait(PATIENCE_S)
    told = Told(log, log.append(b"posted"))
    assert posts.count == 0
    go_on.set()
    told.wait()
    call.result()
    assert posts.count == 1


def test_a_large_group_is_not_posted(stream: LogStream, posts: Posts) -> None:
    """It would hold up what else the connection carries."""
    with closing(stream.start(posting=stream.jetstream, max_record_bytes=1 << 20)) as log:
        large = Told(log, log.append(bytes(500_000)))
        small = Told(log, log.append(b"small"))
        large.wait()
        small.wait()
        assert posts.count == 1
        assert log.append_retries == 0


def refused(answer: Answer, _send: Callable[[], None]) -> None:
    answer(ApiError(503, 10008, "JetStream system temporarily unavailable"))


def lost_before(answer: Answer, _send: Callable[[], None]) -> None:
    answer(NatsTimeoutError("lost"))


def lost_after(answer: Answer, send: Callable[[], None]) -> None:
    send()
    answer(ConnectionLostError("lost"))


def as_another(answer: Answer, _send: Callable[[], None]) -> None:
    answer(Ack(99, is_duplicate=False))


def not_sent(_answer: Answer, _send: Callable[[], None]) -> None:
    raise NatsUnreachableError("there is no connection")


Outcome = Callable[[Answer, Callable[[], None]], None]


def interfere(stream: LogStream, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    """Let something else happen to the next message that is posted."""
    post = stream.jetstream.post

    def act(*message: object, timeout_s: float) -> None:
        *parts, answer = message
        monkeypatch.setattr(stream.jetstream, "post", post)
        outcome(answer, lambda: stream.jetstream.publish(*parts, timeout_s=timeout_s))  # type: ignore[arg-type]

    monkeypatch.setattr(stream.jetstream, "post", act)


@pytest.mark.parametrize("outcome", [refused, lost_before, lost_after, as_another, not_sent])
def test_without_the_right_acknowledgement_a_thread_finds_out(
    stream: LogStream, log: JetStreamLog, posts: Posts, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    placed = [(log.append(b"before"), b"before")]
    Told(log, placed[0][0]).wait()
    interfere(stream, monkeypatch, outcome)
    told = []
    for record in (b"in between", b"after"):
        placed.append((log.append(record), record))
        told.append(Told(log, placed[-1][0]))
    for each in told:
        each.wait()
    assert log.append_retries == (outcome is not not_sent)
    assert log.waiting_s == 0
    assert posts.count in (1, 2)
    log.close()
    assert replayed(stream.open()) == placed


def test_a_post_that_arrives_late_is_not_appended_again(
    stream: LogStream, log: JetStreamLog, posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread has sent it again meanwhile, and the next group as well."""
    late: list[Callable[[], None]] = []

    def give_up(answer: Answer, send: Callable[[], None]) -> None:
        late.append(send)
        answer(NatsTimeoutError("late"))

    interfere(stream, monkeypatch, give_up)
    placed = []
    for record in (b"late", b"next"):
        placed.append((log.append(record), record))
        Told(log, placed[-1][0]).wait()
    with pytest.raises(ApiError):
        late[0]()
    placed.append((log.append(b"after"), b"after"))
    Told(log, placed[-1][0]).wait()
    assert posts.count == 2
    assert replayed(stream.open()) == placed


@pytest.mark.parametrize("outcome", [refused, not_sent])
def test_everybody_is_told_if_nothing_can_find_out(
    stream: LogStream, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("there are too many threads")

    monkeypatch.setattr(log, "_send_on_thread", fail)
    answers: list[Callable[[], None]] = []
    interfere(stream, monkeypatch, lambda answer, send: answers.append(lambda: outcome(answer, send)))
    if outcome is not_sent:
        interfere(stream, monkeypatch, outcome)
    told = [Told(log, log.append(b"posted"))]
    if answers:
        told.append(Told(log, log.append(b"gathers")))
        answers[0]()
    for each in told:
        with pytest.raises(LogFailedError, match="too many threads"):
            each.wait()
    with pytest.raises(LogFailedError):
        log.append(b"later")


def test_everybody_is_told_that_another_writer_has_the_log(stream: LogStream, log: JetStreamLog, posts: Posts) -> None:
    lost: list[LogLostError] = []
    log.on_lost(lost.append)
    posts.holds = True
    told = [Told(log, log.append(b"late %d" % number)) for number in range(3)]
    call = Call(log.wait, log.append(b"late, too"))
    stream.start(node="other")
    posts.let_go()
    for each in told:
        with pytest.raises(LogLostError):
            each.wait()
    with pytest.raises(LogLostError):
        call.result()
    assert len(lost) == 1
    with pytest.raises(LogLostError):
        Told(log, log.end()).wait()
    assert replayed(stream.open()) == []


def test_the_log_fails_when_nothing_is_acknowledged(stream: LogStream, posts: Posts) -> None:
    with closing(stream.start(posting=stream.jetstream, patience_s=SOON_S)) as log:

        def lose(_publish: Publish) -> Ack:
            raise NatsTimeoutError("lost")

        stream.jetstream.interfere = lose
        told = Told(log, log.append(b"x"))
        with pytest.raises(LogFailedError, match="acknowledged nothing"):
            told.wait()
        assert posts.count == 1


def test_how_long_a_post_has_been_waiting(log: JetStreamLog, posts: Posts) -> None:
    posts.holds = True
    told = Told(log, log.append(b"x"))
    before_s = eventually(lambda: log.waiting_s)
    assert eventually(lambda: log.waiting_s > before_s)
    posts.let_go()
    told.wait()
    assert log.waiting_s == 0


def test_many_threads_want_to_know(stream: LogStream, log: JetStreamLog) -> None:
    placed: list[tuple[Position, bytes]] = []

    def work(name: int) -> None:
        for number in range(60):
            record = b"%d of %d" % (number, name)
            position = log.append(record)
            if (name + number) % 3:
                Told(log, position).wait()
            else:
                log.wait(position)
            placed.append((position, record))

    for each in [Call(work, name) for name in range(6)]:
        each.result()
    assert replayed(stream.open()) == sorted(placed)


def test_a_close_waits_for_a_confirmation_that_gathers(log: JetStreamLog, posts: Posts) -> None:
    posts.holds = True
    told = Told(log, log.append(b"x"))
    confirmed = Told(log, log.confirm())
    call = Call(log.close)
    posts.let_go()
    call.result()
    assert (told.times, confirmed.times) == (1, 1)
    assert log.failure is None


def test_only_the_connection_of_the_posts_breaks_again_and_again(stream: LogStream) -> None:
    placed: list[tuple[Position, bytes]] = []
    with (
        closing(Connection(str(stream.jetstream.connection._addresses[0]))) as posting,
        closing(stream.start(posting=JetStream(posting))) as log,
    ):
        end_s = time.monotonic() + PATIENCE_S

        def work(name: int) -> None:
            number = 0
            while number < 30 or (not log.append_retries and time.monotonic() < end_s):
                number += 1
                record = b"%d of %d" % (number, name)
                placed.append((log.append(record), record))
                Told(log, placed[-1][0]).wait()

        calls = [Call(work, name) for name in range(4)]
        while not all(each.done for each in calls):
            posting.server_info(timeout_s=PATIENCE_S)
            time.sleep(0.001)  # so that some messages get through
            link = posting._link
            if link is not None:
                link.shut_down()
        for each in calls:
            each.result()
        assert log.append_retries, "some messages were lost on their way"
    assert replayed(stream.open()) == sorted(placed)
