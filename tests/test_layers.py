"""Each package imports only what its rule allows; docs/ARCHITECTURE.md explains the rules."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Rule(NamedTuple):
    """Modules that a package may import besides its own and the standard library."""

    idea: str
    inside: tuple[str, ...]
    """Prefixes of WonderQ's own modules. ``wonderq_storage`` alone stands for its public names, ``wonderq_storage.`` for all."""
    outside: tuple[str, ...] = ()
    """Distributions of others."""


_STORAGE = "wonderq_storage"
_BROKER = ("wonderq.model", "wonderq.state", "wonderq.runtime", _STORAGE)

RULES = {
    "wonderq_storage": Rule("a durable log in a folder: knows no queue", (), ("isal", "msgpack")),
    "wonderq.model": Rule("values: no state, no I/O, no clock", ()),
    "wonderq.state": Rule(
        "a pure function of records: no clock, no threads, no I/O",
        ("wonderq.model", _STORAGE, "wonderq_storage.checksum"),
        ("msgpack", "msgspec"),
    ),
    "wonderq.runtime": Rule(
        "waiting, clocks, rates and histograms: knows neither queues nor HTTP",
        (_STORAGE, "wonderq_storage.disk"),
        ("greenlet",),
    ),
    "wonderq.broker": Rule("every decision; never HTTP, never the inside of storage", _BROKER, ("cronsim",)),
    "wonderq.httpd": Rule(
        "bytes to WSGI and back: knows no queue and no key", ("wonderq.runtime",), ("msgspec", "waitress")
    ),
    "wonderq.auth": Rule(
        "keys, roles and signatures: knows no protocol",
        ("wonderq.model", "wonderq.runtime", "wonderq.httpd.head", "wonderq.httpd.errors", "wonderq_storage.disk"),
        ("falcon", "msgspec"),
    ),
    "wonderq.rest": Rule(
        "translation of the REST API; never sqs, never openapi",
        (
            *("wonderq.auth", "wonderq.broker", "wonderq.model", _STORAGE),
            *("wonderq.httpd.addresses", "wonderq.httpd.errors", "wonderq.httpd.room", "wonderq.httpd.structure"),
            "wonderq.httpd.forwarded",
            "wonderq.runtime.fibers",
        ),
        ("falcon", "msgspec"),
    ),
    "wonderq.sqs": Rule(
        "translation of the SQS protocol; never rest",
        ("wonderq.auth", "wonderq.broker", "wonderq.httpd", "wonderq.model", "wonderq.runtime.fibers", _STORAGE),
        ("falcon", "msgspec"),
    ),
    "wonderq.sns": Rule(
        "translation of the SNS protocol; never rest",
        (
            *("wonderq.auth", "wonderq.broker", "wonderq.httpd", "wonderq.model", "wonderq.runtime.fibers"),
            *("wonderq.runtime.offload", "wonderq.sqs", _STORAGE, "wonderq_storage.disk"),
        ),
        ("cryptography", "falcon"),
    ),
    "wonderq.push": Rule(
        "deliveries to HTTP endpoints: claims and settles with the broker, and knows no protocol of clients",
        ("wonderq.broker", "wonderq.model", _STORAGE),
    ),
    "wonderq.openapi": Rule(
        "describes the REST API",
        (
            *(
                "wonderq.rest.schemas",
                "wonderq.rest.topic_schemas",
                "wonderq.rest.field_types",
                "wonderq.rest.error_codes",
            ),
            *("wonderq.auth.roles", "wonderq.model", "wonderq.httpd.errors"),
            "wonderq.__version__",
        ),
        ("msgspec",),
    ),
    "wonderq.ui": Rule(
        "the files of the dashboard: a client of the API in the browser", ("wonderq.rest.static_files",), ("falcon",)
    ),
    "wonderq.folder": Rule(
        "tools for a stopped broker's folder: return data, print nothing, and may use all of storage",
        (
            *("wonderq.broker", "wonderq.state", "wonderq.model", "wonderq.client", "wonderq_storage."),
            *(
                "wonderq.runtime.clock",
                "wonderq.runtime.time_evidence",
                "wonderq.rest.schemas",
                "wonderq.rest.topic_schemas",
                "wonderq.rest.field_types",
            ),
            "wonderq.rest.values",
            "wonderq.rest.objects",
        ),
        ("msgspec",),
    ),
    "wonderq.demo": Rule(
        "a client of the product",
        ("wonderq.client", "wonderq.folder.verify", "wonderq.terminal"),
        ("msgspec",),
    ),
    "wonderq.cli": Rule(
        "the only package that prints; never httpd, never sqs",
        (
            *("wonderq.auth", "wonderq.broker", "wonderq.folder", "wonderq.model", "wonderq.rest", "wonderq.runtime"),
            *(
                "wonderq.state",
                "wonderq.client",
                "wonderq.config",
                "wonderq.demo",
                "wonderq.logs",
                "wonderq.serve",
                "wonderq.serve_shared",
                "wonderq.serve_cluster",
                "wonderq.cluster.charter",
                "wonderq.cluster_tools",
            ),
            *("wonderq.tasks", "wonderq.worker", "wonderq.terminal", "wonderq.__version__", "wonderq_storage."),
        ),
        ("msgspec",),
    ),
    "wonderq.client": Rule("the Python client; never the server", (), ("aiohttp", "msgspec")),
    "wonderq.testing": Rule(
        "a real broker for tests of users: a third composition root, which runs in a process of its own",
        (
            *("wonderq.app", "wonderq.broker", "wonderq.client", "wonderq.config", "wonderq.logs"),
            *("wonderq.runtime.clock", "wonderq.serve", _STORAGE),
        ),
    ),
    "wonderq.pytest_plugin": Rule("fixtures for pytest", ("wonderq.client", "wonderq.testing"), ("pytest",)),
    "wonderq.dramatiq": Rule("a broker for dramatiq; a client of the product", ("wonderq.client",), ("dramatiq",)),
    "wonderq.worker": Rule(
        "runs handlers of messages: knows no tasks",
        ("wonderq.client",),
        ("opentelemetry", "prometheus_client"),
    ),
    "wonderq.tasks": Rule(
        "functions that messages call: what a worker runs", ("wonderq.client", "wonderq.worker"), ("msgspec",)
    ),
    "wonderq.terminal": Rule("tables and progress on a terminal", ()),
    "wonderq.logs": Rule("the form of log lines", ("wonderq.model", "wonderq.httpd", "wonderq.runtime")),
    "wonderq.config": Rule(
        "settings of serve", ("wonderq.model", "wonderq.auth.roles", _STORAGE, "wonderq_storage.nats.address")
    ),
    "wonderq.ownership": Rule(
        "which of several processes owns a log, and what the others do; never how they hear of each other",
        (
            *("wonderq.broker.broker", "wonderq.httpd.errors", "wonderq.httpd.head", "wonderq.httpd.parser"),
            *("wonderq.rest.health", "wonderq.state.state", _STORAGE),
        ),
        ("prometheus_client",),
    ),
    "wonderq.cluster": Rule(
        "which node of a cluster owns which queues; never how the nodes hear of each other",
        (
            *(
                "wonderq.auth",
                "wonderq.broker",
                "wonderq.httpd",
                "wonderq.model",
                "wonderq.ownership.neighbours",
            ),
            *("wonderq.rest", "wonderq.runtime", "wonderq.sns", "wonderq.sqs", "wonderq.state.state", _STORAGE),
            "wonderq_storage.nats",
        ),
        ("falcon", "msgspec", "prometheus_client"),
    ),
    "wonderq.cluster_tools": Rule(
        "tools for the logs of a cluster: return data, print nothing, and may use all of storage",
        (
            *("wonderq.cluster.announcements", "wonderq.cluster.charter", "wonderq.cluster.keys", "wonderq.folder"),
            *("wonderq.state", "wonderq_storage."),
        ),
    ),
    "wonderq.metrics": Rule(
        "counters as Prometheus metrics",
        (
            "wonderq.broker",
            "wonderq.httpd",
            "wonderq.model",
            "wonderq.rest",
            "wonderq.runtime",
            "wonderq.state.record",
            _STORAGE,
            "wonderq.__version__",
        ),
        ("falcon", "prometheus_client"),
    ),
}

