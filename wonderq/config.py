"""Settings of a broker: each is a flag, an environment variable, and a key in a TOML file.

Where several speak, the flag wins, then the variable, then the file, then the default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from wonderq.auth.roles import MAX_REQUESTS_PER_SECOND
from wonderq.model.limits import MAX_MESSAGE_BYTES, UNLIMITED, Limits
from wonderq_storage import DEFAULT_SEGMENT_BYTES, SyncPolicy

_MIN_SEGMENT_BYTES = 32 << 20  # the largest message has to fit in half of one
_MAX_SEGMENT_BYTES = 4095 << 20  # offsets have 32 bits

#: Batches of the command line fit into these at least.
_MIN_BATCH_MESSAGES, _MIN_BATCH_BYTES = 1000, 1 << 20
#: The largest batch holds up all other requests for one to two seconds.
_MAX_BATCH_MESSAGES, _MAX_BATCH_BYTES = 10_000, 256 << 20
#: What a body may have besides a batch that is sent with every second byte escaped.
_AROUND_A_BATCH_BYTES = 1 << 20

#: The name of the file of API keys, in the folder of the log.
KEYS_FILE = "keys.json"

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("console", "json")


class ConfigError(Exception):
    """A setting that cannot be used; the message says which, where it came from, and what is accepted."""


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected HOST:PORT, for example 127.0.0.1:7979; port 0 takes a free one")
    return host, int(port)


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("expected the name of a folder")
    return Path(text)


def _file(text: str) -> Path:
    if not text:
        raise ValueError("expected the name of a file")
    return Path(text)


def _one_of(*choices: str) -> Any:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text.lower()

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false")


def _integer(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return parse


def _integer_or_unlimited(low: int, high: int) -> Any:
    number = _integer(low, high)

    def parse(text: str) -> int:
        if text.lower() == "unlimited":
            return UNLIMITED
        try:
            return int(number(text))
        except ValueError as error:
            raise ValueError(f"{error}, or unlimited") from error

    return parse


def _list_of(what: str, pattern: str) -> Any:
    known = re.compile(pattern, re.IGNORECASE)

    def parse(text: str) -> tuple[str, ...]:
        items = tuple(item.strip().lower() for item in text.split(",") if item.strip())
        if not all(map(known.fullmatch, items)):
            raise ValueError(f"expected {what}, or several with commas between them")
        return items

    return parse


_MANY = 10**18


def _setting(default: Any, parse: Any, metavar: str, text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "metavar": metavar, "help": text})


@dataclass(frozen=True)
class Settings:
    """Everything that `wonderq serve` can be told. `load` makes one; tests make their own."""

    data: Path = _setting(Path("wonderq-data"), _folder, "DIR", "folder that holds the log; created if it is not there")
    listen: tuple[str, int] = _setting(("127.0.0.1", 7979), _listen, "HOST:PORT", "address to listen on; port 0: any")
    fsync: SyncPolicy = _setting(
        SyncPolicy(),
        SyncPolicy.parse,
        "POLICY",
        "always: survive power loss. interval:MS: lose at most MS at power loss. os: lose up to what the kernel holds",
    )
    waiting_consumers: int = _setting(500, _integer(0, 10_000), "N", "long polls that may wait at once")
    connections: int = _setting(2000, _integer(1, 100_000), "N", "connections that may be open at once")
    connections_per_address: int = _setting(
        1000, _integer(1, 100_000), "N", "of those, from one client's address (IPv6: from one /64 network)"
    )
    requests_per_second: int = _setting(
        UNLIMITED,
        _integer_or_unlimited(1, MAX_REQUESTS_PER_SECOND),
        "N",
        "how many requests each key may make, unless it was made with a --rate of its own",
    )
    listings: int = _setting(Limits.listings, _integer(1, 10_000), "N", "listings that may be read at once")
    message_bytes: int = _setting(
        Limits.message_bytes, _integer(1, MAX_MESSAGE_BYTES), "BYTES", "size of the largest message"
    )
    batch_messages: int = _setting(
        Limits.batch_messages,
        _integer(_MIN_BATCH_MESSAGES, _MAX_BATCH_MESSAGES),
        "N",
        "messages in the largest batch, also of those that one consume gives out",
    )
    batch_bytes: int = _setting(
        Limits.batch_bytes,
        _integer(_MIN_BATCH_BYTES, _MAX_BATCH_BYTES),
        "BYTES",
        "size of the largest batch, likewise; at most half of --segment-bytes",
    )
    queues: int = _setting(Limits.queues, _integer_or_unlimited(1, _MANY), "N", "queues that there may be")
    messages_per_queue: int = _setting(
        Limits.messages_per_queue, _integer_or_unlimited(1, _MANY), "N", "messages that a queue may hold"
    )
    bytes_per_queue: int = _setting(
        Limits.bytes_per_queue, _integer_or_unlimited(1, _MANY), "BYTES", "bytes of messages that a queue may hold"
    )
    in_flight_per_queue: int = _setting(
        Limits.in_flight_per_queue,
        _integer_or_unlimited(1, _MANY),
        "N",
        "messages of a queue that may be processed at once",
    )
    total_messages: int = _setting(
        Limits.total_messages,
        _integer_or_unlimited(1, _MANY),
        "N",
        "messages in all queues; each takes memory: 24 bytes while it waits, up to 200 when claimed or delayed",
    )
    total_bytes: int = _setting(
        Limits.total_bytes, _integer_or_unlimited(1, _MANY), "BYTES", "bytes of messages in all queues"
    )
    total_keys: int = _setting(
        Limits.total_keys,
        _integer_or_unlimited(1, _MANY),
        "N",
        "idempotency keys and attempts to claim that are remembered in all queues; each takes some 300 bytes of memory",
    )
    hosts: tuple[str, ...] = _setting(
        (),
        _list_of("the name of a host, without a port", r"[0-9a-z._-]{1,255}|[0-9a-f:.]{2,45}"),
        "NAMES",
        "without keys on loopback: names besides localhost that clients may call this broker by",
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        _list_of(
            "an origin, as https://example.com", r"https?://(?:[0-9a-z._-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
        ),
        "ORIGINS",
        "web sites whose pages may use this broker (CORS), as https://example.com,http://localhost:3000",
    )
    sqs_limits: str = _setting(
        "strict",
        _one_of("strict", "relaxed"),
        "WHICH",
        "of the SQS API: strict are those of SQS, and its waits of 60 seconds; relaxed are the broker's own",
    )
    create_queues: bool = _setting(True, _boolean, "BOOL", "producing to a queue that is not there creates it")
    segment_bytes: int = _setting(
        DEFAULT_SEGMENT_BYTES,
        _integer(_MIN_SEGMENT_BYTES, _MAX_SEGMENT_BYTES),
        "BYTES",
        "size of one log file, reserved on disk ahead of need",
    )
    log_level: str = _setting("info", _one_of(*LOG_LEVELS), "LEVEL", f"how much to log: {', '.join(LOG_LEVELS)}")
    log_format: str = _setting("console", _one_of(*LOG_FORMATS), "FORMAT", "lines for people, or json: one object each")
    access_log: bool = _setting(False, _boolean, "BOOL", "log each request, with its path's template and no more of it")
    keys: Path | None = _setting(None, _file, "FILE", f"file that holds the API keys; without it {KEYS_FILE} in --data")
    insecure: bool = _setting(False, _boolean, "BOOL", "without keys, allow an address that other machines can reach")

    @property
    def limits(self) -> Limits:
        return Limits(
            message_bytes=self.message_bytes,
            batch_messages=self.batch_messages,
            batch_bytes=self.batch_bytes,
            waiting_consumers=self.waiting_consumers,
            listings=self.listings,
            queues=self.queues,
            messages_per_queue=self.messages_per_queue,
            bytes_per_queue=self.bytes_per_queue,
            in_flight_per_queue=self.in_flight_per_queue,
            total_messages=self.total_messages,
            total_bytes=self.total_bytes,
            total_keys=self.total_keys,
        )

    @property
    def max_body_bytes(self) -> int:
        return 2 * self.batch_bytes + _AROUND_A_BATCH_BYTES

    @property
    def keys_file(self) -> Path:
        return self.keys or self.data / KEYS_FILE


def load(flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Put the settings together.

    ``flags`` maps setting names to what was given on the command line; ``environment`` is looked up for ``WONDERQ_*``.

    Raises:
        ConfigError: a value or the file cannot be used.
    """
    if file is None and "WONDERQ_CONFIG" in environment:
        file = Path(environment["WONDERQ_CONFIG"])
    from_file = _read(file) if file else {}
    values: dict[str, Any] = {}
    for each in fields(Settings):
        name, variable = each.name, "WONDERQ_" + each.name.upper()
        if name in flags:
            text, source = flags[name], "--" + name.replace("_", "-")
        elif variable in environment:
            text, source = environment[variable], variable
        elif name in from_file:
            value = from_file.pop(name)
            text, source = _as_text(value, isinstance(each.default, tuple)), f"{name} in {file}"
        else:
            assert each.default is not MISSING
            continue
        try:
            values[name] = each.metadata["parse"](text)
        except ValueError as error:
            raise ConfigError(f"{source}: {text!r} cannot be used: {error}") from error
        from_file.pop(name, None)
    if from_file:
        known = ", ".join(each.name for each in fields(Settings))
        raise ConfigError(f"{file}: unknown setting {min(from_file)!r}; known are {known}")
    return Settings(**values)


def _as_text(value: Any, several: bool) -> str:
    """Return a value of a TOML file as one would give it on the command line."""
    if several and isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{file}: the configuration file cannot be read: {reason}") from error
