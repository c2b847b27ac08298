"""The page itself: a template, filled with autoescaping, written in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgekit.errors import ReportError
from edgekit.evaluate import Evaluation
from edgekit.report.charts import FULL, LABEL, ROW, WIDTH, Bar, bars, reliability
from edgekit.report.confusion import confused, per_class
from edgekit.report.content import ReportData, ReportVariant
from edgekit.report.pareto import BOTTOM, HEIGHT, LEFT, RIGHT, TOP
from edgekit.report.pareto import WIDTH as PLOT
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import UsageError

_MATRIX_CLASSES = 30  # a larger matrix is unreadable; the most confused pairs are listed instead
_CLASS_ROWS = 30

METRIC_NAMES = {
    "accuracy": "Accuracy", "top5": "Top-5", "f1": "F1", "precision": "Precision", "recall": "Recall", "auc": "AUC-ROC",
    "average_precision": "Average precision", "calibration_error": "Calibration error",
    "r2": "R²", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE",
    "agreement": "Agreement with the source", "agreement50": "Agreement at IoU 0.5", "sqnr_db": "SQNR in dB",
    "map": "mAP", "map50": "mAP50", "map75": "mAP75", "mar": "AR",
}  # fmt: skip


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
    return written(path, render(data), overwrite=overwrite)


def written(path: str | os.PathLike[str], page: str, *, overwrite: bool) -> Path:
    """Write a page; see `write_report`."""
    place = Path(path)
    if place.exists() and not overwrite:
        raise UsageError(f"{place} exists already", "give --overwrite or another name")
    try:
        with replacing(place) as out:
            out.write(page.encode())
    except OSError as error:
        raise ReportError(f"cannot write report {place}: {error.strerror or error}") from error
    return place


def render(data: ReportData) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    return filled("report.html", data=data, **_derived(data))


def filled(template: str, **content: Any) -> str:
    """A page of ours with its content, and the style that all have; everything that comes from outside is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgekit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # macros see no variables of the template, only these
    environment.globals["sizes"] = {"width": WIDTH, "label": LABEL, "full": FULL, "row": ROW}
    environment.globals["plane"] = {
        "width": PLOT, "height": HEIGHT, "left": LEFT, "right": PLOT - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
    }  # fmt: skip
    environment.filters |= {
        "kb": _kilobytes,
        "figure": _figure,
        "share": _share,
        "milliseconds": _milliseconds,
        "metric": _metric,
        "plain": _plain,
    }
    style = files("edgekit.report").joinpath("templates/report.css").read_text("utf-8")
    return environment.get_template(template).render(style=style, **content)


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
            for m in (_matrix(data, chosen.variant.name, chosen.evaluation), _matrix(data, "source", data.source))
            if m
        ],
        "reliability": reliability(manifest.monitoring.confidence),
        "kept": {v.name for v in manifest.variants},
    }


def _charts(data: ReportData) -> list[dict[str, Any]]:
    def of(variant: ReportVariant, value: float, text: str) -> Bar:
        return Bar(variant.variant.name, value, text, variant is data.chosen)

    charts = [{"title": "Size", "note": "KB of the model file",
               "bars": bars([of(v, v.bytes, _kilobytes(v.bytes)) for v in data.variants])}]  # fmt: skip
    timed = [v for v in data.variants if v.latency_ms is not None]
    if timed:
        charts.append({
            "title": "Latency", "note": f"ms, median of one inference, measured here{_on(data.machine)}",
            "bars": bars([of(v, v.latency_ms or 0.0, _milliseconds(v.latency_ms)) for v in timed]),
        })  # fmt: skip
    if data.source is not None and data.source.metrics:
        name = next(iter(data.source.metrics))
        rows = [Bar("source", data.source.metrics[name], _figure(data.source.metrics[name]))]
        rows += [of(v, v.evaluation.metrics[name], _figure(v.evaluation.metrics[name]))
                 for v in data.variants if v.evaluation]  # fmt: skip
        note = f"on {data.source.samples:,} evaluation samples"
        charts.append({"title": _metric(name), "note": note, "bars": bars(rows, full=1.0)})
    return charts


def _on(machine: str) -> str:
    return f" ({machine})" if machine else ""


def _matrix(data: ReportData, name: str, evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None or not evaluation.confusion:
        return None
    labels = data.manifest.labels
    classes = per_class(evaluation.confusion, labels)
    if len(classes) > _CLASS_ROWS:
        classes = tuple(sorted((c for c in classes if c.samples), key=lambda c: c.recall or 0.0)[:_CLASS_ROWS])
    return {
        "name": name,
        "rows": evaluation.confusion if len(labels) <= _MATRIX_CLASSES else (),
        "labels": labels,
        "classes": classes,
        "worst_only": len(labels) > _CLASS_ROWS,
        "pairs": confused(evaluation.confusion, labels),
    }


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f}"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def _milliseconds(value: float | None) -> str:
    """Three significant digits: a microsecond matters to a tiny network, not to a large one."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _metric(name: str) -> str:
    return METRIC_NAMES.get(name, name)


def _plain(value: Any) -> str:
    """A setting as one short line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
