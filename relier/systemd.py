"""What a process tells systemd, where systemd waits for it (`Type=notify`). Anywhere else nothing happens."""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger("relier.systemd")


def ready() -> None:
    """This process does its work now. Only the first call says so, and no child of it may."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect(address)
            link.sendall(b"READY=1")
    except OSError as error:
        logger.warning("systemd was not told that this process is ready: %s", error)
