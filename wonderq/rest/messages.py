"""Messages: produce, claim, update, delete, hand over and kick them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice, repeat
from typing import Any

import falcon
from msgspec import UNSET, UnsetType

from wonderq.broker.claims import ClaimOptions
from wonderq.broker.produce import are_bodies
from wonderq.broker.reader import Batch
from wonderq.httpd.errors import RequestError, error_object
from wonderq.httpd.forwarded import WAITED_S
from wonderq.httpd.room import RESPONSE_SHARE
from wonderq.model import errors
from wonderq.model.messages import NewMessage, RequestNumber, SendResults
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.rest import schemas
from wonderq.rest.arrays import MANY, Format, Template, format_of, render_pieces
from wonderq.rest.bodies import read_body, read_optional_body, read_query, render
from wonderq.rest.deliveries import delivered
from wonderq.rest.errors import describe_error
from wonderq.rest.masks import mask_of, shown_object
from wonderq.rest.resource import Resource
from wonderq.rest.values import (
    Trace,
    change_of,
    check_batch_fields,
    finished_of,
    idempotency_key_of,
    new_message,
    of_batch,
    sendable,
    set_ms,
    set_value,
    trace_of,
)

#: Fields of `schemas.Next` that name messages to finish, in the order of `finished_of`.
_LISTS = ("delete", "release", "dead")


def batch_results(
    targets: Sequence[tuple[str | None, str | None]], results: Sequence[errors.BrokerError | None]
) -> dict[str, Any]:
    """Return the response to a batch: one result for each target, with the id or receipt that was given."""
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


def _render_success(req: falcon.Request, resp: falcon.Response, field: str, names: Sequence[str]) -> None:
    """Set the response to that of `batch_results` for messages that were named by one field, without any error.

    Names of messages that were found need no escapes.
    """
    form, sample = format_of(req), names[0]
    template = Template(form, {field: sample, "success": True}, sample.encode())
    objects = b"".join(template.fill(map(str.encode, names)))
    before, after = form.around({"success": True, "results": []})
    render_pieces(req, resp, form, before, form.begin(len(names)), objects, form.end, after)


class Produce(Resource):
    """``/messages/produce``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        body = read_body(req, schemas.Produce, self.broker.limits)
        if body.idempotency_key is UNSET:
            body.idempotency_key = idempotency_key_of(req)
        trace, number = trace_of(req), _request_number(body)
        if isinstance(body.messages, UnsetType):
            if isinstance(body.message, UnsetType):
                raise RequestError(400, "missing_field", "The field message is required.", "message")
            value = self._produce_one(queue, body.message, body, trace, number)
        else:
            self.broker.limits.check_entries(len(body.messages))
            check_batch_fields(body)
            value = self._produce_batch(queue, body.messages, body, trace, number)
        render(req, resp, {**value, "status": "unprocessed", "statusCode": 201}, 201)

    def _produce_one(
        self, queue: str, text: str, body: schemas.Produce, trace: Trace, number: RequestNumber | None
    ) -> dict[str, Any]:
        sent = self.broker.send(queue, [sendable(text, body, trace)], number)
        return {"id": sent.ids[0], "message": text, **({"duplicate": True} if sent.duplicates else {})}

    def _produce_batch(
        self,
        queue: str,
        messages: list[str | schemas.NewMessage],
        body: schemas.Produce,
        trace: Trace,
        number: RequestNumber | None,
    ) -> dict[str, Any]:
        if not trace and body.delay is UNSET and body.idempotency_key is UNSET:
            if are_bodies(messages):  # most batches
                return _sent_object(self.broker.send(queue, messages, number))
            new = [each if isinstance(each, str) else sendable(each.message, each, trace) for each in messages]
            return _sent_object(self.broker.send(queue, new, number))
        complete = []
        for index, each in enumerate(messages):
            message = (
                new_message(each, _NO_FIELDS, trace)
                if isinstance(each, str)
                else new_message(each.message, each, trace)
            )
            complete.append(of_batch(message, index, body))
        return _sent_object(self.broker.send(queue, complete, number))


_NO_FIELDS = schemas.MessageFields()


def _request_number(body: schemas.Produce) -> RequestNumber | None:
    """Return the identity of a request that is numbered, or None.

    Raises:
        RequestError: only one of the two fields was given.
    """
    if isinstance(body.producer_id, UnsetType) and isinstance(body.request_number, UnsetType):
        return None
    if isinstance(body.producer_id, UnsetType) or isinstance(body.request_number, UnsetType):
        missing = "producer_id" if body.producer_id is UNSET else "request_number"
        raise RequestError(400, "missing_field", "Give producer_id and request_number together.", missing)
    return RequestNumber(body.producer_id, body.request_number)


def _sent_object(sent: SendResults) -> dict[str, Any]:
    return {"ids": sent.ids, **({"duplicates": sorted(sent.duplicates)} if sent.duplicates else {})}


class HandOver(Resource):
    """``/messages/hand-over``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        body = read_body(req, schemas.HandOver, self.broker.limits)
        self.broker.limits.check_entries(len(body.receipts))
        self.broker.limits.check_entries(len(body.produce))
        trace = trace_of(req)
        outputs: dict[str, list[NewMessage]] = {}
        places = []
        for each in body.produce:
            if each.queue not in outputs:
                self.check_queue(req, "produce", each.queue)
            messages = outputs.setdefault(each.queue, [])
            places.append((each.queue, len(messages)))
            messages.append(new_message(each.message, each, trace))
        sent = self.broker.hand_over(queue, self.targets(req, zip(repeat(None), body.receipts, strict=False)), outputs)
        ids = [sent[name].ids[index] for name, index in places]
        duplicates = [at for at, (name, index) in enumerate(places) if index in sent[name].duplicates]
        value = {"success": True, "ids": ids, **({"duplicates": duplicates} if duplicates else {}), "statusCode": 201}
        render(req, resp, value, 201)


class Kick(Resource):
    """``/messages/kick``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        fields = read_optional_body(req, schemas.Kick, self.broker.limits)
        render(req, resp, {"success": True, "kicked": self.broker.kick(queue, fields.max)})


