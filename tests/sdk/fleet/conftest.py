"""Bundles, a service whose clock is turned by hand, and devices that speak the protocol without a socket."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the fleet extra")

from edgekit.fleet.operations import Create
from edgekit.fleet.options import Options
from edgekit.fleet.rollouts import Settings
from edgekit.fleet.service import Service
from edgekit_runtime.agent import protocol as p
from edgekit_runtime.bundle import write_bundle

from ...runtime.conftest import double_manifest


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Fleet:
    """A service, and what a test does to it."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, Clock()
        self.start()

    def start(self) -> None:
        self.service = Service(self.root / "fleet", Options(poll_seconds=30.0), self.clock)

    def restart(self) -> None:
        self.service.close()
        self.start()

    def bundle(self, note: str, **more) -> str:
        """The digest of a new bundle that the server has."""
        upload = self.service.library.incoming()
        upload.write(bundle_file(self.root / f"{note}.edgekit", note, **more).read_bytes())
        came = upload.finish(None)
        self.service.take(came)
        upload.close()
        return came.digest

    def rollout(self, digest: str, group: str | None = "porch", **settings) -> int:
        return self.service.create(Create(digest, group, Settings(**settings)))["rollout"]

    def device(self, name: str, *groups: str) -> Device:
        return Device(self, name, groups or ("porch",))

    def jobs(self, rollout: int) -> dict[str, str]:
        """State of each device's job."""
        return {d["device"]: d["state"] for d in self.service.rollout(rollout)["devices"]}


class Device:
    """What the server sees of a device: polls that a test spells out."""

    def __init__(self, fleet: Fleet, name: str, groups: tuple[str, ...]) -> None:
        self.fleet, self.name, self.groups = fleet, name, groups
        self.secret, self.boot, self.sequence = f"secret of {name}", "boot-1", 0
        self.slots: dict[str, p.Running] = {}
        self.job: p.Job | None = None
        self.ended: dict[str, p.JobState] = {}
        self.enroll()

    def enroll(self) -> p.Enrolled:
        hashed = hashlib.sha256(self.secret.encode()).hexdigest()
        return self.fleet.service.enroll(p.Enroll(self.name, hashed, self.groups, {"machine": "aarch64"}))

    def runs(self, digest: str, **more) -> None:
        self.slots["double"] = p.Running(digest, ready=True, **more)

    def poll(self, state: str = "", detail: str = "", **more) -> p.Orders:
        """Poll, with the job in hand in this state; the answer is obeyed as an agent does."""
        states = list(self.ended.values())
        if state and self.job is not None:
            said = p.JobState(self.job.job, state, detail)
            states.append(said)
            if state in p.ENDED:
                self.ended[said.job], self.job = said, None
        self.sequence += 1
        now = self.fleet.clock.now
        message = p.Poll(self.name, self.boot, self.sequence, now, dict(self.slots), tuple(states), **more)
        orders = self.fleet.service.poll(message)
        for number in orders.settled:
            self.ended.pop(number, None)
        if orders.job is not None:
            self.job = orders.job
        return orders

    def comes_through(self) -> None:
        """Take the next job, and succeed."""
        self.poll()
        assert self.job is not None, f"{self.name} got no job"
        self.poll("DOWNLOADING")
        self.poll("SOAKING")
        self.runs(self.job.digest)
        self.poll("SUCCEEDED", "5 requests, 0 failed")


def bundle_file(path: Path, note: str, **more) -> Path:
    """A bundle that differs from others by its note."""
    manifest, members = double_manifest()
    write_bundle(path, manifest.replace(notes=(note,), **more), members, overwrite=True)
    return path


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path)
    yield made
    made.service.close()
