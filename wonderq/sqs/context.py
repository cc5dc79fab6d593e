"""The context of an action: the broker, the request's parameters with checks of their types, and results of batches."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.broker.claims import Room
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.room import RESPONSE_SHARE
from wonderq.model.errors import BrokerError
from wonderq.model.messages import QueueInfo
from wonderq.model.permits import Permits
from wonderq.model.settings import QueueSettings
from wonderq.sqs.authentication import region_of
from wonderq.sqs.errors import SqsError, from_broker, invalid, missing
from wonderq.sqs.limits import SqsLimits
from wonderq.sqs.names import name_in_url

ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""Id of an entry of a batch."""

MOST_TEXTS = 500
"""Most strings in a parameter that is a list of them, such as names of attributes. SQS documents no limit."""


class Service:
    """The broker, and recent deletions and purges, which SQS limits. This state is lost at a restart."""

    def __init__(self, broker: Broker, limits: SqsLimits, address: PublicAddress) -> None:
        self.broker = broker
        self.limits = limits
        self.address = address
        """The address in the URLs of queues."""
        self.deleted_s: dict[str, float] = {}
        """Monotonic time of recent deletions, in seconds, by queue name."""
        self.purged_s: dict[str, float] = {}
        """Monotonic time of recent purges."""


class Context(NamedTuple):
    """A request of an action."""

    service: Service
    action: str
    parameters: Mapping[str, Any]
    opens: Permits
    """Returns whether the client's key opens a queue."""
    environ: Mapping[str, Any]
    """The request as a WSGI environment."""

    @property
    def base_url(self) -> str:
        """The broker's address as the client wrote it."""
        return self.service.address.of(self.environ)

    @property
    def region(self) -> str:
        """The region for which the client signed the request."""
        return region_of(self.environ)

    @property
    def client_gone(self) -> Callable[[], bool]:
        """Returns whether the client has disconnected."""
        found: Callable[[], bool] = self.environ.get("waitress.client_disconnected", lambda: False)
        return found

    @property
    def room(self) -> Room | None:
        """Room for the response."""
        return self.environ.get(RESPONSE_SHARE)

    @property
    def broker(self) -> Broker:
        return self.service.broker

    @property
    def limits(self) -> SqsLimits:
        return self.service.limits

    def queue(self) -> str:
        """Return the name of the queue in ``QueueUrl``.

        Raises:
            SqsError: the parameter is missing or malformed.
        """
        return name_in_url(self.text("QueueUrl"))

    def info(self) -> QueueInfo:
        """Return the current state of the queue in ``QueueUrl``.

        Raises:
            SqsError: the queue does not exist.
        """
        return queue_info(self.broker, self.queue())

    def settings(self) -> tuple[str, QueueSettings]:
        """Return name and settings of the queue in ``QueueUrl``.

        This does not wait until the settings are durable: the operation that follows waits for the log anyway.

        Raises:
            SqsError: the queue does not exist.
        """
        name = self.queue()
        found = self.broker.settings_of(name)
        return name, queue_info(self.broker, name).settings if found is None else found

    def text(self, name: str) -> str | None:
        """Return a string parameter, or None if it is not given."""
        value = self.parameters.get(name)
        if value is not None and not isinstance(value, str):
            raise SqsError("SerializationException", f"{name} must be a string.")
        return value

    def required(self, name: str) -> str:
        """Return a string parameter that must not be missing or empty."""
        value = self.text(name)
        if not value:
            raise missing(name)
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        """Return an integer parameter, or None if it is not given."""
        return integer_in(self.parameters, name, least, most)

    def texts(self, name: str) -> list[str]:
        """Return a parameter that is a list of strings.

        Raises:
            SqsError: it is none, or has too many.
        """
        value = self.parameters.get(name, [])
        if isinstance(value, list) and len(value) > MOST_TEXTS:
            raise SqsError(
                "InvalidParameterValue", f"{name} may have at most {MOST_TEXTS} strings, and this one has {len(value)}."
            )
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise SqsError("SerializationException", f"{name} must be a list of strings.")
        return value

    def mapping(self, *names: str) -> dict[str, Any]:
        """Return a parameter that is a map. It may have several ``names``, of which the first that is given counts."""
        for name in names:
            value = self.parameters.get(name)
            if value is not None:
                if not isinstance(value, dict):
                    raise SqsError("SerializationException", f"{name} must be a map.")
                return value
        return {}

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of a batch.

        Raises:
            SqsError: there are no entries or too many, or their ids are invalid or equal.
        """
        entries = self.parameters.get("Entries")
        if not isinstance(entries, list) or not entries:
            text = f"There should be at least one {self.action}RequestEntry in the request."
            raise SqsError("EmptyBatchRequest", text)
        if len(entries) > self.limits.batch_entries:
            most = self.limits.batch_entries
            text = f"Maximum number of entries per request are {most}. You have sent {len(entries)}."
            raise SqsError("TooManyEntriesInBatchRequest", text)
        if not all(isinstance(each, dict) for each in entries):
            raise SqsError("SerializationException", "Entries must be a list of structures.")
        ids = [each.get("Id") for each in entries]
        for each in ids:
            if not isinstance(each, str) or not ENTRY_ID.fullmatch(each):
                text = (
                    "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                    "It can be at most 80 letters long."
                )
                raise SqsError("InvalidBatchEntryId", text)
        if len(set(ids)) < len(ids):
            repeated = Counter(ids).most_common(1)[0][0]
            raise SqsError("BatchEntryIdsNotDistinct", f"Id {repeated} repeated.")
        return entries


def queue_info(broker: Broker, name: str) -> QueueInfo:
    """Return the current state of a queue.

    Raises:
        SqsError: the queue does not exist.
    """
    try:
        return broker.queue(name)
    except BrokerError as error:
        raise from_broker(error) from error


def integer_in(parameters: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """Return an integer parameter, or None if it is not given.

    Raises:
        SqsError: the value is not an integer, or out of range.
    """
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise SqsError("SerializationException", f"{name} must be an integer.")
    if not least <= value <= most:
        reason = f"between {least} and {most}" if least else f">= 0 and <= {most}"
        raise invalid(name, value, f"Must be {reason}, if provided.")
    return value


def failed_entry(entry_id: str, error: SqsError) -> dict[str, Any]:
    """Return the result of an entry of a batch that failed."""
    return {"Id": entry_id, "SenderFault": error.is_senders_fault, "Code": error.code, "Message": str(error)}


def batch_results(successful: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the response to a batch."""
    response: dict[str, Any] = {"Successful": list(successful)}
    return {**response, "Failed": list(failed)} if failed else response


def seconds_since(moments: dict[str, float], name: str) -> float:
    """Return the time since an event of a queue, in seconds; infinity if there was none."""
    return time.monotonic() - moments.get(name, float("-inf"))


class Action(NamedTuple):
    """An action, and the role that it requires."""

    run: Callable[[Context], dict[str, Any]]
    role: Role | None
    """None: any of the roles for queues."""
