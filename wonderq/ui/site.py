"""The files of the dashboard, by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

import falcon

from wonderq.rest.static_files import StaticFile

_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain"}
_FOLDERS = ("app", "pages", "vendor")

#: Lines that the broker adds to files of others, which stay as they were published. uPlot has no small file
#: that is a module, and only a module can be loaded when it is needed: no text can become a script.
_ADDED = {"vendor/uplot.js": b"\nexport default uPlot;\n"}

#: Scripts and styles come from files of the broker alone, and no text can become markup or a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)

#: Headers of the document of all pages.
HEADERS = {"Content-Security-Policy": _POLICY}


@cache
def load() -> tuple[StaticFile, Mapping[str, StaticFile]]:
    """Return the document of all pages, and the files that it needs by their paths below ``/ui/assets``."""
    root = resources.files("wonderq.ui")
    document = StaticFile(root.joinpath("index.html").read_bytes(), falcon.MEDIA_HTML)
    assets = {}
    for folder in _FOLDERS:
        for each in root.joinpath(folder).iterdir():
            media_type = _TYPES.get(each.name[each.name.rfind(".") :])
            path = f"{folder}/{each.name}"
            if media_type is not None:
                assets[path] = StaticFile(each.read_bytes() + _ADDED.get(path, b""), media_type)
    return document, MappingProxyType(assets)


@cache
def document_of_cluster() -> StaticFile:
    """Return the document of all pages of a node of a cluster, which has one page more."""
    content = load()[0].content.replace(b"<html ", b"<html data-cluster ", 1)
    return StaticFile(content, falcon.MEDIA_HTML)


class Assets:
    """``/ui/assets``: scripts and styles."""

    def __init__(self, files: Mapping[str, StaticFile]) -> None:
        self._files = files

    def on_get(self, req: falcon.Request, resp: falcon.Response, folder: str, file: str) -> None:
        found = self._files.get(f"{folder}/{file}")
        if found is None:
            raise falcon.HTTPNotFound
        found.send(req, resp)
