"""What systemd is told: that a service is ready, alive, and what it is about (sd_notify, without libsystemd).

Nothing here does anything where systemd did not start the process, and nothing raises: a service must not end because
nobody listens. Protocol: sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from typing import Optional


def ready() -> None:
    """The service is up."""
    _send("READY=1")


def stopping() -> None:
    """The service begins to end."""
    _send("STOPPING=1")


def status(text: str) -> None:
    """What ``systemctl status`` shows, in one line."""
    _send(f"STATUS={' '.join(text.split())}")


def watchdog() -> None:
    """The service is alive; to be called at least twice in `watchdog_seconds`."""
    _send("WATCHDOG=1")


def watchdog_seconds() -> Optional[float]:
    """Seconds without `watchdog` after which systemd starts the service anew; None where it does not watch."""
    wanted, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or not int(wanted) or process not in ("", str(os.getpid())):
        return None
    return int(wanted) / 1e6


def _send(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract socket
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)  # a manager that does not read must not hold the service up
            out.sendto(message.encode(), address)
    except (OSError, ValueError):
        pass
