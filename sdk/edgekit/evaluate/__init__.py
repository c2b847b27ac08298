"""Metrics, by scikit-learn and numpy; one file per task."""

from edgekit.evaluate.evaluation import Evaluation, evaluate, primary_metric

__all__ = ["Evaluation", "evaluate", "primary_metric"]