#: The composition roots, and the entry point, may import everything.
ROOTS = (
    *("wonderq.app", "wonderq.edge_app", "wonderq.serve", "wonderq.serve_shared", "wonderq.serve_cluster"),
    *("wonderq.__main__", "wonderq"),
)


class Arrow(NamedTuple):
    """One import."""

    source: str
    target: str
    place: str
    for_types_only: bool


@cache
def arrows() -> list[Arrow]:
    return list(_arrows())


def _arrows() -> Iterator[Arrow]:
    for base in (ROOT / "wonderq", ROOT / "storage" / "wonderq_storage"):
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base.parent).with_suffix("").parts
            source = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            nodes = list(ast.walk(tree))
            guarded = {
                inner
                for node in nodes
                if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
                for inner in ast.walk(node)
            }
            for node in nodes:
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                if isinstance(node, ast.Import):
                    for name in node.names:
                        yield Arrow(source, name.name, place, node in guarded)
                else:
                    assert not node.level, f"{place}: import by the absolute name"
                    for name in node.names:
                        yield Arrow(source, _target(node.module or "", name.name), place, node in guarded)


@cache
def _target(module: str, name: str) -> str:
    """Return the module that ``from module import name`` depends on."""
    folder = ROOT / ("storage" if module.startswith("wonderq_storage") else "") / Path(*module.split("."))
    is_module = (folder / f"{name}.py").exists() or (folder / name).is_dir() or module == "wonderq"
    return f"{module}.{name}" if is_module else module


