"""The endpoint of SNS clients: ``/``, in the query protocol, signed or not."""

from __future__ import annotations

import re
from typing import Any

import falcon

import wonderq_storage
from wonderq.auth.access import Access
from wonderq.auth.keys import EVERYBODY, Key
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress
from wonderq.httpd.counters import refusals
from wonderq.model.errors import BrokerError
from wonderq.sns import publish, subscriptions, topics, wire
from wonderq.sns.context import Action, Context, Service
from wonderq.sns.envelope import Envelopes
from wonderq.sns.errors import SnsError, from_broker, from_sqs
from wonderq.sns.limits import STRICT, SnsLimits
from wonderq.sns.notifications import Notifications
from wonderq.sns.signing import Signer
from wonderq.sqs.authentication import authenticate
from wonderq.sqs.endpoint import Forward
from wonderq.sqs.errors import SqsError
from wonderq.sqs.wire import action_in_form, bounds_of, form_of, names_action, new_request_id, value_in_form

_VERSION = b"Version="
_MAX_VERSION_BYTES = 20
_SCOPE = re.compile(r"/sns/aws4_request|%2[Ff]sns%2[Ff]aws4_request")

ACTIONS = {
    "AddPermission": Action(topics.add_permission, "admin"),
    "ConfirmSubscription": Action(subscriptions.confirm_subscription, "admin"),
    "CreateTopic": Action(topics.create_topic, "admin"),
    "DeleteTopic": Action(topics.delete_topic, "admin"),
    "GetSubscriptionAttributes": Action(subscriptions.get_subscription_attributes, "inspect"),
    "GetTopicAttributes": Action(topics.get_topic_attributes, "inspect"),
    "ListSubscriptions": Action(subscriptions.list_subscriptions, "inspect"),
    "ListSubscriptionsByTopic": Action(subscriptions.list_subscriptions_by_topic, "inspect"),
    "ListTagsForResource": Action(topics.list_tags_for_resource, "inspect"),
    "ListTopics": Action(topics.list_topics, "inspect"),
    "Publish": Action(publish.publish, "produce"),
    "PublishBatch": Action(publish.publish_batch, "produce"),
    "RemovePermission": Action(topics.remove_permission, "admin"),
    "SetSubscriptionAttributes": Action(subscriptions.set_subscription_attributes, "admin"),
    "SetTopicAttributes": Action(topics.set_topic_attributes, "admin"),
    "Subscribe": Action(subscriptions.subscribe, "admin"),
    "TagResource": Action(topics.tag_resource, "admin"),
    "Unsubscribe": Action(subscriptions.unsubscribe, "admin"),
    "UntagResource": Action(topics.untag_resource, "admin"),
}
"""The actions of SNS on topics and subscriptions."""

#: Parts of the names of all other actions, and what they are about.
_ELSEWHERE = {
    "SMS": "SMS",
    "Phone": "SMS",
    "Origination": "SMS",
    "Platform": "push notifications to mobile devices",
    "Endpoint": "push notifications to mobile devices",
    "DataProtection": "data protection",
}

#: Actions that need no key, because the token of the request is one.
_BY_TOKEN = ("ConfirmSubscription",)

#: Actions that no other service on this port has, for requests that show SNS in no other way.
_ONLY_HERE = ACTIONS.keys() - {"AddPermission", "RemovePermission"}


class SnsEndpoint:
    """The resource that serves SNS clients."""

    def __init__(
        self,
        broker: Broker,
        access: Access | None = None,
        limits: SnsLimits = STRICT,
        address: PublicAddress | None = None,
        signer: Signer | None = None,
        forward: Forward | None = None,
    ) -> None:
        """Without ``access`` it serves everybody and ignores signatures. Without ``signer`` envelopes have none."""
        self._forward = forward
        address = address or PublicAddress()
        self._service = Service(broker, limits, address)
        self._bounds = bounds_of(limits.batch_entries, limits.message_bytes)
        self._access = access
        self._signer = signer
        if forward is None:  # else the applications of the brokers write what endpoints and queues get
            envelopes = Envelopes(broker, address, signer)
            broker.use_envelopes(envelopes.write)
            notifications = Notifications(envelopes)
            broker.pushes.composers["sns"] = notifications
            broker.notices.compose = notifications.compose_notice

    def respond(self, req: falcon.Request, resp: falcon.Response, body: bytes) -> None:
        """Call the action of a request. See `is_for_sns`."""
        request_id = new_request_id()
        try:
            try:
                form = form_of(req.env, body)
                called = action_in_form(form)
                key = EVERYBODY if called in _BY_TOKEN else authenticate(self._access, req, body, "sns")
                action = _find(called, key)
                parameters = wire.read_query(form, self._bounds)
                if self._forward is not None and self._forward(req, resp, key, called, parameters, body):
                    return
                result = action.run(Context(self._service, called, parameters, key.opens, req.env))
            except (BrokerError, wonderq_storage.StorageError) as error:
                raise from_broker(error) from error
            except SqsError as error:
                raise from_sqs(error) from error
        except SnsError as error:
            refusals[f"sns:{error.code}"] += 1
            resp.data, resp.content_type = wire.write_error(error, request_id)
            resp.status = error.status
        else:
            resp.data, resp.content_type = wire.write(called, result, request_id)
        resp.set_header("x-amzn-RequestId", request_id)

    def on_get(self, req: falcon.Request, resp: falcon.Response, **_: Any) -> None:
        """Serve the certificate of the signatures."""
        certificate = None if self._signer is None else self._signer.certificate(req.path)
        if certificate is None:
            raise falcon.HTTPRouteNotFound
        resp.data, resp.content_type = certificate, "application/x-pem-file"


def is_for_sns(req: falcon.Request, body: bytes) -> bool:
    """Return whether an SNS client sent a request to ``/``; else one of SQS did.

    The version of the API decides. A request without one is told by the service that its signature names, or by an
    action that only SNS has: so is the link that ends a subscription.
    """
    form = form_of(req.env, body)
    if not names_action(form):
        return False
    version = value_in_form(form, _VERSION, _MAX_VERSION_BYTES)
    if version:
        return version == wire.VERSION.encode()
    if _SCOPE.search(req.auth or req.query_string):
        return True
    try:
        return action_in_form(form) in _ONLY_HERE
    except SqsError:  # the action has no name, which SQS reports
        return False


def confirms_subscription(req: falcon.Request) -> bool:
    """Return whether a GET is an action that needs no key, because the token of the request is one."""
    try:
        return is_for_sns(req, b"") and action_in_form(form_of(req.env, b"")) in _BY_TOKEN
    except SqsError:  # it names no action
        return False


def _find(name: str, key: Key) -> Action:
    """Return an action, before its parameters are decoded.

    Raises:
        SnsError: there is no such action, or the key lacks its role.
    """
    action = ACTIONS.get(name)
    if action is None:
        about = next((about for part, about in _ELSEWHERE.items() if part in name), "")
        why = f"It is for {about}, which this broker does not have." if about else "Check its name."
        raise SnsError("InvalidAction", f"The action {name[:100]} is not valid for this endpoint. {why}")
    if key is not EVERYBODY and not key.has(action.role):
        raise SnsError("AuthorizationError", f"The action requires a key with the role {action.role}.", 403)
    return action
