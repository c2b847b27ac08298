"""Picture classification: the framework is the backbone's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from edgekit_converters.train.backbones import BACKBONES, backbone
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.material import TrainMaterial
from edgekit_converters.train.trainer import Trained, Trainer, Watch

_FRAMEWORKS = {
    "keras": "edgekit_converters.train.vision_keras",
    "torch": "edgekit_converters.train.vision_torch",
}
OPTIONS = ("size", "fit", "dropout", "layer", "preset", "least", "light", "flip")


class VisionTrainer(Trainer):
    """``--task image``."""

    task = "image"
    backbones: ClassVar[Mapping[str, str]] = {name: b.words for name, b in BACKBONES.items()}

    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """Head first, then everything at a low rate."""
        material.require(self.task, ("image",), ("classification",))
        config.check_options(*OPTIONS)
        name = config.backbone or _default(config.framework)
        module = importlib.import_module(_FRAMEWORKS[backbone(name, config.framework).framework])
        trained: Trained = module.fit(replace(config, backbone=name), material, run, watch)
        return trained


def _default(framework: str | None) -> str:
    return next(name for name, b in BACKBONES.items() if framework in (None, b.framework))


TRAINER = VisionTrainer()
