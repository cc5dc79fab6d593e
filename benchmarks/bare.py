"""A Falcon application that shows the limit of the stack: `python -m benchmarks.bare`.

It runs on WonderQ's server, decodes the same requests, sends answers of the same form and size, and stores nothing. A
consume call always returns as many messages as requested, with bodies of ``--body-bytes``. The module prints its
address and serves until SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import falcon
import msgspec

from wonderq.httpd.server import Server
from wonderq.rest import schemas

_ID = "01234567-89ab-8def-8123-456789abcdef"
_RECEIPT = "0123456789abcdef0123456789abcdef01234567"

_CODECS: dict[str | None, tuple[Any, Any]] = {
    "application/json": (msgspec.json.Encoder().encode, msgspec.json.Decoder),
    "application/msgpack": (msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder),
}
_SCHEMAS = (schemas.Produce, schemas.Consume, schemas.DeleteBatch)
_DECODERS = {(kind, schema): codec[1](schema).decode for kind, codec in _CODECS.items() for schema in _SCHEMAS}


class Produce:
    def on_post(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        body = _read(req, schemas.Produce)
        value: dict[str, Any]
        if isinstance(body.messages, msgspec.UnsetType):
            value = {"id": _ID, "message": body.message}
        else:
            value = {"ids": [_ID for _ in body.messages]}
        _answer(req, resp, {**value, "status": "unprocessed", "statusCode": 201}, 201)


class Consume:
    def __init__(self, body_bytes: int) -> None:
        self._message = {
            "id": _ID,
            "message": "x" * body_bytes,
            "status": "processing",
            "receive_count": 1,
            "produced_at": "2026-01-01T00:00:00.000Z",
            "claimed_until": "2026-01-01T00:00:30.000Z",
            "queue": "default",
            "receipt": _RECEIPT,
        }

    def on_post(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        asked = _read(req, schemas.Consume)
        _answer(req, resp, [self._message for _ in range(asked.max)])


class Delete:
    def on_post(self, req: falcon.Request, resp: falcon.Response, **_: str) -> None:
        body = _read(req, schemas.DeleteBatch)
        receipts = [] if isinstance(body.receipts, msgspec.UnsetType) else body.receipts
        _answer(req, resp, {"success": True, "results": [{"receipt": each, "success": True} for each in receipts]})


def _read(req: falcon.Request, schema: Any) -> Any:
    return _DECODERS[req.content_type, schema](req.bounded_stream.read())


def _answer(req: falcon.Request, resp: falcon.Response, value: Any, status: int = 200) -> None:
    resp.content_type = req.content_type
    resp.data = _CODECS[req.content_type][0](value)
    resp.status = status


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("--body-bytes", type=int, default=100)
    chosen = parser.parse_args()
    app = falcon.App()
    app.add_route("/queues/{queue}/messages/produce", Produce())
    app.add_route("/queues/{queue}/messages/consume", Consume(chosen.body_bytes))
    app.add_route("/queues/{queue}/messages/delete", Delete())
    server = Server(app, "127.0.0.1", 0)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    print(f"bare listening on {server.url}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
