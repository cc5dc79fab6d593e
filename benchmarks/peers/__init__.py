"""The same durable queue work on WonderQ and on what people would use instead: `python -m benchmarks.peers`."""
