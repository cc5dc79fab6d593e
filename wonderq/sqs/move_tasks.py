"""The actions that bring dead letters back."""

from __future__ import annotations

from typing import Any

from wonderq.broker.redrive import MAX_PER_SECOND, Redrive
from wonderq.model.errors import BrokerError, RedriveNotFoundError, RedriveRunningError
from wonderq.sqs.context import Context, looked_up
from wonderq.sqs.errors import SqsError, from_broker
from wonderq.sqs.limits import STRICT
from wonderq.sqs.names import arn_of, name_in_arn

#: How many tasks of a queue are listed at most, and how many a second a task may move.
_MOST_LISTED = 10
_MOST_PER_SECOND = 500


def start_message_move_task(context: Context) -> dict[str, Any]:
    source = _source(context)
    names = [info.name for info in context.broker.queues() if info.settings.dead_letter_queue == source]
    if not names:
        raise SqsError("UnsupportedOperation", "Source queue must be configured as a Dead Letter Queue.")
    arn = context.text("DestinationArn")
    destination = None if arn is None else name_in_arn(arn, "DestinationArn")
    most = _MOST_PER_SECOND if context.limits is STRICT else MAX_PER_SECOND
    per_second = context.integer("MaxNumberOfMessagesPerSecond", 1, most)
    if destination is not None:
        _existing(context, destination)
    elif not all(map(context.opens, names)):
        raise SqsError("AccessDenied", "The key does not open all queues whose dead letters these are.", 403)
    try:
        return {"TaskHandle": context.broker.redrives.start(source, destination, per_second=per_second)}
    except RedriveRunningError as error:
        text = (
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
        )
        raise SqsError("UnsupportedOperation", text) from error
    except BrokerError as error:
        raise from_broker(error) from error


def _source(context: Context) -> str:
    context.required("SourceArn")
    return _existing(context, name_in_arn(context.text("SourceArn"), "SourceArn"))


def _existing(context: Context, name: str) -> str:
    try:
        return looked_up(context.broker, name).name
    except SqsError as error:
        text = "The resource that you specified for the SourceArn or DestinationArn parameter doesn't exist."
        raise SqsError("ResourceNotFoundException", text) from error


def cancel_message_move_task(context: Context) -> dict[str, Any]:
    handle = context.required("TaskHandle")
    try:
        move = context.broker.redrives.get(handle)
        if not context.opens(move.source):
            raise SqsError("AccessDenied", "The key does not open this queue.", 403)
        if move.status != "running":
            raise SqsError("UnsupportedOperation", "Only a task that is running can be cancelled.")
        move = context.broker.redrives.cancel(handle)
    except RedriveNotFoundError as error:
        raise SqsError("ResourceNotFoundException", "Task does not exist.") from error
    except BrokerError as error:
        raise from_broker(error) from error
    return {"ApproximateNumberOfMessagesMoved": move.moved}


def list_message_move_tasks(context: Context) -> dict[str, Any]:
    source = _source(context)
    most = context.integer("MaxResults", 1, _MOST_LISTED) or 1
    found = [_shown(context, move) for move in context.broker.redrives.list(source)[:most]]
    return {"Results": found} if found else {}


def _shown(context: Context, move: Redrive) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Status": move.status.upper(),
        "SourceArn": arn_of(context.region, move.source),
        "ApproximateNumberOfMessagesMoved": move.moved,
        "ApproximateNumberOfMessagesToMove": move.total,
        "StartedTimestamp": move.started_ms,
    }
    if move.status == "running":
        shown["TaskHandle"] = move.id
    if move.destination is not None:
        shown["DestinationArn"] = arn_of(context.region, move.destination)
    if move.per_second is not None:
        shown["MaxNumberOfMessagesPerSecond"] = move.per_second
    if move.failure is not None:
        shown["FailureReason"] = move.failure
    return shown