def package_of(module: str) -> str | None:
    """Return the package that has a rule for a module, or None for a composition root."""
    parts = module.split(".")
    package = parts[0] if parts[0] == "wonderq_storage" else ".".join(parts[:2])
    return None if package in ROOTS else package


def allows(package: str, target: str) -> bool:
    rule = RULES[package]
    top = target.split(".", maxsplit=1)[0]
    if top in sys.stdlib_module_names or top in rule.outside or target == package or target.startswith(package + "."):
        return True
    for each in rule.inside:
        if each == "wonderq_storage":
            if target == each:
                return True
        elif target == each.removesuffix(".") or target.startswith(each.removesuffix(".") + "."):
            return True
    return False


def broken() -> list[str]:
    found = []
    for source, target, place, _ in arrows():
        package = package_of(source)
        if package is not None and not allows(package, target):
            rule = RULES[package]
            allowed = ", ".join((*rule.inside, *rule.outside)) or "the standard library alone"
            found.append(f"{place}: {source} -> {target}. {package} is {rule.idea}; it may import: {allowed}")
    return found


def test_each_import_is_allowed() -> None:
    assert broken() == []


def test_the_table_of_architecture_has_the_same_rules() -> None:
    """Names in its first and last columns are paths below `wonderq`, or distributions of others."""
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("### The rules")[2].partition("### ")[0]
    table = {}
    for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
        package, _, imports = row.split(" | ")
        table[_full_name(package.strip("`")).removesuffix(".")] = {*map(_full_name, re.findall("`(.*?)`", imports))}
    assert table == {package: {*rule.inside, *rule.outside} for package, rule in RULES.items()}


def _full_name(path: str) -> str:
    name = path.removesuffix(".py").replace("/", ".")
    if name in {each for rule in RULES.values() for each in rule.outside}:
        return name
    return f"wonderq_{name}" if name.startswith("storage") else f"wonderq.{name}"


def test_each_package_has_a_rule() -> None:
    packages = {package_of(arrow.source) for arrow in arrows()} - {None}
    assert packages == RULES.keys()


