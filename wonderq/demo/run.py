"""`wonderq demo`: real work through a real broker, two kills, and a comparison of the results.

Every source file of Python's standard library becomes a message. Consumer processes claim the messages, hash the files
and count their lines. The demo kills one consumer and later the broker. At the end the results, which passed through
the broker too, must equal those of a direct count.
"""

from __future__ import annotations

import hashlib
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import IO, Self

from wonderq.client.errors import Unreachable
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue
from wonderq.demo.consumer import FILES, RESULTS, VISIBILITY_TIMEOUT_S, Result, Source, measure
from wonderq.demo.screen import Screen, View
from wonderq.demo.shop import Shop
from wonderq.folder.verify import verify

_PRODUCE_BATCH = 100
_LOOK_S = 0.05
_START_S = 60
_STOP_S = 30
_PATIENCE_S = 60
_TURN_S = 0.5


class DemoError(Exception):
    """The demo failed. The message gives the reason."""


def run(*, files: int | None = None, consumers: int = 3, keep: bool = False, stay: bool = False) -> bool:
    """Run the demo and return whether the totals were equal. All processes it started are ended.

    With ``stay``, its broker runs again after that, with the queues of a small shop, until Ctrl-C.
    """
    screen = Screen()
    try:
        sources = find_sources(files)
        with Demo(screen, sources, consumers, keep=keep) as demo:
            equal = demo.run()
            if stay:
                demo.stay()
            elif equal:
                suggest_next_steps(screen)
            return equal
    except DemoError as error:
        screen.say(f"FAILED: {error}", loud=True)
        return False
    finally:
        screen.clear()


def suggest_next_steps(screen: Screen) -> None:
    """Write three things to try next, with the command as this user can type it."""
    command = command_name(sys.argv[0])
    steps = {
        f"{command} demo --stay": "a dashboard with the queues of a small shop",
        f"{command} serve": "a broker of your own; then open http://127.0.0.1:7979/ui",
        f"{command} send hello": "in another terminal: a message for it",
    }
    width = max(map(len, steps))
    screen.write()
    screen.write("Try next:")
    for step, purpose in steps.items():
        screen.write(f"  {step:<{width}}  {purpose}")


