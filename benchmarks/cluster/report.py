"""The report: medians of all rounds, and ratios within a round."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.capacity import table
from benchmarks.cluster.sides import FOLDER, NODES, ONE_ON_THREE, SERVERS, THREE, THREE_OWNERS
from benchmarks.cluster.work import Crossed, Measured, Work
from benchmarks.load import REPEATED_AFTER_S

_SAYS = """\
These {cores} cores can tell what each process takes for a message, and how copies and forwarding change that.
They cannot tell the rate of three nodes on machines of their own: {processes} processes and this client share the
cores, so three nodes have less of them for each than one. The computed columns of rates are made from the
processor times of the nodes, not measured: they hold if each node has a core, and nothing else is the bound."""


@dataclass
class Found:
    """The figures of one side, each a list with a value for each round."""

    works: Sequence[Work]
    measured: defaultdict[tuple[str, Work], list[Measured]] = field(default_factory=lambda: defaultdict(list))
    crossed: defaultdict[str, list[Crossed]] = field(default_factory=lambda: defaultdict(list))
    idle: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Shares of a core of all nodes and of all NATS servers of a side."""
    repeated: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Numbers of answers after which a request was sent again, of all rounds of a side, by code of the error."""

    @property
    def sides(self) -> list[str]:
        return list(dict.fromkeys(side for side, _ in self.measured))


def lines(found: Found) -> Iterator[str]:
    """Return the lines of the report."""
    yield from _rates(found)
    yield ""
    yield from _latencies(found)
    yield ""
    yield from _times(found)
    yield ""
    yield from _crossings(found)
    yield ""
    yield from _idle(found)
    yield ""
    yield from _repetitions(found)
    yield ""
    yield _SAYS.format(cores=os.cpu_count(), processes=2 * NODES[THREE])


def _rates(found: Found) -> Iterator[str]:
    others = [side for side in found.sides if side != FOLDER]
    head = ["messages/s", FOLDER, *(f"{side} (ratio)" for side in others)]
    of_three = [side for side in (THREE, THREE_OWNERS) if {ONE_ON_THREE, side} <= set(others)]
    for side in of_three:
        head += [f"{side}, to 1 node", "computed with a core a node"]
    rows = []
    for work in found.works:
        row = [work.name, f"{_rate(found, FOLDER, work):,.0f}"]
        row += [f"{_rate(found, side, work):,.0f} ({ratio(found, side, FOLDER, work):.2f})" for side in others]
        for side in of_three:
            row += [f"{ratio(found, side, ONE_ON_THREE, work):.2f}", f"{ratio_by_cores(found, side, work):.2f}"]
        rows.append(row)
    yield from table(head, rows)


def _latencies(found: Found) -> Iterator[str]:
    rows = [
        (
            work.name,
            *(
                " / ".join(f"{_median(found, side, work, at):.1f}" for at in ("p50_ms", "p99_ms"))
                for side in found.sides
            ),
        )
        for work in found.works
    ]
    yield from table(("p50 / p99 in ms, at half of the rate", *found.sides), rows)


def _times(found: Found) -> Iterator[str]:
    head = ["processor time of a message", "side", "nodes, µs", "NATS servers, µs", "client, µs", "cores in use"]
    head += ["forwarded", "appends a request"]
    yield from table(
        head,
        [
            (
                work.name,
                side,
                *(f"{_median(found, side, work, at):,.3g}" for at in ("nodes_us", "servers_us", "client_us", "cores")),
                f"{_median(found, side, work, 'forwarded'):.0%}",
                f"{_median(found, side, work, 'appends'):.2f}",
            )
            for work in found.works
            for side in found.sides
        ],
    )


def _crossings(found: Found) -> Iterator[str]:
    rows = []
    for side, rounds in found.crossed.items():
        rate, nodes_us, servers_us = (median(values) for values in zip(*rounds, strict=True))
        rows.append((side, f"{rate:,.0f}", f"{nodes_us:,.3g}", f"{servers_us:,.3g}"))
    yield from table(("through an outbox", "messages/s", "nodes, µs", "NATS servers, µs"), rows)


def _idle(found: Found) -> Iterator[str]:
    rows = [
        (side, f"{nodes / NODES[side]:.1%}", f"{servers / SERVERS[side]:.1%}" if SERVERS[side] else "")
        for side, (nodes, servers) in found.idle.items()
    ]
    yield from table(("idle, share of a core", "a node", "a NATS server"), rows)


def _repetitions(found: Found) -> Iterator[str]:
    rows = [(side, code, f"{count}") for side, codes in found.repeated.items() for code, count in codes.items()]
    if not rows:
        yield "No request was sent again."
        return
    yield from table(("requests sent again", "after the answer", "times"), rows)
    yield (
        f"Each was sent again after {REPEATED_AFTER_S:.0f} s, which counts in the rates. If shards changed their owner "
        "meanwhile, measure again on a machine that does nothing else."
    )


def _median(found: Found, side: str, work: Work, name: str) -> float:
    values: list[float] = [getattr(each, name) for each in found.measured[side, work]]
    return median(values)


def _rate(found: Found, side: str, work: Work) -> float:
    return _median(found, side, work, "messages_per_s")


def ratio(found: Found, side: str, other: str, work: Work) -> float:
    """Return the median over the rounds of the rate of one side to that of another one."""
    pairs = zip(found.measured[side, work], found.measured[other, work], strict=True)
    return median(one.messages_per_s / two.messages_per_s for one, two in pairs)


def ratio_by_cores(found: Found, side: str, work: Work) -> float:
    """Return the ratio of three nodes to one with three copies, if the processor time of nodes alone were the bound."""
    pairs = zip(found.measured[side, work], found.measured[ONE_ON_THREE, work], strict=True)
    return median(NODES[side] * one.nodes_us / three.nodes_us for three, one in pairs)
