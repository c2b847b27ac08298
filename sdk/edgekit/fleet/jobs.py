"""Jobs in the database: made for members, moved from state to state, taken back."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from edgekit.fleet.models import DeviceGroup, Job, JobEvent, Rollout
from edgekit.fleet.rollouts import (
    ACTIVE,
    STOPPED,
    JobView,
    Settings,
    Standing,
    current,
    joiners,
    overdue,
    why_stop,
)
from edgekit_runtime.agent.protocol import CANCELED, ENDED, QUEUED, TIMED_OUT, UNDERWAY
from edgekit_runtime.plain import decode

LONGEST = 500
"""Characters that are kept of a sentence."""


def settings_of(rollout: Rollout) -> Settings:
    """How a rollout goes out."""
    return decode(Settings, rollout.settings)


def view(job: Job) -> JobView:
    """A job as the rules see it."""
    return JobView(job.device, job.state, job.created, job.delivered, job.canceling)


def of_rollout(session: Session, rollout: int) -> list[Job]:
    """A rollout's jobs, in the order in which they were made."""
    return list(session.scalars(select(Job).where(Job.rollout == rollout).order_by(Job.number)))


def open_jobs(session: Session, device: str) -> list[Job]:
    """A device's jobs that are not over, oldest first."""
    chosen = select(Job).where(Job.device == device, Job.state.in_(UNDERWAY))
    return list(session.scalars(chosen.order_by(Job.rollout, Job.number)))


def make(session: Session, rollout: Rollout, device: str, digest: str, now: float) -> Job:
    """A new job for a device; older ones of its slot are taken back."""
    for older in open_jobs(session, device):
        if older.slot == rollout.slot:
            take_back(session, older, f"rollout {rollout.id} came in its place", now)
    number = (session.scalar(select(func.max(Job.number)).where(Job.rollout == rollout.id)) or 0) + 1
    job = Job(
        id=f"{rollout.id}-{number}",
        rollout=rollout.id,
        number=number,
        device=device,
        slot=rollout.slot,
        digest=digest,
        state=QUEUED,
        created=now,
        changed=now,
    )
    session.add(job)
    session.flush()
    note(session, job.id, QUEUED, "", now)
    return job


def move(session: Session, job: Job, state: str, detail: str, now: float) -> None:
    """A job comes to a state."""
    if job.state != state:
        job.changed = now
        note(session, job.id, state, detail, now)
    job.state, job.detail = state, detail[:LONGEST]
    if state in ENDED:
        job.canceling = False


def note(session: Session, job: str, state: str, detail: str, at: float) -> None:
    """Keep when a job first came to a state."""
    said = {"job": job, "state": state, "detail": detail[:LONGEST], "at": at}
    session.execute(insert(JobEvent).values(said).on_conflict_do_nothing(index_elements=["job", "state"]))


def take_back(session: Session, job: Job, why: str, now: float) -> None:
    """A job that no device has had is canceled; a device that has it is told to give it up."""
    if job.state in ENDED:
        return
    if job.delivered is None:
        move(session, job, CANCELED, why, now)
    else:
        job.canceling, job.detail = True, why[:LONGEST]


def fill(session: Session, rollout: Rollout, now: float) -> int:
    """Give every member without one a job, unless a newer rollout is for it; returns how many."""
    if rollout.state != ACTIVE or rollout.undo_of is not None:
        return 0
    settings = settings_of(rollout)
    devices = list(settings.devices)
    if rollout.group is not None:
        chosen = select(DeviceGroup.device).where(DeviceGroup.group == rollout.group)
        devices = list(session.scalars(chosen))
    new = joiners(devices, [view(job) for job in of_rollout(session, rollout.id)])
    if not new:
        return 0
    standing = standings(session, rollout.slot)
    groups = groups_of(session, new)
    made = 0
    for device in new:
        if current(standing, device, groups.get(device, ())) == rollout.id:
            make(session, rollout, device, rollout.digest, now)
            made += 1
    return made


def standings(session: Session, slot: str) -> list[Standing]:
    """Active rollouts of a slot, but for those that undo one."""
    chosen = select(Rollout).where(Rollout.slot == slot, Rollout.state == ACTIVE, Rollout.undo_of.is_(None))
    return [Standing(r.id, r.state, r.group, settings_of(r).devices) for r in session.scalars(chosen)]


def groups_of(session: Session, devices: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Groups by device."""
    chosen = select(DeviceGroup).order_by(DeviceGroup.group)
    named = None if devices is None else list(devices)
    if named is not None and len(named) < 500:
        chosen = chosen.where(DeviceGroup.device.in_(named))
    found: dict[str, list[str]] = {}
    for row in session.scalars(chosen):
        found.setdefault(row.device, []).append(row.group)
    return found


def guard(session: Session, rollout: Rollout, now: float) -> None:
    """Stop a rollout of which too many jobs ended badly."""
    if rollout.state != ACTIVE:
        return
    jobs = of_rollout(session, rollout.id)
    why = why_stop(settings_of(rollout), map(view, jobs))
    if not why:
        return
    rollout.state, rollout.reason = STOPPED, why
    for job in jobs:
        if job.delivered is None:
            take_back(session, job, "the rollout was stopped", now)


def advance(session: Session, now: float) -> None:
    """What time alone brings: late members, deadlines, guards; for every rollout that has something to do."""
    unfinished = select(Job.rollout).where(Job.state.in_(UNDERWAY))
    for rollout in session.scalars(select(Rollout).where((Rollout.state == ACTIVE) | Rollout.id.in_(unfinished))).all():
        settings = settings_of(rollout)
        for job in of_rollout(session, rollout.id):
            if job.state in UNDERWAY and (why := overdue(settings, view(job), now)):
                move(session, job, TIMED_OUT, why, now)
        guard(session, rollout, now)
        fill(session, rollout, now)
