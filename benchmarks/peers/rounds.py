"""Rounds: each runs every peer once, on a new folder with a new client process, in alternating order."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.peers.peer import Peer
from benchmarks.peers.registry import NotInstalledError, load

Progress = Callable[[str], None]


class FailedError(Exception):
    """A peer hung, failed, or had wrong counts."""


@dataclass
class Row:
    """Result of one peer: messages per second in each round, or the reason why it has none."""

    name: str
    durability: str = ""
    share: int = 1
    produced: list[float] = field(default_factory=list)
    consumed: list[float] = field(default_factory=list)
    skipped: str | None = None
    failed: str | None = None

    @property
    def produce_rate(self) -> float:
        return median(self.produced)

    @property
    def consume_rate(self) -> float:
        return median(self.consumed)

    @property
    def measured(self) -> bool:
        return self.skipped is None and self.failed is None


def measure(
    specs: Mapping[str, str],
    *,
    messages: int,
    rounds: int,
    body_bytes: int,
    timeout_s: float,
    progress: Progress = lambda _: None,
) -> list[Row]:
    """Measure the peers in ``specs``, by name. A peer that fails is not retried."""
    rows = {name: Row(name) for name in specs}
    for number in range(rounds):
        order = list(specs)
        for name in order if number % 2 == 0 else reversed(order):
            row = rows[name]
            if not row.measured:
                continue
            try:
                peer = load(specs[name])
                row.name, row.durability, row.share = peer.name, peer.durability, peer.share
                count = max(messages // peer.share, 1)
                produce_s, consume_s = run_once(peer, specs[name], count, body_bytes, timeout_s)
            except NotInstalledError as error:
                row.skipped = str(error)
                progress(f"{row.name}: skipped, {error}")
                continue
            except Exception as error:  # noqa: BLE001 - the failure of one peer belongs in its row
                row.failed = str(error) if isinstance(error, FailedError) else f"{type(error).__name__}: {error}"
                progress(f"{row.name}: FAILED, {row.failed}")
                continue
            row.produced.append(count / produce_s)
            row.consumed.append(count / consume_s)
            progress(f"round {number + 1}, {row.name}: {row.produced[-1]:,.0f} and {row.consumed[-1]:,.0f} messages/s")
    return list(rows.values())


def run_once(peer: Peer, spec: str, messages: int, body_bytes: int, timeout_s: float) -> tuple[float, float]:
    """Return the seconds of the produce phase, and of the phase that claims and deletes.

    Raises:
        FailedError: the client timed out, or reported a problem.
    """
    with tempfile.TemporaryDirectory(prefix="wonderq-peers-") as folder:
        try:
            address = peer.start(Path(folder))
            result = _run_client(spec, address, messages, body_bytes, timeout_s)
        finally:
            peer.stop()
    if "problem" in result:
        raise FailedError(result["problem"])
    return float(result["produce_s"]), float(result["consume_s"])


def _run_client(spec: str, address: str, messages: int, body_bytes: int, timeout_s: float) -> dict[str, str]:
    command = [sys.executable, "-m", "benchmarks.peers.client", spec, address, str(messages), str(body_bytes)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise FailedError(f"took longer than {timeout_s:g} s, and was ended") from error
    if ended.returncode != 0:
        raise FailedError(f"the client ended with {ended.returncode}: {ended.stderr[-500:]}")
    result: dict[str, str] = json.loads(ended.stdout)
    return result
