"""Machines with networks of their own, as network namespaces on one bridge. They need root.

This process is on the bridge too, so clients here reach all machines, also one that the others do not reach.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

_CLONE_NEWNET = 0x40000000

#: Addresses of the machines, and of this process beside them. They are in a network that only this process sees.
_HOST, _OWN_HOST = "10.201.0.{}", "10.201.0.254"

#: Nothing that is sent to this address arrives.
_NOBODY = "02:00:00:00:00:99"


def why_no_networks() -> str:
    """Say why there can be no machines with networks of their own, or nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nsenter"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    return ""


def enter_own_network() -> None:
    """Move this process, which must have one thread, and all that it starts into a network of their own.

    So the addresses of several runs do not meet, and nothing of them is left at the end.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
    _ip("link", "set", "lo", "up")


class Networks:
    """The networks of some machines, as a context. `enter_own_network` comes first."""

    def __init__(self, count: int) -> None:
        self._stack = ExitStack()
        self._spaces = [f"wonderq-{os.getpid()}-{number}" for number in range(count)]
        self.hosts = [_HOST.format(number + 1) for number in range(count)]
        """Address of each machine."""

    def prefix(self, machine: int) -> Sequence[str]:
        """Return a command that runs another command on a machine."""
        # Not `ip netns exec`, which keeps copies of all mounts: no file system could be unmounted any more.
        return ["nsenter", f"--net=/run/netns/{self._spaces[machine]}"]

    def __enter__(self) -> Self:
        with self._stack:
            self._connect()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _connect(self) -> None:
        _ip("link", "add", "wonderq", "type", "bridge")
        self._stack.callback(_ip, "link", "del", "wonderq")
        _ip("addr", "add", f"{_OWN_HOST}/24", "dev", "wonderq")
        _ip("link", "set", "wonderq", "up")
        for number, (space, host) in enumerate(zip(self._spaces, self.hosts, strict=True)):
            _ip("netns", "add", space)
            self._stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", f"machine{number}", "type", "veth", "peer", "name", "eth0", "netns", space)
            # Not left to the end of its namespace, which may come after the next networks begin.
            self._stack.callback(_ip, "link", "del", f"machine{number}")
            _ip("link", "set", f"machine{number}", "master", "wonderq", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "addr", "add", f"{host}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")

    def cut_off(self, machine: int, *, outgoing: bool, incoming: bool) -> None:
        """Lose all that a machine sends to the others, or they to it. This process still reaches all of them."""
        for sender, receiver in self._ways(machine, outgoing=outgoing, incoming=incoming):
            self._lose(sender, receiver)

    def heal(self, machine: int, *, outgoing: bool, incoming: bool) -> None:
        """Undo `cut_off`."""
        for sender, receiver in self._ways(machine, outgoing=outgoing, incoming=incoming):
            self._find(sender, receiver)

    def part(self, one: int, other: int) -> None:
        """Lose all that two machines send to each other. The others hear both."""
        for sender, receiver in ((one, other), (other, one)):
            self._lose(sender, receiver)

    def rejoin(self, one: int, other: int) -> None:
        """Undo `part`."""
        for sender, receiver in ((one, other), (other, one)):
            self._find(sender, receiver)

    def block(self, machine: int, port: int) -> None:
        """Lose what a machine and the others send to each other from or to a TCP port. All other ports go on."""
        for rule in self._rules(machine, port):
            _ip("-n", rule[0], "rule", "add", *rule[1:])

    def unblock(self, machine: int, port: int) -> None:
        """Undo `block`."""
        for rule in self._rules(machine, port):
            _ip("-n", rule[0], "rule", "del", *rule[1:])

    def _rules(self, machine: int, port: int) -> list[tuple[str, ...]]:
        ways = self._ways(machine, outgoing=True, incoming=True)
        return [
            (self._spaces[sender], "to", self.hosts[receiver], "ipproto", "tcp", end, str(port), "blackhole")
            for sender, receiver in ways
            for end in ("sport", "dport")
        ]

    def _lose(self, sender: int, receiver: int) -> None:
        way = (self._spaces[sender], "neigh", "replace", self.hosts[receiver])
        _ip("-n", *way, "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent")

    def _find(self, sender: int, receiver: int) -> None:
        _ip("-n", self._spaces[sender], "neigh", "del", self.hosts[receiver], "dev", "eth0")

    def _ways(self, machine: int, *, outgoing: bool, incoming: bool) -> list[tuple[int, int]]:
        others = [each for each in range(len(self.hosts)) if each != machine]
        ways = [(machine, each) for each in others] if outgoing else []
        return ways + ([(each, machine) for each in others] if incoming else [])


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
