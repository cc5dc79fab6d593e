"""Push: subscriptions whose messages the broker delivers to an HTTP endpoint, and the policy of their retries."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

from wonderq.model.errors import InvalidValueError

Style = Literal["webhook", "sns"]
"""The requests that an endpoint gets: signed with a secret as Standard Webhooks describes, or those of Amazon SNS."""

STYLES: tuple[Style, ...] = get_args(Style)

Backoff = Literal["linear", "arithmetic", "geometric", "exponential"]
BACKOFFS: tuple[Backoff, ...] = get_args(Backoff)

CONFIRMATION_HEADER = "confirmation"
"""Header of the message that asks an endpoint to confirm its subscription."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that Standard Webhooks gives to each secret
_MIN_KEY_BYTES, _MAX_KEY_BYTES = 24, 64

MAX_URL_CHARACTERS = 2048
_URL = re.compile(r"[!-~]+")
_HOST = re.compile(
    r"(?=.{1,253}$)[0-9a-z_](?:[0-9a-z_-]{0,61}[0-9a-z_])?(?:\.[0-9a-z_](?:[0-9a-z_-]{0,61}[0-9a-z_])?)*\.?"
)
_MEDIA_TYPE = re.compile(r"[0-9A-Za-z!#$&^_.+-]{1,60}/[0-9A-Za-z!#$&^_.+-]{1,60}(?:; ?[0-9A-Za-z=_.-]{1,60}){0,2}")


