"""The agent's conversation with the fleet server: enrolment, polls and reports, on a thread of its own.

A network that is gone can hold up each call for half a minute; deadlines, the serving process and systemd's watchdog do
not wait for it.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Callable, Optional

from edgekit_runtime import __version__
from edgekit_runtime.agent.link import Link, Refusal
from edgekit_runtime.agent.protocol import (
    Enroll,
    Enrolled,
    Health,
    JobState,
    Orders,
    Poll,
    Received,
    Report,
    Reports,
    Running,
)
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.monitor.outbox import Message, Outbox, boot_id

_LOG = logging.getLogger("edgekit_runtime")

_BATCH, _BATCH_BYTES = 50, 2**20  # of reports in one request: well below the protocol's limit
_UNFIT = (400, 413, 422)  # what a server says of reports that it will never take


@dataclass(frozen=True)
class Settings:
    """What an agent is told.

    Attributes:
        device: Its name.
        token: The enrolment token; None once it is enrolled.
        groups: Groups that it wants to be in.
        poll_seconds: How often it polls; None for what the server says.
        window: Length of a monitoring window in seconds.
    """

    device: str
    token: Optional[str] = None
    groups: tuple[str, ...] = ()
    poll_seconds: Optional[float] = None
    window: float = 300.0


Stand = Callable[[], tuple[Mapping[str, Running], Health]]
"""Gives what runs, and how the device is."""


class Talk:
    """One exchange at a time: where the device stands, what it shall do, and what waits in the outbox.

    Args:
        settings: What the agent is told.
        link: The fleet server.
        outbox: Reports that wait.
        folder: Where the device's secret is kept.
        stand: What runs; called on this thread.
        took: Called on this thread with the server's orders.
        finished: Called on this thread when all is said, with what went wrong or None.

    Raises:
        EdgekitError: The device's secret cannot be read or written.
    """

    def __init__(
        self,
        settings: Settings,
        link: Link,
        outbox: Outbox,
        folder: Path,
        *,
        stand: Stand,
        took: Callable[[Orders], object],
        finished: Callable[[Optional[EdgekitError]], object],
    ) -> None:
        self._settings, self._link, self._outbox, self._folder = settings, link, outbox, folder
        self._stand, self._took, self._finished = stand, took, finished
        self._secret = secret(folder / "secret")
        self._boot, self._sequence = f"{boot_id()}.{os.urandom(4).hex()}", 0
        self._enrolled = self._known_to() == link.url
        self._facts: Mapping[str, str] = {}

    def authorization(self) -> str:
        """What comes after ``Bearer``."""
        return f"{self._settings.device}:{self._secret}"

    def begin(self, jobs: tuple[JobState, ...]) -> None:
        """Start an exchange; the one before it is over.

        Args:
            jobs: Where they are.
        """
        threading.Thread(target=self._exchange, args=(jobs,), name="edgekit fleet", daemon=True).start()

    def _exchange(self, jobs: tuple[JobState, ...]) -> None:
        problem: Optional[EdgekitError] = None
        try:
            if not self._enrolled:
                self._enroll()
            poll = self._state(jobs)
            orders = self._link.call("/api/v1/poll", poll, Orders, self.authorization())
            self._facts = poll.facts or self._facts
            self._took(orders)
            self._send()
        except EdgekitError as error:
            problem = error
            if isinstance(error, Refusal) and error.status == 401:
                self._enrolled = False  # the server has forgotten this device: it makes itself known again
        except Exception as error:  # the agent stays, whatever a disk or a network throws
            _LOG.exception("talking to the fleet server failed")
            problem = EdgekitError(f"talking to {self._link.url} failed ({type(error).__name__})")
        self._finished(problem)

    def _enroll(self) -> None:
        if self._settings.token is None:
            raise Refusal(f"{self._link.url} does not know this device, and there is no token", "give --token-file")
        asked = Enroll(self._settings.device, sha256(self._secret.encode()).hexdigest(), self._settings.groups, facts())
        self._link.call("/api/v1/enroll", asked, Enrolled, self._settings.token)
        self._enrolled = True
        try:
            with replacing(self._folder / "enrolled") as out:
                out.write(self._link.url.encode())
        except OSError as error:  # it is enrolled all the same, and would only ask again after a restart
            _LOG.warning("cannot keep that the device is enrolled (%s)", error.strerror or error)

    def _known_to(self) -> str:
        try:
            return (self._folder / "enrolled").read_text("utf-8")
        except (OSError, ValueError):
            return ""

    def _state(self, jobs: tuple[JobState, ...]) -> Poll:
        self._sequence += 1
        slots, health = self._stand()
        known = facts()
        return Poll(
            self._settings.device,
            self._boot,
            self._sequence,
            time.time(),
            slots,
            jobs,
            health,
            known if known != self._facts else {},
            {name: n for name, n in self._outbox.dropped().items() if n},
        )

    def _send(self) -> None:
        """What waits in the outbox, in batches, until the server has it all."""
        while waiting := self._outbox.peek(_BATCH):
            batch = _fitting(waiting)
            try:
                received = self._report(batch)
            except Refusal as error:
                if error.status not in _UNFIT:
                    raise
                received = self._report_singly(batch)
            reached = [self._outbox.acknowledge(boot, n) for boot, n in received.items()]
            after = self._outbox.peek(1)
            if not reached or (after and (after[0].boot, after[0].sequence) == (batch[0].boot, batch[0].sequence)):
                return  # the server did not take them, or the disk does not let go of them; another time

    def _report(self, messages: list[Message]) -> Mapping[str, int]:
        reports = tuple(Report(m.boot, m.sequence, m.priority, m.made, _body(m)) for m in messages)
        asked = Reports(self._settings.device, reports)
        return self._link.call("/api/v1/reports", asked, Received, self.authorization()).acknowledged

    def _report_singly(self, messages: list[Message]) -> Mapping[str, int]:
        """One message that a server never takes must not keep the others back for ever."""
        received: dict[str, int] = {}
        for message in messages:
            try:
                received.update(self._report([message]))
            except Refusal as error:
                if error.status not in _UNFIT:
                    raise
                _LOG.error("report %d is given up: %s", message.sequence, error)
                received[message.boot] = message.sequence
        return received


def secret(path: Path) -> str:
    """The device's secret, made when there is none.

    Raises:
        EdgekitError: It cannot be read or written. One that is there is never replaced: the server knows it.
    """
    try:
        found = path.read_text("ascii").strip()
    except FileNotFoundError:
        found = ""
    except (OSError, ValueError) as error:
        raise EdgekitError(f"cannot read the device's secret {path} ({_why(error)})") from error
    if found:
        return found
    made = os.urandom(32).hex()
    try:
        with replacing(path) as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(made.encode())
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)  # a name that a power cut takes back would leave a device that the server does not let in
        finally:
            os.close(handle)
    except OSError as error:
        raise EdgekitError(f"cannot write the device's secret {path} ({_why(error)})") from error
    return made


def facts() -> dict[str, str]:
    """What this device is."""
    try:
        board = Path("/proc/device-tree/model").read_text("utf-8").strip("\0\n ")
    except (OSError, ValueError):
        board = ""
    return {
        "board": board,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "runtime": __version__,
        "host": socket.gethostname(),
    }


def _fitting(messages: list[Message]) -> list[Message]:
    """As many of the first as go into one request, but at least one."""
    size = 0
    for number, message in enumerate(messages):
        size += len(message.body)
        if number and size > _BATCH_BYTES:
            return messages[:number]
    return messages


def _body(message: Message) -> Mapping[str, object]:
    try:
        found = json.loads(message.body)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"kind": "unreadable"}


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not ASCII"
