"""The limit of the stack: a Falcon application on our server that reads and answers what WonderQ does, and keeps nothing.

    python -m benchmarks.bare

It prints its address, and serves until SIGTERM. What it answers has the right shape and size; consuming always finds a
message, as many as were asked for, with a body of ``--body-bytes``.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import falcon
import msgspec

from wonderq import schemas
from wonderq.config import Settings
from wonderq.server import Server

_ID = "01234567-89ab-8def-8123-456789abcdef"
_RECEIPT = "0123456789abcdef0123456789abcdef01234567"

_decode_produce = msgspec.json.Decoder(schemas.Produce).decode
_decode_consume = msgspec.json.Decoder(schemas.Consume).decode
_decode_delete = msgspec.json.Decoder(schemas.DeleteBatch).decode
_encode = msgspec.json.Encoder().encode


class Produce:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = _decode_produce(req.bounded_stream.read())
        value: dict[str, Any]
        if isinstance(body.messages, msgspec.UnsetType):
            value = {"id": _ID, "message": body.message}
        else:
            value = {"ids": [_ID for _ in body.messages]}
        _answer(resp, {**value, "status": "unprocessed", "statusCode": 201}, 201)


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

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = _decode_consume(req.bounded_stream.read())
        _answer(resp, [self._message for _ in range(asked.max)])


class Delete:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = _decode_delete(req.bounded_stream.read())
        receipts = [] if isinstance(body.receipts, msgspec.UnsetType) else body.receipts
        _answer(resp, {"success": True, "results": [{"receipt": each, "success": True} for each in receipts]})


def _answer(resp: falcon.Response, value: Any, status: int = 200) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = _encode(value)
    resp.status = status


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("--body-bytes", type=int, default=100)
    chosen = parser.parse_args()
    app = falcon.App()
    app.add_route("/messages/produce", Produce())
    app.add_route("/messages/consume", Consume(chosen.body_bytes))
    app.add_route("/messages/delete", Delete())
    settings = Settings()
    server = Server(app, "127.0.0.1", 0, connections=settings.waiting_consumers + 500)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    print(f"bare listening on {server.url}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
