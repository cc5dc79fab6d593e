"""The dashboard: a page at ``/ui`` that shows the broker through its API. Its files need no build step."""
