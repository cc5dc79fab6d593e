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