def test_modules_have_no_cycles() -> None:
    imported: dict[str, set[str]] = {}
    for arrow in arrows():
        if not arrow.for_types_only:
            imported.setdefault(arrow.source, set()).add(arrow.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in imported.get(module, ()):
                visit(target, (*path, module))
            done.add(module)

    for module in imported:
        visit(module, ())


@pytest.mark.parametrize(
    ("package", "target"),
    [
        ("wonderq_storage", "wonderq.state.record"),
        ("wonderq.model", "wonderq.state.state"),
        ("wonderq.state", "wonderq_storage.file_log"),
        ("wonderq.broker", "falcon"),
        ("wonderq.broker", "wonderq_storage.segment"),
        ("wonderq.rest", "wonderq.sqs.endpoint"),
        ("wonderq.sqs", "wonderq.rest.errors"),
        ("wonderq.httpd", "wonderq.broker.broker"),
        ("wonderq.auth", "wonderq.sqs.errors"),
    ],
)
def test_a_forbidden_import_is_found(package: str, target: str) -> None:
    assert not allows(package, target)


#: Modules of storage that are the seam between the broker and its log: protocols, errors, and callbacks for metrics.
SEAM = ("wonderq_storage.log", "wonderq_storage.errors", "wonderq_storage.observer")

#: Code above the seam. It works with every kind of log, so it names none; `serve.py` opens the log.
ABOVE_THE_SEAM = (
    *("wonderq.state", "wonderq.runtime", "wonderq.broker", "wonderq.rest", "wonderq.sqs"),
    *("wonderq.metrics", "wonderq.app"),
)

#: Modules with a file or a socket of their own, which has nothing to do with the log.
_BESIDE_THE_LOG = ("wonderq.runtime.service_manager", "wonderq.runtime.time_evidence")

#: Modules by which code would reach a log's files or sockets without naming it.
_FILES_AND_SOCKETS = ("asyncio", "fcntl", "mmap", "pathlib", "select", "socket", "socketserver", "ssl", "tempfile")


def names_of_storage(tree: ast.AST) -> Iterator[str]:
    """Return the public names of storage that a module uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "wonderq_storage":
            yield from (each.name for each in node.names)
        elif (
            isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "wonderq_storage"
        ):
            yield node.attr


@cache
def names_of_the_seam() -> set[str]:
    """Return the public names of storage that are the same for every kind of log."""
    public = ast.parse((ROOT / "storage" / "wonderq_storage" / "__init__.py").read_text(encoding="utf-8"))
    return {
        each.name
        for node in ast.walk(public)
        if isinstance(node, ast.ImportFrom) and node.module in SEAM
        for each in node.names
    }


def beyond_the_seam(source: str) -> list[str]:
    """Return what a module uses that only one kind of log has."""
    tree = ast.parse(source)
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return sorted({*names_of_storage(tree)} - names_of_the_seam() - {"checksum"}) + sorted(
        name for name in imported if name.split(".")[0] in _FILES_AND_SOCKETS
    )


def test_nothing_above_the_seam_names_a_kind_of_log() -> None:
    found = {}
    for path in sorted((ROOT / "wonderq").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module.startswith(ABOVE_THE_SEAM) and module not in _BESIDE_THE_LOG:
            found[module] = beyond_the_seam(path.read_text(encoding="utf-8"))
    assert len(found) > 50
    assert {module: names for module, names in found.items() if names} == {}


def test_a_log_is_opened_in_one_place_besides_the_tools() -> None:
    kinds = {"FileLog", "FileCheckpoints", "JetStreamLog"}
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "wonderq").rglob("*.py")}
    found = {
        str(path.relative_to(ROOT / "wonderq"))
        for path, source in sources.items()
        if any(kind in source for kind in kinds)  # to parse all of them takes a second
        if kinds & {*names_of_storage(ast.parse(source))}
    }
    assert {path for path in found if not path.startswith(("folder/", "cluster_tools/"))} == {"serve.py"}
    source = (ROOT / "wonderq" / "serve.py").read_text(encoding="utf-8")
    uses = {
        function.name
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef)
        if kinds & {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    }
    assert uses == {"open_log"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from wonderq_storage import FileLog, Log, LogFiles", ["FileLog"]),
        ("import wonderq_storage\nraise wonderq_storage.LogLostError(wonderq_storage.SyncPolicy)", ["SyncPolicy"]),
        ("from wonderq_storage import Checkpoints, FileCheckpoints", ["FileCheckpoints"]),
        ("import socket\nfrom pathlib import Path", ["pathlib", "socket"]),
    ],
)
def test_a_kind_of_log_above_the_seam_is_found(source: str, names: list[str]) -> None:
    assert beyond_the_seam(source) == names


def test_the_client_of_nats_knows_no_log() -> None:
    client = "wonderq_storage.nats"
    targets = {target for source, target, _, _ in arrows() if source.startswith(client)}
    assert {each for each in targets if each.startswith("wonderq")} == {
        each for each in targets if each.startswith(client)
    }
    assert {each.partition(".")[0] for each in targets} <= {"wonderq_storage", *sys.stdlib_module_names}


def test_the_top_level_stays_small() -> None:
    assert len(list((ROOT / "wonderq").glob("*.py"))) <= 12


def test_rest_names_messages_in_one_place_only() -> None:
    """`Resource.targets` checks that a key may act without a receipt, and no other code of the package makes targets."""
    makers = {
        path.name
        for path in (ROOT / "wonderq" / "rest").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Target", "Target.each", "Target._make")
    }
    assert makers == {"resource.py"}


def test_sqs_names_messages_by_receipt_only() -> None:
    calls = [
        ast.unparse(node)
        for path in (ROOT / "wonderq" / "sqs").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Target")
    ]
    assert sorted(calls) == [
        "Target(receipt=receipt)",
        "Target.each(zip(repeat(None), receipts, strict=False))",
    ]
