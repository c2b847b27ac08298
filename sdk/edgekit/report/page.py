"""The page about an export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgekit.report.charts import Bar, bars, reliability
from edgekit.report.content import ReportData, ReportVariant
from edgekit.report.filling import figure, filled, kilobytes, matrix_of, metric_name, milliseconds, write_page


def write_report(path: str | os.PathLike[str], data: ReportData, *, overwrite: bool = False) -> Path:
    """Write the report; it is there whole, or not at all.

    Args:
        path: The ``.html`` file to make.
        data: Its content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        UsageError: The file exists.
        ReportError: It cannot be written (a full disk, for one).
    """
    return write_page(path, render(data), overwrite=overwrite)


def render(data: ReportData) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    return filled("report.html", data=data, **_derived(data))


def _derived(data: ReportData) -> dict[str, Any]:
    """What the template needs beyond the data: names of the metrics, charts, matrices."""
    manifest, chosen = data.manifest, data.chosen
    measured = data.source is not None and bool(data.source.metrics)
    metrics = tuple(data.source.metrics) if data.source is not None else ()
    return {
        "manifest": manifest,
        "chosen": chosen,
        "metrics": metrics,
        "primary": metrics[0] if measured else None,
        "charts": _charts(data),
        "matrices": [
            m
            for m in (
                matrix_of(chosen.variant.name, chosen.evaluation, manifest.labels),
                matrix_of("source", data.source, manifest.labels),
            )
            if m
        ],
        "reliability": reliability(manifest.monitoring.confidence),
        "kept": {v.name for v in manifest.variants},
    }


def _charts(data: ReportData) -> list[dict[str, Any]]:
    def of(variant: ReportVariant, value: float, text: str) -> Bar:
        return Bar(variant.variant.name, value, text, variant is data.chosen)

    charts = [{"title": "Size", "note": "KB of the model file",
               "bars": bars([of(v, v.bytes, kilobytes(v.bytes)) for v in data.variants])}]  # fmt: skip
    timed = [v for v in data.variants if v.latency_ms is not None]
    if timed:
        charts.append({
            "title": "Latency", "note": f"ms, median of one inference, measured here{_on(data.machine)}",
            "bars": bars([of(v, v.latency_ms or 0.0, milliseconds(v.latency_ms)) for v in timed]),
        })  # fmt: skip
    if data.source is not None and data.source.metrics:
        name = next(iter(data.source.metrics))
        rows = [Bar("source", data.source.metrics[name], figure(data.source.metrics[name]))]
        rows += [of(v, v.evaluation.metrics[name], figure(v.evaluation.metrics[name]))
                 for v in data.variants if v.evaluation]  # fmt: skip
        note = f"on {data.source.samples:,} evaluation samples"
        charts.append({"title": metric_name(name), "note": note, "bars": bars(rows, full=1.0)})
    return charts


def _on(machine: str) -> str:
    return f" ({machine})" if machine else ""
