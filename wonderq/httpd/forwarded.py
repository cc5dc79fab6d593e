"""Keys in the WSGI environment of a request that another node of the cluster received and passed on.

They begin with ``wonderq.``, and headers of a client with ``HTTP_``, so no client can set them.
"""

from __future__ import annotations

BASE_URL = "wonderq.base_url"
"""Address under which the client reached the other node."""

REGION = "wonderq.region"
"""Region for which an SQS client signed the request."""

WAITED_S = "wonderq.waited_s"
"""Seconds of the request's ``wait`` that have passed already."""

COUNTED, SQS_COUNTED = "wonderq.counted", "wonderq.sqs_counted"
"""Whether an application has counted the request for the rate of its key, by its head or by its signature. A request
that falls back to the edge is checked again, and must not count again."""