def _claim_options(req: falcon.Request, fields: schemas.Consume) -> ClaimOptions:
    client_gone: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
    return ClaimOptions(
        fields.max,
        set_ms(fields.visibility_timeout),
        max(fields.wait - req.env.get(WAITED_S, 0), 0),
        client_gone,
        set_value(fields.attempt_id),
        req.env.get(RESPONSE_SHARE),
        set_value(fields.consumer) or "",
    )


def _claimed(req: falcon.Request, batches: Sequence[Batch], form: Format) -> list[bytes]:
    """Return the pieces of an array of messages, without what the mask of the request hides."""
    mask = mask_of(req)
    if mask is None:
        return delivered(batches, form)
    objects = [form.encode(shown_object(each, mask)) for batch in batches for each in batch.messages()]
    return [form.begin(len(objects)), form.separator.join(objects), form.end]


class Consume(Resource):
    """``/messages/consume``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str | None = None) -> None:
        self._consume(req, resp, queue, read_query(req, schemas.Consume))

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str | None = None) -> None:
        self._consume(req, resp, queue, read_optional_body(req, schemas.ConsumeFrom, self.broker.limits))

    def _consume(self, req: falcon.Request, resp: falcon.Response, queue: str | None, fields: schemas.Consume) -> None:
        batches = self.broker.deliver(self.sources(req, queue, fields), _claim_options(req, fields))
        form = format_of(req)
        render_pieces(req, resp, form, *_claimed(req, batches, form))
        resp.set_header("Cache-Control", "no-store")


class Next(Resource):
    """``/messages/next``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str | None = None) -> None:
        body = read_body(req, schemas.Next, self.broker.limits)
        sources = self.sources(req, queue, body)
        lists = {name: getattr(body, name) for name in _LISTS if getattr(body, name) is not UNSET}
        self.broker.limits.check_entries(sum(map(len, lists.values())))
        finished = finished_of(body)
        done = self.broker.next(sources, finished, _claim_options(req, body), permits=self.permits(req))
        value: dict[str, Any] = {"messages": [], "success": not any(done.results)}
        if not value["success"]:
            rendered = iter(batch_results([(None, each.receipt) for each in finished], done.results)["results"])
            value["results"] = {name: list(islice(rendered, len(entries))) for name, entries in lists.items()}
        if done.refusal is not None:
            value["claim_error"] = error_object(*describe_error(done.refusal))["error"]
        form = format_of(req)
        before, after = form.around(value)
        render_pieces(req, resp, form, before, *_claimed(req, done.batches, form), after)
        resp.set_header("Cache-Control", "no-store")


class MessageResource(Resource):
    """``/messages/{message_id}``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, message_id: str, queue: str = DEFAULT_QUEUE) -> None:
        read_query(req, schemas.Body)
        render(req, resp, shown_object(self.broker.get(queue, message_id), mask_of(req)))
        resp.set_header("Cache-Control", "no-store")

    def on_delete(
        self, req: falcon.Request, resp: falcon.Response, message_id: str, queue: str = DEFAULT_QUEUE
    ) -> None:
        body = read_optional_body(req, schemas.Delete, self.broker.limits)
        [target] = self.targets(req, [(message_id, set_value(body.receipt))])
        self.broker.delete(queue, target)
        render(req, resp, {"success": True})

    def on_update(
        self, req: falcon.Request, resp: falcon.Response, message_id: str, queue: str = DEFAULT_QUEUE
    ) -> None:
        body = read_optional_body(req, schemas.Update, self.broker.limits)
        [target] = self.targets(req, [(message_id, set_value(body.receipt))])
        self.broker.update(queue, target, change_of(body))
        render(req, resp, {"success": True})

    # For clients that can send only standard methods.
    on_put = on_update
    on_patch = on_update


class DeleteBatch(Resource):
    """``/messages/delete``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        body = read_body(req, schemas.DeleteBatch, self.broker.limits)
        if isinstance(body.ids, UnsetType) == isinstance(body.receipts, UnsetType):
            code = "missing_field" if isinstance(body.ids, UnsetType) else "ambiguous_request"
            raise RequestError(400, code, "Give either ids or receipts.", "ids")
        ids, receipts = set_value(body.ids) or (), set_value(body.receipts) or ()
        self.broker.limits.check_entries(len(ids or receipts))
        by_id, by_receipt = zip(ids, repeat(None), strict=False), zip(repeat(None), receipts, strict=False)
        targets = self.targets(req, chain(by_id, by_receipt))
        results = self.broker.delete_batch(queue, targets)
        if any(results) or len(results) < MANY:
            render(req, resp, batch_results(targets, results))
        else:
            _render_success(req, resp, "id" if ids else "receipt", ids or receipts)


class UpdateBatch(Resource):
    """``/messages/update``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        entries = read_body(req, schemas.UpdateBatch, self.broker.limits).entries
        self.broker.limits.check_entries(len(entries))
        changes = [change_of(entry) for entry in entries]
        targets = self.targets(req, [(set_value(entry.id), set_value(entry.receipt)) for entry in entries])
        updates = list(zip(targets, changes, strict=True))
        render(req, resp, batch_results(targets, self.broker.update_batch(queue, updates)))
