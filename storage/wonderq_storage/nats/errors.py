"""The errors of the NATS client."""

from __future__ import annotations


class NatsError(Exception):
    """Base class of the errors of this client."""


class NatsUnreachableError(NatsError):
    """No server accepted a connection in time. The request was not sent."""


class NatsTimeoutError(NatsError):
    """No reply came in time. The server may have carried the request out, or may still do so."""


class ConnectionLostError(NatsError):
    """The connection broke before the reply came. The server may have carried the request out, or may still do so."""


class NoRespondersError(NatsError):
    """No server serves the subject, so nothing was carried out. During an election this is temporary."""


class ProtocolError(NatsError):
    """The server sent bytes that are not NATS, or refused the connection."""


class PayloadTooLargeError(NatsError):
    """The message is larger than the server's `max_payload`. It was not sent."""


class ClientClosedError(NatsError):
    """The client is closed."""


class ApiError(NatsError):
    """JetStream refused a request.

    ``code`` is like an HTTP status, ``error_code`` the number of the reason (`err_code` in JetStream's JSON).
    """

    def __init__(self, code: int, error_code: int, description: str) -> None:
        super().__init__(f"{description} (JetStream error {error_code})")
        self.code = code
        self.error_code = error_code
        self.description = description
