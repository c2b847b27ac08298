"""What a task's trainer is, what it hears from and what it leaves behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.material import TrainMaterial


class Watch:
    """Hears how training goes; this one keeps silent and lets it run."""

    def epoch(self, number: int, of: int, metrics: Mapping[str, float]) -> bool:
        """An epoch is done and will survive an interruption.

        Args:
            number: Which, from 1; a resumed run begins where it was interrupted.
            of: How many there will be at most.
            metrics: Figures of this epoch, as ``{"loss": …, "val_loss": …, "val_accuracy": …}``.

        Returns:
            Whether to go on; False ends training as early stopping does, and the best epoch so far is kept.
        """
        return True

    def say(self, remark: str) -> None:
        """One remark for the user."""


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        model: What `edgekit export` takes, inside the run folder.
        specification: Pre- and post-processing it was trained with, as the manifest's plain data; empty where export
            makes it from the model, as for trees.
        metrics: Figures of the best epoch on the validation samples.
        best_epoch: Which epoch was kept, from 1.
        tools: Package name to version of what trained it.
    """

    model: Path
    specification: Mapping[str, Any]
    metrics: Mapping[str, float]
    best_epoch: int
    tools: Mapping[str, str] = field(default_factory=dict)


class Trainer(ABC):
    """One task.

    Attributes:
        task: Its name on the command line.
        defaults: Settings of `TrainConfig` whose general default does not suit it.
        backbones: Names that its `TrainConfig.backbone` may have, the default first, with a word on each.
    """

    task: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    backbones: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """Train, or go on with what an interrupted call left in the run folder.

        Args:
            config: Settings.
            material: Examples.
            run: Folder of this run; checkpoints and the model go there.
            watch: Hears of every epoch.

        Raises:
            UsageError: A setting that this task does not have.
            TrainingError: Examples that cannot be learnt from, or a loss that is not finite.
            MissingRequirement: A package or a file of weights is not there; the hint says how to get it.
        """