class Endpoint(NamedTuple):
    """The address of an HTTP endpoint."""

    url: str
    is_tls: bool
    host: str
    """Name in lower case, or an address without brackets."""
    port: int
    target: str
    """Path and query, as the request line has them."""

    @property
    def origin(self) -> str:
        """The URL without path and query, which may hold a secret."""
        return self.url[: self.url.index("/", 8)] if "/" in self.url[8:] else self.url.partition("?")[0]

    @property
    def authority(self) -> str:
        """The value of the header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def parse_endpoint(url: str) -> Endpoint:
    """Return the endpoint with a URL.

    Raises:
        InvalidValueError: it is no URL that the broker can deliver to.
    """
    if len(url) > MAX_URL_CHARACTERS or not _URL.fullmatch(url):
        raise _bad_url(f"It must have at most {MAX_URL_CHARACTERS} printable ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad_url("Its host or port is malformed") from error
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not url.lower().startswith(f"{parts.scheme}://"):
        raise _bad_url("It must begin with http:// or https://")
    if "@" in parts.netloc:
        raise _bad_url("It must not have a name and password. Use the signature to authenticate the broker")
    if "#" in url:
        raise _bad_url("It must not have a fragment")
    if not (_HOST.fullmatch(host) or _is_address(host)) or port == 0:
        raise _bad_url("Its host or port is malformed")
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    return Endpoint(url, parts.scheme == "https", host, port or (443 if parts.scheme == "https" else 80), target)


def _is_address(host: str) -> bool:
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _bad_url(reason: str) -> InvalidValueError:
    return InvalidValueError("endpoint", f"The URL of the endpoint is invalid. {reason}.")


@dataclass(frozen=True)
class DeliveryPolicy:
    """How requests to an endpoint are repeated and limited. The fields and defaults are those of Amazon SNS.

    A message that fails is tried again ``retries`` times: first without delay, then after ``min_delay``, then after
    delays that grow from ``min_delay`` to ``max_delay``, then after ``max_delay``.
    """

    min_delay: int = 20
    """Seconds."""
    max_delay: int = 20
    """Seconds."""
    retries: int = 3
    """All retries together."""
    no_delay_retries: int = 0
    """Retries at once."""
    min_delay_retries: int = 0
    """Retries after ``min_delay``, before those with a growing delay."""
    max_delay_retries: int = 0
    """Retries after ``max_delay``, at the end."""
    backoff: Backoff = "linear"
    """How the delay grows."""
    max_per_second: int = 0
    """Most requests per second; 0 for no limit."""
    timeout: int = 15
    """Seconds that a request may take, from the lookup of its host to the head of the response."""
    content_type: str = ""
    """Value of the header ``Content-Type``; empty for the one that fits the body."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return the policy with these fields, and the defaults for the others.

        Raises:
            InvalidValueError: a field is unknown or out of range.
        """
        known = {each.name for each in fields(cls)}
        for name in given:
            if name not in known:
                raise InvalidValueError("delivery", f"delivery has no field {name[:60]}.")
        policy = cls(**given)
        policy._check()
        return policy

    def _check(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidValueError("delivery", f"{name} of delivery must be a whole number from {low} to {high}.")
        if self.min_delay > self.max_delay:
            raise InvalidValueError("delivery", "min_delay of delivery must not be more than max_delay.")
        if self.no_delay_retries + self.min_delay_retries + self.max_delay_retries > self.retries:
            raise InvalidValueError("delivery", "retries of delivery must be at least the sum of the other retries.")
        if self.backoff not in BACKOFFS:
            raise InvalidValueError("delivery", f"backoff of delivery must be {' or '.join(BACKOFFS)}.")
        if self.content_type and not _MEDIA_TYPE.fullmatch(self.content_type):
            raise InvalidValueError("delivery", "content_type of delivery must be a media type.")

    def delay_ms(self, attempts: int) -> int | None:
        """Return the delay before the next attempt, when so many have failed; None if there is no further one."""
        if attempts > self.retries:
            return None
        number = attempts - self.no_delay_retries
        if number <= 0:
            return 0
        number -= self.min_delay_retries
        if number <= 0:
            return 1000 * self.min_delay
        growing = self.retries - self.no_delay_retries - self.min_delay_retries - self.max_delay_retries
        if number > growing:
            return 1000 * self.max_delay
        return round(1000 * self._grown(number - 1, max(growing - 1, 1)))

    def _grown(self, step: int, last: int) -> float:
        """Return the delay in seconds at a step of its growth, from 0 to ``last``."""
        low, high = self.min_delay, self.max_delay
        match self.backoff:
            case "arithmetic":
                return low + (high - low) * step * (step + 1) / (last * (last + 1))
            case "geometric":
                return float(low * (high / low) ** (step / last))
            case "exponential":
                return float(low + (high - low) * (2**step - 1) / (2**last - 1))
        return low + (high - low) * step / last

    @property
    def total_s(self) -> float:
        """Sum of the delays in seconds."""
        return sum(self.delay_ms(attempts) or 0 for attempts in range(1, self.retries + 1)) / 1000


_RANGES = {
    "min_delay": (1, 86_400),
    "max_delay": (1, 86_400),
    "retries": (0, 100),
    "no_delay_retries": (0, 100),
    "min_delay_retries": (0, 100),
    "max_delay_retries": (0, 100),
    "max_per_second": (0, 1_000_000),
    "timeout": (1, 60),
}


@dataclass(frozen=True)
class Push:
    """The endpoint of a subscription."""

    url: str
    style: Style = "webhook"
    secret: str = field(default="", repr=False)
    """Secret that signs the requests of the style ``webhook``. Clients get it once, when the broker has made it."""
    owns_queue: bool = True
    """Whether the queue was made for the subscription, and ends with it."""
    delivery: Mapping[str, Any] = field(default_factory=dict)
    """The given fields of the `DeliveryPolicy`."""
    confirmed: bool = True
    """Whether the endpoint has confirmed the subscription. Until then, it gets no messages."""
    token: str = field(default="", repr=False)
    """Token that confirms the subscription; empty if it needs none."""
    token_until_ms: int = 0
    """Time until which the token is valid."""

    def to_record(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults."""
        plain = asdict(Push(""))
        return {name: value for name, value in asdict(self).items() if name == "url" or value != plain[name]}


def check_secret(secret: str) -> None:
    """Check the secret of a subscription.

    Raises:
        InvalidValueError: it is malformed.
    """
    try:
        if not secret.startswith(SECRET_PREFIX) or not _MIN_KEY_BYTES <= len(key_of(secret)) <= _MAX_KEY_BYTES:
            raise ValueError
    except (ValueError, Error) as error:
        raise InvalidValueError(
            "secret",
            f"The secret is invalid. Give {SECRET_PREFIX} and {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} random bytes in "
            "base64, or an empty secret for one that the broker makes.",
        ) from error


def new_secret(random: bytes) -> str:
    """Return the secret with these random bytes, in the form of Standard Webhooks."""
    return SECRET_PREFIX + b64encode(random).decode()


def key_of(secret: str) -> bytes:
    """Return the key of a secret, which is valid."""
    return b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
