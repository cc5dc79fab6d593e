"""Measure how long nobody serves: `python -m benchmarks.takeover --nodes 3 --rounds 30 --messages 0`.

Runs NATS servers and two processes of `wonderq serve --log` on this machine. In each round it kills the owner, stops it
in order, or freezes it, and takes the seconds from the signal to the first message that the other process accepts. Then
the former owner is started again, and the next round begins when it stands by.

With ``--messages``, so many messages of 100 bytes wait in the queue.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.replicated.availability import Pair, print_times
from benchmarks.replicated.servers import Servers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--messages", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(Servers(folder / "nats", options.nodes))
        pair = Pair(servers, folder, "takeover")
        stack.callback(pair.kill)
        pair.start()
        pair.fill(options.messages)
        print(f"{options.nodes} NATS servers, {options.messages:,} messages, {options.rounds} rounds")
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
            print_times(number.name, [pair.taken_over(number) for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
