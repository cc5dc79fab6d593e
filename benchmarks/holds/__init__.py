"""How long one request, or one background step, keeps everybody else waiting: `python -m benchmarks.holds`.

`situations` describes folders with much in them, and requests that could take long there. `measured` runs a broker on
each folder, sends the requests, and meanwhile asks for `/healthz` all the time. `instruments` runs in the process of
the broker and measures each turn of the serving thread and each hold of the lock.
"""
