"""Windows of sensor readings (time x channels) or single rows of them, to classes or a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.errors import TrainingError, UsageError
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.losses import classes_figures, classes_loss, numbers_figures, numbers_loss
from edgekit_converters.train.material import TrainMaterial, class_weights
from edgekit_converters.train.networks import build
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.torch_fit import Job, fit, require_lightning, seeded
from edgekit_converters.train.trainer import Trained, Trainer, Watch
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.step import Context

_JITTER, _GAIN = 0.05, 0.1  # of a channel's standard deviation; as a share


class SensorTrainer(Trainer):
    """``--task sensor``."""

    task = "sensor"
    backbones: ClassVar[Mapping[str, str]] = {
        "conv1d": "convolutions over time, for windows",
        "mlp": "dense layers, for single rows",
    }

    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """From scratch; inputs are standardized by the specification, with the training samples' statistics."""
        material.require(self.task, ("tensor",), ("classification", "regression"))
        config.check_options("width", "layers", "dropout")
        if config.weights not in (None, "none"):
            raise UsageError("sensor networks are trained from scratch", "leave --weights out")
        require_lightning()
        seeded(config.seed)
        first = np.asarray(material.train[0].load())
        name = config.backbone or ("mlp" if first.ndim == 1 else "conv1d")
        self._check(name, first)
        numbers = material.target == "regression"
        options: dict[str, Any] = {"channels": first.shape[-1], "outputs": 1 if numbers else len(material.labels)}
        options |= dict(config.options)
        description = {"network": name, "options": options}
        network = build(description)
        figures: Callable[[Any, Any], Mapping[str, float]]
        specification, spread = _specification(material, numbers)
        if numbers:
            labels = np.array([e.label for e in material.train], np.float64)
            scale, offset = float(labels.std()) or 1.0, float(labels.mean())
            network.head.scale.fill_(scale)
            network.head.offset.fill_(offset)
            loss, figures = numbers_loss(scale), numbers_figures
        else:
            weights = class_weights(material.train, len(material.labels)) if config.class_weights else None
            loss, figures = classes_loss(weights), classes_figures

        def stock(examples: Any, vary: bool) -> Stock:
            def make(index: int, random: np.random.Generator | None) -> tuple[Any, Any]:
                raw = np.asarray(examples[index].load(), np.float32)
                if raw.shape != first.shape:
                    raise TrainingError(f"sample {examples[index].id} has shape {raw.shape}, others {first.shape}",
                                        "cut windows of one length")  # fmt: skip
                if random is not None:
                    raw = raw * np.float32(random.uniform(1 - _GAIN, 1 + _GAIN))
                    raw = raw + random.normal(size=raw.shape).astype(np.float32) * np.float32(_JITTER) * spread
                target = examples[index].label or 0
                ready = np.asarray(specification.preprocess(raw, Context()), np.float32)
                return ready, np.float32(target) if numbers else np.int64(target)

            return Stock(examples, make, config.seed, vary)

        # a row's values each mean something of their own; one gain for all of them does not
        vary = config.augment and first.ndim > 1
        return fit(
            Job(network, description, False, stock(material.train, vary), stock(material.validation, False), loss,
                figures, specification), config, run, watch,
        )  # fmt: skip

    def _check(self, name: str, first: np.ndarray) -> None:
        if name not in self.backbones:
            raise UsageError(f"there is no backbone {name!r:.60} for sensors", f"there are {', '.join(self.backbones)}")
        if first.ndim != (1 if name == "mlp" else 2):
            raise UsageError(
                f"samples have shape {first.shape}, which {name} does not take",
                "conv1d takes (time, channels), mlp takes (features,)",
            )


def _specification(material: TrainMaterial, numbers: bool) -> tuple[Specification, np.ndarray]:
    """Standardize each channel, then the answer's steps; and each channel's spread."""
    total: np.ndarray | int = 0
    squares: np.ndarray | int = 0
    count = 0
    for example in material.train:
        rows = np.asarray(example.load(), np.float64)
        rows = rows.reshape(-1, rows.shape[-1])
        total, squares, count = total + rows.sum(0), squares + (rows**2).sum(0), count + len(rows)
    mean = np.asarray(total / count)
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
    spread[spread < 1e-9 * (1 + np.abs(mean))] = 1.0  # a channel that never moves
    normalize = {"step": "normalize", "mean": [float(m) for m in mean], "std": [float(s) for s in spread]}
    answer: tuple[dict[str, Any], ...] = ({"step": "value"},)
    if not numbers:
        answer = ({"step": "softmax"}, {"step": "top_k", "k": min(5, max(len(material.labels), 2))})
    return Specification.from_data(SpecificationData("tensor", (normalize,), answer)), spread.astype(np.float32)


TRAINER = SensorTrainer()
