"""Waitress still has the undocumented parts that wonderq/httpd uses, and wonderq/httpd uses no others."""

from __future__ import annotations

import ast
import importlib
import inspect
import socket
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import waitress
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask

import wonderq.httpd
from wonderq.httpd.waitress_parts import CHECKED_VERSION, PARTS

#: Names that files, sockets, dicts, lists and our errors have too, so their use proves nothing.
ORDINARY = {
    "accept", "append", "bind", "close", "code", "family", "fileno", "get", "getsockname", "listen", "read", "recv", "seek",
    "send", "shutdown",
}  # fmt: skip

HTTPD = Path(wonderq.httpd.__path__[0])
WAITRESS = Path(waitress.__path__[0])


def test_the_installed_version_was_checked() -> None:
    installed = version("waitress")
    assert installed.startswith(f"{CHECKED_VERSION}."), (
        f"waitress {installed} is installed, but wonderq/httpd was checked with {CHECKED_VERSION}: compare its "
        "channel.py, server.py, task.py, parser.py, receiver.py, buffers.py, trigger.py and wasyncore.py with that "
        "version for all that wonderq/httpd/waitress_parts.py lists, then change CHECKED_VERSION there and the range "
        "in pyproject.toml"
    )


def test_the_package_asks_for_that_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [asked] = [each for each in project["dependencies"] if each.startswith("waitress")]
    major, minor = map(int, CHECKED_VERSION.split("."))
    assert asked.endswith(f",<{major}.{minor + 1}")


@pytest.fixture(scope="module")
def objects() -> Iterator[dict[str, Any]]:
    """One object of each class, as waitress makes it, for the attributes that only objects have."""
    adjustments = Adjustments(host="127.0.0.1", port=0)
    server = TcpWSGIServer(None, adj=adjustments, dispatcher=object())
    near, far = socket.socketpair()
    channel = HTTPChannel(server, near, ("127.0.0.1", 1), adjustments, map={})
    parser = HTTPRequestParser(adjustments)
    parser.received(b"GET /path?query HTTP/1.1\r\nHost: x\r\n\r\n")
    made = [server, channel, parser, WSGITask(channel, parser), ErrorTask(channel, parser), server.trigger, adjustments]
    made.append(FixedStreamReceiver(1, None))
    yield {f"{type(each).__module__}.{type(each).__qualname__}": each for each in made}
    channel.handle_close()
    server.close()
    far.close()


@pytest.mark.parametrize(("place", "part"), [(place, part) for place, parts in PARTS.items() for part in parts])
def test_waitress_has(place: str, part: str, objects: dict[str, Any]) -> None:
    owner = find(place)
    name, bracket, _ = part.partition("(")
    if not bracket:
        assert hasattr(objects.get(place, owner), name)
        return
    assert f"{name}{inspect.signature(getattr(owner, name))}" == part


def find(place: str) -> Any:
    """Return the class or module of this name."""
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError:
        module, _, name = place.rpartition(".")
        return getattr(importlib.import_module(module), name)


# Parts of waitress that the package uses


def names_of_waitress() -> set[str]:
    """Return the names of all methods and attributes of waitress' classes."""
    names = set()
    for path in WAITRESS.glob("*.py"):
        for kind in ast.walk(ast.parse(path.read_text())):
            if not isinstance(kind, ast.ClassDef):
                continue
            names |= set(assigned_in(kind))
            for each in ast.walk(kind):
                if isinstance(each, ast.FunctionDef):
                    names.add(each.name)
                elif isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self":
                    names.add(each.attr)
    return names - ORDINARY


def assigned_in(kind: ast.ClassDef) -> Iterator[str]:
    for each in kind.body:
        if isinstance(each, ast.Assign):
            yield from (target.id for target in each.targets if isinstance(target, ast.Name))


def used_in(source: str) -> set[str]:
    """Return the names of attributes and methods that code reads, sets, calls or defines."""
    used = set()
    for each in ast.walk(ast.parse(source)):
        if isinstance(each, ast.Attribute):
            used.add(each.attr)
        elif isinstance(each, ast.ClassDef):
            used |= set(assigned_in(each)) | {part.name for part in each.body if isinstance(part, ast.FunctionDef)}
    return used


def imported_in(source: str) -> set[str]:
    """Return what code imports of waitress, as in the table."""
    return {
        f"{each.module}.{name.name}"
        for each in ast.walk(ast.parse(source))
        if isinstance(each, ast.ImportFrom) and (each.module or "").partition(".")[0] == "waitress"
        for name in each.names
    }


LISTED = {part.partition("(")[0] for parts in PARTS.values() for part in parts}


@pytest.mark.parametrize("path", sorted(HTTPD.glob("*.py")), ids=lambda path: path.name)
def test_every_part_that_is_used_is_listed(path: Path) -> None:
    source = path.read_text()
    missing = used_in(source) & names_of_waitress() - LISTED
    assert not missing, (
        f"{path.name} uses names of waitress that wonderq/httpd/waitress_parts.py does not list: {missing}"
    )
    for name in imported_in(source):
        module, _, part = name.rpartition(".")
        functions = {each.partition("(")[0] for each in PARTS.get(module, ())}
        assert name in PARTS or part in functions or name == "waitress.task", name


def test_every_part_that_is_listed_is_used() -> None:
    used = set().union(*(used_in(path.read_text()) for path in HTTPD.glob("*.py")))
    named = set().union(*(imported_in(path.read_text()) for path in HTTPD.glob("*.py")))
    assert LISTED - used - {name.rpartition(".")[2] for name in named} - ORDINARY <= {"__init__"}


def test_nothing_else_of_ours_uses_waitress() -> None:
    others = [path for path in HTTPD.parent.rglob("*.py") if HTTPD not in path.parents]
    assert not [path for path in others if imported_in(path.read_text())]


def test_the_scan_finds_a_part_that_is_not_listed() -> None:
    assert used_in("channel.outbufs") & names_of_waitress() - LISTED == {"outbufs"}
    assert used_in("class A(B):\n    def cancel(self): ...") & names_of_waitress() - LISTED == {"cancel"}
    assert imported_in("from waitress.server import create_server") == {"waitress.server.create_server"}
