"""Losses and validation figures of networks that give one row of scores, or one number, a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def classes_loss(weights: Sequence[float] | None) -> Callable[[Any, Any], Any]:
    """Cross entropy of scores before softmax, (batch, classes), and class indices.

    Args:
        weights: One for each class, or None.
    """
    import torch

    table = None if weights is None else torch.tensor(weights, dtype=torch.float32)

    def loss(scores: Any, targets: Any) -> Any:
        by_sample = torch.nn.functional.cross_entropy(scores, targets, reduction="none")
        # weighted, but not divided by the weights' sum: batches without rare classes must not count for more
        return (by_sample if table is None else by_sample * table.to(scores.device)[targets]).mean()

    return loss


def classes_figures(scores: Any, targets: Any) -> Mapping[str, float]:
    """Accuracy."""
    return {"accuracy": float((scores.argmax(1) == targets).float().mean())}


def numbers_loss(scale: float) -> Callable[[Any, Any], Any]:
    """Mean squared error in units of `scale`, (batch, 1) against (batch,)."""

    def loss(values: Any, targets: Any) -> Any:
        return (((values[:, 0] - targets) / scale) ** 2).mean()

    return loss


def numbers_figures(values: Any, targets: Any) -> Mapping[str, float]:
    """Mean absolute error, in the unit of the labels."""
    return {"mae": float((values[:, 0] - targets).abs().mean())}