def command_name(program: str) -> str:
    """Return the words that start ``program``, which is ``sys.argv[0]``, in a shell in the current folder."""
    if Path(program).name == "__main__.py":
        return f"{sys.executable} -m wonderq"
    on_path = shutil.which(Path(program).name)
    if on_path and Path(on_path).samefile(program):
        return Path(program).name
    path = Path(os.path.abspath(program))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def find_sources(count: int | None) -> list[str]:
    """Return the paths of the standard library's source files, or an even selection of ``count``.

    Raises:
        DemoError: there are fewer files.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(str(path) for path in root.rglob("*.py") if not _is_foreign(path.relative_to(root)))
    found = [path for path in found if os.access(path, os.R_OK) and Path(path).is_file()]
    if len(found) < (count or 1):
        raise DemoError(f"there are only {len(found)} source files in {root}.")
    return found if count is None else [found[index * len(found) // count] for index in range(count)]


def _is_foreign(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@dataclass(frozen=True)
class Total:
    """Totals of all files."""

    files: int
    lines: int
    digest: str
    """Digest of all paths, line counts and digests, in the order of the paths."""

    @classmethod
    def of(cls, results: Iterable[Result]) -> Self:
        digest = hashlib.sha256()
        files = lines = 0
        for result in sorted(results, key=lambda result: result.path):
            digest.update(f"{result.path}\0{result.lines}\0{result.sha256}\n".encode())
            files += 1
            lines += result.lines
        return cls(files, lines, digest.hexdigest())


@dataclass(frozen=True)
class Tally:
    """All results by kind."""

    first: list[Result]
    """The first result of each file."""
    claim_expired: int
    """Number of further results under another claim: the earlier claim expired."""
    given_again: int
    """Number of files that were delivered more than once."""
    problems: list[str]
    """Unexplained further results, and differing results of one file."""

    @classmethod
    def of(cls, results: Sequence[Result]) -> Self:
        by_path: dict[str, list[Result]] = defaultdict(list)
        for result in results:
            by_path[result.path].append(result)
        claim_expired = given_again = 0
        problems: list[str] = []
        for path, found in by_path.items():
            if len({(result.lines, result.sha256) for result in found}) > 1:
                problems.append(f"{path} has different results")
            claims = Counter(result.receive_count for result in found)
            claim_expired += len(claims) - 1
            given_again += max(claims) > 1
            problems += [f"{path} was counted {count} times under one claim" for count in claims.values() if count > 1]
        return cls([found[0] for found in by_path.values()], claim_expired, given_again, problems)


class _Broker:
    """A `wonderq serve` process."""

    def __init__(self, folder: Path, log: IO[bytes]) -> None:
        self._folder = folder
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start the broker, after a kill on the same address, and return once it accepts requests."""
        address = self.url.removeprefix("http://") or "127.0.0.1:0"
        give_up = time.monotonic() + _START_S
        while True:
            self._process = _start("wonderq", "serve", "--data", str(self._folder), "--listen", address, log=self._log)
            line = self._first_line(give_up, meanwhile)
            if line:
                self.url = line.split()[3]
                return
            self.kill()
            if time.monotonic() > give_up or not self.url:
                raise DemoError("the broker did not start.")
            time.sleep(_LOOK_S)  # another process may hold the port for a moment

    def _first_line(self, give_up: float, meanwhile: Callable[[], None]) -> str:
        """Return the line that the broker prints once it accepts requests, or nothing if it exits before."""
        assert self._process is not None
        out = self._process.stdout
        assert out is not None
        line = b""
        while not line.endswith(b"\n") and time.monotonic() < give_up:
            meanwhile()
            if select.select([out], [], [], _LOOK_S)[0]:
                data = os.read(out.fileno(), 4096)
                if not data:
                    return ""
                line += data
        return line.decode()

    def kill(self) -> None:
        if self._process is not None:
            _kill(self._process)

    def stop(self) -> None:
        """Stop the broker cleanly.

        Raises:
            DemoError: the broker did not stop, or exited with an error.
        """
        assert self._process is not None
        self._process.terminate()
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            code = None
        self.kill()
        if code != 0:
            raise DemoError("the broker did not stop cleanly.")


