"""A slice of the soak, and its own judgement of what grows."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak import connections
from tests.soak.copies import listings, wonderq
from tests.soak.resources import LONG_S, WARM_S, Life, Resources, Sample
from tests.soak.soak import BACKUPS, DISK_BYTES, FULL_DISKS, Plan, Soak
from tests.support.broker_process import RunningBroker
from tests.support.history.calls import History, Outcome
from tests.support.history.checker import Rule, check
from tests.support.history.recording import AbandonedError, RecordingClient
from tests.support.kill_cycles import KILLS, STOPS
from tests.support.queue_client import QueueClient
from tests.support.tmpfs import Tmpfs

#: Slices after which each mechanism must have run.
_SLICES = 5


def test_a_slice_of_the_soak_breaks_no_promise(tmp_path: Path) -> None:
    """On a busy machine a slice may hold one life only, so slices go on until each mechanism has run."""
    figures: Counter[str] = Counter()
    for number in range(_SLICES):
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}")
        plan = Plan(8, round_s=8, pause_s=0.06, short_s=(1.5, 2.5), full_s=(0.5, 1.0), seed=seed)
        folder = tmp_path / str(number)
        folder.mkdir()
        with Tmpfs(folder / "disk", size_bytes=DISK_BYTES) as disk:
            soak = Soak(plan, folder, disk, print)
            soak.soak()
        print(soak)
        assert soak.report.violations == [], "\n".join(map(str, soak.report.violations[:5]))
        figures.update(soak.report.figures + soak.mechanisms.counts)
        mechanisms = [figures["drained messages"], figures[BACKUPS], figures[KILLS] + figures[STOPS] > 1]
        if all(mechanisms) and (disk.why_not or figures[FULL_DISKS]):
            return
    raise AssertionError(f"a mechanism never ran in {_SLICES} slices: {dict(figures)}")


def test_a_round_may_end_without_its_volatile_queue(tmp_path: Path) -> None:
    with Tmpfs(tmp_path / "disk", size_bytes=DISK_BYTES) as disk:
        soak = Soak(Plan(1), tmp_path, disk, print)
        broker = soak._start()
        try:
            with QueueClient(broker.ready()) as client:
                client.produce("x")
        finally:
            broker.kill()

        final = soak._finish()

    assert [len(each.live) for each in final.queues] == [1, 0, 0, 0, 0]


def life(rss_mib: list[float], files: list[int] | None = None) -> Life:
    """One sample a second."""
    counts = files or [30] * len(rss_mib)
    return Life([Sample(n, rss, count) for n, (rss, count) in enumerate(zip(rss_mib, counts, strict=True))])


def noisy(seconds: int, growth_a_minute: float) -> list[float]:
    rng = random.Random(1)
    warming = [50 - 20 / (1 + n) for n in range(seconds)]
    return [
        each + growth_a_minute * n / 60 + rng.uniform(-1, 1) + (30 if rng.random() < 0.05 else 0)
        for n, each in enumerate(warming)
    ]


@pytest.mark.parametrize("growth", [0.0, -3.0, 0.2])
def test_noise_and_peaks_and_warming_up_are_no_growth(growth: float) -> None:
    assert Resources([life(noisy(200, growth))]).growing() == []


def test_growing_memory_is_told() -> None:
    [said] = Resources([life(noisy(200, 4.0))]).growing()

    assert "MiB grew" in said


def test_growing_descriptors_are_told() -> None:
    seconds = round(LONG_S + WARM_S) * 2
    [said] = Resources([life([50.0] * seconds, [30 + n // 6 for n in range(seconds)])]).growing()

    assert "descriptors grew" in said


def test_a_short_life_tells_nothing_by_itself() -> None:
    assert Resources([life(noisy(int(LONG_S) - 5, 30.0))]).growing() == []


def test_growth_from_life_to_life_is_told() -> None:
    assert Resources([life([50.0 + n % 3] * 10) for n in range(20)]).growing() == []
    [said] = Resources([life([50.0 + n] * 10) for n in range(20)]).growing()

    assert "from life to life" in said


def test_the_mixed_client_says_and_hears_the_same_as_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HANGS_UP", 0)
    monkeypatch.setattr(connections, "_SENDS_HALF", 0)
    with RunningBroker(tmp_path / "data") as broker:
        mixed = RecordingClient(broker.url, "default", make=connections.mixed(random.Random(1)))
        plain = RecordingClient(broker.url, "default")
        for n in range(40):
            mixed.produce([f"é {n}"], single=n % 2 == 0)
        assert isinstance(mixed.client._client._engine._http, connections._MixedHttp)
        seen = [client.list_all().messages for client in (mixed, plain)]
        mixed.close()
        plain.close()

    assert len(seen[0]) == 40
    assert seen[0] == seen[1]


def test_a_client_that_hangs_up_leaves_the_end_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HANGS_UP", 1)
    with RunningBroker(tmp_path / "data") as broker:
        client = RecordingClient(broker.url, "default", make=connections.mixed(random.Random(1)))
        call = client.produce(["m"])
        assert (call.outcome, call.end_s) == (Outcome.UNKNOWN, float("inf"))
        assert not client.lost
        with pytest.raises(AbandonedError):
            client.client.produce("n")
        client.close()


def test_a_backup_is_a_listing(tmp_path: Path) -> None:
    """A message missing from a copy was deleted, and a claim in it has its deadline."""
    with RunningBroker(tmp_path / "data") as broker:
        client = RecordingClient(broker.url, "default")
        client.produce([f"m{n}" for n in range(4)])
        client.produce(["later"], 60)
        client.consume(limit=1, visibility_timeout_s=0.01)
        client.consume(limit=2, visibility_timeout_s=60)
        time.sleep(0.05)
        start_s, wall_s = time.monotonic(), time.time()
        done = wonderq("folder", "backup", str(broker.data), str(tmp_path / "copy"))
        assert done.returncode == 0, done.stderr
        [made] = listings(tmp_path / "copy", ["default", "none"], start_s, wall_s, 64 << 20)
        client.close()

    assert Counter(each.status for each in made.messages) == {"processing": 2, "unprocessed": 2, "delayed": 1}
    assert check(History([*client.calls, made])) == []
    lacking = replace(made, messages=made.messages[:-1])
    assert [each.rule for each in check(History([*client.calls, lacking]))] == [Rule.ACKED_IS_THERE]
