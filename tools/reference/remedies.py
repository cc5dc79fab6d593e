"""Remedies of the error codes, for users. A test fails for a code without one, and for a remedy without a code."""

from __future__ import annotations

REMEDIES = {
    "topic_not_found": "List the topics with `wonderq topic list`. Create one with `wonderq topic set NAME`.",
    "subscription_not_found": "List the subscriptions of the topic with `wonderq topic show NAME`.",
    "already_subscribed": "Change the subscription that the queue has, or delete it first.",
    "standing_by": (
        "Send the request to the process that owns the log: the message names it. Behind a load balancer, check "
        "`/readyz`, so that only the owner gets requests."
    ),
    "no_quorum": (
        "Repeat the request. If the error stays, see that two of the three NATS servers run and reach each other."
    ),
    "shard_unavailable": (
        "Repeat the request. If the error stays, look at the nodes: `wonderq cluster status` shows what keeps them "
        "from owning the shard."
    ),
    "outcome_unknown": (
        "Repeat the request: with the same idempotency key if it produces, so that nothing is stored twice. Clients of "
        "WonderQ and of SQS repeat it by themselves."
    ),
    "different_shards": (
        "Give the two queues names that are equal up to `--`, such as `orders--new` and `orders--dead`: they are then "
        "in one shard."
    ),
    "too_many_topics": (
        "Delete topics that you no longer need. Use filters instead of a topic for each kind of message."
    ),
    "too_many_subscriptions": (
        "Delete subscriptions that you no longer need. Subscribe one queue with a filter that matches more."
    ),
    "malformed_body": (
        "Send JSON with `Content-Type: application/json`, or msgpack with `application/msgpack`. With curl, pass `-H "
        "'Content-Type: application/json'`, and quote the body for your shell."
    ),
    "empty_body": "Send the fields of the call as a body.",
    "missing_field": "Add the field that the message names.",
    "unknown_field": (
        "Correct the name. Fields and query parameters that a call does not have are refused, so that a misspelt one "
        "has no silent effect."
    ),
    "invalid_value": "Compare the value with the type and the range that the message names.",
    "ambiguous_request": "Remove one of the two fields.",
    "unexpected_body": "Move the fields to the query string, and send no body.",
    "invalid_queue_name": "Choose another name. Replace dots, except in the suffix `.fifo`, by `-`.",
    "masked_text": "Leave the field as it was, or use the API with your key: it has the text without masks.",
    "bad_request": "Correct the client or the proxy that wrote the request. The message names the part.",
    "unauthorized": (
        "Send `Authorization: Bearer KEY`, with a key of `wonderq key list` that has not expired. Commands read it "
        "from `WONDERQ_KEY`. If the key is lost, create another one with `wonderq key create`."
    ),
    "forbidden": (
        "Use a key with the role that the message names, for this queue. Roles and queues of a key cannot be changed: "
        "create another key with `wonderq key create`."
    ),
    "invalid_key": "Paste the whole key into the dashboard, as `wonderq key create` printed it.",
    "read_only": "Make the change with the API or the command line, or start the broker with `--ui on`.",
    "cross_site_request": "Name the page's origin in `--cors-origins`, if it may use this broker.",
    "message_not_found": (
        "Treat the message as finished: it was deleted, has expired, or became a dead letter. Check the queue in the "
        "path too. A message has another id in its dead-letter queue."
    ),
    "queue_not_found": "Check the name. Create the queue with `PUT /queues/NAME`, or produce a message to it.",
    "redrive_not_found": "List the redrives of the queue with `GET /queues/NAME/redrive`.",
    "schedule_not_found": "List the schedules with `wonderq schedule list`.",
    "path_not_found": "Compare the path with the [HTTP API](../API.md).",
    "method_not_allowed": "Use a method of the header `Allow`.",
    "request_timeout": (
        "Send the request faster: the head within 10 seconds, and the body at 4 KiB per second or more."
    ),
    "stale_receipt": (
        "Stop the work on this message. Your claim has ended, and another consumer may have the message, or has "
        "finished it. If this happens often, claim for longer (`visibility_timeout`), or renew the claim while you "
        "work: [long jobs](../how-to/long-jobs.md)."
    ),
    "request_superseded": (
        "Give each request of a producer a larger `request_number` than the one before, and send one at a time. Two "
        "producers need two `producer_id`s."
    ),
    "not_claimed": (
        "Do not renew or release it. The claim has ended, and nobody has received the message since. Receive it again."
    ),
    "not_movable": "Wait until the claim or the delay ends, or give a destination.",
    "version_conflict": "Read the message again, apply your change to its new text, and send it with the new version.",
    "queue_draining": "Send to another queue, or end the drain: `wonderq queue set NAME draining=false`.",
    "queue_not_deletable": "Purge the queue instead: `wonderq queue purge NAME`.",
    "redrive_running": "Wait for its end, or cancel it with `DELETE /queues/NAME/redrive/ID`.",
    "message_too_large": "Store the data elsewhere and send its address, or raise `--message-bytes` (16 MiB at most).",
    "batch_too_large": "Send smaller batches, or raise `--batch-messages` or `--batch-bytes`.",
    "body_too_large": "Send fewer messages in a request.",
    "target_too_long": "Send the fields in a body.",
    "unsupported_media_type": "Set `Content-Type: application/json` or `application/msgpack`.",
    "unsupported_content_encoding": "Send the body without compression.",
    "expectation_failed": "Remove the header `Expect`, or send `100-continue`.",
    "unknown_host": (
        "Use `127.0.0.1` or `localhost` in the address. Behind a proxy, name its host in `--hosts`, or create a key."
    ),
    "too_many_requests": "Wait for the seconds in `Retry-After`. Use batches, or a key with a higher `--rate`.",
    "too_many_in_flight": (
        "Delete finished messages, or raise `max_in_flight` of the queue. The broker has messages for you as soon as "
        "another one is finished."
    ),
    "too_many_listings": "Read your listings to their end, and start fewer at a time. `--listings` is the limit.",
    "too_many_waiting_consumers": (
        "Ask again later, ask without `wait`, or raise `--waiting-consumers`. A worker needs one long poll, however "
        "many tasks it runs."
    ),
    "too_many_connections": (
        "Keep connections open and use them again. `--connections` and `--connections-per-address` are the limits."
    ),
    "headers_too_large": "Send fewer or shorter headers. Large cookies are a common cause.",
    "internal_error": "Report it with the broker's log lines of this request: they have its `X-Request-Id`.",
    "not_implemented": "Use HTTP/1.1 with `Content-Length` or `chunked`.",
    "log_failed": (
        "Correct the disk, and restart the broker. The outcome of requests that were in progress is open: repeat them "
        "with an `idempotency_key`, an `attempt_id` or a receipt. [Operating](../OPERATING.md#monitor) has the steps."
    ),
    "log_lost": (
        "Send the request to the broker that took over the log. The outcome of requests that were in progress is open."
    ),
    "log_damaged": "Follow [Damage](../OPERATING.md#damage): copy the folder, verify it, and restore or repair it.",
    "too_many_unsent": (
        "Read the responses that you asked for, then repeat the request. Ask for fewer messages at a time."
    ),
    "shutting_down": "Repeat the request. The broker is being stopped, usually for a restart.",
    "not_ready": "Look at `GET /readyz`: it gives the reason.",
    "too_many_queues": (
        "Delete queues that you no longer need, or raise `--queues`. If each user has a queue, use one queue with "
        "groups instead: [FIFO queues and tenants](../how-to/fifo-and-tenants.md)."
    ),
    "too_many_keys": "Wait until keys expire, shorten the queue's `deduplication_window`, or raise `--total-keys`.",
    "too_many_schedules": "Delete schedules. Use `deliver_at` for a message that is due once.",
    "queue_full": "Slow the producers down, add consumers, or raise the queue's `max_messages` or `max_bytes`.",
    "broker_full": (
        "Consume or purge the largest queue: `wonderq top` shows it. Or raise `--total-messages` or `--total-bytes`."
    ),
    "disk_full": (
        "Free space, or delete messages: deletes, claims and purges still work. The broker then continues by itself."
    ),
}
