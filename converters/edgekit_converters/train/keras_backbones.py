"""Keras backbones with a new head: from keras.applications with their own weights, or from a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit_converters.errors import MissingRequirement, SourceError, UsageError
from edgekit_converters.quiet import quiet
from edgekit_converters.train.backbones import Backbone, backbone
from edgekit_converters.train.config import FROM_SCRATCH, TrainConfig

_SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class Built:
    """A network ready to be trained.

    Attributes:
        network: Keras model from a picture to probabilities; its layer ``backbone`` is what was pre-trained.
        pretrained: Whether there is anything to keep.
        size: (height, width) of the picture.
        preset: How pixels reach it.
    """

    network: Any
    pretrained: bool
    size: tuple[int, int]
    preset: str


def build(config: TrainConfig, classes: int) -> Built:
    """The backbone that the config names, with a head for so many classes.

    Raises:
        UsageError: A name or a setting that does not fit.
        MissingRequirement: Its weights are neither here nor to be had.
        SourceError: A file of weights is not this backbone's.
    """
    import keras

    found = backbone(config.backbone, config.framework)
    with quiet():
        body = _from_file(config) if not found.maker else _from_library(found, config)
    pretrained = config.weights != FROM_SCRATCH
    height, width, channels = body.input_shape[1:]
    inputs = keras.Input((height, width, channels), name="picture")
    features = body(inputs, training=False) if pretrained else body(inputs)
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    features = keras.layers.Dropout(config.option("dropout", 0.2), name="dropout")(features)
    scores = keras.layers.Dense(classes, activation="softmax", name="scores")(features)
    preset = config.option("preset", found.preset)
    return Built(keras.Model(inputs, scores), pretrained, (height, width), preset)


def _from_library(found: Backbone, config: TrainConfig) -> Any:
    """By keras.applications, whose code also knows where weights are and how to check them."""
    import keras

    size = config.option("size", found.size)
    make = getattr(keras.applications, found.maker)
    weights = config.weights or "imagenet"
    try:
        body = make(
            input_shape=(size, size, 3), include_top=False, weights="imagenet" if weights == "imagenet" else None,
            name="backbone", **found.options,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"{config.backbone} cannot be made for pictures of {size} pixels ({_first(error)})",
                         "leave --option size out") from error  # fmt: skip
    except Exception as error:  # keras raises a bare Exception where a download fails
        url = re.search(r"https?://\S+?(?=[:\s]|$)", str(error))
        where = url.group(0) if url else "the address in --debug"
        raise MissingRequirement(
            f"the ImageNet weights of {config.backbone} are not on this machine and cannot be downloaded from here",
            f"on a machine with internet: curl -LO {where}; then give the file as --weights FILE, or train from "
            f"scratch with --weights {FROM_SCRATCH}",
        ) from error
    if weights not in ("imagenet", FROM_SCRATCH):
        path = _file(weights)
        try:
            body.load_weights(path)
        except Exception as error:  # h5py, zipfile and keras each have their own for what does not fit
            raise SourceError(
                f"the weights {path} are not those of {config.backbone} without its head ({_first(error)})",
                "give a file that keras.applications has for include_top=False and this size",
            ) from error
    return body


def _from_file(config: TrainConfig) -> Any:
    """A whole network of the user's; everything up to the layer that ``--option layer=`` names."""
    import keras

    if config.weights in (None, FROM_SCRATCH, "imagenet"):
        raise UsageError("the backbone keras-file needs a file", "give --weights FILE.keras")
    path = _file(config.weights)
    try:
        loaded = keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever a damaged archive makes Keras raise
        raise SourceError(f"{path} cannot be loaded as a Keras model ({_first(error)})",
                          "give a .keras file that Keras 3 saved") from error  # fmt: skip
    layer = config.option("layer", "")
    names = [one.name for one in loaded.layers]
    if layer and layer not in names:
        raise UsageError(f"{path.name} has no layer {layer!r:.60}", f"its last ones are {', '.join(names[-5:])}")
    ends = loaded.get_layer(layer).output if layer else loaded.outputs[0]
    if len(loaded.inputs) != 1 or len(loaded.input_shape) != 4 or None in loaded.input_shape[1:]:
        raise UsageError(f"{path.name} does not take one picture of a fixed size", "give another file")
    if len(ends.shape) not in (2, 4):
        raise UsageError(f"{path.name} gives {tuple(ends.shape)}, not features", "name a layer by --option layer=")
    return keras.Model(loaded.inputs, ends, name="backbone")


def _file(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise MissingRequirement(f"there is no file of weights {path}", "check --weights")
    if not path.name.endswith(_SUFFIXES):
        raise UsageError(f"{path.name} is not a .keras or .h5 file", "convert it, or give another --weights")
    return path


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
