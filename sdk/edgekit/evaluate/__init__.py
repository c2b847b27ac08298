"""Metrics, one file per task, and what chance may do to them."""

from edgekit.evaluate.bundles import measure_bundle
from edgekit.evaluate.evaluation import Evaluation, evaluate, measured_by_answers, primary_metric
from edgekit.evaluate.intervals import Interval, bootstrap, interval_of, metric_interval
from edgekit.evaluate.paired import Comparison, compare
from edgekit.evaluate.slices import Slice, slices

__all__ = [
    "Comparison",
    "Evaluation",
    "Interval",
    "Slice",
    "bootstrap",
    "compare",
    "evaluate",
    "interval_of",
    "measure_bundle",
    "measured_by_answers",
    "metric_interval",
    "primary_metric",
    "slices",
]
