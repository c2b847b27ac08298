"""Devices: made known, recognised, and heard when they poll."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from edgekit.fleet import jobs, operations
from edgekit.fleet.errors import FleetError
from edgekit.fleet.models import Bundle, Device, DeviceGroup, Job, Rollout, Slot
from edgekit.fleet.rollouts import ACTIVE, BAD, may_deliver
from edgekit_runtime.agent import protocol
from edgekit_runtime.agent.protocol import CANCELED, ENDED, SUCCEEDED, UNDERWAY
from edgekit_runtime.plain import decode, encode

MANY = 256
"""Slots, jobs, groups or facts of one device that are taken in."""

_NOBODY = "0" * 64


def enroll(session: Session, asked: protocol.Enroll, now: float) -> None:
    """Make a device known; the same again does no harm.

    Raises:
        FleetError: Another device has that name.
    """
    if max(len(asked.groups), len(asked.facts)) > MANY:
        raise FleetError(400, f"a device has {MANY} groups and facts at most")
    device = session.get(Device, asked.device)
    if device is None:
        device = Device(name=asked.device, secret_sha256=asked.secret_sha256, facts={}, first_seen=now, last_seen=now)
        session.add(device)
        session.flush()
    elif not hmac.compare_digest(device.secret_sha256, asked.secret_sha256):
        raise FleetError(
            409,
            f"another device is called {asked.device}",
            f"edgekit fleet remove {asked.device} takes it out",
        )
    device.facts, device.last_seen = dict(asked.facts), now
    session.execute(delete(DeviceGroup).where(DeviceGroup.device == asked.device))
    session.add_all(DeviceGroup(device=asked.device, group=group) for group in sorted(set(asked.groups)))
    session.flush()
    for rollout in session.scalars(select(Rollout).where(Rollout.state == ACTIVE)).all():
        jobs.fill(session, rollout, now, asked.device)


def recognise(session: Session, authorization: str) -> str:
    """The device that ``DEVICE:SECRET`` is of.

    Raises:
        FleetError: None is.
    """
    name, _, secret = authorization.partition(":")
    device = session.get(Device, name)
    found = hashlib.sha256(secret.encode()).hexdigest()
    if not hmac.compare_digest(found, _NOBODY if device is None else device.secret_sha256):
        raise FleetError(401, "the device is not known, or its secret is wrong", "enrol it again")
    return name


def remove(session: Session, name: str, now: float) -> None:
    """Forget a device; what became of its jobs is kept.

    Raises:
        FleetError: There is none of that name.
    """
    device = session.get(Device, name)
    if device is None:
        raise FleetError(404, f"there is no device {name!r:.80}")
    for job in jobs.open_jobs(session, name):
        jobs.move(session, job, CANCELED, "the device was removed", now)
    session.delete(device)


def poll(session: Session, said: protocol.Poll, poll_seconds: float, now: float) -> protocol.Orders:
    """Take in where a device stands, and say what it should do."""
    if max(len(said.slots), len(said.jobs), len(said.facts), len(said.dropped)) > MANY:
        raise FleetError(400, f"a device has {MANY} slots, jobs and facts at most")
    device = session.get_one(Device, said.device)
    late = said.boot == device.boot and said.sequence <= device.poll_sequence
    device.last_seen = now
    if not late:
        _keep(session, device, said, now)
    settled, cancel = _hear(session, said, late, now)
    if not late:
        _unheard(session, said, now)
    job = None if late or cancel else _order(session, said, now)
    return protocol.Orders(now, poll_seconds, job, tuple(cancel), tuple(settled))


def _keep(session: Session, device: Device, said: protocol.Poll, now: float) -> None:
    device.boot, device.poll_sequence = said.boot, said.sequence
    device.clock_offset, device.health = said.time - now, encode(said.health)
    device.dropped = dict(said.dropped)
    if said.facts:
        device.facts = dict(said.facts)
    known = {row.slot: row for row in session.scalars(select(Slot).where(Slot.device == device.name))}
    for gone in known.keys() - said.slots.keys():
        session.delete(known[gone])
    for name, runs in said.slots.items():
        row = known.get(name)
        if row is None:
            row = Slot(device=device.name, slot=name, digest="")
            session.add(row)
        row.digest, row.previous, row.variant = runs.digest, runs.previous, runs.variant
        row.ready, row.degraded = runs.ready, runs.degraded[: jobs.LONGEST]


def _hear(session: Session, said: protocol.Poll, late: bool, now: float) -> tuple[list[str], list[str]]:
    """What the device says of its jobs: (those whose end is stored, those that it must give up)."""
    settled: list[str] = []
    cancel: list[str] = []
    for state in said.jobs:
        job = session.get(Job, state.job)
        if job is None or job.device != said.device:
            # not ours: a server that lost its database must not leave a device with a job for ever
            (settled if state.state in ENDED else cancel).append(state.job)
            continue
        if job.state in UNDERWAY and not late:
            _advance(session, job, state, said.slots, now)
        if job.state in ENDED:
            (settled if state.state in ENDED else cancel).append(state.job)
        elif job.canceling and state.state in UNDERWAY:
            cancel.append(state.job)
    return settled, cancel


def _advance(
    session: Session, job: Job, state: protocol.JobState, slots: Mapping[str, protocol.Running], now: float
) -> None:
    if job.delivered is None:
        job.delivered = now
    job.progress = min(max(state.progress, 0.0), 1.0)
    if state.state == SUCCEEDED:
        runs = slots.get(job.slot)
        if runs is None or runs.digest != job.digest:
            what = f"runs {runs.digest[:16]}" if runs is not None and runs.digest else "does not answer"
            job.detail = f"the device says that it succeeded, but slot {job.slot} {what}"[: jobs.LONGEST]
            return
    canceling = job.canceling
    jobs.move(session, job, state.state, state.detail, now)
    if state.state == SUCCEEDED and canceling:
        operations.came_through_late(session, job, now)
    if state.state in BAD:
        jobs.guard(session, session.get_one(Rollout, job.rollout), now)


def _unheard(session: Session, said: protocol.Poll, now: float) -> None:
    """Jobs that are taken back and that the device does not state: it never had them."""
    stated = {state.job for state in said.jobs}
    for job in jobs.open_jobs(session, said.device):
        if job.canceling and job.id not in stated:
            jobs.move(session, job, CANCELED, job.detail, now)


def _order(session: Session, said: protocol.Poll, now: float) -> protocol.Job | None:
    """The job to do next: the one that was given out until the device states it, else the oldest that may begin."""
    stated = {state.job for state in said.jobs}
    waiting = [job for job in jobs.open_jobs(session, said.device) if not job.canceling]
    for job in sorted(waiting, key=lambda j: j.delivered is None):
        if job.id in stated:
            return None
        rollout = session.get_one(Rollout, job.rollout)
        settings = jobs.settings_of(rollout)
        runs = said.slots.get(job.slot)
        if job.delivered is None:
            if runs is not None and runs.digest == job.digest and runs.ready and not runs.degraded:
                job.before, job.progress = job.digest, 1.0
                jobs.move(session, job, SUCCEEDED, "it ran already", now)
                continue
            if settings.max_parallel and not may_deliver(settings, map(jobs.view, jobs.at_it(session, job.rollout))):
                continue
            job.delivered = now
            job.before = runs.digest if runs is not None else ""
        bundle = session.get_one(Bundle, job.digest)
        signature = None if bundle.signature is None else decode(protocol.Signature, bundle.signature)
        return protocol.Job(
            job.id, job.slot, job.digest, bundle.size, bundle.sha256, signature, settings.soak, settings.limits
        )
    return None
