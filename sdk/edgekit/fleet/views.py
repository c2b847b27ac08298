"""What the operator sees, as JSON data."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from edgekit.fleet import jobs
from edgekit.fleet.models import Bundle, Device, Job, JobEvent, Report, Rollout, Slot
from edgekit_runtime.agent.protocol import ENDED, UNDERWAY

_ORDER = (*UNDERWAY, *ENDED)

_ALARMS = 20
_SLACK = 30.0  # seconds by which a poll may be late, beside two that may be lost


def devices(session: Session, poll_seconds: float, now: float, group: str | None = None) -> list[dict[str, Any]]:
    """Every device, or those of a group, with what runs and how it fares."""
    groups = jobs.groups_of(session)
    slots: dict[str, list[dict[str, Any]]] = {}
    for row in session.scalars(select(Slot).order_by(Slot.device, Slot.slot)):
        slots.setdefault(row.device, []).append(_slot(row))
    underway = {
        job.device: {"job": job.id, "state": job.state, "progress": job.progress, "detail": job.detail}
        for job in session.scalars(select(Job).where(Job.state.in_(UNDERWAY)).order_by(Job.rollout.desc()))
    }
    return [
        {
            "device": d.name,
            "groups": groups.get(d.name, []),
            "online": now - d.last_seen <= 3 * poll_seconds + _SLACK,
            "seen_seconds_ago": round(max(now - d.last_seen, 0.0), 1),
            "clock_offset": d.clock_offset,
            "facts": d.facts,
            "health": d.health,
            "dropped": d.dropped,
            "slots": slots.get(d.name, []),
            "job": underway.get(d.name),
        }
        for d in session.scalars(select(Device).order_by(Device.name))
        if group is None or group in groups.get(d.name, [])
    ]


def status(session: Session, poll_seconds: float, now: float) -> dict[str, Any]:
    """The fleet at a glance."""
    known = devices(session, poll_seconds, now)
    bundles: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for device in known:
        for slot in device["slots"]:
            bundles.setdefault((slot["slot"], slot["digest"]), []).append(slot)
    states = session.execute(select(Job.state, func.count()).group_by(Job.state).where(Job.state.in_(UNDERWAY)))
    alarms = session.scalars(select(Report).where(Report.kind == "alarm").order_by(Report.id.desc()).limit(_ALARMS))
    return {
        "devices": len(known),
        "online": sum(d["online"] for d in known),
        "throttled": sum(bool(d["health"].get("throttled")) for d in known),
        "hottest": max((d["health"]["temperature"] for d in known if d["health"].get("temperature")), default=None),
        "bundles": [_fares(slot, digest, rows) for (slot, digest), rows in sorted(bundles.items())],
        "jobs": {row[0]: row[1] for row in states},
        "alarms": [
            {
                "device": a.device,
                "slot": str(a.body.get("slot", "")),
                "sentence": str(a.body.get("sentence", "")),
                "seconds_ago": round(max(now - a.received, 0.0), 1),
            }
            for a in alarms
        ],
    }


def rollouts(session: Session) -> list[dict[str, Any]]:
    """Every rollout, newest first."""
    counts: dict[int, Counter[str]] = {}
    for number, state, count in session.execute(
        select(Job.rollout, Job.state, func.count()).group_by(Job.rollout, Job.state)
    ):
        counts.setdefault(number, Counter())[state] = count
    found = session.scalars(select(Rollout).order_by(Rollout.id.desc()))
    return [_rollout(row, dict(counts.get(row.id, {}))) for row in found]


def rollout(session: Session, row: Rollout) -> dict[str, Any]:
    """One rollout with its jobs and how they went."""
    found = jobs.of_rollout(session, row.id)
    events: dict[str, list[dict[str, Any]]] = {}
    chosen = select(JobEvent).join(Job, Job.id == JobEvent.job).where(Job.rollout == row.id)
    # not by time: a poll's is the server's and a report's the device's, and the two need not agree
    for event in sorted(session.scalars(chosen), key=lambda e: _ORDER.index(e.state)):
        events.setdefault(event.job, []).append({"state": event.state, "at": event.at, "detail": event.detail})
    return {
        **_rollout(row, dict(Counter(job.state for job in found))),
        "settings": row.settings,
        "devices": [
            {
                "job": job.id,
                "device": job.device,
                "state": job.state,
                "canceling": job.canceling,
                "delivered": job.delivered is not None,
                "progress": job.progress,
                "digest": job.digest,
                "before": job.before,
                "detail": job.detail,
                "events": events.get(job.id, []),
            }
            for job in found
        ],
    }


def bundle(row: Bundle) -> dict[str, Any]:
    """A bundle that the server has."""
    key = None if row.signature is None else row.signature.get("key")
    return {"digest": row.digest, "name": row.name, "target": row.target, "bytes": row.size, "key": key}


def _rollout(row: Rollout, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "rollout": row.id,
        "slot": row.slot,
        "digest": row.digest,
        "group": row.group,
        "state": row.state,
        "reason": row.reason,
        "undo_of": row.undo_of,
        "created": row.created,
        "jobs": counts,
    }


def _slot(row: Slot) -> dict[str, Any]:
    fresh = row.window_digest == row.digest  # figures of the bundle before say nothing of this one
    figures = ("requests", "errors", "p50", "p99")
    return {
        "slot": row.slot,
        "digest": row.digest,
        "previous": row.previous,
        "variant": row.variant,
        "ready": row.ready,
        "degraded": row.degraded,
        **{name: getattr(row, name) if fresh else None for name in figures},
        "drifted": row.drifted if fresh and row.judged else None,
        "window_ended": row.window_ended if fresh else None,
    }


def _fares(slot: str, digest: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    def known(name: str) -> list[Any]:
        return [row[name] for row in rows if row[name] is not None]

    return {
        "slot": slot,
        "digest": digest,
        "devices": len(rows),
        "ready": sum(row["ready"] for row in rows),
        "degraded": sum(bool(row["degraded"]) for row in rows),
        "requests": sum(known("requests")),
        "errors": sum(known("errors")),
        "slowest_p99": max(known("p99"), default=None),
        "drifted": sum(bool(names) for names in known("drifted")),
        "judged": len(known("drifted")),
    }


__all__ = ["bundle", "devices", "rollout", "rollouts", "status"]
