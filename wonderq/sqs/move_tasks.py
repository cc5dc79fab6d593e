"""Actions on message move tasks, which are redrives of the broker."""

from __future__ import annotations

import re
from typing import Any

from wonderq.broker.redrive import MAX_PER_SECOND, Redrive
from wonderq.model.errors import BrokerError, RedriveNotFoundError, RedriveRunningError
from wonderq.model.settings import FIFO_SUFFIX
from wonderq.sqs.context import Context, queue_info
from wonderq.sqs.errors import SqsError, from_broker, invalid, no_such_queue
from wonderq.sqs.limits import STRICT
from wonderq.sqs.names import arn_of, name_in_arn

#: Limits of SQS: tasks per list, and messages per second of a task.
_MAX_LISTED = 10
_MAX_PER_SECOND = 500

#: The form of a redrive's id.
_HANDLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def start_message_move_task(context: Context) -> dict[str, Any]:
    """Start a redrive of a dead-letter queue."""
    source = _source(context)
    if not context.broker.sources_of(source, limit=1):
        raise SqsError("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    arn = context.text("DestinationArn")
    destination = None if arn is None else name_in_arn(arn, "DestinationArn")
    most = _MAX_PER_SECOND if context.limits is STRICT else MAX_PER_SECOND
    per_second = context.integer("MaxNumberOfMessagesPerSecond", 1, most)
    if destination is not None:
        _check_exists(context, destination, "DestinationArn")
        if destination.endswith(FIFO_SUFFIX) != source.endswith(FIFO_SUFFIX):
            text = "The destination queue must be of the same type as the source queue: both FIFO, or both standard."
            raise invalid("DestinationArn", arn, text)
    redrives = context.broker.redrives
    try:
        return {"TaskHandle": redrives.start(source, destination, per_second=per_second, permits=context.opens)}
    except RedriveRunningError as error:
        text = (
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
        )
        raise SqsError("InvalidParameterValue", text) from error
    except BrokerError as error:
        raise from_broker(error) from error


def _source(context: Context) -> str:
    context.required("SourceArn")
    return _check_exists(context, name_in_arn(context.text("SourceArn"), "SourceArn"), "SourceArn")


def _check_exists(context: Context, name: str, parameter: str) -> str:
    try:
        if not context.broker.has_name(name):
            if context.broker.sqs_attributes(name) is None:
                raise no_such_queue()
            return name
        return queue_info(context.broker, name).name
    except SqsError as error:
        text = f"The resource that you specified for the {parameter} parameter doesn't exist."
        raise SqsError("ResourceNotFoundException", text) from error


def cancel_message_move_task(context: Context) -> dict[str, Any]:
    """Cancel a running redrive."""
    handle = context.required("TaskHandle")
    if not _HANDLE.fullmatch(handle):
        raise invalid("TaskHandle", handle, "Must be a TaskHandle that StartMessageMoveTask returned.")
    try:
        redrive, was_running = context.broker.redrives.cancel(handle, permits=context.opens)
    except RedriveNotFoundError as error:
        raise SqsError("ResourceNotFoundException", "Task does not exist.") from error
    except BrokerError as error:
        raise from_broker(error) from error
    if not was_running:
        raise SqsError("UnsupportedOperation", "Only a running task can be cancelled.")
    return {"ApproximateNumberOfMessagesMoved": redrive.moved}


def list_message_move_tasks(context: Context) -> dict[str, Any]:
    """List the redrives of a queue."""
    source = _source(context)
    most = context.integer("MaxResults", 1, _MAX_LISTED) or 1
    found = [_task_object(context, redrive) for redrive in context.broker.redrives.list(source)[:most]]
    return {"Results": found} if found else {}


def _task_object(context: Context, redrive: Redrive) -> dict[str, Any]:
    task: dict[str, Any] = {
        "Status": redrive.status.upper(),
        "SourceArn": arn_of(context.region, redrive.source),
        "ApproximateNumberOfMessagesMoved": redrive.moved,
        "ApproximateNumberOfMessagesToMove": redrive.total,
        "StartedTimestamp": redrive.started_ms,
    }
    if redrive.status == "running":
        task["TaskHandle"] = redrive.id
    if redrive.destination is not None:
        task["DestinationArn"] = arn_of(context.region, redrive.destination)
    if redrive.per_second is not None:
        task["MaxNumberOfMessagesPerSecond"] = redrive.per_second
    if redrive.failure is not None:
        task["FailureReason"] = redrive.failure
    return task
