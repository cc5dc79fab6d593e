"""A small synchronous client of NATS and of its streams, JetStream.

Any number of threads send requests over one connection, and one thread reads the replies: one of its own, or that of a
loop which waits for other descriptors too. Every call has a time limit.
After a loss the client connects to the next server of its list. Requests that were under way then fail at once, because
nobody knows whether the server carried them out; the caller decides whether to repeat them.

**Modules.** `address` reads lists of servers. `protocol` and `headers` encode and parse bytes, without I/O. `link` is
one TCP connection, plain or TLS. `connection` matches replies with requests, and reconnects; `replies` passes them on.
`jetstream` has the calls of streams. `errors` has the exceptions.

The package knows nothing of the log, and imports the standard library only.
"""

from wonderq_storage.nats.connection import Connection
from wonderq_storage.nats.errors import (
    ApiError,
    ClientClosedError,
    ConnectionLostError,
    NatsError,
    NatsTimeoutError,
    NatsUnreachableError,
    NoRespondersError,
    PayloadTooLargeError,
    ProtocolError,
)
from wonderq_storage.nats.jetstream import Ack, JetStream, ServerSettings, StoredMessage, StreamInfo
from wonderq_storage.nats.replies import Reply

__all__ = [
    "Ack",
    "ApiError",
    "ClientClosedError",
    "Connection",
    "ConnectionLostError",
    "JetStream",
    "NatsError",
    "NatsTimeoutError",
    "NatsUnreachableError",
    "NoRespondersError",
    "PayloadTooLargeError",
    "ProtocolError",
    "Reply",
    "ServerSettings",
    "StoredMessage",
    "StreamInfo",
]
