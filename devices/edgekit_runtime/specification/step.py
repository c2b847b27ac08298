"""What a step is, and where each one is found."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgekit_runtime.errors import SpecificationError
from edgekit_runtime.plain import PlainDataError, decode, encode

Tensors = Mapping[str, np.ndarray]
"""Tensor name to array."""

_STEPS = {
    # image
    "decode": "edgekit_runtime.specification.image:Decode",
    "resize": "edgekit_runtime.specification.image:Resize",
    # arithmetic on arrays of any kind
    "scale": "edgekit_runtime.specification.array:Scale",
    "normalize": "edgekit_runtime.specification.array:Normalize",
    "layout": "edgekit_runtime.specification.array:Layout",
    "cast": "edgekit_runtime.specification.array:Cast",
    "reshape": "edgekit_runtime.specification.array:Reshape",
    # audio
    "waveform": "edgekit_runtime.specification.audio:Waveform",
    "mfcc": "edgekit_runtime.specification.audio:Mfcc",
    "log_mel": "edgekit_runtime.specification.audio:LogMel",
    # table
    "columns": "edgekit_runtime.specification.table:Columns",
    "text": "edgekit_runtime.specification.table:Text",
    # text
    "wordpiece": "edgekit_runtime.specification.wordpiece:WordPiece",
    # answers
    "softmax": "edgekit_runtime.specification.output:Softmax",
    "sigmoid": "edgekit_runtime.specification.output:Sigmoid",
    "top_k": "edgekit_runtime.specification.output:TopK",
    "value": "edgekit_runtime.specification.output:Value",
    "boxes": "edgekit_runtime.specification.detection:Boxes",
    "grid_boxes": "edgekit_runtime.specification.detection:GridBoxes",
    "nms": "edgekit_runtime.specification.detection:Nms",
}


@dataclass(frozen=True)
class Step(ABC):
    """One transformation with typed settings; subclasses are frozen dataclasses whose fields are the settings.

    Settings are untrusted: `__post_init__` raises `ValueError` for those that make no sense or would cost
    unbounded time or memory.

    Attributes:
        name: What the step is called in a specification.
        pointwise: True for steps whose result at a place depends on the value and the channel there alone.
        presents: True for steps that turn scores into an answer for people; the evaluator stops before them.
        file_settings: Settings that name a file beside the specification, as a vocabulary.
    """

    name: ClassVar[str]
    file_settings: ClassVar[tuple[str, ...]] = ()
    presents: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    @property
    def uniform(self) -> bool:
        """Whether a pointwise step treats all channels alike."""
        return True

    @abstractmethod
    def __call__(self, value: Any, context: Context) -> Any:
        """Transform one sample's value.

        Raises:
            SpecificationError: The value is not of the form that this step takes.
        """

    def open(self, files: Mapping[str, bytes]) -> None:
        """Take what is needed of the files beside the specification, which `file_settings` name.

        Raises:
            SpecificationError: A file is not what the step takes.
        """

    def to_plain(self) -> dict[str, Any]:
        """``{"step": NAME, …settings that differ from their defaults}``."""
        return {"step": self.name, **encode(self)}


@dataclass
class Context:
    """What steps of one sample tell each other, and what they know of the model.

    Attributes:
        labels: Class names in the order of the scores.
        picture: (height, width) of the picture as decoded; written by the first image step.
        mapping: Affine map from model-input pixels back to picture pixels, ``(scale_x, scale_y, offset_x, offset_y)``
            with ``picture = (input - offset) * scale``; written by `resize`, used by detection steps.
        input_size: (height, width) of the model's input picture; written by `resize`.
    """

    labels: tuple[str, ...] = ()
    picture: tuple[int, int] = (0, 0)
    mapping: tuple[float, float, float, float] = (1.0, 1.0, 0.0, 0.0)
    input_size: tuple[int, int] = (0, 0)


def step_class(name: str) -> type[Step]:
    """The class of a step.

    Raises:
        SpecificationError: There is no such step.
    """
    try:
        module, attribute = _STEPS[name].split(":")
    except KeyError:
        raise SpecificationError(
            f"there is no pre- or post-processing step {name!r:.40}", f"the steps are {', '.join(sorted(_STEPS))}"
        ) from None
    found: type[Step] = getattr(importlib.import_module(module), attribute)
    return found


def step_from_plain(data: Mapping[str, Any], where: str) -> Step:
    """Build a step from ``{"step": NAME, …settings}``; unknown settings are refused, since they would change answers.

    Raises:
        SpecificationError: Unknown step, unknown setting, or a setting of the wrong form.
    """
    settings = dict(data)
    name = settings.pop("step", None)
    if not isinstance(name, str):
        raise SpecificationError(f"{where} does not say which step it is", 'write {"step": NAME, ...}')
    cls = step_class(name)
    known = cls.__dataclass_fields__
    for setting in settings:
        if setting not in known:
            raise SpecificationError(
                f"{where}: step {name!r} has no setting {setting!r:.40}", f"it has {', '.join(known) or 'none'}"
            )
    try:
        return decode(cls, settings, f"{where} ({name})")
    except PlainDataError as error:
        raise SpecificationError(error.message, error.hint) from error
