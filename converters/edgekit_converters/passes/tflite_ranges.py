"""int8 for TFLite with activation ranges that are given, as quantization-aware training learned them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.passes.tflite import TfliteInt8


@dataclass(frozen=True)
class TfliteRanges(TfliteInt8):
    """`TfliteInt8` where some ranges are known; samples give those of all other tensors.

    Attributes:
        ranges: Tensor name in the float file to (lowest, highest) value.
        correct_biases: Off, for training has learned biases along with what rounding does to them.
    """

    name = "tflite-ranges"
    correct_biases: bool = False
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def _ranges(self, path: Path, recipe: list[dict[str, Any]], feeds: Sequence[dict[str, np.ndarray]]) -> Any:
        found = super()._ranges(path, recipe, feeds)
        for name, (low, high) in self.ranges.items():
            if name not in found:
                raise ConversionError(f"the file has no tensor {name!r:.80} to give a range to")
            shape = np.shape(found[name]["min"])
            found[name]["min"] = np.full(shape, low, np.float32)
            found[name]["max"] = np.full(shape, high, np.float32)
        return found
