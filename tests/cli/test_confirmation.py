"""A command that destroys something asks on a terminal, and is refused without one unless --yes confirms it."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_grammar import DESTROYING
from tests.support.commands import COMMAND, Wonderq, clean_environment, run
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.auth import keys

NOBODY = "http://127.0.0.1:1"

ARGUMENTS = {
    "queue purge": ("mail", "--url", NOBODY),
    "queue delete": ("mail", "--url", NOBODY),
    "topic delete": ("orders", "--url", NOBODY),
    "topic unsubscribe": ("orders", "mail", "--url", NOBODY),
    "schedule delete": ("nightly", "--url", NOBODY),
}


@pytest.mark.parametrize("command", sorted(ARGUMENTS))
def test_without_a_terminal_nothing_is_done(command: str) -> None:
    """The broker is not even called: with --yes, the call fails."""
    arguments = (*command.split(), *ARGUMENTS[command])
    done = run(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.error.startswith("wonderq: this would ")
    assert done.error.endswith(" Nothing was done. Repeat the command with --yes to confirm it.\n")
    assert run(*arguments, "--yes").code == 3


def test_a_key_is_not_revoked_without_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, _ = keys.create(file, name="x", roles=["admin"], queues=["*"])
    done = run("key", "revoke", key.id, "--keys", str(file))
    assert done.code == 2
    assert f"this would revoke the key {key.id}" in done.error
    assert keys.read(file)[0] == [key]
    assert run("key", "revoke", key.id, "--keys", str(file), "--yes").code == 0


def test_each_command_that_destroys_is_tried_here() -> None:
    of_a_cluster = "cluster replace"  # tests/cluster/test_tools_on_nodes.py tries it
    assert ARGUMENTS.keys() | {"key revoke", of_a_cluster} == DESTROYING


def answer(text: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command whose standard input is a terminal at which somebody types; return exit code and errors."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
        ) as process:
            os.write(ours, text)
            _, error = process.communicate(timeout=PATIENCE_S)
            return process.returncode, error.decode()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(("text", "code", "left"), [(b"n\n", 1, 1), (b"\n", 1, 1), (b"y\n", 0, 0), (b"Yes\n", 0, 0)])
def test_on_a_terminal_somebody_is_asked(
    wonderq: Wonderq, client: QueueClient, text: bytes, code: int, left: int
) -> None:
    client.produce("a")
    done, error = answer(text, "queue", "purge", wonderq.queue, "--url", wonderq.url)
    assert done == code
    question = f"This will delete all messages of the queue {wonderq.queue}. Continue? [y/N] "
    assert error == question + ("wonderq: nothing was done.\n" if code else "")
    assert client.count("unprocessed") == left


def test_yes_asks_nothing_on_a_terminal(wonderq: Wonderq) -> None:
    assert answer(b"", "queue", "delete", wonderq.queue, "--url", wonderq.url, "--yes") == (0, "")
