"""What an operator does: send a bundle out, and take it back."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from edgekit.fleet import jobs
from edgekit.fleet.errors import FleetError
from edgekit.fleet.models import Bundle, Device, Job, Rollout, Slot
from edgekit.fleet.rollouts import ACTIVE, UNDONE, Settings
from edgekit_runtime.agent.protocol import SUCCEEDED, check_device, check_digest
from edgekit_runtime.plain import encode


@dataclass(frozen=True)
class Create:
    """A rollout that is asked for.

    Attributes:
        digest: A bundle that the server has.
        group: Whose members get it; None where the settings name devices.
        settings: How it goes out.
    """

    digest: str
    group: str | None = None
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        check_digest(self.digest, "digest")
        if (self.group is None) == (not self.settings.devices):
            raise ValueError("a rollout is for a group or for devices, for one of the two")
        for device in self.settings.devices:
            check_device(device)


@dataclass(frozen=True)
class Undone:
    """A rollout that was taken back.

    Attributes:
        rollout: The one that takes back; None where no device needs it.
        going_back: Devices that get their bundle of before.
        canceled: Devices that had not come to it, or are on their way and turn round.
        cannot: Device to the reason why it keeps the bundle.
    """

    rollout: int | None
    going_back: tuple[str, ...]
    canceled: tuple[str, ...]
    cannot: dict[str, str]


def create(session: Session, asked: Create, now: float) -> Rollout:
    """Begin a rollout.

    Raises:
        FleetError: The bundle or a device is not known.
    """
    bundle = session.get(Bundle, asked.digest)
    if bundle is None:
        raise FleetError(404, f"there is no bundle {asked.digest[:16]} here", "send it first")
    unknown = sorted(d for d in set(asked.settings.devices) if session.get(Device, d) is None)
    if unknown:
        raise FleetError(404, f"there is no device {', '.join(unknown)}", "edgekit fleet devices shows them")
    rollout = Rollout(
        slot=bundle.name,
        digest=asked.digest,
        group=asked.group,
        settings=encode(asked.settings.roomy()),
        state=ACTIVE,
        created=now,
    )
    session.add(rollout)
    session.flush()
    jobs.fill(session, rollout, now)
    return rollout


def find(session: Session, number: int) -> Rollout:
    """A rollout.

    Raises:
        FleetError: There is none of that number.
    """
    rollout = session.get(Rollout, number) if 0 < number < 2**63 else None
    if rollout is None:
        raise FleetError(404, f"there is no rollout {number}", "edgekit fleet rollout status shows them")
    return rollout


def undo(session: Session, number: int, now: float) -> Undone:
    """Take a rollout back: who waits is let off, who is at it turns round, who has it goes to what ran before.

    Raises:
        FleetError: There is none of that number, or it was taken back already.
    """
    rollout = find(session, number)
    if rollout.state == UNDONE:
        raise FleetError(409, f"rollout {number} was undone already")
    if rollout.undo_of is not None:
        raise FleetError(409, f"rollout {number} undoes rollout {rollout.undo_of}", "roll its bundle out again")
    rollout.state, rollout.reason = UNDONE, "an operator took it back"
    back: dict[str, str] = {}
    canceled, cannot = [], {}
    for job in jobs.of_rollout(session, number):
        if jobs.view(job).open:
            jobs.take_back(session, job, f"rollout {number} was undone", now)
            canceled.append(job.device)
            continue
        runs = session.get(Slot, (job.device, job.slot))
        if job.state != SUCCEEDED and (runs is None or runs.digest != job.digest):
            continue
        why = _cannot(session, job.before, job.digest, runs)
        if why:
            cannot[job.device] = why
        else:
            back[job.device] = job.before
    if not back:
        return Undone(None, (), tuple(canceled), cannot)
    return Undone(_send_back(session, rollout, back, now), tuple(back), tuple(canceled), cannot)


def came_through_late(session: Session, job: Job, now: float) -> None:
    """A job of a rollout that was undone meanwhile succeeded before the device heard of that: back it goes."""
    rollout = find(session, job.rollout)
    if rollout.state == UNDONE and not _cannot(session, job.before, job.digest, None, gone=False):
        _send_back(session, rollout, {job.device: job.before}, now)


def _send_back(session: Session, rollout: Rollout, back: dict[str, str], now: float) -> int:
    """Jobs back to what ran before, in the rollout that undoes another; its number."""
    undoing = session.scalars(select(Rollout).where(Rollout.undo_of == rollout.id)).first()
    if undoing is None:
        was = jobs.settings_of(rollout)
        undoing = Rollout(
            slot=rollout.slot,
            digest=rollout.digest,
            group=None,
            # who is sent back first must not hold up the others: no guard
            settings=encode(Settings(tuple(back), was.soak, was.limits, max_failures=2**31)),
            state=ACTIVE,
            undo_of=rollout.id,
            created=now,
        )
        session.add(undoing)
        session.flush()
    jobs.make(session, undoing, back, now)
    return undoing.id


def _cannot(session: Session, before: str, digest: str, runs: Slot | None, *, gone: bool = True) -> str:
    if runs is None and gone:
        return "the device is gone"
    if runs is not None and runs.digest and runs.digest != digest:
        return f"it runs {runs.digest[:16]} by now"
    if not before:
        return "nothing ran before"
    if before == digest:
        return "it ran this bundle before"
    if session.get(Bundle, before) is None:
        return f"bundle {before[:16]}, which ran before, was never sent to this server"
    return ""
