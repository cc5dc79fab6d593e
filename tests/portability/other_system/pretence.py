"""Removing the names of Linux from Python's modules, and imitating those of macOS.

The lists follow the availability notes of Python's documentation, and remove rather too much than too little: what one
of macOS, FreeBSD and older versions of them lacks is missing here.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import resource
import select
import selectors
import signal
import socket
import sys
import time
from types import ModuleType
from typing import Any

#: Beginnings of the names that are removed, by module. Those with ``!`` stay.
_REMOVED: dict[ModuleType, str] = {
    os: "EFD_ eventfd GRND_ getrandom MFD_ memfd_ O_DIRECT !O_DIRECTORY O_LARGEFILE O_NOATIME O_PATH O_RSYNC O_TMPFILE O_DSYNC "
    "POSIX_FADV_ posix_fadvise posix_fallocate fdatasync P_PIDFD pidfd_ RTLD_DEEPBIND RWF_ preadv pwritev pipe2 SCHED_ "
    "sched_ !sched_yield !sched_get_priority SEEK_DATA SEEK_HOLE SPLICE_ splice ST_ !ST_RDONLY !ST_NOSUID XATTR_ getxattr "
    "listxattr removexattr setxattr copy_file_range getresgid getresuid setresgid setresuid sendfile waitid login_tty",
    select: "epoll EPOLL POLLRDHUP POLLMSG",
    socket: "AF_ALG AF_CAN AF_NETLINK AF_PACKET AF_QIPCRTR AF_RDS AF_TIPC AF_VSOCK CAN_ NETLINK_ PACKET_ PF_ SCM_CREDENTIALS "
    "SCM_J1939 SOCK_CLOEXEC SOCK_NONBLOCK SOL_ALG SOL_CAN SOL_RDS SOL_TIPC SO_BINDTODEVICE SO_DOMAIN SO_INCOMING_CPU SO_J1939 "
    "SO_MARK SO_PASS SO_PEER SO_PRIORITY SO_PROTOCOL SO_VM MSG_CMSG_CLOEXEC MSG_CONFIRM MSG_ERRQUEUE MSG_FASTOPEN MSG_MORE "
    "MSG_NOSIGNAL TCP_CONGESTION TCP_CORK TCP_DEFER_ACCEPT TCP_INFO TCP_KEEPIDLE TCP_LINGER2 TCP_QUICKACK TCP_SYNCNT "
    "TCP_USER_TIMEOUT TCP_WINDOW_CLAMP",
    signal: "SIGCLD SIGPOLL SIGPWR SIGRT SIGSTKFLT pidfd_ sigtimedwait sigwaitinfo",
    fcntl: "DN_ F_ADD_SEALS F_EXLCK F_GETLEASE F_GETPIPE F_GETSIG F_GET_SEALS F_NOTIFY F_OFD F_SEAL F_SETLEASE F_SETPIPE "
    "F_SETSIG F_SHLCK LOCK_MAND LOCK_READ LOCK_RW LOCK_WRITE",
    resource: "RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_OFILE RLIMIT_RT RLIMIT_SIGPENDING RUSAGE_THREAD prlimit",
    time: "CLOCK_BOOTTIME CLOCK_TAI CLOCK_MONOTONIC_RAW pthread_getcpuclockid",
}

#: Number of the call on macOS.
_F_FULLFSYNC = 51

#: Largest limit on open files that macOS accepts (OPEN_MAX).
_OPEN_MAX = 10240


def pretend(system: str) -> None:
    """Make this process see the Python of another system."""
    kqueue: Any = None
    if system == "macos":
        from tests.portability.other_system import kqueue  # noqa: PLC0415 # needs epoll
    for module, names in _REMOVED.items():
        prefixes = tuple(each for each in names.split() if not each.startswith("!"))
        kept = tuple(each[1:] for each in names.split() if each.startswith("!"))
        for name in dir(module):
            if name.startswith(prefixes) and not (kept and name.startswith(kept)):
                delattr(module, name)
    sys.modules["isal"] = None  # type: ignore[assignment] # so that its import fails
    if system == "macos":
        kqueue.install()
        _imitate_macos()
    del selectors.EpollSelector
    importlib.reload(selectors)  # chooses anew what it builds on


def _imitate_macos() -> None:
    """Add the call that flushes a drive, sockets without SEQPACKET, and the limit on open files."""
    control, limit, get_limit, pair, sync = (
        fcntl.fcntl,
        resource.setrlimit,
        resource.getrlimit,
        socket.socketpair,
        os.fsync,
    )

    def imitated_fcntl(fd: Any, command: int, argument: Any = 0) -> Any:
        if command == _F_FULLFSYNC:
            sync(fd)
            return 0
        return control(fd, command, argument)

    def imitated_getrlimit(which: int) -> tuple[int, int]:
        soft, hard = get_limit(which)
        is_lowered = which != resource.RLIMIT_NOFILE or hard <= _OPEN_MAX
        return (soft, hard) if is_lowered else (soft, resource.RLIM_INFINITY)

    def imitated_setrlimit(which: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        before, real_hard = get_limit(which)
        if which == resource.RLIMIT_NOFILE and hard == resource.RLIM_INFINITY:
            hard = real_hard
            if soft != before and not 0 <= soft <= _OPEN_MAX:
                raise ValueError("current limit exceeds maximum limit")
        limit(which, (soft, hard))

    def imitated_socketpair(family: Any = None, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        if kind == socket.SOCK_SEQPACKET:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        return pair(socket.AF_UNIX if family is None else family, kind, proto)

    imitations: list[tuple[ModuleType, str, Any]] = [
        (fcntl, "F_FULLFSYNC", _F_FULLFSYNC),
        (fcntl, "fcntl", imitated_fcntl),
        (resource, "getrlimit", imitated_getrlimit),
        (resource, "setrlimit", imitated_setrlimit),
        (socket, "socketpair", imitated_socketpair),
    ]
    for module, name, value in imitations:
        setattr(module, name, value)
