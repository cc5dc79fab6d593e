"""Files that never change while the broker runs: compressed for clients that accept it, with an ETag."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType

import falcon


class StaticFile:
    """A file as it is sent."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content = content
        self.compressed = gzip.compress(content, mtime=0)
        self.media_type = media_type
        self.etag = f'"{sha256(content).hexdigest()[:24]}"'

    def send(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set the response to this file, or to 304 if the client has it."""
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


class StaticPage:
    """A resource that is one file, at every path that leads to it."""

    def __init__(self, file: StaticFile, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self._file = file
        self._headers = headers

    def on_get(self, req: falcon.Request, resp: falcon.Response, **_path: str) -> None:
        self._file.send(req, resp)
        resp.set_headers(self._headers)
