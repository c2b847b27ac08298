"""Prometheus' text exposition format, version 0.0.4, written without a client library."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from edgekit_runtime.monitor.device import Health
from edgekit_runtime.monitor.distance import Drift
from edgekit_runtime.monitor.histogram import Histogram
from edgekit_runtime.monitor.window import Window

if TYPE_CHECKING:
    from edgekit_runtime.monitor.outbox import Outbox

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_BUCKETS = range(-14, 5)  # 61 us to 16 s, each twice the one before: these are ends of the histogram's own buckets


@dataclass
class Family:
    """One metric with all of its samples.

    Attributes:
        name: As Prometheus names it.
        kind: ``counter``, ``gauge`` or ``histogram``.
        about: What it counts and in which unit.
        samples: ``(suffix, labels, value)`` of each.
    """

    name: str
    kind: str
    about: str
    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)

    def add(self, value: Optional[float], labels: Mapping[str, str], suffix: str = "") -> Family:
        """Add a sample; None adds nothing."""
        if value is not None:
            self.samples.append((suffix, dict(labels), value))
        return self


def exposition(families: Iterable[Family]) -> str:
    """The page that Prometheus scrapes; families of one name are put together, empty ones left out.

    Raises:
        ValueError: A metric or label name is not one that Prometheus takes, or one name has two kinds.
    """
    merged: dict[str, Family] = {}
    for family in families:
        if not _NAME.fullmatch(family.name):
            raise ValueError(f"{family.name!r:.60} is not a metric name")
        known = merged.setdefault(family.name, Family(family.name, family.kind, family.about))
        if known.kind != family.kind:
            raise ValueError(f"metric {family.name} is a {known.kind} and a {family.kind}")
        known.samples += family.samples
    lines = []
    for family in merged.values():
        if family.samples:
            about = family.about.replace("\\", r"\\").replace("\n", r"\n")
            lines += [f"# HELP {family.name} {about}", f"# TYPE {family.name} {family.kind}"]
            lines += [
                f"{family.name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in family.samples
            ]
    return "\n".join([*lines, ""])


def of_model(
    totals: Window, labels: Mapping[str, str], drift: Optional[Mapping[str, Mapping[str, Drift]]] = None
) -> list[Family]:
    """A model's calls since its monitor was made, and the drift of its last closed window.

    Args:
        totals: `Monitor.current`'s first.
        labels: What tells this model from others: ``model``, ``digest``, …
        drift: `Monitor.drift` of the last closed window.
    """
    classes = Family("edgekit_answers_total", "counter", "Answers by best class.")
    for name, count in totals.classes.counts.items():
        classes.add(count, {**labels, "class": name})
    nulls = Family("edgekit_missing_total", "counter", "Missing values by feature.")
    outside = Family("edgekit_out_of_range_total", "counter", "Values outside the reference's range by feature.")
    unseen = Family("edgekit_unseen_total", "counter", "Values that are no number, or of no known category.")
    for side, sketches in (("input", totals.inputs), ("output", totals.outputs)):
        for name, sketch in sketches.items():
            where = {**labels, "side": side, "feature": name}
            nulls.add(sketch.nulls, where)
            outside.add(sketch.under + sketch.over, where)
            unseen.add(sketch.unseen, where)
    for name, counts in totals.categories.items():
        where = {**labels, "side": "input", "feature": name}
        nulls.add(counts.nulls, where)
        unseen.add(counts.unseen, where)
    found = totals.confidence.estimate()
    estimate = Family(
        "edgekit_estimated_accuracy", "gauge", "Accuracy expected from confidences, without labels (CBPE)."
    )
    if found is not None:
        estimate.add(found.accuracy, labels)
    return [
        Family("edgekit_requests_total", "counter", "Calls of the model.").add(totals.requests, labels),
        Family("edgekit_errors_total", "counter", "Calls that gave no answer.").add(totals.errors, labels),
        Family("edgekit_unfit_answers_total", "counter", "Answers without the reference's scores.").add(
            totals.unfit, labels
        ),
        _latency(totals.latency, labels),
        classes,
        nulls,
        outside,
        unseen,
        estimate,
        *_drift(drift or {}, labels),
    ]


def of_device(health: Health, labels: Mapping[str, str]) -> list[Family]:
    """The device's health; what it does not have is not there, and counted in ``edgekit_device_absent``."""
    temperatures = Family("edgekit_device_temperature_celsius", "gauge", "Temperature by zone.")
    for zone, value in health.temperatures.items():
        temperatures.add(value, {**labels, "zone": zone})
    flags = Family("edgekit_device_throttling", "gauge", "1 where the throttling flag is set.")
    for flag, up in health.flags.items():
        flags.add(up, {**labels, "flag": flag})
    absent = Family("edgekit_device_absent", "gauge", "1 for what cannot be read on this device.")
    for what in health.absent:
        absent.add(1, {**labels, "what": what})
    gauges = (
        ("uptime_seconds", "Seconds since boot.", health.uptime),
        ("cpu_busy_ratio", "Busy share of processor time.", health.cpu),
        ("gpu_busy_ratio", "Busy share of the GPU.", health.gpu),
        ("load1", "Load average over one minute.", health.load),
        ("memory_bytes", "RAM.", health.memory_total),
        ("memory_available_bytes", "RAM that programs can still get.", health.memory_available),
        ("disk_bytes", "Size of the file system.", health.disk_total),
        ("disk_free_bytes", "Free space of the file system.", health.disk_free),
    )
    return [
        *(Family(f"edgekit_device_{name}", "gauge", about).add(value, labels) for name, about, value in gauges),
        temperatures,
        flags,
        absent,
    ]


