"""Jobs in the database: made for members, moved from state to state, taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def at_it(session: Session, rollout: int) -> list[Job]:
    """A rollout's jobs that devices work on."""
    chosen = select(Job).where(Job.rollout == rollout, Job.state.in_(UNDERWAY), Job.delivered.is_not(None))
    return list(session.scalars(chosen))


def open_jobs(session: Session, device: str) -> list[Job]:
    """A device's jobs that are not over, oldest first."""
    chosen = select(Job).where(Job.device == device, Job.state.in_(UNDERWAY))
    return list(session.scalars(chosen.order_by(Job.rollout, Job.number)))


def make(session: Session, rollout: Rollout, digests: Mapping[str, str], now: float) -> None:
    """New jobs; older ones of the same slot are taken back.

    Args:
        session: One that writes.
        rollout: What they are part of.
        digests: Device to the bundle that it gets.
        now: Seconds since 1970.
    """
    older = select(Job).where(Job.slot == rollout.slot, Job.rollout != rollout.id, Job.state.in_(UNDERWAY))
    for job in session.scalars(older).all():
        if job.device in digests:
            take_back(session, job, f"rollout {rollout.id} came in its place", now)
    last = session.scalar(select(func.max(Job.number)).where(Job.rollout == rollout.id)) or 0
    made = [
        Job(
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
        for number, (device, digest) in enumerate(digests.items(), last + 1)
    ]
    session.add_all(made)
    session.flush()
    session.add_all(JobEvent(job=job.id, state=QUEUED, detail="", at=now) for job in made)


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


def fill(session: Session, rollout: Rollout, now: float, only: str | None = None) -> None:
    """Give every member without one a job, unless a newer rollout is for it.

    Args:
        session: One that writes.
        rollout: Nothing is done unless it is active and no undoing.
        now: Seconds since 1970.
        only: The one device to look at; None for all.
    """
    if rollout.state != ACTIVE or rollout.undo_of is not None:
        return
    standing = standings(session, rollout.slot)
    if rollout.group is not None and any(r.group == rollout.group and r.rollout > rollout.id for r in standing):
        return  # a newer one is for all of them
    devices = set(settings_of(rollout).devices)
    if rollout.group is not None:
        members = select(DeviceGroup.device).where(DeviceGroup.group == rollout.group)
        devices = set(session.scalars(members if only is None else members.where(DeviceGroup.device == only)))
    if only is not None:
        devices &= {only}
    have = select(Job.device).where(Job.rollout == rollout.id)
    new = joiners(devices, set(session.scalars(have if only is None else have.where(Job.device == only))))
    groups = groups_of(session, new) if new else {}
    chosen = {d: rollout.digest for d in new if current(standing, d, groups.get(d, ())) == rollout.id}
    if chosen:
        make(session, rollout, chosen, now)


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
    """What time alone brings: deadlines, guards, members that no event has brought in."""
    late: set[int] = set()
    known: dict[int, Settings] = {}
    for job in session.scalars(select(Job).where(Job.state.in_(UNDERWAY))).all():
        if job.rollout not in known:
            known[job.rollout] = settings_of(session.get_one(Rollout, job.rollout))
        if why := overdue(known[job.rollout], view(job), now):
            move(session, job, TIMED_OUT, why, now)
            late.add(job.rollout)
    for rollout in session.scalars(select(Rollout).where(Rollout.state == ACTIVE)).all():
        if rollout.id in late:
            guard(session, rollout, now)
        fill(session, rollout, now)
