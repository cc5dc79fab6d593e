"""Print the blocks of the documentation by their treatment, with the reasons of those that are not run."""

from __future__ import annotations

from collections import Counter

from tests.support.document_blocks import ROOT, Kind, blocks_of, pages


def main() -> None:
    """Print a line for each block that is not run, and the numbers of blocks."""
    counts: Counter[str] = Counter()
    for page in pages():
        for block in blocks_of(page):
            counts[block.kind.value] += 1
            if block.kind is Kind.SKIP:
                print(f"{page.relative_to(ROOT)}:{block.line}: {block.text.splitlines()[0]}: {block.reason}")
    for kind, count in counts.items():
        print(f"{count:4} blocks: {kind}")


if __name__ == "__main__":
    main()
