"""The long proofs of a release: how much of each, and in which parts.

A part is one run of one program, with a seed of its own. A run that is interrupted goes on with the first part that is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """One method of docs/RELIABILITY.md."""

    name: str
    method: str  # its heading there
    program: tuple[str, ...]  # after `python -m`; {amount}, {seed}, {number} and {parts} stand for those of the part
    unit: str  # what is counted
    amount: int  # in all parts together
    parts: int
    is_scalable: bool = True  # otherwise the parts divide one work, which one seed makes


@dataclass(frozen=True)
class Part:
    """One run of a program."""

    proof: Proof
    number: int  # from 1
    parts: int
    amount: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.proof.name}-{self.number}"

    @property
    def arguments(self) -> list[str]:
        """The words after `python -m`."""
        values = {"amount": self.amount, "seed": self.seed, "number": self.number, "parts": self.parts}
        return [argument.format(**values) for argument in self.proof.program]


PROOFS = (
    Proof(
        "flips",
        "Every bit",
        ("tests.flips.every_bit", "--seed", "{seed}", "--part", "{number}/{parts}"),
        "parts of all bits",
        6,
        parts=6,
        is_scalable=False,
    ),
    Proof(
        "mutants",
        "Mutants",
        ("tests.mutants.run", "--seed", "{seed}", "--part", "{number}/{parts}"),
        "parts of the catalogue",
        12,
        parts=12,
        is_scalable=False,
    ),
    Proof(
        "crash-states",
        "A disk that forgets",
        ("tests.forgetful.explore", "--states", "{amount}", "--processes", "2", "--seed", "{seed}"),
        "crash states",
        10_000_000,
        parts=20,
    ),
    Proof(
        "power-cuts-ext4",
        "Power cuts",
        ("tests.powercut.cut_cycles", "--cuts", "{amount}", "--filesystem", "ext4", "--seed", "{seed}"),
        "cuts",
        1_000,
        parts=10,
    ),
    Proof(
        "power-cuts-xfs",
        "Power cuts",
        ("tests.powercut.cut_cycles", "--cuts", "{amount}", "--filesystem", "xfs", "--seed", "{seed}"),
        "cuts",
        1_000,
        parts=10,
    ),
    Proof(
        "system-calls",
        "Kills and errors at every system call",
        ("tests.syscalls.kill_everywhere", "--workloads", "{amount}", "--seed", "{seed}"),
        "lives",
        100,
        parts=10,
    ),
    Proof(
        "kills",
        "Kills under load",
        ("tests.crash", "--cycles", "{amount}", "--seed", "{seed}"),
        "cycles",
        500,
        parts=5,
    ),
    Proof(
        "pipelines",
        "Kills under load",
        ("tests.crash.pipeline", "--cycles", "{amount}", "--seed", "{seed}"),
        "cycles",
        200,
        parts=2,
    ),
    Proof(
        "worker-kills",
        "Kills of workers",
        ("tests.worker.kill_cycles", "--cycles", "{amount}", "--seed", "{seed}"),
        "cycles",
        100,
        parts=10,
    ),
    Proof(
        "cluster-kills",
        "Kills of nodes under clients",
        ("tests.clients.cluster_kills", "--kills", "{amount}", "--seed", "{seed}"),
        "kills",
        90,
        parts=3,
    ),
    Proof(
        "log-faults",
        "Faults of a replicated log",
        ("tests.log_faults", "--faults", "{amount}", "--seed", "{seed}"),
        "faults",
        300,
        parts=6,
    ),
    Proof(
        "cluster-faults",
        "Faults of a cluster",
        ("tests.cluster_faults", "--faults", "{amount}", "--seed", "{seed}"),
        "faults",
        1_000,
        parts=20,
    ),
    Proof(
        "log-lives",
        "The log on JetStream",
        ("tests.storage.jetstream_lives", "--lives", "{amount}", "--seed", "{seed}"),
        "lives",
        2_000,
        parts=4,
    ),
    Proof(
        "fuzz-http",
        "Fuzzing",
        ("tests.fuzz.http", "--cases", "{amount}", "--seed", "{seed}"),
        "requests",
        100_000,
        parts=5,
    ),
    Proof(
        "fuzz-bytes",
        "Fuzzing",
        ("tests.fuzz.bytes", "--inputs", "{amount}", "--seed", "{seed}"),
        "inputs of each parser",
        4_000_000,
        parts=4,
    ),
    Proof(
        "brute-force",
        "The checker",
        ("tests.crash.brute_force", "--histories", "{amount}", "--seed", "{seed}"),
        "histories",
        100_000,
        parts=1,
    ),
    Proof(
        "promises",
        "Second checker",
        ("tests.promises", "--minutes", "{amount}", "--seed", "{seed}"),
        "minutes",
        60,
        parts=1,
    ),
    # In one part, as a leak shows only in a long life.
    Proof("soak", "Soak", ("tests.soak", "--minutes", "{amount}", "--seed", "{seed}"), "minutes", 60, parts=1),
)


def parts_of(proof: Proof, seed: int, scale: float) -> Iterator[Part]:
    """Yield the parts of a proof.

    ``scale`` is the share of the whole amount that is run, above 0. A smaller share has fewer parts, each as large as those
    of the whole, and at least one. ``seed`` is that of the first part; the others count on, unless they divide one work.
    """
    if not proof.is_scalable:
        amounts = [proof.amount // proof.parts] * proof.parts
    else:
        whole = max(round(proof.amount * scale), 1)
        count = min(max(math.ceil(proof.parts * scale), 1), whole)
        amounts = [whole // count + (number < whole % count) for number in range(count)]
    for number, amount in enumerate(amounts, 1):
        yield Part(proof, number, len(amounts), amount, seed + (number - 1 if proof.is_scalable else 0))
