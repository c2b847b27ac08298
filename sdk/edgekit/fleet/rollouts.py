"""What a rollout does next, without a database, a socket or a clock.

Every member gets a job as soon as it is a member; a job waits as QUEUED until the device asks and fewer than
``max_parallel`` others are under way. So a device that is switched off holds nobody up. Once more than ``max_failures``
jobs ended badly the rollout stops: what was not given out is canceled, what is under way goes on under its own soak.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from edgekit_runtime.agent.protocol import (
    FAILED,
    QUEUED,
    REJECTED,
    ROLLED_BACK,
    STRANDED,
    TIMED_OUT,
    UNDERWAY,
    Limits,
    Soak,
)

ACTIVE, STOPPED, UNDONE = "ACTIVE", "STOPPED", "UNDONE"
"""States of a rollout."""

BAD = (FAILED, ROLLED_BACK, STRANDED, REJECTED, TIMED_OUT)
"""Ends of a job that speak against its bundle, where the device has had the job."""


@dataclass(frozen=True)
class Settings:
    """How a bundle goes out.

    Attributes:
        devices: Who gets it, where no group does.
        soak: What it must show on each device.
        limits: How long each state of a job may last.
        max_parallel: Devices that are at it at once; 0 for all.
        max_failures: Jobs that may end badly before the rollout stops.
        expires: Seconds after which a job that no device has fetched is over; 0 for never.
    """

    devices: tuple[str, ...] = ()
    soak: Soak = field(default_factory=Soak)
    limits: Limits = field(default_factory=Limits)
    max_parallel: int = 0
    max_failures: int = 0
    expires: float = 0.0

    def __post_init__(self) -> None:
        soak, rates = self.soak, (self.soak.max_error_rate,)
        if min(soak.seconds, soak.min_requests, soak.max_latency_ratio, self.expires) < 0:
            raise ValueError("durations, counts and ratios of a rollout cannot be negative")
        if min(self.max_parallel, self.max_failures) < 0 or any(not 0 <= r <= 1 for r in rates):
            raise ValueError("counts of a rollout cannot be negative, and rates are from 0 to 1")
        if max(soak.seconds, self.expires) > 10 * 365 * 86400.0 or max(self.max_parallel, soak.min_requests) > 2**40:
            raise ValueError("a rollout ends within ten years")
        if min(self.limits.of(state) for state in UNDERWAY) <= 0:
            raise ValueError("every state of a job must be allowed to last")

    def roomy(self) -> Settings:
        """The same, with time enough to soak."""
        least = 2 * self.soak.seconds + 600
        return replace(self, limits=replace(self.limits, soaking=max(self.limits.soaking, least)))

    @property
    def deadline(self) -> float:
        """Seconds from giving a job out after which the device is not coming back to it."""
        return sum(self.limits.of(state) for state in UNDERWAY)


@dataclass(frozen=True)
class JobView:
    """What the rules know of a job.

    Attributes:
        device: Whose it is.
        state: Of the protocol.
        delivered: Seconds since 1970 when it was first given out; None before.
        created: When it was made.
        canceling: Whether it is being taken back.
    """

    device: str
    state: str
    created: float = 0.0
    delivered: float | None = None
    canceling: bool = False

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.state in UNDERWAY

    @property
    def at_it(self) -> bool:
        """Whether the device works on it."""
        return self.open and self.delivered is not None


def joiners(members: Iterable[str], have: Collection[str]) -> list[str]:
    """Members that have no job yet, those who came late included."""
    return sorted(set(members) - set(have))


def may_deliver(settings: Settings, jobs: Iterable[JobView]) -> bool:
    """Whether one more device may begin."""
    return not settings.max_parallel or sum(job.at_it for job in jobs) < settings.max_parallel


def why_stop(settings: Settings, jobs: Iterable[JobView]) -> str:
    """Why the rollout must stop, in one sentence; empty while it may go on."""
    bad = sorted(job.device for job in jobs if job.state in BAD and job.delivered is not None)
    if len(bad) <= settings.max_failures:
        return ""
    named = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
    return f"{len(bad)} did not come through ({named}), {settings.max_failures} may"


def overdue(settings: Settings, job: JobView, now: float) -> str:
    """Why a job is over by its time alone; empty if it is not."""
    if job.at_it and job.delivered is not None and now - job.delivered > settings.deadline:
        return f"nothing came of it within {settings.deadline:g} s"
    if job.state == QUEUED and job.delivered is None and settings.expires and now - job.created > settings.expires:
        return f"the device did not fetch it within {settings.expires:g} s"
    return ""


@dataclass(frozen=True)
class Standing:
    """A rollout as far as choosing between several goes.

    Attributes:
        rollout: Its number; a higher one is newer.
        state: ACTIVE, STOPPED or UNDONE.
        group: Whose members it is for; None where `devices` says.
        devices: Who it is for.
    """

    rollout: int
    state: str
    group: str | None
    devices: tuple[str, ...] = ()


def current(rollouts: Sequence[Standing], device: str, groups: Collection[str]) -> int | None:
    """The newest active rollout of a slot that a device is in; it alone gives the device a job."""
    fitting = [
        r.rollout
        for r in rollouts
        if r.state == ACTIVE and (device in r.devices if r.group is None else r.group in groups)
    ]
    return max(fitting, default=None)
