"""Picture classification in PyTorch: our small networks, and the transformers library's from a folder or fresh."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit_converters.errors import MissingRequirement, SourceError, UsageError
from edgekit_converters.quiet import quiet
from edgekit_converters.train.backbones import Backbone, backbone
from edgekit_converters.train.config import FROM_SCRATCH, TrainConfig
from edgekit_converters.train.losses import classes_figures, classes_loss
from edgekit_converters.train.material import TrainMaterial, class_weights
from edgekit_converters.train.networks import build
from edgekit_converters.train.pictures import Pictures, Variation, classified
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.torch_fit import Job, require_lightning, seeded
from edgekit_converters.train.torch_fit import fit as fit_network
from edgekit_converters.train.trainer import Trained, Watch
from edgekit_runtime.manifest import SpecificationData
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.presets import image_specification

_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_HALF = [0.5, 0.5, 0.5]
_NOT_SHAPE = ("_", "id2label", "label2id", "transformers_version", "torch_dtype", "dtype", "architectures")
"""What a configuration says besides how the network is made."""


@dataclass(frozen=True)
class _Built:
    network: Any
    description: Mapping[str, Any]
    pretrained: bool
    specification: Specification


def fit(config: TrainConfig, material: TrainMaterial, run: Path, watch: Watch) -> Trained:
    """Train, or go on."""
    require_lightning()
    seeded(config.seed)
    classes = len(material.labels)
    made = _built(backbone(config.backbone, config.framework), config, classes)
    variation = Variation(
        config.option("least", Variation.least), flip=config.option("flip", Variation.flip),
        light=config.option("light", Variation.light),
    )  # fmt: skip
    train, validation = Pictures(material.train, watch), Pictures(material.validation, watch, "validation")
    learnt = Stock(train.examples, classified(train, made.specification, variation), config.seed, config.augment)
    chosen = Stock(validation.examples, classified(validation, made.specification, None))
    weights = class_weights(train.examples, classes) if config.class_weights else None
    job = Job(made.network, made.description, made.pretrained, learnt, chosen, classes_loss(weights), classes_figures,
              made.specification)  # fmt: skip
    return fit_network(job, config, run, watch)


def _built(found: Backbone, config: TrainConfig, classes: int) -> _Built:
    answer = ({"step": "softmax"}, {"step": "top_k", "k": min(5, max(classes, 2))})
    weights = None if config.weights == FROM_SCRATCH else config.weights
    if weights == "imagenet":
        raise UsageError(f"{config.backbone} has no weights of its own to download", "give --weights FILE or FOLDER")
    if config.backbone == "huggingface":
        return _from_folder(weights, classes, answer)
    size, fitted = config.option("size", found.size), config.option("fit", "stretch")
    if found.maker == "huggingface":
        from edgekit_converters.train.networks.huggingface import ARCHITECTURES

        if weights is not None:
            raise UsageError(f"{config.backbone} is trained from scratch",
                             "for weights of your own give --backbone huggingface --weights FOLDER")  # fmt: skip
        shape = {**ARCHITECTURES[found.options["architecture"]], "image_size": size, "num_labels": classes}
        description = {"network": "huggingface", "options": {"configuration": shape}}
        steps = image_specification(found.preset, size, size, layout="chw", fit=fitted, output=answer)
        with quiet():
            return _Built(build(description), description, False, steps)
    description = {"network": found.maker, "options": {"classes": classes, "dropout": config.option("dropout", 0.2)}}
    network = build(description)
    if weights is not None:
        load_weights(network.backbone, weights)
    steps = image_specification("0..1", size, size, layout="chw", colour="bgr", fit=fitted, output=answer)
    return _Built(network, description, weights is not None, steps)


def load_weights(body: Any, weights: str) -> None:
    """A state dictionary, every parameter of which must fit."""
    import torch
    from safetensors.torch import load_file

    path = Path(weights)
    if not path.is_file():
        raise MissingRequirement(f"there is no file of weights {path}", "check --weights")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        body.load_state_dict(state, strict=True)
    except Exception as error:  # torch, pickle and safetensors each have their own
        words = " ".join(str(error).split())[:160]
        raise SourceError(f"{path.name} does not hold this backbone's weights ({words})",
                          "give a state dictionary of the backbone without its head") from error  # fmt: skip


def _from_folder(weights: str | None, classes: int, answer: tuple[Mapping[str, Any], ...]) -> _Built:
    """As `from_pretrained` reads it, with its own pre-processing and a new head."""
    folder = Path(weights or "")
    if weights is None or not (folder / "config.json").is_file():
        raise MissingRequirement(
            f"there is no model of the transformers library in {weights or 'any folder'}",
            "hf download google/mobilenet_v2_0.35_96 --local-dir FOLDER on a machine with internet, then "
            "--weights FOLDER",
        )
    from edgekit_converters.train.networks.huggingface import Pictures as Network

    try:
        from transformers import AutoModelForImageClassification

        with quiet():
            body = AutoModelForImageClassification.from_pretrained(
                folder, num_labels=classes, ignore_mismatched_sizes=True, local_files_only=True
            )
        steps = _steps(json.loads((folder / "preprocessor_config.json").read_text("utf-8")))
    except Exception as error:  # transformers raises a dozen kinds for what it does not like
        words = " ".join(str(error).split())[:160]
        raise SourceError(
            f"{folder} holds no picture classifier with its pre-processing ({words})",
            "give a folder with config.json, model.safetensors and preprocessor_config.json",
        ) from error
    said = {k: v for k, v in body.config.to_diff_dict().items() if not k.startswith(_NOT_SHAPE)}
    shape = {**said, "model_type": body.config.model_type, "num_labels": classes}
    description = {"network": "huggingface", "options": {"configuration": shape}}
    specification = Specification.from_data(SpecificationData("image", steps, answer))
    return _Built(Network(shape, body), description, True, specification)


def _steps(said: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The library's ``preprocessor_config.json`` as our steps.

    Raises:
        ValueError: It says what no step of ours does.
    """
    size = said.get("size") or {}
    size = {"height": size, "width": size} if isinstance(size, int) else dict(size)
    interpolation = _INTERPOLATIONS[said.get("resample", 2)]
    resize: dict[str, Any] = {"step": "resize", "interpolation": interpolation, "antialias": interpolation != "nearest"}
    if said.get("do_center_crop"):
        cut = said["crop_size"]
        cut = {"height": cut, "width": cut} if isinstance(cut, int) else cut
        short = size.get("shortest_edge") or min(size.get("height", 0), size.get("width", 0))
        resize |= {"height": cut["height"], "width": cut["width"], "fit": "crop", "keep": cut["height"] / short}
    elif "shortest_edge" in size:
        resize |= {"height": size["shortest_edge"], "width": size["shortest_edge"], "fit": "crop"}
    else:
        resize |= {"height": size["height"], "width": size["width"]}
    steps = [{"step": "decode", "colour": "rgb"}, resize]
    steps.append({"step": "scale", "factor": said.get("rescale_factor", 1 / 255)})
    if said.get("do_normalize", True):
        steps.append({
            "step": "normalize", "mean": said.get("image_mean", _HALF), "std": said.get("image_std", _HALF)
        })  # fmt: skip
    return (*steps, {"step": "layout", "order": "chw"})
