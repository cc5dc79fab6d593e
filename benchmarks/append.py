"""Compare appending large records with writing the same bytes raw: `python -m benchmarks.append [--rounds R]`.

Both sides write and fdatasync the same sizes, one record at a time: the log through `append` and `wait`, the limit
with pwrite into a preallocated file. Prints the median of the ratios.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.limits import write_and_sync_s
from wonderq_storage import FileLog

RECORD_BYTES, RECORDS = 64 << 10, 800


def append_s(folder: Path) -> float:
    data = os.urandom(RECORD_BYTES)
    log = FileLog(folder)
    list(log.replay())
    log.start()
    began = time.perf_counter()
    for _ in range(RECORDS):
        log.wait(log.append(data))
    elapsed = time.perf_counter() - began
    log.close()
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.append", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    ratios, rates = [], []
    with tempfile.TemporaryDirectory(prefix="wonderq-append-") as name:
        for number in range(parser.parse_args().rounds):
            folder, file, sizes = Path(name) / f"log-{number}", Path(name) / "raw", [RECORD_BYTES] * RECORDS
            if number % 2:
                raw, ours = write_and_sync_s(file, sizes), append_s(folder)
            else:
                ours, raw = append_s(folder), write_and_sync_s(file, sizes)
            ratios.append(raw / ours)
            rates.append(RECORD_BYTES * RECORDS / ours / 1e6)
    print(f"records of 64 KiB: {median(rates):.0f} MB/s, {median(ratios):.0%} of raw write and fdatasync")


if __name__ == "__main__":
    main()
