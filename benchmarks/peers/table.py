"""Text table of the rows."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.rounds import Row

_HEAD = ("peer", "produce msg/s", "wonderq is", "claim+delete msg/s", "wonderq is", "durability")
_LEFT = (0, 5)


def make_table(rows: Sequence[Row]) -> str:
    """Return the table. The first row is WonderQ, the base of all ratios."""
    base = rows[0]
    cells = [_HEAD, *(_cells(row, base) for row in rows if row.measured)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = ["  ".join(_align(line[c], widths[c], c) for c in range(len(_HEAD))).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"* did 1/{row.share} of the messages" for row in rows if row.measured and row.share > 1]
    lines += [f"skipped {row.name}: {row.skipped}" for row in rows if row.skipped is not None]
    lines += [f"FAILED {row.name}: {row.failed}" for row in rows if row.failed is not None]
    return "\n".join(lines)


def _align(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column in _LEFT else text.rjust(width)


def _cells(row: Row, base: Row) -> tuple[str, ...]:
    mark = "*" if row.share > 1 else ""
    compared = base.measured and row is not base
    produce_ratio = f"{base.produce_rate / row.produce_rate:.2f}x" if compared else ""
    consume_ratio = f"{base.consume_rate / row.consume_rate:.2f}x" if compared else ""
    return (
        row.name + mark,
        f"{row.produce_rate:,.0f}",
        produce_ratio,
        f"{row.consume_rate:,.0f}",
        consume_ratio,
        row.durability,
    )
