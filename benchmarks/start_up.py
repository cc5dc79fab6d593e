"""Measure start-up time and memory with a backlog: `python -m benchmarks.start_up --messages 10000000`.

Creates a folder with that many waiting messages of 100 bytes, and starts `wonderq serve` on it twice: after a clean
stop, and after SIGKILL with about 100 MB of log after the last checkpoint. Prints the seconds from the start of the
process to the first 200 of /readyz, and the resident memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import LogMaintenance
from wonderq.client.sync import Client
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

BODY = "x" * 100
TAIL_BYTES = 100_000_000


def make(folder: Path, messages: int) -> None:
    """Fill a folder with messages in batches of 100, and stop cleanly."""
    log, checkpoints = FileLog(folder, sync=SyncPolicy("os")), FileCheckpoints(folder)
    broker = Broker(log, checkpoints=checkpoints)
    maintenance = LogMaintenance(broker, log, checkpoints, slack_bytes=64 << 20)
    batch = [BODY] * 100
    for _ in range(messages // 100):
        broker.produce("default", batch)
    maintenance.stop()
    broker.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str, float]:
    """Start a broker; return its process, its URL, and the seconds until it was ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "wonderq", "serve", "--data", str(folder), "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = Client(url, retries=0)
    while not client.ready():
        if process.poll() is not None or time.monotonic() - began > 600:
            process.kill()
            raise SystemExit("the broker did not start")
        time.sleep(0.01)
    return process, url, time.monotonic() - began


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()


def stop(process: subprocess.Popen[bytes], signal_number: int) -> float:
    began = time.monotonic()
    process.send_signal(signal_number)
    process.wait(120)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    messages = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="wonderq-start-up-") as name:
        empty, _, _ = start(Path(name) / "empty")
        empty_bytes = resident_bytes(empty.pid)
        stop(empty, signal.SIGTERM)

        folder = Path(name) / "data"
        make(folder, messages)
        size = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
        print(f"{messages:,} messages of {len(BODY)} bytes waiting; size of the folder: {size / 1e6:,.0f} MB")

        process, url, clean_s = start(folder)
        grown = resident_bytes(process.pid) - empty_bytes
        print(f"ready {clean_s:.2f} s after a clean stop")
        print(f"resident {grown / 1e6:,.0f} MB more than an empty broker: {grown / messages:.1f} bytes per message")
        stop_s = stop(process, signal.SIGTERM)
        print(f"stopped in {stop_s:.2f} s")

        process, url, _ = start(folder)
        with Client(url) as client:
            for _ in range(TAIL_BYTES // (100 * (len(BODY) + 7))):
                client.queue().send_together([BODY] * 100)
        stop(process, signal.SIGKILL)
        checkpoints = sorted(os.path.basename(path) for path in folder.glob("*.ckpt"))
        process, url, killed_s = start(folder)
        with Client(url) as client:
            count = client.queue().count("unprocessed")
        print(
            f"ready {killed_s:.2f} s after SIGKILL with a tail of {TAIL_BYTES / 1e6:.0f} MB; {count:,} messages waiting"
        )
        print(f"checkpoints: {', '.join(checkpoints)}")
        stop(process, signal.SIGTERM)


if __name__ == "__main__":
    main()
