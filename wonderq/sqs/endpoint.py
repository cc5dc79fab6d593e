"""The endpoint of SQS clients: ``/`` and the URLs of queues, in either wire format, signed or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import falcon

import wonderq_storage
from wonderq.auth.access import Access
from wonderq.auth.keys import EVERYBODY, Key
from wonderq.auth.roles import Role, is_plain_name
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.counters import refusals
from wonderq.httpd.room import whole_body
from wonderq.model.errors import BrokerError
from wonderq.sqs import messages, move_tasks, queues, wire
from wonderq.sqs.authentication import authenticate
from wonderq.sqs.context import Action, Context, Service
from wonderq.sqs.errors import SqsError, from_broker
from wonderq.sqs.limits import STRICT, SqsLimits
from wonderq.sqs.names import name_in_arn, name_in_url, url_of
from wonderq.sqs.refusals import header_of, is_for_sqs

ACTIONS = {
    "AddPermission": Action(queues.add_permission, "admin"),
    "CancelMessageMoveTask": Action(move_tasks.cancel_message_move_task, "admin"),
    "ChangeMessageVisibility": Action(messages.change_message_visibility, "consume"),
    "ChangeMessageVisibilityBatch": Action(messages.change_message_visibility_batch, "consume"),
    "CreateQueue": Action(queues.create_queue, "admin"),
    "DeleteMessage": Action(messages.delete_message, "consume"),
    "DeleteMessageBatch": Action(messages.delete_message_batch, "consume"),
    "DeleteQueue": Action(queues.delete_queue, "admin"),
    "GetQueueAttributes": Action(queues.get_queue_attributes, "inspect"),
    "GetQueueUrl": Action(queues.get_queue_url, None),
    "ListDeadLetterSourceQueues": Action(queues.list_dead_letter_source_queues, "inspect"),
    "ListMessageMoveTasks": Action(move_tasks.list_message_move_tasks, "inspect"),
    "ListQueueTags": Action(queues.list_queue_tags, "inspect"),
    "ListQueues": Action(queues.list_queues, "inspect"),
    "PurgeQueue": Action(queues.purge_queue, "admin"),
    "ReceiveMessage": Action(messages.receive_message, "consume"),
    "RemovePermission": Action(queues.remove_permission, "admin"),
    "SendMessage": Action(messages.send_message, "produce"),
    "SendMessageBatch": Action(messages.send_message_batch, "produce"),
    "SetQueueAttributes": Action(queues.set_queue_attributes, "admin"),
    "StartMessageMoveTask": Action(move_tasks.start_message_move_task, "admin"),
    "TagQueue": Action(queues.tag_queue, "admin"),
    "UntagQueue": Action(queues.untag_queue, "admin"),
}
"""Every action of SQS."""


Forward = Callable[[falcon.Request, falcon.Response, Key, str, Mapping[str, Any], bytes], bool]
"""Answers a call that another broker has to carry out: the key, the action, its parameters, and the body.

