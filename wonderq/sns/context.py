"""The context of an action: the broker, and the request's parameters with checks of their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.broker.topics import Topics
from wonderq.httpd.addresses import PublicAddress
from wonderq.model.permits import Permits
from wonderq.sns.errors import SnsError, invalid
from wonderq.sns.limits import SnsLimits
from wonderq.sns.names import topic_in_arn
from wonderq.sqs.authentication import region_of
from wonderq.sqs.context import MOST_TEXTS
from wonderq.sqs.names import name_in_token, page_token

#: Topics or subscriptions in a page of a list.
PAGE = 100


class Service(NamedTuple):
    """The parts that all actions share."""

    broker: Broker
    limits: SnsLimits
    address: PublicAddress


class Context(NamedTuple):
    """A request of an action."""

    service: Service
    action: str
    parameters: Mapping[str, Any]
    opens: Permits
    """Returns whether the client's key opens a topic or queue."""
    environ: Mapping[str, Any]
    """The request as a WSGI environment."""

    @property
    def broker(self) -> Broker:
        return self.service.broker

    @property
    def topics(self) -> Topics:
        return self.service.broker.topics

    @property
    def limits(self) -> SnsLimits:
        return self.service.limits

    @property
    def base_url(self) -> str:
        """The broker's address as the client wrote it."""
        return self.service.address.of(self.environ)

    @property
    def region(self) -> str:
        """The region for which the client signed the request."""
        return region_of(self.environ)

    def topic(self, parameter: str = "TopicArn") -> str:
        """Return the name of the topic in an ARN.

        Raises:
            SnsError: the parameter is missing or malformed, or the key does not open the topic.
        """
        name = topic_in_arn(self.required(parameter), parameter)
        self.check_opens(name)
        return name

    def check_opens(self, topic: str) -> None:
        """Check that the client's key opens a topic.

        Raises:
            SnsError: it does not.
        """
        if not self.opens(topic):
            raise SnsError("AuthorizationError", "The key does not open this topic.", 403)

    def text(self, name: str) -> str | None:
        """Return a text parameter, or None if it is not given."""
        value = self.parameters.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid(name, "It must be a text.")
        return value

    def required(self, name: str) -> str:
        """Return a text parameter that must not be missing or empty."""
        value = self.text(name)
        if not value:
            raise invalid(name, "The request must have this parameter.")
        return value

    def mapping(self, name: str) -> dict[str, str]:
        """Return a parameter that is a map of texts."""
        value = self.parameters.get(name) or {}
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise invalid(name, "It must be a map of texts.")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a parameter that is a list of texts.

        Raises:
            SnsError: it is none, or has too many.
        """
        value = self.parameters.get(name) or []
        if isinstance(value, list) and len(value) > MOST_TEXTS:
            raise invalid(name, f"It may have at most {MOST_TEXTS} texts, and has {len(value)}.")
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise invalid(name, "It must be a list of texts.")
        return value

    def structures(self, name: str) -> list[dict[str, Any]]:
        """Return a parameter that is a list of structures."""
        value = self.parameters.get(name) or []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise invalid(name, "It must be a list of structures.")
        return value

    def after(self) -> str:
        """Return the name after which a page of a list begins; empty for the first page.

        Raises:
            SnsError: ``NextToken`` is not one that the broker has returned.
        """
        token = self.text("NextToken")
        try:
            return name_in_token(token) if token else ""
        except ValueError as error:
            raise invalid("NextToken", "It must be the NextToken of the last response.") from error


def page(field: str, items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a page of a list, from pairs of a name and an item: one more than `PAGE` if there is more."""
    found: dict[str, Any] = {field: [item for _, item in items[:PAGE]]}
    if len(items) > PAGE:
        found["NextToken"] = page_token(items[PAGE - 1][0])
    return found


class Action(NamedTuple):
    """An action, and the role that it requires."""

    run: Callable[[Context], dict[str, Any] | None]
    role: Role
