"""A connection to one of several NATS servers: requests, their replies, and reconnecting."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

from wonderq_storage.nats import protocol
from wonderq_storage.nats.address import Address, parse_addresses
from wonderq_storage.nats.errors import (
    ClientClosedError,
    ConnectionLostError,
    NatsError,
    NatsTimeoutError,
    NatsUnreachableError,
    PayloadTooLargeError,
    ProtocolError,
)
from wonderq_storage.nats.headers import encode_headers
from wonderq_storage.nats.link import Link
from wonderq_storage.nats.replies import PassedReplies, QueuedReplies, Replies, Reply, SingleReply

logger = logging.getLogger("wonderq.storage.nats")

#: Longest time for a server to accept a connection and to answer CONNECT.
_DIAL_S = 2.0
#: Pauses between two rounds through all servers.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5

#: The server is asked whether it is alive after a silence of `_PING_S`. The connection is given up after this many.
_PING_S = 1.0
_SILENT_PINGS = 2

#: A server is left for the next one after this many questions of `Connection.watch` in a row without an answer. An
#: election of NATS takes up to 10 s, and another server would not answer sooner.
_UNANSWERED = 10


class Loop(Protocol):
    """Waits for many descriptors on one thread, such as `wonderq.httpd.server.Server`."""

    def watch(self, descriptor: int, read: Callable[[], bool], ended: Callable[[], None]) -> None:
        """Call ``read`` on the thread of the loop now and when a descriptor is readable, until it returns False.

        Then, or when the loop ends, call ``ended``. The descriptor is not watched any more. Any thread may call this.
        """


class _LoopReader:
    """Reads a connection on the thread of a loop."""

    def __init__(self, link: Link, parser: protocol.Parser, handle: Callable[[Link, protocol.Event], None]) -> None:
        self.ended = threading.Event()
        self.reads = 0
        self.error: Exception | None = None
        """Why the connection cannot be read any more, if it cannot."""
        self._link = link
        self._parser = parser
        self._handle = handle

    def read(self) -> bool:
        """Read what has arrived; return False if the connection is lost."""
        try:
            data = self._link.receive_now()
            self.reads += 1
            for event in self._parser.feed(data):
                self._handle(self._link, event)
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is of no further use
            self.error = error
            return False
        return True


class Connection:
    """A client of NATS. It connects in the background, and again after each loss.

    ``servers`` are addresses, or a list as `parse_addresses` reads it. With ``tls``, or an address that begins with
    ``tls:``, nothing is sent in the clear. ``tls`` returns the context for a connection that begins now. ``name`` shows
    in the server's list of connections.

    Threads: any number may call any method.

    Raises, from the constructor:
        ValueError: ``servers`` is no list of addresses.
    """

    def __init__(
        self,
        servers: str | Sequence[Address],
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        name: str = "wonderq",
    ) -> None:
        self._addresses = parse_addresses(servers) if isinstance(servers, str) else list(servers)
        self._tls = tls
        self._name = name
        self._inbox = f"_INBOX.{secrets.token_hex(12)}"
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._link: Link | None = None
        self._info: dict[str, Any] = {}
        self._problem = "it was not tried yet"
        self._expected: dict[str, Replies] = {}
        self._subscribed: dict[str, Callable[[protocol.Delivery], None]] = {}
        self._connected_s: float | None = None
        self._loop: Loop | None = None
        self._next_look_s = 0.0
        self._watched: tuple[str, Callable[[Reply], bool]] | None = None
        self._unanswered = 0  # questions of `watch` over this connection since the last answer
        self._thread = threading.Thread(target=self._run, name="wonderq-nats", daemon=True)
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._link is not None

    @property
    def connected_s(self) -> float:
        """How long the present connection has lasted; 0 without one."""
        began_s = self._connected_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def read_on(self, loop: Loop) -> None:
        """Have a loop read the connection within a second, until the loop ends. It then passes replies and messages on.

        The connection's own thread still tells of its end. A callback may wake work on the thread of the loop, which
        then begins without a switch between two threads.
        """
        self._loop = loop

    def watch(self, subject: str, is_answer: Callable[[Reply], bool]) -> None:
        """Ask a question every second, and leave a server over which nothing answers it for the next one.

        A server that is cut off from the others still answers its clients' pings. ``is_answer`` tells whether a reply
        is an answer; it must not wait or raise. If there is no other server, or this client may not ask, nothing is
        asked.
        """
        if len(self._addresses) > 1:
            self._watched = subject, is_answer

    def note_service(self) -> None:
        """Note that the server does its work, so that questions of `watch` without an answer do not end the link."""
        self._unanswered = 0

    def server_info(self, *, timeout_s: float) -> dict[str, Any]:
        """Return what the connected server says about itself, such as its `version` and `max_payload`.

        Raises:
            NatsUnreachableError: there is no connection, and none was made in time.
            ClientClosedError: `close` was called.
        """
        with self._changed:
            self._await_link(time.monotonic() + timeout_s)
            return self._info

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float,
        repeat_s: float = math.inf,
    ) -> Reply:
        """Send a message and return its reply.

        After each silence of ``repeat_s``, the message is sent again, and the first reply to any of them counts. So it
        must be one that changes nothing.

        Raises:
            NatsUnreachableError, PayloadTooLargeError, ClientClosedError: it was not sent.
            NoRespondersError: nobody received it.
            NatsTimeoutError, ConnectionLostError: nobody knows whether it was received.
            ValueError: the subject or the headers cannot be sent.
        """
        replies = self.request_many(subject, payload, headers, timeout_s=timeout_s, repeat_s=repeat_s)
        with contextlib.closing(replies):
            return next(replies)

    def request_many(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float,
        repeat_s: float = math.inf,
    ) -> Generator[Reply, None, None]:
        """Send a message and yield its replies until the caller closes the iterator.

        ``timeout_s`` limits the wait for each reply. ``repeat_s`` is as in `request`, until the first reply.

        Raises: as `request`.
        """
        deadline_s = time.monotonic() + timeout_s
        expected = QueuedReplies()
        inbox = f"{self._inbox}.{next(self._numbers)}"
        encoded = encode_headers(headers) if headers else b""
        message = protocol.publish(subject, inbox, encoded, payload)
        with self._changed:
            link = self._await_link(deadline_s)
            self._check_size(len(encoded) + len(payload))
            self._expected[inbox] = expected
        try:
            self._send(link, message, deadline_s)
            while True:
                try:
                    reply = expected.take(min(deadline_s, time.monotonic() + repeat_s))
                except NatsTimeoutError:
                    if time.monotonic() >= deadline_s:
                        raise
                    self._send(link, message, deadline_s)
                    continue
                yield reply
                repeat_s = math.inf
                deadline_s = time.monotonic() + timeout_s
        finally:
            self._expected.pop(inbox, None)

    def ask(self, subject: str, payload: bytes, callback: Callable[[Reply | NatsError], None]) -> Callable[[], None]:
        """Send a message without waiting, and have its replies passed on until the returned function is called.

        The thread that reads all replies makes the calls, so ``callback`` must not wait or raise. An error is its last
        call: `NoRespondersError` if nobody received the message, otherwise nobody knows whether it was received.

        Raises:
            NatsUnreachableError, PayloadTooLargeError, ClientClosedError: it was not sent.
            ConnectionLostError: nobody knows whether it was sent.
        """
        inbox = self._ask(subject, payload, b"", PassedReplies(callback))
        return lambda: self._forget(inbox)

    def ask_once(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str],
        callback: Callable[[Reply | NatsError], None],
        *,
        timeout_s: float,
    ) -> None:
        """Send a message without waiting, and have its first reply passed on.

        ``callback`` is called once, with the reply, or with the reason why there is none: `NatsTimeoutError` up to a
        second after ``timeout_s``, or the end of the connection. The thread that reads all replies makes the call, or
        the connection's own thread. So ``callback`` must not wait or raise.

        Raises: as `ask`, unless the callback is called, and `ValueError` if the headers cannot be sent.
        """
        replies = SingleReply(callback, time.monotonic() + timeout_s)
        try:
            self._ask(subject, payload, encode_headers(headers), replies)
        except NatsError:
            if replies.cancel():
                raise

    def _ask(self, subject: str, payload: bytes, headers: bytes, replies: Replies) -> str:
        """Send a message without waiting; return the subject of its replies."""
        inbox = f"{self._inbox}.{next(self._numbers)}"
        message = protocol.publish(subject, inbox, headers, payload)
        with self._changed:
            link = self._await_link(time.monotonic())
            self._check_size(len(headers) + len(payload))
            self._expected[inbox] = replies
        try:
            self._post(link, message)
        except BaseException:
            self._expected.pop(inbox, None)
            raise
        return inbox

    def _forget(self, inbox: str) -> None:
        self._expected.pop(inbox, None)

    def post(self, subject: str, payload: bytes) -> None:
        """Send a message that nobody answers, without waiting. Messages of one thread arrive in their order.

        Raises: as `ask`.
        """
        message = protocol.publish(subject, None, b"", payload)
        with self._changed:
            link = self._await_link(time.monotonic())
            self._check_size(len(payload))
        self._post(link, message)

    @staticmethod
    def _post(link: Link, message: bytes) -> None:
        try:
            link.post(message, _DIAL_S)
        except OSError as error:
            raise ConnectionLostError(f"the connection to NATS broke: {error}") from error

    def _check_size(self, size: int) -> None:
        largest = self._info.get("max_payload", 0)
        if size > largest:
            raise PayloadTooLargeError(f"a message of {size:,} bytes exceeds the server's max_payload, {largest:,}")

    def publish(self, subject: str, payload: bytes, *, timeout_s: float) -> None:
        """Send a message that nobody answers. It is lost if nobody is subscribed to its subject.

        Raises:
            NatsUnreachableError, ClientClosedError: it was not sent.
            NatsTimeoutError, ConnectionLostError: nobody knows whether it was sent.
            ValueError: the subject cannot be sent.
        """
        deadline_s = time.monotonic() + timeout_s
        message = protocol.publish(subject, None, b"", payload)
        with self._changed:
            link = self._await_link(deadline_s)
        self._send(link, message, deadline_s)

    def subscribe(self, subject: str, callback: Callable[[bytes], None]) -> None:
        """Have each message of a subject passed on, also after a reconnection, but none of this connection itself.

        The thread that reads all replies makes the calls, so ``callback`` must not wait or raise. Messages that arrive
        while there is no connection are lost. The subject must have no wildcards.
        """
        self.subscribe_to_requests(subject, lambda payload, _: callback(payload))

    def subscribe_to_requests(self, subject: str, callback: Callable[[bytes, str], None]) -> None:
        """Do what `subscribe` does; ``callback`` also gets the subject for answers, or nothing if none is expected."""
        with self._changed:
            self._subscribed[subject] = lambda delivery: callback(delivery.payload, delivery.reply_to)
            link = self._link
            message = protocol.subscribe(subject, len(self._subscribed) + 1)
        if link is not None:
            with contextlib.suppress(OSError):  # the next connection begins with all subscriptions
                link.send(message, _DIAL_S)

    @staticmethod
    def _send(link: Link, message: bytes, deadline_s: float) -> None:
        try:
            link.send(message, deadline_s - time.monotonic())
        except TimeoutError as error:
            raise NatsTimeoutError(f"the request could not be sent to NATS: {error}") from error
        except OSError as error:
            raise ConnectionLostError(f"the connection to NATS broke: {error}") from error

    def _await_link(self, deadline_s: float) -> Link:
        """Return the connection, once there is one. The caller holds ``_changed``."""
        while not self._closing.is_set():
            if self._link is not None and self._link.is_open:
                return self._link
            if not self._changed.wait(deadline_s - time.monotonic()):
                raise NatsUnreachableError(
                    f"no connection to NATS at {', '.join(map(str, self._addresses))}: {self._problem}"
                )
        raise ClientClosedError("the NATS client is closed")

    def close(self) -> None:
        """End the connection. Requests that are under way fail with `ClientClosedError`. Idempotent."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
            if self._link is not None:
                self._link.shut_down()
        self._thread.join()

    def _run(self) -> None:
        """Connect, read until the connection is lost, and begin again, until `close`."""
        pause_s = _FIRST_PAUSE_S
        addresses = itertools.cycle(self._addresses)
        while not self._closing.is_set():
            address = next(addresses)
            link = None
            try:
                link, parser = self._dial(address)
                logger.info("connected to NATS at %s", address)
                pause_s = _FIRST_PAUSE_S
                self._read(link, parser)
            except Exception as error:  # noqa: BLE001 - whatever failed, the next server is tried
                self._problem = f"{address}: {error}"
                if link is not None and not self._closing.is_set():
                    logger.warning("the connection to NATS at %s is lost: %s", address, error)
            finally:
                self._lose(link)
            if address is self._addresses[-1]:
                self._closing.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _dial(self, address: Address) -> tuple[Link, protocol.Parser]:
        """Connect to a server and subscribe to the replies."""
        deadline_s = time.monotonic() + _DIAL_S
        link = Link(address.host, address.port, _DIAL_S)
        try:
            parser = protocol.Parser()
            first, *more = _receive(link, parser, deadline_s)
            if not isinstance(first, protocol.Info):
                raise ProtocolError("it is not a NATS server")
            info = _checked(first.fields)
            context = self._context(address, info)
            if context is not None:
                if more or parser.held_bytes:
                    raise ProtocolError("the server sent bytes before TLS began")
                link.start_tls(context, address.host, deadline_s - time.monotonic())
                parser = protocol.Parser()
            hello = protocol.connect(self._options(address, context))
            hello += protocol.subscribe(f"{self._inbox}.*", 1) + protocol.PING
            link.send(hello, deadline_s - time.monotonic())
            while True:
                for event in _receive(link, parser, deadline_s):
                    match event:
                        case protocol.Failure(text):
                            raise ProtocolError(f"the server refused the connection: {text}")
                        case protocol.Pong():
                            self._gain(link, info)
                            return link, parser
        except BaseException:
            link.close()
            raise

    def _context(self, address: Address, info: dict[str, Any]) -> ssl.SSLContext | None:
        wanted = address.tls or self._tls is not None
        if wanted and not (info.get("tls_required") or info.get("tls_available")):
            raise ProtocolError("the server does not offer TLS")
        if wanted or info.get("tls_required"):
            return ssl.create_default_context() if self._tls is None else self._tls()
        return None

    def _options(self, address: Address, context: ssl.SSLContext | None) -> dict[str, Any]:
        options = {
            "verbose": False,
            "pedantic": False,
            "tls_required": context is not None,
            "name": self._name,
            "lang": "python-wonderq",
            "version": "1",
            "protocol": 1,
            "echo": False,
            "headers": True,
            "no_responders": True,
            "user": address.user,
            "pass": address.password,
            "auth_token": address.token,
        }
        return {name: value for name, value in options.items() if value is not None}

    def _gain(self, link: Link, info: dict[str, Any]) -> None:
        with self._changed:
            if self._closing.is_set():
                raise ClientClosedError("the NATS client is closed")
            self._info = info
            self._link = link
            self._connected_s = time.monotonic()
            self._unanswered = 0
            if self._subscribed:
                subscriptions = [protocol.subscribe(each, at) for at, each in enumerate(self._subscribed, 2)]
                link.send(b"".join(subscriptions), _DIAL_S)
            self._changed.notify_all()

    def _lose(self, link: Link | None) -> None:
        """Fail the requests that were sent over a connection."""
        reason: NatsError = ConnectionLostError(f"the connection to NATS is lost: {self._problem}")
        if self._closing.is_set():
            reason = ClientClosedError("the NATS client was closed")
        with self._changed:
            self._link = None
            self._connected_s = None
            lost = list(self._expected.values())
            self._expected.clear()
        for each in lost:
            try:
                each.fail(reason)
            except Exception:
                logger.exception("whoever waits for a reply cannot be told that there is none")
        if link is not None:
            link.close()

    def _read(self, link: Link, parser: protocol.Parser) -> None:
        """Pass replies on until the connection is lost."""
        silent = 0
        events: list[protocol.Event] = []
        while True:
            for event in events:
                self._handle(link, event)
            self._look_after(link)
            if self._loop is not None:
                self._read_on_loop(self._loop, link, parser)
                self._loop = None  # it has ended
            try:
                events = parser.feed(link.receive(_PING_S))
                silent = 0
            except TimeoutError:
                if silent == _SILENT_PINGS:
                    raise
                silent += 1
                events = []
                with contextlib.suppress(TimeoutError):
                    link.send(protocol.PING, _PING_S)

    def _read_on_loop(self, loop: Loop, link: Link, parser: protocol.Parser) -> None:
        """Have a loop read, and ping a silent server, until the connection is lost, which raises, or the loop ends."""
        reader = _LoopReader(link, parser, self._handle)
        loop.watch(link.descriptor, reader.read, reader.ended.set)
        reads = silent = 0
        while not reader.ended.wait(_PING_S):
            silent = silent + 1 if reader.reads == reads else 0
            reads = reader.reads
            try:
                self._look_after(link)
                if silent > _SILENT_PINGS:
                    raise TimeoutError("the server does not answer")
            except Exception:
                link.shut_down()  # so that the loop reads its end
                reader.ended.wait(_DIAL_S)
                raise
            if silent:
                with contextlib.suppress(TimeoutError):
                    link.send(protocol.PING, _PING_S)
        if reader.error is not None:
            raise reader.error

    def _look_after(self, link: Link) -> None:
        """Give up what had no answer in time. Once a second is enough for that.

        Raises:
            NatsTimeoutError: nothing answers over this connection. See `watch`.
            OSError: the connection is at its end.
        """
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _PING_S
        self._give_up_late(now_s)
        if self._watched is not None:
            self._ask_watched(link, *self._watched, now_s + _PING_S * _UNANSWERED)

    def _ask_watched(self, link: Link, subject: str, is_answer: Callable[[Reply], bool], deadline_s: float) -> None:
        # Questions are counted, not seconds: in a process that was frozen, time has passed and no answer is late.
        if self._unanswered >= _UNANSWERED:
            raise NatsTimeoutError(f"it may be cut off from the others: it left {self._unanswered} requests unanswered")

        def answered(reply: Reply | NatsError) -> None:
            if isinstance(reply, Reply) and is_answer(reply):
                self._unanswered = 0

        inbox = f"{self._inbox}.{next(self._numbers)}"
        self._unanswered += 1
        self._expected[inbox] = SingleReply(answered, deadline_s)
        link.post(protocol.publish(subject, inbox, b"", b""), _DIAL_S)

    def _give_up_late(self, now_s: float) -> None:
        """Fail the requests of `ask_once` that had no reply in time."""
        for inbox, replies in list(self._expected.items()):
            if isinstance(replies, SingleReply) and replies.deadline_s <= now_s:
                self._expected.pop(inbox, None)
                replies.fail(NatsTimeoutError("NATS did not answer in time"))

    def _handle(self, link: Link, event: protocol.Event) -> None:
        match event:
            case protocol.Delivery(subject):
                expected = self._expected.get(subject)
                if (callback := self._subscribed.get(subject)) is not None:
                    callback(event)
                if expected is not None and not expected.put(event):
                    self._expected.pop(subject, None)
            case protocol.Ping():
                link.post(protocol.PONG, _DIAL_S)
            case protocol.Info(fields):
                self._info = _checked(fields)
            case protocol.Failure(text):
                logger.warning("NATS reports an error: %s", text)
                if self._watched is not None and f'"{self._watched[0].lower()}"' in text.lower():
                    self._watched = None  # its permissions forbid the question


def _receive(link: Link, parser: protocol.Parser, deadline_s: float) -> list[protocol.Event]:
    """Return the next events, at least one."""
    while not (events := parser.feed(link.receive(deadline_s - time.monotonic()))):
        pass
    return events


def _checked(info: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an INFO, if it has all that is needed.

    Raises:
        ProtocolError: it has not.
    """
    if not info.get("headers"):
        raise ProtocolError("the server does not support headers. Use NATS 2.11 or newer")
    if not isinstance(info.get("max_payload"), int):
        raise ProtocolError("the server does not say its max_payload")
    return info
