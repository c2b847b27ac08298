"""The fleet server without HTTP: every call is one transaction, with time handed in."""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from edgekit.errors import SdkError
from edgekit.fleet import ingest, jobs, operations, registry, views
from edgekit.fleet.database import Database
from edgekit.fleet.errors import FleetError
from edgekit.fleet.library import Library, Received
from edgekit.fleet.options import ENROLMENT, OPERATOR, Options
from edgekit_runtime.agent import protocol
from edgekit_runtime.plain import encode


class Service:
    """A fleet in a folder. Safe to use from several threads.

    ```
    ROOT/fleet.db           devices, jobs, reports
    ROOT/bundles/           content-addressed
    ROOT/tokens/enrolment   0600
    ROOT/tokens/operator    0600
    ```

    Args:
        root: The folder; it is made.
        options: How it is kept.
        clock: Seconds since 1970.

    Raises:
        SdkError: Another server has the folder, or it cannot be used.
    """

    def __init__(self, root: Path, options: Options | None = None, clock: Callable[[], float] = time.time) -> None:
        self.root, self.options, self._clock = root, options or Options(), clock
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _locked(root / "lock")
            self._tokens = {name: token(root / "tokens" / name) for name in (ENROLMENT, OPERATOR)}
            self.library = Library(root / "bundles", self.options.max_bundle_bytes)
        except OSError as error:
            raise SdkError(f"cannot keep a fleet in {root} ({error.strerror or error})") from error
        self.database = Database(root / "fleet.db")

    def close(self) -> None:
        """Let go of the folder."""
        self.database.close()
        self._lock.close()

    def admit(self, kind: str, given: str) -> None:
        """Check one of the tokens.

        Raises:
            FleetError: It is another.
        """
        if not hmac.compare_digest(self._tokens[kind].encode(), given.encode()):
            where = self.root.name + "/tokens/" + kind
            raise FleetError(401, f"the {kind} token is missing or wrong", f"it is in {where} of the server")

    # -- devices ---------------------------------------------------------------------------------------------------

    def enroll(self, asked: protocol.Enroll) -> protocol.Enrolled:
        """Make a device known."""
        with self.database.write() as session:
            registry.enroll(session, asked, self._clock())
        return protocol.Enrolled(asked.device, self.options.poll_seconds)

    def recognise(self, authorization: str, device: str | None = None) -> str:
        """The device that a secret is of.

        Args:
            authorization: ``DEVICE:SECRET``.
            device: Who the message says that it is from.

        Raises:
            FleetError: It is not known, or speaks for another.
        """
        with self.database.read() as session:
            name = registry.recognise(session, authorization)
        if device is not None and device != name:
            raise FleetError(403, f"{name} cannot speak for {device}")
        return name

    def poll(self, said: protocol.Poll) -> protocol.Orders:
        """Hear where a device stands, and say what it should do."""
        if not 0 <= said.sequence < 2**63:
            raise FleetError(400, "a poll's number is from 0 to 2**63 - 1")
        with self.database.write() as session:
            return registry.poll(session, said, self.options.poll_seconds, self._clock())

    def reports(self, said: protocol.Reports) -> protocol.Received:
        """Store what is new."""
        ingest.check(said)
        with self.database.read() as session:
            have = ingest.high_water(session, said.device, sorted({r.boot for r in said.reports}))
        # drift takes a while: it is looked at before the others are kept waiting
        new = ingest.newest_windows(said, have)
        windows = {slot: ingest.figures(body, self.library.manifest) for slot, body in new.items()}
        with self.database.write() as session:
            return ingest.store(session, said, windows, self._clock())

    # -- the operator ----------------------------------------------------------------------------------------------

    def devices(self, group: str | None) -> dict[str, Any]:
        """Who there is."""
        with self.database.read() as session:
            return {"devices": views.devices(session, self.options.poll_seconds, self._clock(), group)}

    def remove(self, device: str) -> dict[str, Any]:
        """Forget a device."""
        with self.database.write() as session:
            registry.remove(session, device, self._clock())
        return {"removed": device}

    def status(self) -> dict[str, Any]:
        """The fleet at a glance."""
        with self.database.read() as session:
            return views.status(session, self.options.poll_seconds, self._clock())

    def take(self, came: Received) -> dict[str, Any]:
        """Keep an upload."""
        with self.database.write() as session:
            return views.bundle(self.library.take(session, came, self._clock()))

    def create(self, asked: operations.Create) -> dict[str, Any]:
        """Begin a rollout."""
        with self.database.write() as session:
            made = operations.create(session, asked, self._clock())
            return views.rollout(session, made)

    def undo(self, number: int) -> dict[str, Any]:
        """Take a rollout back."""
        with self.database.write() as session:
            plain: dict[str, Any] = encode(operations.undo(session, number, self._clock()))
            return plain

    def rollouts(self) -> dict[str, Any]:
        """All of them."""
        with self.database.read() as session:
            return {"rollouts": views.rollouts(session)}

    def rollout(self, number: int) -> dict[str, Any]:
        """One of them, with its jobs."""
        with self.database.read() as session:
            return views.rollout(session, operations.find(session, number))

    def sweep(self) -> None:
        """What time alone brings: deadlines, and old reports that go."""
        now = self._clock()
        with self.database.write() as session:
            jobs.advance(session, now)
            ingest.forget(session, now - self.options.keep_days * 86400, self.options.keep_reports)


def token(path: Path) -> str:
    """A token from its file, made when there is none; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = path.read_text("ascii").strip()
        if len(found) < 16:
            raise SdkError(f"the token in {path} is shorter than 16 characters", "remove the file") from None
        return found
    made = secrets.token_urlsafe(32)
    with os.fdopen(handle, "w") as out:
        out.write(made + "\n")
        out.flush()
        os.fsync(out.fileno())
    return made


def _locked(path: Path) -> IO[bytes]:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SdkError(f"another fleet server runs in {path.parent}", "stop it, or give another --data") from error
    return file
