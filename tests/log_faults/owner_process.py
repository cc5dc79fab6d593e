"""An owner as the run sees it."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.log_faults.machines import Machine
from tests.support.broker_process import BrokerDidNotStartError, BrokerProcess, read_line

STREAM = "FAULTS"

#: The stream of its checkpoints.
CHECKPOINT_STREAM = f"{STREAM}-checkpoints"

#: Words of a start if the record of another one came in between.
OVERTAKEN = "has just taken over the log"

_READY = re.compile(r"owner at (http://\S+), clock ([0-9.]+), (with|without) a checkpoint\n")

_CONNECTED = re.compile(r"connected to NATS at nats://([0-9.]+):")


class OwnerProcess(BrokerProcess):
    """A process of `tests.log_faults.owner` on a machine, whose clock is wrong by ``clock_ms``.

    ``disks`` are folders on the disks of all machines that have one.
    """

    def __init__(
        self,
        machine: Machine,
        servers: str,
        node: str,
        stderr: Path,
        *,
        disks: Sequence[Path],
        clock_ms: int,
        on_ready: Callable[[OwnerProcess], None],
    ) -> None:
        self.data = machine.data
        self.stderr = stderr
        self.began_s = time.monotonic()
        self.clock_s = 0.0
        """Difference between its clock and the monotonic clock, once it is ready."""
        self.had_checkpoint = False
        """Whether it read the log from a checkpoint on, once it is ready."""
        self._on_ready = on_ready
        module = [*machine.prefix, sys.executable, "-m", "tests.log_faults.owner"]
        options = ["--servers", servers, "--stream", STREAM, "--node", node, "--data", str(machine.data)]
        options += [f"--disk={each}" for each in disks]
        self.process = self._spawn([*module, *options, "--listen", f"{machine.host}:0", "--clock-ms", str(clock_ms)])

    def ready(self) -> str:
        """Return the address once the owner has the log."""
        found = _READY.fullmatch(read_line(self._stdout))
        if found is None:
            self.kill()
            raise BrokerDidNotStartError(f"the owner did not start, it logged:\n{self.log()[-3000:]}")
        self.clock_s = float(found[2])
        self.had_checkpoint = found[3] == "with"
        self._on_ready(self)
        return found[1]

    @property
    def connected_to(self) -> str:
        """The host of the server that an owner was connected to last, if no other owner runs beside this one."""
        found: list[str] = _CONNECTED.findall(self.log_so_far())
        return found[-1]

    def freeze(self) -> None:
        """Stop the process, in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
