"""Deliveries to HTTP endpoints: what `wonderq.broker.pushes` has claimed is sent, and its outcome is settled there.

| module | concern |
|---|---|
| `wonderq.push.pusher` | the thread, and the share of the slots that each endpoint gets |
| `wonderq.push.notices` | requests that tell endpoints that they were unsubscribed |
| `wonderq.push.line` | one endpoint: what it may get now, and what came of it |
| `wonderq.push.delivery` | one attempt, and what follows from its outcome |
| `wonderq.push.connections` | connections that stay open for the next request |
| `wonderq.push.connection` | requests over one connection, in HTTP/1.1 |
| `wonderq.push.resolver` | names to addresses, of which the permitted ones are left |
| `wonderq.push.webhook` | headers and signature of the requests for REST subscriptions |
"""
