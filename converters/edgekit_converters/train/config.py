"""Training settings as plain data, replayable; what they mean to a task is the task's trainer's business."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekit_converters.errors import UsageError

FROM_SCRATCH = "none"
"""What `TrainConfig.weights` says for a backbone with fresh random weights."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        task: A name of `registry.tasks()`: ``image``, ``audio``, ``sensor``, ``detection``, ``text``, ``table``.
        backbone: Name in the task's table of backbones; empty for the task's first.
        framework: ``keras`` or ``torch``, for backbones that there are in both; None for the backbone's own.
        epochs: Passes over the training samples once every layer is trained.
        head_epochs: Passes before that, in which a pre-trained backbone is frozen and only its new head is trained.
        batch: Samples a step.
        rate: Learning rate of the head, and of everything where nothing is pre-trained.
        fine_rate: Peak learning rate of everything once a pre-trained backbone is thawed.
        seed: Of every random choice: initial weights, order, augmentation.
        patience: Epochs without a better validation figure after which training stops; 0 for never.
        augment: Whether training samples are varied at random.
        class_weights: Whether rare classes weigh more in the loss, in inverse proportion to their share.
        weights: A local file or folder of pre-trained weights, ``imagenet`` for the library's own download, ``none``
            for fresh ones; None for what the backbone has by default.
        devices: Processors or GPUs of a machine, as Lightning takes it.
        nodes: Machines, as Lightning takes it.
        options: What only one task knows, as ``{"size": 128}``.
    """

    task: str
    backbone: str = ""
    framework: str | None = None
    epochs: int = 20
    head_epochs: int = 5
    batch: int = 32
    rate: float = 1e-3
    fine_rate: float = 3e-4
    seed: int = 0
    patience: int = 5
    augment: bool = True
    class_weights: bool = True
    weights: str | None = None
    devices: int | str = "auto"
    nodes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.framework not in (None, "keras", "torch"):
            raise UsageError(f"--framework {self.framework!r} is neither keras nor torch", "leave it out")
        for name, least in (("epochs", 1), ("head_epochs", 0), ("batch", 1), ("patience", 0), ("nodes", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name.replace('_', '-')} must be at least {least}", "leave it out")
        for name in ("rate", "fine_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} must be more than 0", "leave it out")
        if not 0 <= self.seed < 2**32:
            raise UsageError("--seed must be 0 to 4294967295", "leave it out for 0")

    def option(self, name: str, default: Any) -> Any:
        """An option of the task, of the default's type.

        Raises:
            UsageError: It is of another type.
        """
        value = self.options.get(name, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if default is not None and type(value) is not type(default):
            raise UsageError(f"option {name}={value!r:.60} is not like {default!r}", "leave it out")
        return value

    def check_options(self, *known: str) -> None:
        """Refuse options that the task does not know: a misspelt one must not be a default.

        Raises:
            UsageError: There is one.
        """
        unknown = next((name for name in self.options if name not in known), None)
        if unknown is not None:
            raise UsageError(
                f"training for {self.task} has no option {unknown!r:.60}", f"it has {', '.join(known) or 'none'}"
            )
