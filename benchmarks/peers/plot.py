"""Bar chart of the rows, as an SVG for light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.peers.rounds import Row

_WIDTH, _NAMES, _VALUES = 760, 140, 80  # pixels: total, for the names, for the figures
_TOP, _BAR, _ROW = 64, 14, 44
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .quiet { font-size: 11px; fill: #57606a }
  .produce { fill: #2f81f7 } .consume { fill: #d2791f }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #9da7b1 } }
"""


def make_svg(rows: Sequence[Row], caption: str) -> str:
    measured = [row for row in rows if row.measured]
    most = max((rate for row in measured for rate in (row.produce_rate, row.consume_rate)), default=1.0)
    per_message = (_WIDTH - _NAMES - _VALUES) / most
    height = _TOP + _ROW * len(measured)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        f"<title>{escape(caption)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="0" y="16">{escape(caption)}</text>',
        f'<rect class="produce" x="{_NAMES}" y="32" width="12" height="12"/>',
        f'<text class="quiet" x="{_NAMES + 18}" y="42">produce, messages/s</text>',
        f'<rect class="consume" x="{_NAMES + 160}" y="32" width="12" height="12"/>',
        f'<text class="quiet" x="{_NAMES + 178}" y="42">claim and delete, messages/s</text>',
    ]
    for index, row in enumerate(measured):
        top = _TOP + index * _ROW
        name = row.name if row.share == 1 else f"{row.name} (1/{row.share})"
        parts.append(f'<text x="{_NAMES - 10}" y="{top + _BAR + 5}" text-anchor="end">{escape(name)}</text>')
        for kind, rate, y in (("produce", row.produce_rate, top), ("consume", row.consume_rate, top + _BAR + 2)):
            width = max(rate * per_message, 1)
            parts.append(f'<rect class="{kind}" x="{_NAMES}" y="{y}" width="{width:.1f}" height="{_BAR}"/>')
            end = _NAMES + width + 6
            parts.append(f'<text class="quiet" x="{end:.1f}" y="{y + _BAR - 3}">{rate:,.0f}</text>')
    return "\n".join([*parts, "</svg>", ""])
