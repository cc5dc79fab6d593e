"""Compare WonderQ with other queues under the same durable load: `python -m benchmarks.peers`."""
