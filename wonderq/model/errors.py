"""Errors of the broker. Each has a stable code for programs, and a message for people.

These errors know nothing of HTTP: each API maps the codes to its own responses. The log raises errors of its own
(`wonderq_storage.errors`).
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of all errors by which the broker rejects a request. The request changed nothing."""

    code = "refused"


class InvalidValueError(BrokerError):
    """A field of a request is out of range or malformed."""

    code = "invalid_value"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidQueueNameError(InvalidValueError):
    """A queue name is malformed."""

    code = "invalid_queue_name"


class QueueNotFoundError(BrokerError):
    """A request names a queue that does not exist, and does not create it."""

    code = "queue_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no queue named {name!r}. Create it, or produce a message to it if the broker creates queues for "
            "producers."
        )


class DifferentShardsError(BrokerError):
    """A request concerns two queues that are in different shards of a cluster, or one that is in another shard."""

    code = "different_shards"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The queue {name!r} is in another shard of this cluster, and this call needs both queues in one. Give "
            "them names that are equal up to '--', such as orders--new and orders--dead."
        )


class ShardUnavailableError(BrokerError):
    """A request needs to know something of another shard of a cluster, which does not answer."""

    code = "shard_unavailable"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The shard of the queue {name!r} is not available. {reason} The request was not carried out: send it "
            "again."
        )


class NotPermittedError(BrokerError):
    """A call would change or use a queue that its client may not use."""

    code = "forbidden"

    def __init__(self, scope: str, role: str = "admin") -> None:
        """``scope`` completes the sentence, such as "for the queue a". It may name only a queue of the request."""
        super().__init__(f"This request needs a key with the role {role} {scope}.")


class MessageNotFoundError(BrokerError):
    """A request names a message that was deleted, or that never existed in this queue."""

    code = "message_not_found"

    def __init__(self) -> None:
        super().__init__("There is no message with this id in this queue: it was deleted, or never existed here.")


class OtherQueueError(MessageNotFoundError):
    """A request has a receipt, or an id, of a message of another queue."""


class StaleReceiptError(BrokerError):
    """A request has a receipt whose claim is no longer valid."""

    code = "stale_receipt"

    def __init__(self) -> None:
        super().__init__(
            "This receipt is no longer valid: the message was claimed again or released. Nothing was changed; consume "
            "the message again to get a new receipt."
        )


class RequestSupersededError(BrokerError):
    """A request has a smaller number than a later one of the same producer, and so cannot be recognized any more."""

    code = "request_superseded"

    def __init__(self, number: int, newest: int) -> None:
        super().__init__(
            f"The request has the number {number}, but this producer's request {newest} was carried out already. Give "
            "each request the next number, and repeat a request only until you send the next one."
        )


class NotClaimedError(BrokerError):
    """An update renews or releases a claim of a message that is not claimed."""

    code = "not_claimed"

    def __init__(self) -> None:
        super().__init__("The message is not claimed, so there is no claim to renew or release. Consume it first.")


class DefaultQueueError(BrokerError):
    """A request deletes the default queue."""

    code = "queue_not_deletable"

    def __init__(self) -> None:
        super().__init__("The default queue always exists and cannot be deleted. Purge it to empty it.")


class MessageTooLargeError(BrokerError):
    """A message is larger than the broker or its queue allows."""

    code = "message_too_large"

    def __init__(self, size: int, limit: int, queue: str = "") -> None:
        """``queue`` is the name of the queue that has the limit, if the request does not name it."""
        where = f" in the queue {queue}" if queue else ""
        super().__init__(
            f"The message has {size} bytes, and at most {limit} are allowed{where}. Store the content elsewhere and "
            "send a reference."
        )


class BatchTooLargeError(BrokerError):
    """A batch has more entries or bytes than the broker allows."""

    code = "batch_too_large"


class TooManyWaitingError(BrokerError):
    """A consumer asks to wait while as many consumers wait as the broker allows."""

    code = "too_many_waiting_consumers"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} consumers are waiting already, which is the limit. Try again later, or with wait=0.")


class TooManyInFlightError(BrokerError):
    """Messages are waiting, but as many are claimed as the queue allows."""

    code = "too_many_in_flight"

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(
            f"Messages are waiting, but the queue {queue} has reached its limit of messages in flight ({limit}). "
            "Delete the messages that are done, or release some."
        )