def of_outbox(outbox: Outbox, labels: Mapping[str, str]) -> list[Family]:
    """What waits in the outbox, what was dropped, and whether it can be written."""
    waiting = Family("edgekit_outbox_waiting", "gauge", "Messages that were not acknowledged yet.")
    dropped = Family("edgekit_outbox_dropped_total", "counter", "Messages dropped since the file was made.")
    for name, count in outbox.waiting().items():
        waiting.add(count, {**labels, "priority": name})
    for name, count in outbox.dropped().items():
        dropped.add(count, {**labels, "priority": name})
    broken = Family("edgekit_outbox_broken", "gauge", "1 while messages cannot be kept.").add(
        bool(outbox.problem), labels
    )
    return [waiting, dropped, broken]


def _latency(latency: Histogram, labels: Mapping[str, str]) -> Family:
    family = Family("edgekit_latency_seconds", "histogram", "Duration of calls that gave an answer.")
    for power in _BUCKETS:
        family.add(latency.at_most(power), {**labels, "le": repr(2.0**power)}, "_bucket")
    family.add(latency.count, {**labels, "le": "+Inf"}, "_bucket")
    return family.add(latency.total, labels, "_sum").add(latency.count, labels, "_count")


def _drift(drift: Mapping[str, Mapping[str, Drift]], labels: Mapping[str, str]) -> list[Family]:
    distance = Family("edgekit_drift", "gauge", "Distance of the last closed window from the reference.")
    limit = Family("edgekit_drift_limit", "gauge", "What the distance stays under without drift.")
    for side, features in drift.items():
        for feature, found in features.items():
            for statistic in ("psi", "ks", "js"):
                where = {**labels, "side": side.rstrip("s"), "feature": feature, "statistic": statistic}
                distance.add(getattr(found.distances, statistic), where)
                limit.add(getattr(found.limits, statistic), where)
    return [distance, limit]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    for name in labels:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r:.60} is not a label name")
    return "{" + ",".join(f'{n}="{_escaped(v)}"' for n, v in labels.items()) + "}"


def _escaped(value: str) -> str:
    # a lone surrogate (an undecodable file name) cannot be sent as UTF-8
    text = value.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN alone differs
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
