"""Keywords: sound to log-mel pictures by the specification, to classes by a depthwise separable network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.errors import UsageError
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.losses import classes_figures, classes_loss
from edgekit_converters.train.material import TrainMaterial, class_weights
from edgekit_converters.train.networks import build
from edgekit_converters.train.pictures import Decoded
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.torch_fit import Job, fit, require_lightning, seeded
from edgekit_converters.train.trainer import Trained, Trainer, Watch
from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.audio import read_wav
from edgekit_runtime.specification.step import Context

_LOOKED_AT = 200  # sounds that tell the spread of the features
_FRAME, _HOP = 0.030, 0.020  # seconds, as in "Hello Edge"


@dataclass(frozen=True)
class Changes:
    """How a sound may differ from itself and still say the same.

    Attributes:
        shift: Largest shift in time, in samples.
        gain: Largest change of loudness, as a factor.
        noise: Largest standard deviation of white noise that is added, as a share of the sound's own.
    """

    shift: int
    gain: float = 2.0
    noise: float = 0.1

    def __call__(self, sound: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A waveform, varied."""
        moved = int(random.integers(-self.shift, self.shift + 1))
        sound = np.concatenate([np.zeros(moved, np.float32), sound]) if moved > 0 else sound[-moved:]
        loud = np.exp(random.uniform(-np.log(self.gain), np.log(self.gain)))
        rustle = random.normal(size=sound.shape) * sound.std() * random.uniform(0, self.noise)
        return np.asarray(((sound + rustle) * loud).clip(-1, 1), np.float32)


class AudioTrainer(Trainer):
    """``--task audio``."""

    task = "audio"
    backbones: ClassVar[Mapping[str, str]] = {"ds_cnn": "depthwise separable convolutions, 23 K parameters"}

    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """From scratch."""
        material.require(self.task, ("audio",), ("classification",))
        config.check_options("rate", "seconds", "bins", "channels", "blocks", "dropout")
        if config.weights not in (None, "none"):
            raise UsageError("keyword networks are trained from scratch", "leave --weights out")
        name = config.backbone or "ds_cnn"
        if name not in self.backbones:
            raise UsageError(f"there is no backbone {name!r:.60} for sound", f"there is {', '.join(self.backbones)}")
        require_lightning()
        seeded(config.seed)
        rate = config.option("rate", 0) or read_wav(material.train[0].load())[1]
        train = Decoded(material.train, _reader(rate), watch, "training sounds")
        validation = Decoded(material.validation, _reader(rate), watch, "validation sounds")
        specification = self._specification(config, material, rate, train)
        own = {k: v for k, v in config.options.items() if k in ("channels", "blocks", "dropout")}
        description = {"network": name, "options": {"classes": len(material.labels), **own}}
        weights = class_weights(train.examples, len(material.labels)) if config.class_weights else None
        changes = Changes(rate // 10)

        def stock(sounds: Decoded, vary: bool) -> Stock:
            def make(index: int, random: np.random.Generator | None) -> tuple[Any, Any]:
                sound = sounds[index]
                if random is not None:
                    sound = changes(sound, random)
                ready = specification.preprocess(sound, Context())
                return np.asarray(ready, np.float32), np.int64(sounds.examples[index].label or 0)

            return Stock(sounds.examples, make, config.seed, vary)

        job = Job(build(description), description, False, stock(train, config.augment), stock(validation, False),
                  classes_loss(weights), classes_figures, specification)  # fmt: skip
        return fit(job, config, run, watch)

    def _specification(self, config: TrainConfig, material: TrainMaterial, rate: int, train: Decoded) -> Specification:
        """Waveform to standardized log-mel energies as a picture of one channel."""
        bins, samples = config.option("bins", 40), round(rate * config.option("seconds", 1.0))
        mel = {"step": "log_mel", "frame": round(_FRAME * rate), "hop": round(_HOP * rate), "bins": bins, "low": 20.0,
               "high": min(8000.0, rate / 2), "rate": rate}  # fmt: skip
        steps: list[dict[str, Any]] = [{"step": "waveform", "rate": rate, "samples": samples}, mel]
        bare = Specification.from_data(SpecificationData("audio", tuple(steps)))
        looked = range(0, len(train.examples), max(len(train.examples) // _LOOKED_AT, 1))
        found = np.stack([np.asarray(bare.preprocess(train[i], Context())) for i in looked])
        steps.append({"step": "normalize", "mean": [float(found.mean())], "std": [float(found.std()) or 1.0]})
        steps.append({"step": "reshape", "shape": [1, *found.shape[1:]]})
        answer = ({"step": "softmax"}, {"step": "top_k", "k": min(5, max(len(material.labels), 2))})
        return Specification.from_data(SpecificationData("audio", tuple(steps), answer))


def _reader(rate: int) -> Callable[[Any], np.ndarray]:
    def read(raw: Any) -> np.ndarray:
        sound, its = read_wav(raw)
        if its != rate:
            raise SpecificationError(f"it has {its} samples a second, others {rate}")
        return np.asarray(sound, np.float32)

    return read


TRAINER = AudioTrainer()
