"""Objects in pictures: a compact detector without anchors on a small backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.errors import TrainingError, UsageError
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.material import TrainMaterial
from edgekit_converters.train.networks import build
from edgekit_converters.train.pictures import Pictures, Variation
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.torch_fit import Job, fit, require_lightning, seeded
from edgekit_converters.train.trainer import Trained, Trainer, Watch
from edgekit_runtime.specification.presets import image_specification
from edgekit_runtime.specification.step import Context

_NMS = {"step": "nms", "score": 0.05, "overlap": 0.5}


class DetectionTrainer(Trainer):
    """``--task detection``."""

    task = "detection"
    backbones: ClassVar[Mapping[str, str]] = {
        "small": "separable convolutions, from scratch",
        "shufflenet_v2": "narrow ShuffleNet V2, from scratch or with --weights FILE",
    }

    def fit(self, config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
        """Head first where the backbone is pre-trained, then everything."""
        material.require(self.task, ("image",), ("detection",))
        if not any(e.boxes for e in material.train):
            raise TrainingError("there is no object in any training picture", "give pictures with boxes")
        config.check_options("size", "width", "fit", "least", "light", "flip")
        name = config.backbone or "small"
        if name not in self.backbones:
            raise UsageError(f"there is no backbone {name!r:.60} for detection",
                             f"there are {', '.join(self.backbones)}")  # fmt: skip
        require_lightning()
        seeded(config.seed)
        network, description, pretrained = _network(name, config, len(material.labels))
        size = network.size
        specification = image_specification(
            "0..1", size, size, layout="chw", colour="bgr" if name == "shufflenet_v2" else "rgb",
            fit=config.option("fit", "letterbox"), output=({"step": "boxes"}, _NMS),
        )  # fmt: skip
        variation = Variation(
            config.option("least", Variation.least), flip=config.option("flip", Variation.flip),
            light=config.option("light", Variation.light),
        )  # fmt: skip
        from edgekit_converters.train.networks.detector import assign, detection_loss

        def stock(pictures: Pictures, vary: bool) -> Stock:
            def make(index: int, random: np.random.Generator | None) -> tuple[Any, Any]:
                picture, boxes = pictures[index], _boxes(pictures.examples[index])
                if random is not None:
                    picture, boxes = variation.boxed(picture, boxes, random)
                context = Context()
                ready = np.asarray(specification.preprocess(picture, context), np.float32)
                scale_x, scale_y, left, top = context.mapping
                boxes[:, :4] = boxes[:, :4] / (scale_x, scale_y, scale_x, scale_y) + (left, top, left, top)
                return ready, _wanted(network, boxes, assign)

            return Stock(pictures.examples, make, config.seed, vary)

        learnt = stock(Pictures(material.train, watch), config.augment)
        chosen = stock(Pictures(material.validation, watch, "validation"), False)

        def loss(found: dict[str, Any], wanted: Any) -> Any:
            if not network.training:  # shares and probabilities, as on the device
                found = {"boxes": found["boxes"] * size, "scores": found["scores"].clamp(1e-6, 1 - 1e-6).logit()}
            return detection_loss(found, wanted)

        job = Job(network, description, pretrained, learnt, chosen, loss, lambda _found, _wanted: {}, specification)
        return fit(job, config, run, watch)


def _network(name: str, config: TrainConfig, classes: int) -> tuple[Any, dict[str, Any], bool]:
    options = {"classes": classes, "size": config.option("size", 160), "backbone": name,
               "width": config.option("width", 16)}  # fmt: skip
    if options["size"] % 16 or options["size"] < 32:
        raise UsageError(f"--option size={options['size']} is not a multiple of 16", "give 160, 192, 224, …")
    description = {"network": "detector", "options": options}
    network = build(description)
    weights = None if config.weights == "none" else config.weights
    if weights is not None:
        if name != "shufflenet_v2":
            raise UsageError(f"the backbone {name} is trained from scratch", "leave --weights out")
        from edgekit_converters.train.vision_torch import load_weights

        load_weights(network.backbone, weights)
    return network, description, weights is not None


def _boxes(example: Any) -> np.ndarray:
    """(n, 5) left, top, right, bottom in pixels, class; crowds are nothing that can be learnt."""
    found = [(*b.box, b.index) for b in example.boxes or () if not b.crowd]
    return np.asarray(found, np.float32).reshape(-1, 5)


def _wanted(network: Any, boxes: np.ndarray, assign: Any) -> np.ndarray:
    """(places, 5): the box and class that each place is to find; class -1 for none."""
    import torch

    objects = torch.from_numpy(boxes)
    chosen = assign(network.centres.cpu(), network.strides.cpu(), objects[:, :4])
    wanted = torch.full((len(chosen), 5), -1.0)
    taken = chosen >= 0
    wanted[taken] = objects[chosen[taken]]
    return np.asarray(wanted.numpy())


TRAINER = DetectionTrainer()
