"""Settings of a broker. Each is a flag, an environment variable and a key in a TOML file.

The flag takes precedence over the variable, the variable over the file, and the file over the default.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wonderq.auth.roles import MAX_REQUESTS_PER_SECOND
from wonderq.model.bounds import CLOCK_JUMP_S, MAX_MESSAGE_BYTES
from wonderq.model.limits import UNLIMITED, Limits
from wonderq.model.masks import Mask
from wonderq.model.push_hosts import PushHosts
from wonderq_storage import DEFAULT_SEGMENT_BYTES, SyncPolicy

if TYPE_CHECKING:
    from wonderq_storage.nats.address import Address, LogAddress

_MIN_SEGMENT_SETTING = 32 << 20  # the largest message must fit in half of a segment
_MAX_SEGMENT_SETTING = 4095 << 20  # offsets in a segment have 32 bits

#: Lower bounds, which the batches that the command line sends always fit in.
_MIN_BATCH_MESSAGES, _MIN_BATCH_BYTES = 1000, 1 << 20
#: Upper bounds: a batch of this size delays all other requests for one to two seconds.
_MAX_BATCH_MESSAGES, _MAX_BATCH_BYTES = 10_000, 256 << 20
#: Largest batch with a log in JetStream, where a batch is one message with at most 8 MiB.
MAX_SHARED_BATCH_BYTES = 4 << 20
#: Size of a log in JetStream, and of that of one shard of a cluster.
DEFAULT_LOG_BYTES, DEFAULT_SHARD_BYTES = 10 << 30, 1 << 30
#: Settings of a broker that a node of a cluster does not have, or has for the whole cluster.
NOT_IN_A_CLUSTER = ("log", "replicas", "fsync", "segment_bytes", "max_clock_jump", "accept_clock")
#: Port on which the NATS servers of a cluster's nodes reach each other.
ROUTE_PORT = 7981
#: Size that a body may have in addition to a batch with every second byte escaped.
_BODY_OVERHEAD_BYTES = 1 << 20

#: Upper bound of numbers that have none.
_MANY = 10**18

#: Beginning of the variables, and the rest of the names of those that are no setting.
_PREFIX = "WONDERQ_"
_OF_CLUSTER = "cluster_"
_OTHER_VARIABLES = ("CONFIG", "URL", "KEY")

#: Variables that Kubernetes sets in every container if a service is called wonderq, or wonderq-NAME
#: (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
_OF_A_SERVICE = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)

#: Default name of the key file, in the folder of the log.
KEYS_FILE = "keys.json"

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("console", "json")
UI_MODES = ("on", "read-only", "off")


class ConfigError(Exception):
    """A setting that cannot be used. The message names the setting, its source, and the accepted values."""


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


def _one_number_of(*choices: int) -> Any:
    def parse(text: str) -> int:
        if text not in map(str, choices):
            raise ValueError(f"expected {' or '.join(map(str, choices))}")
        return int(text)

    return parse


def _log(text: str) -> LogAddress:
    from wonderq_storage.nats.address import parse_log_address  # noqa: PLC0415 - loads the client of NATS

    return parse_log_address(text, default_stream="wonderq")


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


def _url_or_none(text: str) -> str:
    if text and not re.fullmatch(r"https?://(?:[0-9A-Za-z._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?/?", text):
        raise ValueError("expected an address such as https://queue.example.com, without a path")
    return text.removesuffix("/")


def _networks(text: str) -> tuple[str, ...]:
    items = tuple(item.strip() for item in text.split(",") if item.strip())
    try:
        for item in items:
            ipaddress.ip_network(item, strict=False)
    except ValueError as error:
        raise ValueError(
            "expected an address or a network such as 10.0.0.0/8, or several separated by commas"
        ) from error
    return items


def _push_hosts(text: str) -> tuple[str, ...]:
    items = tuple(item.strip().lower() for item in text.split(",") if item.strip())
    try:
        PushHosts(items)
    except ValueError as error:
        raise ValueError(
            f"{error}; expected names such as hooks.example.com or *.example.com and networks such as 10.0.0.0/8, "
            "separated by commas"
        ) from error
    return items


def _list_of(what: str, pattern: str) -> Any:
    known = re.compile(pattern, re.IGNORECASE)

    def parse(text: str) -> tuple[str, ...]:
        items = tuple(item.strip().lower() for item in text.split(",") if item.strip())
        if not all(map(known.fullmatch, items)):
            raise ValueError(f"expected {what}, or several separated by commas")
        return items

    return parse


def _masks(text: str) -> tuple[str, ...]:
    patterns = tuple(filter(None, text.splitlines()))
    for each in patterns:
        try:
            Mask((each,))
        except ValueError as error:
            raise ValueError(f"in {each!r}: {error}" if len(patterns) > 1 else str(error)) from error
    Mask(patterns)  # all together may be too long
    return patterns


def _setting(default: Any, parse: Any, metavar: str, text: str, separator: str = ",") -> Any:
    """Return the field of a setting; ``separator`` stands between the values of one that has several."""
    metadata = {"parse": parse, "metavar": metavar, "help": text, "separator": separator}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The settings of `wonderq serve`, as `load` reads them."""

    data: Path = _setting(
        Path("wonderq-data"), _folder, "DIR", "folder that holds the log; created if it does not exist"
    )
    listen: tuple[str, int] = _setting(
        ("127.0.0.1", 7979), _listen, "HOST:PORT", "address to listen on; port 0 takes a free port"
    )
    fsync: SyncPolicy = _setting(
        SyncPolicy(),
        SyncPolicy.parse,
        "POLICY",
        "loss at a power failure. always: nothing. interval:MS: at most the last MS milliseconds. "
        "os: what the kernel has not written yet",
    )
    log: LogAddress | None = _setting(
        None,
        _log,
        "URL",
        "log in NATS JetStream instead of a folder, such as nats://host1:4222,host2:4222/NAME. Processes with the same "
        "one share it: one serves, and the others stand by",
    )
    replicas: int | None = _setting(
        None,
        _one_number_of(1, 3),
        "N",
        "with --log: number of NATS servers that store each message, 1 or 3; without this setting, 1 if --log has one "
        "server, else 3",
    )
    log_bytes: int = _setting(
        DEFAULT_LOG_BYTES, _integer(64 << 20, _MANY), "BYTES", "with --log: maximum size of the log, when it is made"
    )
    waiting_consumers: int = _setting(500, _integer(0, 10_000), "N", "maximum number of long polls that wait at a time")
    connections: int = _setting(2000, _integer(1, 100_000), "N", "maximum number of open connections")
    connections_per_address: int = _setting(
        1000, _integer(1, 100_000), "N", "maximum number of open connections per client address (IPv6: per /64 network)"
    )
    requests_per_second: int = _setting(
        UNLIMITED,
        _integer_or_unlimited(1, MAX_REQUESTS_PER_SECOND),
        "N",
        "requests per second that each key may make, unless it was created with a --rate of its own",
    )
    listings: int = _setting(
        Limits.listings, _integer(1, 10_000), "N", "maximum number of listings that are read at a time"
    )
    message_bytes: int = _setting(
        Limits.message_bytes, _integer(1, MAX_MESSAGE_BYTES), "BYTES", "maximum size of a message"
    )
    batch_messages: int = _setting(
        Limits.batch_messages,
        _integer(_MIN_BATCH_MESSAGES, _MAX_BATCH_MESSAGES),
        "N",
        "maximum number of messages in a batch, and in the result of a consume",
    )
    batch_bytes: int = _setting(
        Limits.batch_bytes,
        _integer(_MIN_BATCH_BYTES, _MAX_BATCH_BYTES),
        "BYTES",
        "maximum size of a batch, and of the result of a consume; at most half of --segment-bytes",
    )
    queues: int = _setting(Limits.queues, _integer_or_unlimited(1, _MANY), "N", "maximum number of queues")
    messages_per_queue: int = _setting(
        Limits.messages_per_queue, _integer_or_unlimited(1, _MANY), "N", "maximum number of messages in a queue"
    )
    bytes_per_queue: int = _setting(
        Limits.bytes_per_queue, _integer_or_unlimited(1, _MANY), "BYTES", "maximum bytes of messages in a queue"
    )
    in_flight_per_queue: int = _setting(
        Limits.in_flight_per_queue,
        _integer_or_unlimited(1, _MANY),
        "N",
        "maximum number of messages of a queue that are claimed at a time",
    )
    total_messages: int = _setting(
        Limits.total_messages,
        _integer_or_unlimited(1, _MANY),
        "N",
        "maximum number of messages in all queues; docs/LIMITS.md has the memory that a message takes",
    )
    total_bytes: int = _setting(
        Limits.total_bytes, _integer_or_unlimited(1, _MANY), "BYTES", "maximum bytes of messages in all queues"
    )
    total_keys: int = _setting(
        Limits.total_keys,
        _integer_or_unlimited(1, _MANY),
        "N",
        "maximum number of dedup keys and attempt ids stored for all queues; each takes about 300 bytes of memory",
    )
    hosts: tuple[str, ...] = _setting(
        (),
        _list_of("a host name without a port", r"[0-9a-z._-]{1,255}|[0-9a-f:.]{2,45}"),
        "NAMES",
        "on loopback without keys: host names that clients may use besides localhost",
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        _list_of(
            "an origin such as https://example.com",
            r"https?://(?:[0-9a-z._-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?",
        ),
        "ORIGINS",
        "origins whose web pages may use this broker (CORS), such as https://example.com,http://localhost:3000",
    )
    public_url: str = _setting(
        "",
        _url_or_none,
        "URL",
        "address under which clients reach this broker, for the URLs of SQS queues; by default that of each request",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        ("127.0.0.0/8", "::1"),
        _networks,
        "NETWORKS",
        "addresses or networks of proxies whose X-Forwarded-Proto and Forwarded headers name the scheme of those URLs",
    )
    push_hosts: tuple[str, ...] = _setting(
        (),
        _push_hosts,
        "HOSTS",
        "hosts of HTTP endpoints that topics may deliver to, such as hooks.example.com,*.example.org, or * for all "
        "public ones; networks such as 10.1.0.0/16 for addresses that are not public. Without this setting, push is "
        "off",
    )
    push_requests: int = _setting(
        200, _integer(1, 10_000), "N", "maximum number of requests to endpoints that are under way at a time"
    )
    push_requests_per_endpoint: int = _setting(
        10, _integer(1, 1000), "N", "maximum number of requests to one endpoint that are under way at a time"
    )
    sqs_limits: str = _setting(
        "strict",
        _one_of("strict", "relaxed"),
        "WHICH",
        "limits of the SQS and SNS APIs. strict: those of Amazon, with waits of 60 s in SQS. relaxed: the broker's own",
    )
    create_queues: bool = _setting(
        True, _boolean, "BOOL", "whether producing to a queue that does not exist creates it"
    )
    segment_bytes: int = _setting(
        DEFAULT_SEGMENT_BYTES,
        _integer(_MIN_SEGMENT_SETTING, _MAX_SEGMENT_SETTING),
        "BYTES",
        "size of a log file, which is reserved on disk in advance",
    )
    max_clock_jump: int = _setting(
        CLOCK_JUMP_S,
        _integer_or_unlimited(1, _MANY),
        "SECONDS",
        "at a start, largest time since the log's newest record that is believed without evidence; after a longer one "
        "the broker's clock stands still until the system's clock is confirmed",
    )
    accept_clock: bool = _setting(
        False, _boolean, "BOOL", "at this start, believe the system's clock, however far ahead of the log it is"
    )
    ui: str = _setting(
        "on",
        _one_of(*UI_MODES),
        "WHICH",
        "the dashboard at /ui. on: what the user's key permits. read-only: without actions. off: no dashboard",
    )
    ui_mask: tuple[str, ...] = _setting(
        (),
        _masks,
        "PATTERN",
        "regular expression whose matches the dashboard hides in messages, such as card=\\d+; may be repeated",
        "\n",
    )
    log_level: str = _setting(
        "info", _one_of(*LOG_LEVELS), "LEVEL", f"minimum level of log messages: {', '.join(LOG_LEVELS)}"
    )
    log_format: str = _setting(
        "console", _one_of(*LOG_FORMATS), "FORMAT", "console: lines for people. json: one object per line"
    )
    access_log: bool = _setting(False, _boolean, "BOOL", "log each request, with the template of its path only")
    keys: Path | None = _setting(None, _file, "FILE", f"file of API keys; without this setting, {KEYS_FILE} in --data")
    insecure: bool = _setting(False, _boolean, "BOOL", "allow an address that other machines can reach without keys")

    @property
    def limits(self) -> Limits:
        """The limits that the broker enforces."""
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
    def replica_count(self) -> int:
        """Number of NATS servers that store each message of a log in JetStream."""
        return self.replicas or (1 if self.log is None or len(self.log.servers) == 1 else 3)

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request, which may be a batch with every second byte escaped."""
        return 2 * self.batch_bytes + _BODY_OVERHEAD_BYTES

    @property
    def keys_file(self) -> Path:
        """Path of the key file."""
        return self.keys or self.data / KEYS_FILE


@dataclass(frozen=True)
class Peer:
    """A node of a cluster, as the others reach its NATS server."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}={self.host}:{self.port}"


