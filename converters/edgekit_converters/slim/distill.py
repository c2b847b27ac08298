"""Distillation: any teacher to any PyTorch student, by logits and, where wanted, by features.

Soft loss: Kullback-Leibler divergence of the two at a temperature T, times T² (Hinton, Vinyals, Dean 2015,
arXiv:1503.02531). Feature loss: mean squared error, the student's features brought to the teacher's width by a linear
projection that is thrown away afterwards (Romero et al. 2015, arXiv:1412.6550).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekit_converters.errors import MissingRequirement
from edgekit_converters.slim.settings import FineTune
from edgekit_converters.source import Source

Batches = Iterable[tuple[tuple[Any, ...], Any]]
"""(inputs, labels) again and again, an epoch each time it is run through; labels may be None where `hard` is 0."""
Teacher = Callable[..., Any]
"""Called with a batch's inputs; gives logits."""


@dataclass(frozen=True)
class DistillSettings:
    """How to distil.

    Attributes:
        epochs: Times through the batches.
        rate: Highest learning rate (AdamW), warmed up and brought down by one cycle where the batches have a length.
        weight_decay: Of AdamW.
        temperature: Of the soft loss.
        soft: Weight of the soft loss.
        hard: Weight of the loss on the labels.
        features: Weight of the feature loss.
        regression: Whether outputs are values, not scores of classes: both losses are mean squared errors then.
        seed: For what is random inside: dropout, projections. The order of the batches is their own.
    """

    epochs: int = 5
    rate: float = 1e-3
    weight_decay: float = 1e-2
    temperature: float = 4.0
    soft: float = 0.7
    hard: float = 0.3
    features: float = 1.0
    regression: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.rate <= 0 or self.temperature <= 0:
            raise ValueError("epochs must be at least 1, rate and temperature above 0")
        if min(self.soft, self.hard, self.features) < 0 or self.soft + self.hard <= 0:
            raise ValueError("weights of losses must not be negative, and soft and hard not both 0")


@dataclass(frozen=True)
class DistillResult:
    """How it went.

    Attributes:
        losses: Mean loss of each epoch.
        soft: Mean soft loss of the last epoch, unweighted.
        hard: Mean loss on the labels of the last epoch, unweighted.
        features: Mean feature loss of the last epoch, unweighted.
    """

    losses: tuple[float, ...]
    soft: float
    hard: float
    features: float


def distill(
    student: Any,
    teacher: Teacher | None,
    batches: Batches,
    *,
    settings: DistillSettings | None = None,
    layers: Sequence[tuple[str, str]] = (),
) -> DistillResult:
    """Train a student in place, by Lightning.

    Args:
        student: ``torch.nn.Module`` that gives logits.
        teacher: What it learns from: a ``torch.nn.Module``, `teacher_of` a source, or any callable; None for the labels
            alone.
        batches: What to learn on.
        settings: How.
        layers: Pairs of (layer of the student, layer of the teacher) whose outputs are brought together; needs a
            teacher that is a ``torch.nn.Module``.

    Raises:
        ConversionError: The loss is no longer finite; names the batch.
        UsageError: A layer does not exist, labels are missing, or shapes of logits differ; names it.
        MissingRequirement: Lightning is not installed.
    """
    try:
        from edgekit_converters.slim.lesson import teach
    except ImportError as error:
        raise MissingRequirement(f"{error.name} is not installed", 'pip install "edgekit[train]"') from error
    return teach(student, teacher, batches, settings or DistillSettings(), tuple(layers))


def fine_tuner(batches: Batches, teacher: Teacher | None = None, settings: DistillSettings | None = None) -> FineTune:
    """The `fine_tune` of pruning and of QAT: by a teacher, as the network before it, or by the labels alone."""

    def tune(network: Any, epochs: int) -> None:
        distill(network, teacher, batches, settings=replace(settings or DistillSettings(), epochs=epochs))

    return tune


def teacher_of(source: Source) -> Teacher:
    """A loaded model of any framework as a teacher: its first output, without gradients.

    What it gives must be logits, or values where `regression` is set; of a softmax take the logarithm.
    """
    import numpy as np
    import torch

    def teach(*inputs: Any) -> Any:
        arrays = {i.name: t.detach().cpu().numpy() for i, t in zip(source.inputs, inputs, strict=True)}
        if source.inputs[0].shape[0] in (-1, len(inputs[0])):
            rows = [source.run(arrays)]
        else:  # it takes one at a time
            rows = [source.run({n: a[k : k + 1] for n, a in arrays.items()}) for k in range(len(inputs[0]))]
        name = source.outputs[0].name
        return torch.from_numpy(np.concatenate([row[name] for row in rows]))

    return teach
