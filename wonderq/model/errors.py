"""What the broker refuses, each with a code that stays and a sentence for people. No HTTP in here.

Storage has errors of its own (`wonderq_storage.errors`); each API maps both kinds in one place.
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of every refusal. Nothing was changed."""

    code = "refused"


class InvalidValueError(BrokerError):
    """A value that is out of range or malformed."""

    code = "invalid_value"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidQueueNameError(InvalidValueError):
    code = "invalid_queue_name"


class QueueNotFoundError(BrokerError):
    code = "queue_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no queue named {name!r}. PUT /queues/{name} makes it, and so does producing to it, if that is allowed."
        )


class MessageNotFoundError(BrokerError):
    code = "message_not_found"

    def __init__(self) -> None:
        super().__init__("There is no message with this id in this queue: it was deleted, or never existed here.")


class StaleReceiptError(BrokerError):
    code = "stale_receipt"

    def __init__(self) -> None:
        super().__init__(
            "This receipt's claim is over: the message was claimed again or released. Nothing was changed."
        )


class NotClaimedError(BrokerError):
    code = "not_claimed"

    def __init__(self) -> None:
        super().__init__("The message is not claimed, so there is no claim to renew or release. Consume it first.")


class DefaultQueueError(BrokerError):
    code = "queue_not_deletable"

    def __init__(self) -> None:
        super().__init__("The default queue is always there and cannot be deleted. Purge it to empty it.")


class MessageTooLargeError(BrokerError):
    code = "message_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The message has {size} bytes and may have {limit}. Store it elsewhere and send a reference.")


class BatchTooLargeError(BrokerError):
    code = "batch_too_large"


class TooManyWaitingError(BrokerError):
    code = "too_many_waiting_consumers"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} consumers are waiting already. Try again later, or with wait=0.")


class TooManyInFlightError(BrokerError):
    code = "too_many_in_flight"

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(
            f"Messages are waiting, but {limit} of the queue {queue} are being processed already, and that is its limit. "
            "Delete those that are done, or release some."
        )


class TooManyListingsError(BrokerError):
    code = "too_many_listings"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} listings are being read already. Try again when one of them has ended.")


class TooManyQueuesError(BrokerError):
    code = "too_many_queues"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} queues, and no more may be made. Delete one, or raise --queues.")


class TooManyKeysError(BrokerError):
    code = "too_many_keys"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} keys of messages are remembered, and no more can be now. Try again when the oldest are forgotten, make "
            "the queue's deduplication_window shorter, or raise --total-keys."
        )


class QueueDrainingError(BrokerError):
    code = "queue_draining"

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"The queue {queue} is being drained and takes no more messages. PUT /queues/{queue} with draining=false ends that."
        )


class VersionConflictError(BrokerError):
    code = "version_conflict"

    def __init__(self, version: int) -> None:
        super().__init__(f"The message has version {version} by now. Nothing was changed: look at it again.")


class QueueFullError(BrokerError):
    """A queue holds as many messages, or bytes of them, as one may."""

    code = "queue_full"


class BrokerFullError(BrokerError):
    """All queues together hold as many messages, or bytes of them, as they may."""

    code = "broker_full"


class ShuttingDownError(BrokerError):
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The broker is shutting down and gives out no more messages. Try again when it is back.")


class RedriveNotFoundError(BrokerError):
    code = "redrive_not_found"

    def __init__(self) -> None:
        super().__init__("There is no redrive with this id: it never was, or it ended and ten others have ended since.")


class RedriveRunningError(BrokerError):
    code = "redrive_running"

    def __init__(self, queue: str, move_id: str) -> None:
        super().__init__(f"Messages of {queue} are being moved already, by {move_id}. Wait for its end, or cancel it.")


class ScheduleNotFoundError(BrokerError):
    code = "schedule_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule named {name[:100]!r}. PUT /schedules/NAME makes one.")


class TooManySchedulesError(BrokerError):
    code = "too_many_schedules"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} schedules, and no more may be made. Delete one.")
