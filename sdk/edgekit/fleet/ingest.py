"""Reports of devices: each stored once, and a window's figures beside the slot that they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from edgekit.fleet import jobs
from edgekit.fleet.errors import FleetError
from edgekit.fleet.models import HighWater, Job, Report, Slot
from edgekit_runtime.agent import protocol
from edgekit_runtime.errors import EdgekitError
from edgekit_runtime.manifest import Manifest
from edgekit_runtime.monitor.distance import Drift

_MOST = 2**63 - 1  # what SQLite's integers hold
_COUNTABLE = 2**53


@dataclass(frozen=True)
class Figures:
    """What a window of calls says.

    Attributes:
        digest: The bundle that answered.
        ended: By the device's clock.
        requests: Calls, failed ones included.
        errors: Calls that failed.
        p50: Median latency in seconds; None where nothing was answered.
        p99: 99th percentile of it.
        drifted: Names of inputs and outputs whose distribution is not the training data's.
        judged: Whether drift could be looked at: the bundle is known here, and has a reference.
    """

    digest: str
    ended: float
    requests: int
    errors: int
    p50: float | None
    p99: float | None
    drifted: tuple[str, ...] = ()
    judged: bool = False


def figures(body: Mapping[str, Any], manifest: Callable[[str], Manifest | None]) -> Figures | None:
    """A window's figures; None where the message is none, or cannot be read.

    Args:
        body: ``{"kind": "window", "slot", "digest", "window"}``.
        manifest: Of a bundle's digest; None where it is not known here.
    """
    from edgekit_runtime.monitor.drift import of_window
    from edgekit_runtime.monitor.histogram import Histogram
    from edgekit_runtime.monitor.window import Window

    try:
        digest, plain = body["digest"], body["window"]
        known = manifest(digest) if isinstance(digest, str) else None
        if known is None:
            latency = Histogram.from_plain(plain["latency"])
            requests, errors, ended = int(plain["requests"]), int(plain["errors"]), float(plain["ended"])
            drifts: Mapping[str, Mapping[str, Drift]] = {}
        else:
            window = Window.from_plain(plain, known)
            latency, requests, errors = window.latency, window.requests, window.errors
            ended = float(plain["ended"])
            drifts = of_window(window, known)
    except (KeyError, TypeError, ValueError, ArithmeticError, EdgekitError):
        return None
    if not 0 <= errors <= requests <= _COUNTABLE:
        return None
    counted = [latency.percentile(share) for share in (0.5, 0.99)] if latency.count else [None, None]
    drifted = tuple(f"{side}.{name}" for side, found in drifts.items() for name, d in found.items() if d.drifted)
    judged = any(drifts.values())
    return Figures(str(digest), ended, requests, errors, counted[0], counted[1], drifted, judged)


def high_water(session: Session, device: str, boots: Sequence[str]) -> dict[str, int]:
    """The highest number that is stored, by boot."""
    chosen = select(HighWater).where(HighWater.device == device, HighWater.boot.in_(boots))
    return {row.boot: row.sequence for row in session.scalars(chosen)}


def check(said: protocol.Reports) -> None:
    """Refuse what cannot be stored.

    Raises:
        FleetError: It cannot.
    """
    for report in said.reports:
        if not 0 <= report.sequence <= _MOST:
            raise FleetError(400, f"a report's number is from 0 to {_MOST}")


def newest_windows(said: protocol.Reports, have: Mapping[str, int]) -> dict[str, Mapping[str, Any]]:
    """Of each slot the last window that is new."""
    found: dict[str, Mapping[str, Any]] = {}
    for report in sorted(said.reports, key=lambda r: r.sequence):
        slot = report.body.get("slot")
        if (
            report.body.get("kind") == "window"
            and isinstance(slot, str)
            and report.sequence > have.get(report.boot, -1)
        ):
            found[slot] = report.body
    return found


def store(
    session: Session, said: protocol.Reports, windows: Mapping[str, Figures | None], now: float
) -> protocol.Received:
    """Store what is new; what is acknowledged is on the disk once the session is committed.

    Args:
        session: One that writes.
        said: The messages. Devices send a boot's in order, so that a number under the highest was stored before.
        windows: Figures of the last new window of each slot.
        now: Seconds since 1970.
    """
    have = high_water(session, said.device, sorted({r.boot for r in said.reports}))
    rows = []
    for report in sorted(said.reports, key=lambda r: r.sequence):
        if report.sequence <= have.get(report.boot, -1):
            continue
        have[report.boot] = report.sequence
        kind = report.body.get("kind")
        rows.append(
            {
                "device": said.device,
                "boot": report.boot,
                "sequence": report.sequence,
                "priority": report.priority,
                "kind": kind if isinstance(kind, str) else "",
                "made": report.made,
                "received": now,
                "body": dict(report.body),
            }
        )
        if kind == "job":
            _note_job(session, said.device, report)
    if rows:
        session.execute(insert(Report), rows)
    for boot, sequence in have.items():
        _raise_water(session, said.device, boot, sequence)
    for slot, found in windows.items():
        row = session.get(Slot, (said.device, slot))
        if found is None or row is None:
            continue
        row.requests, row.errors, row.p50, row.p99 = found.requests, found.errors, found.p50, found.p99
        row.drifted, row.judged = list(found.drifted), found.judged
        row.window_digest, row.window_ended = found.digest, found.ended
    return protocol.Received(have)


def _raise_water(session: Session, device: str, boot: str, sequence: int) -> None:
    row = insert(HighWater).values(device=device, boot=boot, sequence=sequence)
    session.execute(row.on_conflict_do_update(index_elements=["device", "boot"], set_={"sequence": sequence}))


def _note_job(session: Session, device: str, report: protocol.Report) -> None:
    """Reports tell of states that passed between two polls."""
    number, state, detail = (report.body.get(name) for name in ("job", "state", "detail"))
    if not isinstance(number, str) or state not in (*protocol.UNDERWAY, *protocol.ENDED):
        return
    job = session.get(Job, number)
    if job is not None and job.device == device:
        jobs.note(session, number, str(state), detail if isinstance(detail, str) else "", report.made)


def forget(session: Session, before: float, at_most: int) -> int:
    """Drop old reports; returns how many.

    Args:
        session: One that writes.
        before: Those received earlier go.
        at_most: Of the others, so many of the newest stay.
    """
    newest = session.scalar(select(func.max(Report.id))) or 0
    gone = session.execute(delete(Report).where((Report.received < before) | (Report.id <= newest - at_most)))
    return int(getattr(gone, "rowcount", 0))
