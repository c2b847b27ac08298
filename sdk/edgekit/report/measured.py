"""The page about an evaluation: figures with their intervals, classes, slices, confusion, what went worst."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import edgekit
from edgekit.evaluate import Interval, Slice, primary_metric
from edgekit.evaluate.bundles import Measured
from edgekit.evaluate.reference import confidence_table
from edgekit.report.charts import reliability
from edgekit.report.examples import worst
from edgekit.report.filling import filled, matrix_of, write_page


@dataclass(frozen=True)
class EvaluationReport:
    """Everything on the page.

    Attributes:
        measured: What was measured on what.
        bundle: File name of the bundle.
        data: The data set, as the user named it.
        split: Which part of it.
        interval: Of the primary metric, None where it has none.
        by: Column that the slices are of, empty for none.
        slices: The parts, worst first.
    """

    measured: Measured
    bundle: str
    data: str
    split: str
    interval: Interval | None
    by: str = ""
    slices: Sequence[Slice] = ()


def write_evaluation(path: str | os.PathLike[str], data: EvaluationReport, *, overwrite: bool = False) -> Path:
    """Write the page; it is there whole, or not at all.

    Raises:
        UsageError: The file exists.
        ReportError: It cannot be written.
        EdgekitError: A sample that is shown cannot be read.
    """
    return write_page(path, render_evaluation(data), overwrite=overwrite)


def render_evaluation(data: EvaluationReport) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    measured = data.measured
    found, labels = measured.evaluation, measured.dataset.labels
    table = confidence_table(found.class_scores, found.targets) if found.confusion else ()
    return filled(
        "evaluation.html",
        data=data,
        manifest=measured.manifest,
        found=found,
        primary=primary_metric(measured.task)[0],
        matrix_=matrix_of(measured.variant.split(" ")[0], (found.confusion and found) or None, labels),
        objects=[(name, n, ap) for name, (n, ap) in found.classes.items() if n],
        reliability=reliability(table),
        examples=worst(measured),
        version=edgekit.__version__,
    )