class Demo:
    """One run: the broker, the consumers and their folder. Leaving the context ends and removes them."""

    def __init__(self, screen: Screen, sources: Sequence[str], consumers: int, *, keep: bool) -> None:
        self._screen = screen
        self._sources = sources
        self._keep = keep
        self._folder = Path(tempfile.mkdtemp(prefix="wonderq-demo-"))
        self._log = (self._folder / "processes.log").open("ab")
        self._broker = _Broker(self._folder / "data", self._log)
        self._consumers: dict[int, subprocess.Popen[bytes]] = {}
        self._numbers = range(1, consumers + 1)
        self._killed: int | None = None
        self._view = View(len(sources))
        self._results: dict[str, Result] = {}  # by message id
        self._newest: str | None = None
        self._done: set[str] = set()
        self._redone = 0
        self._moved = time.monotonic()
        self._handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, _leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        for each in self._handlers:
            signal.signal(each, signal.SIG_IGN)  # another Ctrl-C must not leave a process behind
        for process in self._consumers.values():
            _kill(process)
        self._broker.kill()
        self._log.close()
        for each, handler in self._handlers.items():
            signal.signal(each, handler)
        if kind is not None and issubclass(kind, DemoError):
            self._show_log()
        if self._keep:
            self._screen.write(f"The folder was kept: {self._folder}")
            self._screen.write(f"Check it with 'wonderq folder verify {self._folder}/data', run a broker on it with")
            self._screen.write(f"'wonderq serve --data {self._folder}/data', or remove it.")
        else:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _show_log(self) -> None:
        for line in (self._folder / "processes.log").read_text(encoding="utf-8", errors="replace").splitlines()[-20:]:
            self._screen.write(f"  {line}")

    def run(self) -> bool:
        """Run all steps; return whether the totals are equal.

        Raises:
            DemoError: a process ended unexpectedly, or there is no progress.
        """
        count = len(self._sources)
        say = self._screen.say
        say(
            f"This demo starts a broker and {len(self._numbers)} consumers of its own, and kills one of these "
            f"consumers and this broker with SIGKILL. It ends no other process and installs nothing. Its files are in "
            f"{self._folder}{'' if self._keep else ', which it removes at the end'}."
        )
        self._broker.start()
        say(
            f"A broker runs at {self._broker.url} (process {self._broker.pid}). All its data is in one folder. Its "
            f"dashboard is at {self._broker.url}/ui"
        )
        with Client(self._broker.url, retries=0) as client:
            files, results = client.queue(FILES), client.queue(RESULTS)
            self._produce(files, results)
            say(
                f"Produced {count:,} messages, each the path of one source file of Python "
                f"{platform.python_version()}'s standard library. Each was on disk before the broker acknowledged it."
            )
            for number in self._numbers:
                self._consumers[number] = _start("wonderq.demo.consumer", self._broker.url, str(number), log=self._log)
            say(
                f"{len(self._consumers)} consumers work: each claims a few files for {VISIBILITY_TIMEOUT_S} s, reads "
                f"them, sends its results to the queue {RESULTS!r}, and deletes the messages."
            )
            self._watch(files, results, until=lambda: len(self._done) >= count / 3)
            self._kill_consumer()
            self._watch(files, results, until=lambda: len(self._done) >= count / 2)
            self._kill_broker(files, results)
            self._watch(files, results, until=lambda: self._view.waiting + self._view.processing == 0)
            for process in self._consumers.values():
                _kill(process)
            tally = Tally.of(list(_read_results(results).values()))
        self._broker.stop()
        say(
            "The queue is empty and the broker is stopped. Now its log is verified, and the files are counted directly."
        )
        findings = verify(self._folder / "data")
        if findings.damage:
            raise DemoError(f"the log is damaged: {findings.damage}.")
        say(f"All {findings.records.total():,} records of the log verify.")
        return self._compare(tally, Total.of(map(measure, self._sources)))

    def stay(self) -> None:
        """Run the broker with the queues of a shop, until Ctrl-C."""
        self._broker.start()
        with Client(self._broker.url, consumer=f"shop:{os.getpid()}") as client:
            shop = Shop(client)
            shop.open()
            self._screen.write()
            self._screen.write(f"The dashboard, with the queues of a small shop: {self._broker.url}/ui", loud=True)
            self._screen.write("Ctrl-C ends the broker.")
            with suppress(KeyboardInterrupt):
                while True:
                    shop.run()
                    time.sleep(_TURN_S)
        self._broker.stop()

    def _produce(self, files: Queue, results: Queue) -> None:
        results.configure()
        messages = [Source(path) for path in self._sources]
        for at in range(0, len(messages), _PRODUCE_BATCH):
            files.send_together(messages[at : at + _PRODUCE_BATCH])

    def _watch(self, files: Queue, results: Queue, *, until: Callable[[], bool]) -> None:
        while True:
            self._look(files, results)
            self._screen.show(self._view)
            if until():
                return
            self._check_consumers()
            time.sleep(_LOOK_S)

    def _look(self, files: Queue, results: Queue) -> None:
        """Update the view, without claiming a message."""
        view = self._view
        try:
            counts = files.info().counts
            for message in results.look(after=self._newest):
                self._take_in(message.id, message.json_as(Result))
        except Unreachable as error:
            raise DemoError(f"the broker has ended: {error}.") from error
        view.waiting, view.processing = counts["unprocessed"] + counts["delayed"], counts["processing"]
        view.done = len(self._done)
        view.broker = f"runs at {self._broker.url} (process {self._broker.pid})"
        by_consumer = Counter(result.consumer for result in self._results.values())
        for number, process in self._consumers.items():
            state = f"process {process.pid}" if number != self._killed else "KILLED"
            view.consumers[number] = f"{by_consumer[number]:>6,} files  ({state})"

    def _take_in(self, message_id: str, result: Result) -> None:
        self._results[message_id] = result
        self._newest = message_id
        self._done.add(result.path)
        self._moved = time.monotonic()
        self._view.latest = f"{Path(result.path).name}, {result.lines:,} lines, by consumer {result.consumer}"
        if result.receive_count > 1:
            self._redone += 1
            if self._redone == 1:
                self._screen.say(
                    f"Consumer {result.consumer} processed a file that another consumer had claimed before: the claim "
                    "expired after a kill, and the broker delivered the message again. So no work is left undone."
                )

    def _check_consumers(self) -> None:
        for number, process in self._consumers.items():
            if number != self._killed and process.poll() is not None:
                raise DemoError(f"consumer {number} ended unexpectedly, with code {process.returncode}.")
        if time.monotonic() - self._moved > _PATIENCE_S:
            raise DemoError(f"there was no progress for {_PATIENCE_S} s.")

    def _kill_consumer(self) -> None:
        number = self._killed = self._numbers[len(self._numbers) // 2]
        _kill(self._consumers[number])
        self._screen.say(
            f"KILLED consumer {number} with SIGKILL, after a third of the work. No other consumer gets the messages it "
            f"had claimed until its claims expire, {VISIBILITY_TIMEOUT_S} s after they were made.",
            loud=True,
        )

    def _kill_broker(self, files: Queue, results: Queue) -> None:
        self._broker.kill()
        began, killed_at = time.monotonic(), datetime.now(UTC)
        self._screen.say(
            f"KILLED the broker with SIGKILL, after half of the work: {len(self._done):,} results acknowledged, no "
            "time to save anything. The consumers retry until it is back.",
            loud=True,
        )
        self._view.broker = "KILLED; starting again on the same folder and port"
        self._broker.start(meanwhile=lambda: self._screen.show(self._view))
        back_s = time.monotonic() - began
        known = set(self._results)
        claims = sum(
            message.claimed_until is not None
            and message.claimed_until < killed_at + timedelta(seconds=VISIBILITY_TIMEOUT_S)
            for message in files.look(status="processing")
        )
        missing = known - set(_read_results(results))
        if missing:
            raise DemoError(f"{len(missing)} results from before the kill of the broker are lost.")
        self._screen.say(
            f"The broker is back after {back_s:.1f} s, from its log alone. All {len(known):,} earlier results are "
            f"there, and {claims} earlier claims are still valid."
        )
        self._moved = time.monotonic()

    def _compare(self, tally: Tally, direct: Total) -> bool:
        through = Total.of(tally.first)
        equal = through == direct and not tally.problems
        write = self._screen.write
        write()
        write("                       files       lines  sha256 over all")
        for name, total in (("through the broker", through), ("counted directly", direct)):
            write(f"  {name:<18}{total.files:>8,}{total.lines:>12,}  {total.digest[:32]}")
        write()
        for problem in tally.problems[:10]:
            write(f"  {problem}")
        again = f"{tally.given_again:,} file{'' if tally.given_again == 1 else 's'}"
        nothing = "" if tally.given_again else " (this time no process was killed while it held a claim)"
        write(f"Delivered again because a claim had expired: {again}{nothing}.")
        write(
            f"Processed twice because of that, and counted once: {tally.claim_expired}. A result whose acknowledgement "
            "was lost in a kill is sent again, and the broker adds it once."
        )
        write("EQUAL: nothing was lost." if equal else "NOT EQUAL: this is a bug in WonderQ.", loud=True)
        return equal


def _read_results(results: Queue) -> dict[str, Result]:
    return {message.id: message.json_as(Result) for message in results.look()}


def _start(module: str, *arguments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a Python process in its own session, so that Ctrl-C reaches only the demo, which then ends it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WONDERQ_")}
    return subprocess.Popen(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
