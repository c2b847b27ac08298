"""Which pre- and post-processing an export gets: what the user gave, fitted to the model's input, never guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit_runtime.errors import UsageError
from edgekit_runtime.manifest import SpecificationData, TensorInfo
from edgekit_runtime.plain import PlainDataError, decode
from edgekit_runtime.specification import Specification, files_of
from edgekit_runtime.specification.presets import IMAGE_PRESETS, audio_specification, image_specification

_CHANNELS = (1, 3, 4)


def specification_for(
    preprocess: str | None, kind: str, columns: Sequence[str], inputs: Sequence[TensorInfo]
) -> Specification:
    """The input half of the specification.

    Args:
        preprocess: Preset name, path of a JSON file, or None.
        kind: Kind of the data set (``image``, ``audio``, ``table``, ``tensor``).
        columns: Feature names in order, for tables.
        inputs: The model's inputs.

    Raises:
        UsageError: Pictures or sound without a word on how they reach the model, or a preset that does not fit.
    """
    if preprocess is not None and preprocess.endswith(".json"):
        return _from_file(Path(preprocess))
    if kind == "image":
        if preprocess not in IMAGE_PRESETS:
            said = "it is not said" if preprocess is None else f"there is no preset {preprocess!r} that says"
            raise UsageError(
                f"{said} how pictures must be prepared for the model",
                f"give --preprocess {'|'.join(IMAGE_PRESETS)} or a specification file, as in training",
            )
        height, width, channels, layout = picture_layout(inputs)
        return image_specification(preprocess, height, width, layout=layout, colour="gray" if channels == 1 else "rgb")
    if kind == "audio":
        if preprocess is None:
            raise UsageError(
                "it is not said how sound must be prepared for the model",
                "give --preprocess kws-mfcc or a specification file, as in training",
            )
        return audio_specification(preprocess)
    if preprocess is not None:
        raise UsageError(f"--preprocess {preprocess!r} is for pictures and sound, not for {kind} data", "leave it out")
    if kind == "table":
        return Specification.from_data(SpecificationData("table", ({"step": "columns", "names": list(columns)},)))
    return Specification(kind="tensor")


def _from_file(path: Path) -> Specification:
    try:
        data = decode(SpecificationData, json.loads(path.read_text("utf-8")), path.name)
        return Specification.from_data(data, {name: (path.parent / name).read_bytes() for name in files_of(data)})
    except (OSError, ValueError, PlainDataError) as error:
        raise UsageError(
            f"cannot read the specification {path} ({error})", 'write {"kind": ..., "input": [...], "output": [...]}'
        ) from error


def picture_layout(inputs: Sequence[TensorInfo]) -> tuple[int, int, int, str]:
    """(height, width, channels, ``hwc`` or ``chw``) of the model's picture input.

    Raises:
        UsageError: The model has no input that a picture fits.
    """
    shape = inputs[0].shape
    if len(inputs) == 1 and len(shape) == 4:
        if shape[3] in _CHANNELS and min(shape[1:3]) > 0:
            return shape[1], shape[2], shape[3], "hwc"
        if shape[1] in _CHANNELS and min(shape[2:4]) > 0:
            return shape[2], shape[3], shape[1], "chw"
    raise UsageError(
        f"the model takes {', '.join(str(i.shape) for i in inputs)}, which is not a picture of known size",
        "give --input-shape, or a specification file",
    )


def answer_steps(task: str, scores: np.ndarray) -> tuple[dict[str, object], ...]:
    """Output steps for a task, after a look at what the source gives.

    Args:
        task: ``classification``, ``regression`` or ``none``.
        scores: Source outputs, (samples, classes).
    """
    if task == "regression":
        return ({"step": "value"},)
    if task != "classification":
        return ()
    flat = scores.reshape(len(scores), -1)
    k = min(5, max(flat.shape[1], 2))
    if flat.shape[1] == 1:
        inside = bool(np.all((flat >= 0) & (flat <= 1)))
        return ({"step": "value"},) if inside else ({"step": "sigmoid"}, {"step": "value"})
    probabilities = bool(np.all(flat >= -1e-3) and np.all(np.abs(flat.sum(axis=1) - 1) < 2e-2))
    top = {"step": "top_k", "k": k}
    return (top,) if probabilities else ({"step": "softmax"}, top)
