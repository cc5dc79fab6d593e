"""The endpoint of SQS clients: ``/`` and the URLs of queues, in either wire format, signed or not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import falcon

import wonderq_storage
from wonderq.auth import sigv4
from wonderq.auth.access import Access
from wonderq.auth.keys import EVERYBODY, Key
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.counters import refusals
from wonderq.model.errors import BrokerError
from wonderq.sqs import messages, move_tasks, queues, wire
from wonderq.sqs.context import Action, Context, Service
from wonderq.sqs.errors import SqsError, from_broker
from wonderq.sqs.limits import STRICT, SqsLimits
from wonderq.sqs.names import name_in_arn, name_in_url, url_of
from wonderq.sqs.refusals import NOT_SIGNED, UNKNOWN_KEY, check_get

DEFAULT_REGION = "us-east-1"

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


class SqsEndpoint:
    """The resource that serves SQS clients."""

    def __init__(
        self,
        broker: Broker,
        access: Access | None = None,
        limits: SqsLimits = STRICT,
        address: PublicAddress | None = None,
    ) -> None:
        """Without ``access`` it serves everybody and ignores signatures. ``address`` is that in the URLs of queues."""
        self._service = Service(broker, limits)
        self._access = access
        self._address = address or PublicAddress()

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = "", name: str = "", **_: int) -> None:
        request_id = str(uuid.uuid4())
        is_json = wire.is_json(req.env)
        body = req.bounded_stream.read()
        try:
            try:
                key, region = self._authenticate(req, body)
                call = self._read(req, body, is_json=is_json)
                if queue and "QueueUrl" not in call.parameters:
                    call.parameters["QueueUrl"] = url_of("", name or queue)
                action = ACTIONS.get(call.action)
                if action is None:
                    error_name = "UnknownOperationException" if is_json else "InvalidAction"
                    raise SqsError(error_name, f"The action {call.action[:100]} is not valid for this endpoint.")
                _authorize(key, action, call.parameters)
                client_gone: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
                base_url = self._address.of(req.env, req.scheme, req.netloc)
                context = Context(
                    self._service, call.action, call.parameters, base_url, region, key.opens, client_gone, req.env
                )
                result = action.run(context)
            except (BrokerError, wonderq_storage.StorageError) as error:
                raise from_broker(error) from error
        except SqsError as error:
            refusals[f"sqs:{error.name}"] += 1
            resp.data, resp.content_type = wire.write_error(error, request_id, is_json=is_json)
            resp.status = error.status
            resp.set_header("x-amzn-query-error", error.header)
        else:
            resp.data, resp.content_type = wire.write(call, result, request_id)
        resp.set_header("x-amzn-RequestId", request_id)
        resp.set_header("Cache-Control", "no-store")

    #: The query protocol has GET too. `_authenticate` refuses one that a page of another site may have sent.
    on_get = on_post

    def _read(self, req: falcon.Request, body: bytes, *, is_json: bool) -> wire.Call:
        """Decode a request.

        Raises:
            SqsError: it is malformed.
        """
        if is_json:
            return wire.read_json(req.env.get("HTTP_X_AMZ_TARGET"), body)
        if req.method == "GET":
            return wire.read_query(req.query_string.encode())
        if wire.media_type_of(req.env) != wire.FORM_TYPE:
            raise wire.no_action()
        return wire.read_query(body)

    def _authenticate(self, req: falcon.Request, body: bytes) -> tuple[Key, str]:
        """Return the key of a request, and the region that its client uses.

        A request carries a key as its signature, or as ``Authorization: Bearer`` like in the REST API.

        Raises:
            SqsError: the request has no valid key, or the key exceeds its rate.
        """
        access = self._access
        is_open = access is None or access.open_to_all
        try:
            signed = sigv4.parse(req.auth) or sigv4.parse_query(req.query_string)
        except sigv4.SignatureError as error:
            if not is_open:
                raise SqsError(error.code, str(error), 403) from error
            signed = None
        region = DEFAULT_REGION if signed is None else signed.region or DEFAULT_REGION
        if access is None or is_open:
            if req.method == "GET":
                check_get(req.env)
            return EVERYBODY, region
        if signed is None:
            key = access.find(req.auth)
            if key is None:
                raise SqsError("MissingAuthenticationToken", NOT_SIGNED, 403)
        else:
            key = access.find_signed(signed.access_key_id)
            if key is None or key.sqs_secret is None:
                raise SqsError("InvalidClientTokenId", UNKNOWN_KEY, 403)
            request = sigv4.Request(req.method, req.path, req.query_string, sigv4.headers_of(req.env), body)
            try:
                sigv4.check(request, signed, key.sqs_secret, datetime.now(UTC))
            except sigv4.SignatureError as error:
                raise SqsError(error.code, str(error), 403) from error
        too_fast = access.check_rate(key)
        if too_fast is not None:
            raise SqsError("RequestThrottled", str(too_fast))
        return key, region


def _authorize(key: Key, action: Action, parameters: Mapping[str, Any]) -> None:
    """Check that a key has the role for an action and opens the queues that the request names.

    Raises:
        SqsError: it does not, or the name of a queue is malformed.
    """
    roles = _QUEUE_ROLES if action.role is None else (action.role,)
    if not any(map(key.has, roles)):
        raise SqsError("AccessDenied", f"The action requires a key with the role {' or '.join(roles)}.", 403)
    for parameter, name_in in _QUEUE_PARAMETERS.items():
        text = parameters.get(parameter)
        if isinstance(text, str) and text and not key.opens(name_in(text)):
            raise SqsError("AccessDenied", "The key does not open this queue.", 403)


#: Roles of keys that may ask for the URL of a queue.
_QUEUE_ROLES: tuple[Role, ...] = ("produce", "consume", "inspect")

#: Parameters that name a queue, and the functions by which the actions read the name.
_QUEUE_PARAMETERS: dict[str, Callable[[str], str]] = {
    "QueueName": lambda name: name,
    "QueueUrl": name_in_url,
    "SourceArn": lambda arn: name_in_arn(arn, "SourceArn"),
    "DestinationArn": lambda arn: name_in_arn(arn, "DestinationArn"),
}
