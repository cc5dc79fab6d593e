"""Serves the files of the dashboard: compressed if the browser likes, and only if they have changed."""

from __future__ import annotations

import gzip
from hashlib import sha256
from importlib import resources
from typing import NamedTuple

import falcon

_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain"}
_FOLDERS = ("app", "pages", "vendor")

#: Scripts and styles come from files of the broker alone, and no text can become markup or a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)


class File(NamedTuple):
    """A file as it is sent."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str

    def send(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set the response to this file, or to 304 if the browser has it."""
        resp.set_header("Cache-Control", "no-cache")  # a browser asks each time, so a page is of one version
        resp.set_header("Vary", "Accept-Encoding")
        resp.set_header("ETag", self.etag)
        if self.etag in (req.get_header("If-None-Match") or ""):
            resp.status = 304
            return
        resp.content_type = self.media_type
        if "gzip" in (req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = self.compressed
        else:
            resp.data = self.content


def _file(content: bytes, media_type: str) -> File:
    return File(content, gzip.compress(content, mtime=0), media_type, f'"{sha256(content).hexdigest()[:24]}"')


def load() -> tuple[File, dict[str, File]]:
    """Return the document of all pages, and the files that it needs by their paths below ``/ui/assets``."""
    root = resources.files("wonderq.ui")
    document = _file(root.joinpath("index.html").read_bytes(), falcon.MEDIA_HTML)
    assets = {}
    for folder in _FOLDERS:
        for each in root.joinpath(folder).iterdir():
            media_type = _TYPES.get(each.name[each.name.rfind(".") :])
            if media_type is not None:
                assets[f"{folder}/{each.name}"] = _file(each.read_bytes(), media_type)
    return document, assets


class Page:
    """Every page: one document, which finds out by its address what to show."""

    def __init__(self, document: File) -> None:
        self._document = document

    def on_get(self, req: falcon.Request, resp: falcon.Response, **_path: str) -> None:
        self._document.send(req, resp)
        resp.set_header("Content-Security-Policy", POLICY)


class Assets:
    """``/ui/assets``: scripts and styles."""

    def __init__(self, files: dict[str, File]) -> None:
        self._files = files

    def on_get(self, req: falcon.Request, resp: falcon.Response, folder: str, file: str) -> None:
        found = self._files.get(f"{folder}/{file}")
        if found is None:
            raise falcon.HTTPNotFound
        found.send(req, resp)