Returns False if the call is to be carried out here. Raises `SqsError`, `RequestError`.
"""


class SqsEndpoint:
    """The resource that serves SQS clients."""

    def __init__(
        self,
        broker: Broker,
        access: Access | None = None,
        limits: SqsLimits = STRICT,
        address: PublicAddress | None = None,
        forward: Forward | None = None,
    ) -> None:
        """Without ``access`` it serves everybody and ignores signatures. ``address`` is that in the URLs of queues."""
        self._forward = forward
        self._service = Service(broker, limits, address or PublicAddress())
        self._bounds = wire.bounds_of(limits.batch_entries, limits.message_bytes)
        self._access = access

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = "", name: str = "", **_: int) -> None:
        self.respond(req, resp, name or queue, whole_body(req.env))

    #: The query protocol has GET too. `authenticate` refuses one that a page of another site may have sent.
    on_get = on_post

    def serve_plain_name(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        """Serve a POST to a path that is just the name of a queue, for a client that has such a queue URL.

        This is no route, so that every path of the REST API goes before it, and other requests find nothing here.
        """
        if not is_plain_name(req.method, req.path):
            raise falcon.HTTPRouteNotFound
        body = whole_body(req.env)
        is_form = wire.media_type_of(req.env) == wire.FORM_TYPE
        if not (wire.names_action(body) if is_form else is_for_sqs(req.method, req.path, header_of(req.env))):
            raise falcon.HTTPRouteNotFound
        self.respond(req, resp, req.path.strip("/"), body)

    def respond(self, req: falcon.Request, resp: falcon.Response, queue: str, body: bytes) -> None:
        """Call the action of a request. ``queue`` is the queue in the path, if the request names none."""
        request_id = wire.new_request_id()
        is_json = wire.is_json(req.env)
        try:
            try:
                key = authenticate(self._access, req, body)
                called, parameters = self._read(req, body, key, is_json=is_json)
                if queue and "QueueUrl" not in parameters:
                    parameters["QueueUrl"] = url_of("", queue)
                if key is not EVERYBODY:
                    _authorize_queues(key, parameters)
                if self._forward is not None and self._forward(req, resp, key, called, parameters, body):
                    return
                context = Context(self._service, called, parameters, key.opens, req.env)
                result = ACTIONS[called].run(context)
            except (BrokerError, wonderq_storage.StorageError) as error:
                raise from_broker(error) from error
        except SqsError as error:
            refusals[f"sqs:{error.name}"] += 1
            resp.data, resp.content_type = wire.write_error(error, request_id, is_json=is_json)
            resp.status = error.status
            resp.set_header("x-amzn-query-error", error.header)
        else:
            resp.data, resp.content_type = wire.write(called, result, request_id, is_json=is_json)
        resp.set_header("x-amzn-RequestId", request_id)

    def _read(self, req: falcon.Request, body: bytes, key: Key, *, is_json: bool) -> tuple[str, dict[str, Any]]:
        """Return the action of a request, and its parameters. They are decoded only if the key has the action's role.

        Raises:
            SqsError: the request is malformed, there is no such action, or the key lacks the role.
            RequestError: the body exceeds the bounds.
        """
        if is_json:
            called = wire.action_in_target(req.env.get("HTTP_X_AMZ_TARGET"))
            _check_action(called, key, is_json=True)
            return called, wire.read_json(body, self._bounds)
        form = wire.form_of(req.env, body)
        called = wire.action_in_form(form)
        _check_action(called, key, is_json=False)
        return called, wire.read_query(form, self._bounds)


def _check_action(name: str, key: Key, *, is_json: bool) -> None:
    """Check the action of a request, before its parameters are decoded.

    Raises:
        SqsError: there is no such action, or the key lacks its role.
    """
    action = ACTIONS.get(name)
    if action is None:
        error_name = "UnknownOperationException" if is_json else "InvalidAction"
        raise SqsError(error_name, f"The action {name[:100]} is not valid for this endpoint.")
    roles = _QUEUE_ROLES if action.role is None else (action.role,)
    if key is not EVERYBODY and not any(map(key.has, roles)):
        raise SqsError("AccessDenied", f"The action requires a key with the role {' or '.join(roles)}.", 403)


def _authorize_queues(key: Key, parameters: Mapping[str, Any]) -> None:
    """Check that a key opens the queues that the request names.

    Raises:
        SqsError: it does not, or the name of a queue is malformed.
    """
    for parameter, name_in in _QUEUE_PARAMETERS.items():
        text = parameters.get(parameter)
        if isinstance(text, str) and text and not key.opens(name_in(text)):
            raise SqsError("AccessDenied", "The key does not open this queue.", 403)


#: Roles of keys that may ask for the URL of a queue.
_QUEUE_ROLES: tuple[Role, ...] = ("produce", "consume", "look", "inspect")

#: Parameters that name a queue, and the functions by which the actions read the name.
_QUEUE_PARAMETERS: dict[str, Callable[[str], str]] = {
    "QueueName": lambda name: name,
    "QueueUrl": name_in_url,
    "SourceArn": lambda arn: name_in_arn(arn, "SourceArn"),
    "DestinationArn": lambda arn: name_in_arn(arn, "DestinationArn"),
}
