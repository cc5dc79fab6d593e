"""The OpenAPI document, and the page at ``/docs`` that renders it. Only `wonderq.app` imports this package."""
