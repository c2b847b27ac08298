"""Templates filled with autoescaping, written in one step, and how figures look in them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgekit.errors import ReportError
from edgekit.evaluate import Evaluation
from edgekit.report.charts import FULL, LABEL, ROW, WIDTH
from edgekit.report.confusion import confused, per_class
from edgekit.report.pareto import BOTTOM, HEIGHT, LEFT, RIGHT, TOP
from edgekit.report.pareto import WIDTH as PLOT
from edgekit_runtime.atomic import replacing
from edgekit_runtime.errors import UsageError

_MATRIX_CLASSES = 30  # a larger matrix is unreadable; the most confused pairs are listed instead
_CLASS_ROWS = 30

METRIC_NAMES = {
    "accuracy": "Accuracy", "top5": "Top-5", "f1": "F1", "f1_micro": "F1 (micro)", "precision": "Precision",
    "recall": "Recall", "auc": "AUC-ROC", "average_precision": "Average precision",
    "calibration_error": "Calibration error",
    "agreement": "Agreement with the source", "agreement50": "Agreement at IoU 0.5", "sqnr_db": "SQNR in dB",
    "r2": "R²", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE",
    "map": "mAP", "map50": "mAP50", "map75": "mAP75", "mar": "AR",
    "silhouette": "Silhouette", "davies_bouldin": "Davies-Bouldin", "clusters": "Groups",
    "adjusted_rand": "Adjusted Rand",
}  # fmt: skip


def check_free(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse before any work what `write_page` would refuse after it.

    Raises:
        UsageError: The file exists.
    """
    if Path(path).exists() and not overwrite:
        raise UsageError(f"{path} exists already", "give --overwrite or another name")


def write_page(path: str | os.PathLike[str], page: str, *, overwrite: bool = False) -> Path:
    """Write a page; it is there whole, or not at all.

    Raises:
        UsageError: The file exists.
        ReportError: It cannot be written (a full disk, for one).
    """
    place = Path(path)
    check_free(place, overwrite=overwrite)
    try:
        with replacing(place) as out:
            out.write(page.encode())
    except OSError as error:
        raise ReportError(f"cannot write report {place}: {error.strerror or error}") from error
    return place


def filled(template: str, **values: Any) -> str:
    """A template as a page; everything that comes from outside is escaped."""
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
        "kb": kilobytes,
        "figure": figure,
        "share": share,
        "milliseconds": milliseconds,
        "metric": metric_name,
        "plain": plain,
    }
    style = files("edgekit.report").joinpath("templates/report.css").read_text("utf-8")
    return environment.get_template(template).render(style=style, **values)


def matrix_of(name: str, evaluation: Evaluation | None, labels: Sequence[str]) -> dict[str, Any] | None:
    """A confusion matrix for the templates' macros; None where there is none."""
    if evaluation is None or not evaluation.confusion:
        return None
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


def kilobytes(size: int) -> str:
    """Bytes as KB of 1,000."""
    return f"{size / 1000:,.1f}"


def figure(value: float | None) -> str:
    """Four decimals, or powers of ten for what is very small or large."""
    if value is None:
        return "–"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def milliseconds(value: float | None) -> str:
    """Three significant digits: a microsecond matters to a tiny network, not to a large one."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """In percent."""
    return "–" if value is None else f"{value:.1%}"


def metric_name(name: str) -> str:
    """As people write it."""
    return METRIC_NAMES.get(name, name)


def plain(value: Any) -> str:
    """A setting as one short line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(plain, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