def _node_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text):
        raise ValueError("expected a name of 1 to 40 of the characters A-Z a-z 0-9 _ and -")
    return text


def _peers(text: str) -> tuple[Peer, ...]:
    peers = []
    for item in text.split(","):
        name, equals, address = item.strip().partition("=")
        host, colon, port = address.rpartition(":")
        if not colon or address.endswith("]"):
            host, port = address, str(ROUTE_PORT)
        host = host.removeprefix("[").removesuffix("]")
        is_host = 0 < len(host) <= 255
        if not equals or not is_host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
            raise ValueError(
                "expected NAME=HOST or NAME=HOST:PORT of each node, such as a=10.0.0.1,b=10.0.0.2,c=10.0.0.3"
            )
        peers.append(Peer(_node_name(name), host, int(port)))
    if len({each.name for each in peers}) < len(peers):
        raise ValueError("two nodes have the same name")
    return tuple(peers)


def _servers(text: str) -> tuple[Address, ...]:
    return _log(text).servers


@dataclass(frozen=True)
class ClusterSettings:
    """The settings of `wonderq cluster start` besides those of a broker. In the file, they are in the table cluster."""

    name: str = _setting("", _node_name, "NAME", "name of this node, one of those in --peers")
    peers: tuple[Peer, ...] = _setting(
        (),
        _peers,
        "NAME=HOST,...",
        f"all nodes with a NATS server of their own, this one included; HOST may end in :PORT (default {ROUTE_PORT}), "
        "the port on which the servers reach each other",
    )
    shards: int | None = _setting(
        None, _integer(1, 256), "N", "number of shards, fixed when the cluster is made; without this setting, 16"
    )
    replicas: int | None = _setting(
        None,
        _one_number_of(1, 3),
        "N",
        "number of NATS servers that store each message, fixed when the cluster is made; without this setting, 3 if "
        "there are three servers, else 1",
    )
    secret_file: Path | None = _setting(
        None,
        _file,
        "FILE",
        "file with the secret with which the NATS servers of the nodes know each other, the same on all nodes",
    )
    tls_cert_file: Path | None = _setting(
        None,
        _file,
        "FILE",
        "certificate of this node, in PEM format: the NATS servers of the nodes then speak only TLS with each other",
    )
    tls_key_file: Path | None = _setting(None, _file, "FILE", "key of the certificate, in PEM format")
    tls_ca_file: Path | None = _setting(
        None, _file, "FILE", "certificate of the authority that all nodes' certificates come from, in PEM format"
    )
    nats_port: int = _setting(
        7980, _integer(1, 65535), "PORT", "port of this node's NATS server for this node alone, on 127.0.0.1"
    )
    nats_url: tuple[Address, ...] | None = _setting(
        None,
        _servers,
        "URL",
        "use these NATS servers, such as nats://user:password@host1:4222,host2:4222, and start none",
    )


