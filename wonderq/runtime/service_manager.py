"""Notifications to the service manager that started this process, by the protocol of sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger("wonderq")


def notify(state: str) -> None:
    r"""Send a state, such as ``READY=1``, to the socket in ``NOTIFY_SOCKET``. Without that variable, do nothing.

    Several assignments are separated by ``\n``. A failure is logged and stops nothing, such as a socket that does not
    exist, or a reader that is too slow.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # Linux: a leading @ stands for the null byte of a name that is in no file system.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(name)
            sender.send(state.encode())
    except (OSError, ValueError) as error:
        logger.warning("the service manager at NOTIFY_SOCKET=%s cannot be notified: %s", address, error)
