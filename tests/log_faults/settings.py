"""Sizes that the controller and the owners of a run agree on."""

from __future__ import annotations

REPLICAS = 3

#: So small that parts end and are dropped all the time, and that a fault can fill the stream.
PART_BYTES, MAX_BYTES = 64 << 10, 24 << 20

#: Everything that a broker keeps free on a full disk is a part of this.
MAX_RECORD_BYTES = 1 << 20
