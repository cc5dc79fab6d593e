"""The HTTP API as Falcon resources: read the request, call the broker, render the answer. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import falcon
from msgspec import UNSET, UnsetType

import storage
from wonderq import docs_page, errors, openapi, schemas
from wonderq.access import Access
from wonderq.broker import Broker
from wonderq.contents import NewMessage
from wonderq.model import DEFAULT_QUEUE, STATUS_BY_NAME, Message, Role, SendResult, Target
from wonderq.rest_values import (
    Trace,
    change_of,
    is_plain,
    message_filter,
    new_message,
    queue_object,
    set_ms,
    set_value,
    settings_of,
    trace_of,
)
from wonderq.sqs import resource as sqs
from wonderq.sqs.limits import STRICT, SqsLimits
from wonderq.sqs.resource import Endpoint
from wonderq.wire import (
    JSON,
    MessageObject,
    RequestError,
    claimed_objects,
    encode_json,
    error_object,
    message_object,
    read_body,
    read_optional_body,
    read_query,
    refusal,
    render,
    to_ms,
)

#: How each error is answered: its HTTP status, and after how many seconds it may be worth trying again.
ERRORS: dict[type[Exception], tuple[int, int | None]] = {
    errors.InvalidValueError: (400, None),
    errors.QueueNotFoundError: (404, None),
    errors.MessageNotFoundError: (404, None),
    errors.RedriveNotFoundError: (404, None),
    errors.ScheduleNotFoundError: (404, None),
    errors.StaleReceiptError: (409, None),
    errors.NotClaimedError: (409, None),
    errors.VersionConflictError: (409, None),
    errors.QueueDrainingError: (409, None),
    errors.DefaultQueueError: (409, None),
    errors.RedriveRunningError: (409, None),
    errors.MessageTooLargeError: (413, None),
    errors.BatchTooLargeError: (413, None),
    errors.TooManyWaitingError: (429, 1),
    errors.TooManyInFlightError: (429, 1),
    errors.TooManyListingsError: (429, 1),
    # 507 rather than 429, which is about requests in a given time (RFC 6585, section 4): here there is no room (RFC 4918,
    # section 11.5). Nobody knows when a queue will be deleted, so there is no time to wait for.
    errors.TooManyQueuesError: (507, None),
    errors.TooManySchedulesError: (507, None),
    errors.TooManyKeysError: (507, 5),
    errors.QueueFullError: (507, 5),
    errors.BrokerFullError: (507, 5),
    errors.ShuttingDownError: (503, 5),
    storage.RecordTooLargeError: (413, None),
    storage.LogFailedError: (503, 30),
    storage.LogClosedError: (503, 5),
    storage.CorruptLogError: (503, 30),
    storage.DiskFullError: (507, 30),
}

_STORAGE_CODES: dict[type[Exception], str] = {
    storage.RecordTooLargeError: "batch_too_large",
    storage.LogFailedError: "log_failed",
    storage.LogClosedError: "shutting_down",
    storage.CorruptLogError: "log_damaged",
    storage.DiskFullError: "disk_full",
}


def describe_error(error: Exception) -> tuple[int, str, str, str | None]:
    """Return what the error object for a domain error says: status, code, message, field."""
    status, _ = _answer_to(error)
    code = error.code if isinstance(error, errors.BrokerError) else _STORAGE_CODES[type(error)]
    return status, code, str(error), getattr(error, "field", None)


def retry_after_s(error: Exception) -> int | None:
    return _answer_to(error)[1]


def _answer_to(error: Exception) -> tuple[int, int | None]:
    return next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)


def _batch_results(targets: Sequence[Target], results: Sequence[errors.BrokerError | None]) -> dict[str, Any]:
    """Render the results of a batch, each with the id or receipt it is about."""
    rendered: list[dict[str, Any]] = []
    for (message_id, receipt), error in zip(targets, results, strict=True):
        result: dict[str, Any] = {"id": message_id} if message_id is not None else {}
        if receipt is not None:
            result["receipt"] = receipt
        if error is None:
            result["success"] = True
        else:
            result.update(error_object(*describe_error(error)))
        rendered.append(result)
    return {"success": not any(results), "results": rendered}


class Resource:
    """What the resources have in common."""

    def __init__(self, broker: Broker, access: Access | None = None) -> None:
        self.broker = broker
        self.access = access

    def check_targets(self, req: falcon.Request, targets: Sequence[Target]) -> None:
        """Refuse a change of messages that others may hold to whoever may only consume."""
        if self.access is not None and any(target.receipt is None for target in targets):
            error = self.access.authorize_without_receipt(req.auth)
            if error is not None:
                raise error

    def check_queue(self, req: falcon.Request, role: Role, queue: str) -> None:
        """Refuse a queue that is named elsewhere than in the path to whoever may not do that with it."""
        if self.access is not None:
            error = self.access.authorize_queue(req.auth, role, queue)
            if error is not None:
                raise error


class Produce(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        body = read_body(req, schemas.Produce)
        trace = trace_of(req)
        if isinstance(body.messages, UnsetType):
            if isinstance(body.message, UnsetType):
                raise RequestError(400, "missing_field", "The field message is required.", "message")
            value = self._produce_one(queue, body.message, body, trace)
        else:
            _check_batch_fields(body)
            value = self._produce_batch(queue, body.messages, body, trace)
        render(req, resp, {**value, "status": "unprocessed", "statusCode": 201}, 201)

    def _produce_one(self, queue: str, text: str, body: schemas.Produce, trace: Trace) -> dict[str, Any]:
        if is_plain(body) and not trace and self.broker.is_plain(queue):
            delay_ms = set_ms(body.delay)
            [message_id] = self.broker.produce(queue, [text], None if delay_ms is None else [delay_ms])
            return {"id": message_id, "message": text}
        [sent] = self.broker.send(queue, [new_message(text, body, trace)])
        return {"id": sent.id, "message": text, **({"duplicate": True} if sent.is_duplicate else {})}

    def _produce_batch(
        self, queue: str, messages: list[str | schemas.NewMessage], body: schemas.Produce, trace: Trace
    ) -> dict[str, Any]:
        delay_ms, key = set_ms(body.delay), body.idempotency_key
        others = [each for each in messages if not isinstance(each, str)]
        if not trace and key is UNSET and self.broker.is_plain(queue) and all(map(is_plain, others)):
            bodies = [each if isinstance(each, str) else each.message for each in messages]
            delays: list[int | None] = [delay_ms] * len(messages)
            for index, each in enumerate(messages if others else ()):
                if not isinstance(each, str) and not isinstance(each.delay, UnsetType):
                    delays[index] = to_ms(each.delay)
            given = delays if any(delay is not None for delay in delays) else None
            return {"ids": self.broker.produce(queue, bodies, given)}
        new = []
        for index, each in enumerate(messages):
            message = (
                new_message(each, _NO_FIELDS, trace)
                if isinstance(each, str)
                else new_message(each.message, each, trace)
            )
            if message.delay_ms is None and message.deliver_at_ms is None:
                message = message._replace(delay_ms=delay_ms)
            if not isinstance(key, UnsetType) and not message.key:
                message = message._replace(key=f"{key}/{index}")
            new.append(message)
        return _sent_object(self.broker.send(queue, new))


_NO_FIELDS = schemas.MessageFields()


def _check_batch_fields(body: schemas.Produce) -> None:
    """Refuse fields of one message beside ``messages``, where they would be of none."""
    for name in ("message", "deliver_at", "attributes", "group", "priority", "traceparent", "tracestate"):
        if getattr(body, name) is not UNSET:
            text = (
                f"Give {name} with each of the messages"
                if name != "message"
                else "Give either message or messages, not both"
            )
            raise RequestError(400, "ambiguous_request", f"{text}.", "messages" if name == "message" else name)


def _sent_object(sent: Sequence[SendResult]) -> dict[str, Any]:
    duplicates = [index for index, each in enumerate(sent) if each.is_duplicate]
    return {"ids": [each.id for each in sent], **({"duplicates": duplicates} if duplicates else {})}


class HandOver(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        body = read_body(req, schemas.HandOver)
        trace = trace_of(req)
        outputs: dict[str, list[NewMessage]] = {}
        places = []
        for each in body.produce:
            if each.queue not in outputs:
                self.check_queue(req, "produce", each.queue)
            messages = outputs.setdefault(each.queue, [])
            places.append((each.queue, len(messages)))
            messages.append(new_message(each.message, each, trace))
        sent = self.broker.hand_over(queue, Target.each((), body.receipts), outputs)
        value = _sent_object([sent[name][index] for name, index in places])
        render(req, resp, {"success": True, **value, "statusCode": 201}, 201)


class Kick(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        asked = read_optional_body(req, schemas.Kick)
        render(req, resp, {"success": True, "kicked": self.broker.kick(queue, asked.max)})


class Consume(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        self._consume(req, resp, queue, read_query(req, schemas.Consume))

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        self._consume(req, resp, queue, read_optional_body(req, schemas.Consume))

    def _consume(self, req: falcon.Request, resp: falcon.Response, queue: str, asked: schemas.Consume) -> None:
        client_gone: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
        messages = self.broker.claim(
            queue,
            limit=asked.max,
            visibility_timeout_ms=set_ms(asked.visibility_timeout),
            wait_s=asked.wait,
            client_gone=client_gone,
            attempt_id=set_value(asked.attempt_id),
        )
        render(req, resp, claimed_objects(messages))
        resp.set_header("Cache-Control", "no-store")


class MessageResource(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, message_id: str, queue: str = DEFAULT_QUEUE) -> None:
        read_query(req, schemas.Body)
        render(req, resp, message_object(self.broker.get(queue, message_id)))
        resp.set_header("Cache-Control", "no-store")

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, message_id: str, queue: str = DEFAULT_QUEUE
    ) -> None:
        body = read_optional_body(req, schemas.Delete)
        target = Target(message_id, set_value(body.receipt))
        self.check_targets(req, [target])
        self.broker.delete(queue, target)
        render(req, resp, {"success": True})

    def on_update(
        self, req: falcon.Request, resp: falcon.Response, message_id: str, queue: str = DEFAULT_QUEUE
    ) -> None:
        body = read_optional_body(req, schemas.Update)
        target = Target(message_id, set_value(body.receipt))
        self.check_targets(req, [target])
        self.broker.update(queue, target, change_of(body))
        render(req, resp, {"success": True})

    # For clients that can send only the common methods.
    on_put = on_update
    on_patch = on_update


class DeleteBatch(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        body = read_body(req, schemas.DeleteBatch)
        if isinstance(body.ids, UnsetType) == isinstance(body.receipts, UnsetType):
            code = "missing_field" if isinstance(body.ids, UnsetType) else "ambiguous_request"
            raise RequestError(400, code, "Give either ids or receipts.", "ids")
        targets = Target.each(set_value(body.ids) or [], set_value(body.receipts) or [])
        self.check_targets(req, targets)
        render(req, resp, _batch_results(targets, self.broker.delete_batch(queue, targets)))


class UpdateBatch(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        entries = read_body(req, schemas.UpdateBatch).entries
        updates = [(Target(set_value(entry.id), set_value(entry.receipt)), change_of(entry)) for entry in entries]
        targets = [target for target, _ in updates]
        self.check_targets(req, targets)
        render(req, resp, _batch_results(targets, self.broker.update_batch(queue, updates)))


class Listing(Resource):
    """Streams a JSON array, whatever the client accepts: msgpack would need the number of messages in advance."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        self._list(resp, queue, read_query(req, schemas.Listing), None)

    def on_get_status(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        asked = read_query(req, schemas.StatusListing)
        self._list(resp, queue, asked, _check_status(asked.status))

    def _list(self, resp: falcon.Response, queue: str, asked: schemas.Listing, status: str | None) -> None:
        messages = self.broker.messages(
            queue,
            status=status,
            after=set_value(asked.after),
            limit=set_value(asked.limit),
            matches=message_filter(asked),
        )
        pieces = _stream(map(message_object, messages))
        first = next(pieces)  # what can be refused is refused here, while the status is still open
        resp.content_type = JSON
        resp.set_header("Cache-Control", "no-store")
        resp.stream = _Stream(first, pieces, messages)


class _Stream:
    """The pieces of a listing. The server closes it, also when the client has gone, and with that the listing ends."""

    def __init__(self, first: bytes, rest: Iterator[bytes], messages: Generator[Message]) -> None:
        self._pieces = chain((first,), rest)
        self._messages = messages

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._messages.close()


def _stream(values: Iterator[MessageObject]) -> Iterator[bytes]:
    """Write a JSON array in pieces of some tens of kilobytes."""
    pieces: list[bytes] = []
    size, separator = 0, b"["
    for value in values:
        data = encode_json(value)
        pieces += (separator, data)
        separator = b","
        size += len(data)
        if size > 1 << 15:
            yield b"".join(pieces)
            pieces, size = [], 0
    pieces.append(b"]\n" if separator == b"," else b"[]\n")
    yield b"".join(pieces)


def _check_status(status: str) -> str:
    if status not in STATUS_BY_NAME:
        raise RequestError(400, "invalid_value", f"status must be one of {', '.join(STATUS_BY_NAME)}.", "status")
    return status


class Count(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        status = _check_status(read_query(req, schemas.Count).status)
        render(req, resp, {"count": self.broker.count(queue, status), "status": status})
        resp.set_header("Cache-Control", "no-store")


class Queues(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        infos = self.broker.queues()
        if self.access is not None:
            is_theirs = self.access.queue_filter(req.auth)
            infos = [info for info in infos if is_theirs(info.name)]
        render(req, resp, [queue_object(info) for info in infos])


class QueueResource(Resource):
    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, queue_object(self.broker.queue(queue)))

    def on_put(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        settings = settings_of(read_optional_body(req, schemas.PutQueue))
        if settings.get("dead_letter_queue"):
            self.check_queue(req, "admin", settings["dead_letter_queue"])
        info, created = self.broker.put_queue(queue, **settings)
        render(req, resp, queue_object(info), 201 if created else 200)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        self.broker.drop_queue(queue)
        render(req, resp, {"success": True})


class Purge(Resource):
    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, {"success": True, "deleted": self.broker.purge(queue)})


class Health(Resource):
    """``/healthz``: the process answers. ``/readyz``: it also takes work."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        render(req, resp, {"status": "ok"})

    # Load balancers often ask this way; the server leaves out the body.
    on_head = on_get

    def on_get_ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        reason = self.broker.unready
        if reason is None:
            render(req, resp, {"status": "ready"})
        else:
            render(req, resp, refusal(503, "not_ready", f"The broker takes no work: {reason}"), 503)
            resp.set_header("Retry-After", "30")

    on_head_ready = on_get_ready


class Page:
    """Something that is always the same: made at the start, and sent as it is."""

    def __init__(self, content: bytes, content_type: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self._content = content
        self._content_type = content_type
        self._headers = headers

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = self._content_type
        resp.data = self._content
        resp.set_headers(self._headers)


class Home:
    """Sends whoever opens the broker's address in a browser to where it says what it is; SQS' clients post here."""

    def __init__(self, sqs: Endpoint) -> None:
        self.on_post = sqs.on_post

    def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        raise falcon.HTTPFound("/docs")


def add_routes(
    app: falcon.App[falcon.Request, falcon.Response],
    broker: Broker,
    access: Access | None = None,
    sqs_limits: SqsLimits = STRICT,
) -> None:
    """Add all of the API. What is added here needs a rule in `wonderq.access` too."""
    listing, health, endpoint = Listing(broker), Health(broker), sqs.Endpoint(broker, access, sqs_limits)
    for prefix in ("", "/queues/{queue}"):
        app.add_route(f"{prefix}/messages/produce", Produce(broker))
        app.add_route(f"{prefix}/messages/consume", Consume(broker))
        app.add_route(f"{prefix}/messages/delete", DeleteBatch(broker, access))
        app.add_route(f"{prefix}/messages/update", UpdateBatch(broker, access))
        app.add_route(f"{prefix}/messages/kick", Kick(broker))
        app.add_route(f"{prefix}/messages/hand-over", HandOver(broker, access))
        app.add_route(f"{prefix}/messages/{{message_id}}", MessageResource(broker, access))
        app.add_route(f"{prefix}/dev/messages", listing)
        app.add_route(f"{prefix}/dev/messages/status", listing, suffix="status")
        app.add_route(f"{prefix}/dev/messages/count", Count(broker))
    app.add_route("/queues", Queues(broker, access))
    app.add_route("/queues/{queue}", QueueResource(broker, access))
    app.add_route("/queues/{queue}/purge", Purge(broker))
    app.add_route("/healthz", health)
    app.add_route("/readyz", health, suffix="ready")
    app.add_route(sqs.ROOT, Home(endpoint))
    app.add_route(sqs.QUEUE, endpoint)
    app.add_route("/docs", Page(docs_page.as_html(), falcon.MEDIA_HTML, docs_page.HEADERS))
    app.add_route("/openapi.json", Page(openapi.as_json(), JSON))
