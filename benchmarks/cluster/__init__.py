"""Rates of three nodes, beside those of one node and of a broker on a folder: `python -m benchmarks.cluster`.

Needs nats-server (`pip install 'wonderq[cluster]'`). All processes run on this machine, on loopback.

It sends a request again where a client would, for example while a node takes a shard over, and reports how often.
"""
