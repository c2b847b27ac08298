"""Tables of the fleet server. Times are seconds since 1970 by the server's clock."""

from __future__ import annotations

from typing import Any, Optional

from sqlalchemy import JSON, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}  # without names, Alembic cannot take a constraint away again


class Base(DeclarativeBase):
    """Every table."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 - as SQLAlchemy reads it


class Device(Base):
    """A device that enrolled.

    Attributes:
        secret_sha256: Hex hash of its secret; the secret itself is nowhere here.
        facts: What it says that it is.
        boot: Boot of its last poll.
        poll_sequence: Sequence of that poll.
        health: As `protocol.Health`.
        dropped: Messages that it lost for lack of room, by priority.
        clock_offset: Its clock minus the server's, in seconds, network included.
    """

    __tablename__ = "device"
    name: Mapped[str] = mapped_column(primary_key=True)
    secret_sha256: Mapped[str]
    facts: Mapped[dict[str, Any]]
    first_seen: Mapped[float]
    last_seen: Mapped[float]
    boot: Mapped[str] = mapped_column(default="")
    poll_sequence: Mapped[int] = mapped_column(default=0)
    health: Mapped[dict[str, Any]] = mapped_column(default=dict)
    dropped: Mapped[dict[str, Any]] = mapped_column(default=dict)
    clock_offset: Mapped[Optional[float]]


class DeviceGroup(Base):
    """A group that a device is in."""

    __tablename__ = "device_group"
    device: Mapped[str] = mapped_column(ForeignKey("device.name", ondelete="CASCADE"), primary_key=True)
    group: Mapped[str] = mapped_column(primary_key=True, index=True)


class Slot(Base):
    """What answers in a slot of a device, and its last window's figures.

    Attributes:
        p50: Median latency in seconds; None before the first window.
        p99: 99th percentile of it.
        drifted: Inputs and outputs whose distribution is not the training data's any more.
        judged: Whether drift could be looked at.
        window_digest: Bundle that the figures are of.
        window_ended: When the window ended, by the device's clock.
    """

    __tablename__ = "slot"
    device: Mapped[str] = mapped_column(ForeignKey("device.name", ondelete="CASCADE"), primary_key=True)
    slot: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    previous: Mapped[str] = mapped_column(default="")
    variant: Mapped[str] = mapped_column(default="")
    ready: Mapped[bool] = mapped_column(default=False)
    degraded: Mapped[str] = mapped_column(default="")
    requests: Mapped[Optional[int]]
    errors: Mapped[Optional[int]]
    p50: Mapped[Optional[float]]
    p99: Mapped[Optional[float]]
    drifted: Mapped[list[str]] = mapped_column(default=list)
    judged: Mapped[bool] = mapped_column(default=False)
    window_digest: Mapped[str] = mapped_column(default="")
    window_ended: Mapped[Optional[float]]


class Bundle(Base):
    """A bundle that the server can give out.

    Attributes:
        sha256: Of the file; `digest` is of its manifest.
        signature: As `protocol.Signature`; None for none.
    """

    __tablename__ = "bundle"
    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    target: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str]
    signature: Mapped[Optional[dict[str, Any]]] = mapped_column(JSON(none_as_null=True))
    added: Mapped[float]


class Rollout(Base):
    """A bundle on its way to devices, or the way back.

    Attributes:
        digest: The bundle; for one that undoes another, the bundle that is taken away.
        group: Whose members get it; None where the settings name devices.
        settings: As `rollouts.Settings`.
        state: ACTIVE, STOPPED or UNDONE.
        reason: Why it is not active.
        undo_of: The rollout that this one undoes.
    """

    __tablename__ = "rollout"
    id: Mapped[int] = mapped_column(primary_key=True)
    slot: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str]
    group: Mapped[Optional[str]]
    settings: Mapped[dict[str, Any]]
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    undo_of: Mapped[Optional[int]] = mapped_column(ForeignKey("rollout.id"))
    created: Mapped[float]
    __table_args__ = ({"sqlite_autoincrement": True},)  # a number is never used twice


class Job(Base):
    """One device's part of a rollout; it outlives the device.

    Attributes:
        id: ``ROLLOUT-N``, as devices know it.
        number: N.
        before: Bundle that the slot ran when the job was given out; empty for none.
        canceling: Whether the device is told to give it up.
        delivered: When it was first given out; None before.
        changed: When its state last changed.
    """

    __tablename__ = "job"
    id: Mapped[str] = mapped_column(primary_key=True)
    rollout: Mapped[int] = mapped_column(ForeignKey("rollout.id"))
    number: Mapped[int]
    device: Mapped[str]
    slot: Mapped[str]
    digest: Mapped[str] = mapped_column(ForeignKey("bundle.digest"))
    before: Mapped[str] = mapped_column(default="")
    state: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    progress: Mapped[float] = mapped_column(default=0.0)
    canceling: Mapped[bool] = mapped_column(default=False)
    created: Mapped[float]
    delivered: Mapped[Optional[float]]
    changed: Mapped[float]
    __table_args__ = (
        UniqueConstraint("rollout", "device"),
        Index(None, "device", "state"),
        Index(None, "state", "slot"),
    )


class JobEvent(Base):
    """A job came to a state.

    Attributes:
        at: When, by the clock of whoever said it first: the device's in its reports, else the server's.
    """

    __tablename__ = "job_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("job.id"))
    state: Mapped[str]
    detail: Mapped[str]
    at: Mapped[float]
    __table_args__ = (UniqueConstraint("job", "state"),)


class Report(Base):
    """A message out of a device's outbox, kept for a while.

    Attributes:
        kind: ``body["kind"]``; empty where it has none.
        made: By the device's clock.
    """

    __tablename__ = "report"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(ForeignKey("device.name", ondelete="CASCADE"))
    boot: Mapped[str]
    sequence: Mapped[int]
    priority: Mapped[str]
    kind: Mapped[str] = mapped_column(index=True)
    made: Mapped[float]
    received: Mapped[float] = mapped_column(index=True)
    body: Mapped[dict[str, Any]]
    __table_args__ = (UniqueConstraint("device", "boot", "sequence"),)


class HighWater(Base):
    """The highest report number that is stored of a boot; it outlives the reports."""

    __tablename__ = "high_water"
    device: Mapped[str] = mapped_column(ForeignKey("device.name", ondelete="CASCADE"), primary_key=True)
    boot: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int]
