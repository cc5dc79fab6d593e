"""What every action has at hand, and how it reads its parameters."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.model.errors import BrokerError
from wonderq.model.messages import QueueInfo
from wonderq.model.settings import QueueSettings
from wonderq.sqs.errors import SqsError, from_broker, invalid, missing
from wonderq.sqs.limits import SqsLimits
from wonderq.sqs.names import name_in_url

_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Service:
    """The broker, and what SQS remembers besides: nothing of it matters after a restart."""

    def __init__(self, broker: Broker, limits: SqsLimits) -> None:
        self.broker = broker
        self.limits = limits
        self.deleted_s: dict[str, float] = {}
        self.purged_s: dict[str, float] = {}


class Context(NamedTuple):
    """One request."""

    service: Service
    parameters: Mapping[str, Any]
    base_url: str
    """The address that the client used."""
    region: str
    opens: Callable[[str], bool]
    """Whether whoever asks may see a queue."""
    client_gone: Callable[[], bool]

    @property
    def broker(self) -> Broker:
        return self.service.broker

    @property
    def limits(self) -> SqsLimits:
        return self.service.limits

    def queue(self) -> str:
        """Return the queue that the request is about.

        Raises:
            SqsError: it names none.
        """
        return name_in_url(self.text("QueueUrl"))

    def info(self) -> QueueInfo:
        """Return the same queue as it is now.

        Raises:
            SqsError: there is no such queue.
        """
        return looked_up(self.broker, self.queue())

    def settings(self) -> tuple[str, QueueSettings]:
        """Return its name and its settings, without waiting for the log: what is done with it waits.

        Raises:
            SqsError: there is no such queue.
        """
        name = self.queue()
        found = self.broker.settings_of(name)
        return name, looked_up(self.broker, name).settings if found is None else found

    def text(self, name: str) -> str | None:
        value = self.parameters.get(name)
        if value is not None and not isinstance(value, str):
            raise SqsError("SerializationException", f"{name} has to be a string.")
        return value

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise missing(name)
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        return integer_in(self.parameters, name, least, most)

    def texts(self, name: str) -> list[str]:
        value = self.parameters.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise SqsError("SerializationException", f"{name} has to be a list of strings.")
        return value

    def mapping(self, *names: str) -> dict[str, Any]:
        for name in names:
            value = self.parameters.get(name)
            if value is not None:
                if not isinstance(value, dict):
                    raise SqsError("SerializationException", f"{name} has to be a map.")
                return value
        return {}

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of a batch.

        Raises:
            SqsError: there are none, or too many, or their ids are not as they have to be.
        """
        entries = self.parameters.get("Entries")
        if not isinstance(entries, list) or not entries:
            raise SqsError("EmptyBatchRequest", "There should be at least one entry in the request.")
        if not all(isinstance(each, dict) for each in entries):
            raise SqsError("SerializationException", "Entries has to be a list of structures.")
        if len(entries) > self.limits.batch_entries:
            most = self.limits.batch_entries
            text = f"Maximum number of entries per request are {most}. You have sent {len(entries)}."
            raise SqsError("TooManyEntriesInBatchRequest", text)
        ids = [each.get("Id") for each in entries]
        for each in ids:
            if not isinstance(each, str) or not _ENTRY_ID.fullmatch(each):
                text = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
                raise SqsError("InvalidBatchEntryId", text)
        if len(set(ids)) < len(ids):
            raise SqsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
        return entries


def looked_up(broker: Broker, name: str) -> QueueInfo:
    try:
        return broker.queue(name)
    except BrokerError as error:
        raise from_broker(error) from error


def integer_in(parameters: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """Return a parameter that is a whole number, or None if it is not given.

    Raises:
        SqsError: it is something else, or out of range.
    """
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise SqsError("SerializationException", f"{name} has to be an integer.")
    if not least <= value <= most:
        raise invalid(name, value, f"Must be between {least} and {most}, if provided.")
    return value


def failed(entry_id: str, error: SqsError) -> dict[str, Any]:
    """Return what is said of an entry of a batch that was refused."""
    return {"Id": entry_id, "SenderFault": error.is_senders_fault, "Code": error.code, "Message": str(error)}


def results(successful: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the answer to a batch."""
    answer: dict[str, Any] = {"Successful": list(successful)}
    return {**answer, "Failed": list(failures)} if failures else answer


def seconds_since(moments: dict[str, float], name: str) -> float:
    """Return how long ago something was done to a queue."""
    return time.monotonic() - moments.get(name, float("-inf"))


class Action(NamedTuple):
    """What an action does, and what whoever asks for it must be allowed."""

    run: Callable[[Context], dict[str, Any]]
    role: Role | None
    """None: any will do."""