class TooManyListingsError(BrokerError):
    """A client starts a listing while as many listings are being read as the broker allows."""

    code = "too_many_listings"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} listings are being read already, which is the limit. Try again when one has ended.")


class TooManyQueuesError(BrokerError):
    """A request creates a queue while there are as many queues as the broker allows."""

    code = "too_many_queues"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} queues already, which is the limit. Delete one, or raise --queues.")


class TooManyKeysError(BrokerError):
    """A request needs dedup entries while there are as many as the broker allows."""

    code = "too_many_keys"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The broker remembers {limit} idempotency keys and attempts to claim, which is the limit. Try again when "
            "the oldest have expired, shorten the deduplication_window of the queue, or raise --total-keys."
        )


class QueueDrainingError(BrokerError):
    """A message is produced to a queue that is being drained."""

    code = "queue_draining"

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"The queue {queue} is being drained and accepts no messages. Set draining to false for the queue "
            "to end that."
        )


class VersionConflictError(BrokerError):
    """A conditional update names another version than the message has."""

    code = "version_conflict"

    def __init__(self, version: int) -> None:
        super().__init__(f"The message has version {version} by now. Nothing was changed: read it again, then decide.")


class QueueFullError(BrokerError):
    """A queue has no room for the messages, or for their bytes."""

    code = "queue_full"


class BrokerFullError(BrokerError):
    """The broker has no room for the messages, or for their bytes, in all queues together."""

    code = "broker_full"


class ShuttingDownError(BrokerError):
    """A consumer asks for messages while the broker is shutting down."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The broker is shutting down and delivers no more messages. Try again when it has restarted.")


class RedriveNotFoundError(BrokerError):
    """A request names a redrive that never existed, or that ended before the last ten."""

    code = "redrive_not_found"

    def __init__(self) -> None:
        super().__init__(
            "No redrive of this queue has this id. Only the running redrive and the last ten finished ones are kept."
        )


class RedriveRunningError(BrokerError):
    """A redrive is started on a queue that has one."""

    code = "redrive_running"

    def __init__(self, queue: str, redrive_id: str) -> None:
        super().__init__(
            f"The redrive {redrive_id} of the queue {queue} is still running. Wait until it ends, or cancel it."
        )


class NotMovableError(BrokerError):
    """A request moves a message that has to stay."""

    code = "not_movable"

    def __init__(self) -> None:
        super().__init__(
            "The message is claimed or delayed, or the queue that it came from does not exist. Wait, or give another "
            "destination."
        )


class ScheduleNotFoundError(BrokerError):
    """A request names a schedule that does not exist."""

    code = "schedule_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no schedule named {name[:100]!r} for a queue that you may use. Create it first, or check the "
            "name."
        )


class TooManySchedulesError(BrokerError):
    """A request creates a schedule while there are as many as the broker allows."""

    code = "too_many_schedules"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} schedules already, which is the limit. Delete one.")


class TopicNotFoundError(BrokerError):
    """A request names a topic that does not exist."""

    code = "topic_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no topic named {name[:300]!r}. Create it first, or check the name.")


class SubscriptionNotFoundError(BrokerError):
    """A request names a subscription that the topic does not have."""

    code = "subscription_not_found"

    def __init__(self, topic: str, name: str) -> None:
        super().__init__(
            f"The topic {topic} has no subscription named {name[:100]!r}. Create it first, or check the name. A "
            "subscription ends when its queue is deleted."
        )


class AlreadySubscribedError(BrokerError):
    """A request subscribes a queue to a topic a second time."""

    code = "already_subscribed"

    def __init__(self, topic: str, queue: str, name: str) -> None:
        super().__init__(
            f"The queue {queue} has the subscription {name} of the topic {topic}, and a queue can have only one. "
            "Change that subscription, or delete it first."
        )


class TooManyTopicsError(BrokerError):
    """A request creates a topic while there are as many as the broker allows."""

    code = "too_many_topics"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} topics already, which is the limit. Delete one.")


class TooManySubscriptionsError(BrokerError):
    """A request creates a subscription while there are as many as the topic or the broker allows."""

    code = "too_many_subscriptions"

    def __init__(self, holder: str, limit: int) -> None:
        super().__init__(f"{holder} has {limit} subscriptions already, which is the limit. Delete one.")