def load(flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Combine the settings from all sources, and pass over those of a cluster; see `load_with_sources`."""
    return _load(flags, environment, file, [*_variables_of(Settings), *_variables_of(ClusterSettings, _OF_CLUSTER)])[0]


def load_with_sources(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """Combine the settings from all sources; return them, and where each comes from that has not its default.

    ``flags`` maps names of settings to values of the command line; ``environment`` has the variables ``WONDERQ_*``.

    Raises:
        ConfigError: a value is not valid, a variable is unknown, or the file cannot be read.
    """
    return _load(flags, environment, file, _variables_of(Settings))


def _load(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None, known: Sequence[str]
) -> tuple[Settings, dict[str, str]]:
    _check_variables(environment, known)
    file = _file_of(environment, file)
    from_file = _read(file) if file else {}
    if f"{_OF_CLUSTER}NAME".upper() in known:
        from_file.pop("cluster", None)
    values, sources = _combine(Settings, flags, environment, from_file, file)
    if values.get("log") is not None:
        _set_default(values, sources, "batch_bytes", MAX_SHARED_BATCH_BYTES, "the most with --log")
    return Settings(**values), sources


def load_cluster(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None
) -> tuple[ClusterSettings, Settings, dict[str, str]]:
    """Combine the settings of a node; return those of its cluster, those of its brokers, and the sources of these.

    The variables of the cluster's settings begin with ``WONDERQ_CLUSTER_``.

    Raises:
        ConfigError: see `load_with_sources`.
    """
    known = [*_variables_of(Settings), *_variables_of(ClusterSettings, _OF_CLUSTER)]
    _check_variables(environment, known)
    file = _file_of(environment, file)
    from_file = _read(file) if file else {}
    table = from_file.pop("cluster", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: cluster must be a table: [cluster]")
    of_cluster, _ = _combine(ClusterSettings, flags, environment, table, file, _OF_CLUSTER)
    flags = {name: value for name, value in flags.items() if name not in _names_of(ClusterSettings)}
    values, sources = _combine(Settings, flags, environment, from_file, file)
    for name in NOT_IN_A_CLUSTER:
        if name in sources:
            raise ConfigError(f"{sources[name]}: a node of a cluster has no such setting. Leave it out")
    _set_default(values, sources, "batch_bytes", MAX_SHARED_BATCH_BYTES, "the most in a cluster")
    _set_default(values, sources, "log_bytes", DEFAULT_SHARD_BYTES, "the default in a cluster")
    return ClusterSettings(**of_cluster), Settings(**values), sources


def _set_default(values: dict[str, Any], sources: dict[str, str], name: str, value: Any, source: str) -> None:
    if name not in values:
        values[name], sources[name] = value, source


def _names_of(kind: type[Settings | ClusterSettings]) -> list[str]:
    return [each.name for each in fields(kind)]


def _variables_of(kind: type[Settings | ClusterSettings], prefix: str = "") -> list[str]:
    return [f"{prefix}{name}".upper() for name in _names_of(kind)]


def _file_of(environment: Mapping[str, str], file: Path | None) -> Path | None:
    return Path(environment["WONDERQ_CONFIG"]) if file is None and "WONDERQ_CONFIG" in environment else file


def _combine(
    kind: type[Settings | ClusterSettings],
    flags: Mapping[str, str],
    environment: Mapping[str, str],
    from_file: dict[str, Any],
    file: Path | None,
    prefix: str = "",
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that are set, and where each comes from."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for each in fields(kind):
        name, variable = each.name, _PREFIX + (prefix + each.name).upper()
        if name in flags:
            text, source = flags[name], "--" + name.replace("_", "-")
        elif variable in environment:
            text, source = environment[variable], variable
        elif name in from_file:
            value = from_file.pop(name)
            separator = each.metadata["separator"] if isinstance(each.default, tuple) else None
            text, source = _as_text(value, separator), f"{name} in {file}"
        else:
            assert each.default is not MISSING
            continue
        try:
            values[name] = each.metadata["parse"](text)
        except ValueError as error:
            raise ConfigError(f"{source}: {text!r} cannot be used: {error}") from error
        sources[name] = source
        from_file.pop(name, None)
    if from_file:
        known, unknown = _names_of(kind), min(from_file)
        raise ConfigError(
            f"{file}: unknown setting {unknown!r}{_did_you_mean(unknown, known)}; the settings are {', '.join(known)}"
        )
    return values, sources


def in_force(settings: Settings, sources: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Return name, value, source and default of each setting, as texts. ``sources`` is that of `load_with_sources`."""
    return [
        (
            each.name,
            as_text(getattr(settings, each.name)),
            sources.get(each.name, "default"),
            as_text(each.default),
        )
        for each in fields(Settings)
    ]


def as_text(value: Any) -> str:
    """Return a setting's value as a user would write it."""
    if value is None or value == ():
        return "none"
    if value == UNLIMITED:
        return "unlimited"
    if isinstance(value, tuple):
        return (", " if isinstance(value[-1], str) else ":").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_variables(environment: Mapping[str, str], known: Sequence[str]) -> None:
    """Check that each ``WONDERQ_`` variable has a meaning, because a misspelt one would be ignored otherwise.

    Raises:
        ConfigError: one has none.
    """
    known = [*known, *_OTHER_VARIABLES]
    for variable in sorted(environment):
        name = variable.removeprefix(_PREFIX)
        if name != variable and name not in known and not _OF_A_SERVICE.fullmatch(name):
            raise ConfigError(
                f"{variable} is set, and WonderQ has no such variable{_did_you_mean(name, known, _PREFIX)}. Correct "
                "the name, or unset it; 'wonderq serve --help' lists the settings"
            )


def _did_you_mean(name: str, known: Sequence[str], prefix: str = "") -> str:
    found = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {prefix}{found[0]}?)" if found else ""


def _as_text(value: Any, separator: str | None) -> str:
    """Return a value of a TOML file in the form of a variable; ``separator`` is that of several values, if allowed."""
    if separator is not None and isinstance(value, list):
        return separator.join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{file}: the configuration file cannot be read: {reason}") from error
