"""The endpoint of SQS clients: ``POST /`` and ``POST /{account}/{queue}``, in either wire format, signed or not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import falcon

import wonderq_storage
from wonderq.auth import sigv4
from wonderq.auth.access import Access
from wonderq.auth.keys import EVERYBODY, Key
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.httpd.counters import refusals
from wonderq.httpd.errors import RequestError
from wonderq.httpd.room import RESPONSE_SHARE
from wonderq.httpd.structure import UNCHECKED_BYTES, Bounds
from wonderq.model.errors import BrokerError
from wonderq.runtime.fibers import yield_to_others
from wonderq.sqs import messages, move_tasks, queues, wire
from wonderq.sqs.context import Action, Context, Service
from wonderq.sqs.errors import SqsError, from_broker
from wonderq.sqs.limits import STRICT, SqsLimits
from wonderq.sqs.names import name_in_arn, name_in_url, url_of

#: Routes of the endpoint. Clients of the query protocol post to the URL of a queue.
ROOT, QUEUE = "/", "/{account:int(12)}/{queue}"

DEFAULT_REGION = "us-east-1"

_NO_FORMAT = (
    f"The request has no format of SQS. Send the Content-Type {wire.FORM_TYPE}, or the header X-Amz-Target and the "
    f"Content-Type {wire.JSON_TYPE}, as SDKs do."
)

#: Most values of an entry of a batch, or of any other action: its fields and attributes.
_VALUES_PER_ENTRY = 512

#: Most bytes of a character of a message in JSON or in a form, by the bytes that it has in UTF-8.
_ESCAPED_BYTES = 6

#: Bytes of a body that are hashed in one step.
_HASHED_BYTES = 1 << 20

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

    def __init__(self, broker: Broker, access: Access | None = None, limits: SqsLimits = STRICT) -> None:
        """Without ``access`` it serves everybody and ignores signatures."""
        self._service = Service(broker, limits)
        values = _VALUES_PER_ENTRY * (limits.batch_entries + 1)
        self._bounds = Bounds(values, _ESCAPED_BYTES * limits.message_bytes + UNCHECKED_BYTES)
        self._access = access

    def on_post(self, req: falcon.Request, resp: falcon.Response, queue: str = "", **_account: int) -> None:
        request_id = str(uuid.uuid4())
        target = req.get_header("X-Amz-Target")
        is_json = target is not None
        body = req.bounded_stream.read()
        try:
            try:
                key, region = self._authenticate(req, body)
                if target is None and (req.content_type or "").partition(";")[0].strip().lower() != wire.FORM_TYPE:
                    raise RequestError(415, "unsupported_media_type", _NO_FORMAT)
                name = wire.action_in_form(body) if target is None else wire.action_in_target(target)
                action = _find_action(name, key, is_json=is_json)
                parameters = (wire.read_json if is_json else wire.read_query)(body, self._bounds)
                if queue and "QueueUrl" not in parameters:
                    parameters["QueueUrl"] = url_of("", queue)
                _authorize_queues(key, parameters)
                client_gone: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
                base_url = f"{req.scheme}://{req.netloc}"
                room = req.env.get(RESPONSE_SHARE)
                context = Context(self._service, parameters, base_url, region, key.opens, client_gone, room)
                result = action.run(context)
            except (BrokerError, wonderq_storage.StorageError) as error:
                raise from_broker(error) from error
        except SqsError as error:
            refusals[f"sqs:{error.name}"] += 1
            resp.data, resp.content_type = wire.write_error(error, request_id, is_json=is_json)
            resp.status = error.status
            resp.set_header("x-amzn-query-error", f"{error.code};{'Sender' if error.is_senders_fault else 'Receiver'}")
        else:
            resp.data, resp.content_type = wire.write(name, result, request_id, is_json=is_json)
        resp.set_header("x-amzn-RequestId", request_id)
        resp.set_header("Cache-Control", "no-store")

    def _authenticate(self, req: falcon.Request, body: bytes) -> tuple[Key, str]:
        """Return the key of a request, and the region that its client uses.

        A request carries a key as its signature, or as ``Authorization: Bearer`` like in the REST API.

        Raises:
            SqsError: the request has no valid key, or the key exceeds its rate.
        """
        signed = sigv4.parse(req.auth)
        region = DEFAULT_REGION if signed is None else signed.region
        access = self._access
        if access is None or access.open_to_all:
            return EVERYBODY, region
        if signed is None:
            key = access.find(req.auth)
            if key is None:
                raise SqsError(
                    "MissingAuthenticationToken", "The request must be signed with a key of this broker.", 403
                )
        else:
            key = access.find_signed(signed.access_key_id)
            if key is None or key.sqs_secret is None:
                raise SqsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
            request = sigv4.Request(req.method, req.path, req.query_string, sigv4.headers_of(req.env), _sha256(body))
            try:
                sigv4.check(request, signed, key.sqs_secret, datetime.now(UTC))
            except sigv4.SignatureError as error:
                raise SqsError(error.code, str(error), 403) from error
        too_fast = access.check_rate(key)
        if too_fast is not None:
            raise SqsError("RequestThrottled", str(too_fast))
        return key, region


def _sha256(body: bytes) -> str:
    """Return the SHA-256 of a body; let other requests run while that takes long."""
    digest = sha256()
    for at in range(0, len(body), _HASHED_BYTES):
        if at:
            yield_to_others()
        digest.update(memoryview(body)[at : at + _HASHED_BYTES])
    return digest.hexdigest()


def _find_action(name: str, key: Key, *, is_json: bool) -> Action:
    """Return the action of a request, before its parameters are decoded.

    Raises:
        SqsError: there is no such action, or the key lacks its role.
    """
    action = ACTIONS.get(name)
    if action is None:
        raise SqsError("UnknownOperationException" if is_json else "InvalidAction", f"SQS has no action {name[:100]}.")
    roles = _QUEUE_ROLES if action.role is None else (action.role,)
    if not any(map(key.has, roles)):
        raise SqsError("AccessDenied", f"The action requires a key with the role {' or '.join(roles)}.", 403)
    return action


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
_QUEUE_ROLES: tuple[Role, ...] = ("produce", "consume", "inspect")

#: Parameters that name a queue, and the functions by which the actions read the name.
_QUEUE_PARAMETERS: dict[str, Callable[[str], str]] = {
    "QueueName": lambda name: name,
    "QueueUrl": name_in_url,
    "SourceArn": lambda arn: name_in_arn(arn, "SourceArn"),
    "DestinationArn": lambda arn: name_in_arn(arn, "DestinationArn"),
}
