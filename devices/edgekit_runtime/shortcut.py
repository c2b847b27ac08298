"""From a raw picture straight to the whole numbers that a quantized file takes: no float picture in between."""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from edgekit_runtime.errors import BackendError
from edgekit_runtime.manifest import Binding, TensorInfo
from edgekit_runtime.specification import Specification
from edgekit_runtime.specification.array import Layout
from edgekit_runtime.specification.lookup import Quantize, fuse
from edgekit_runtime.specification.step import Context

Shortcut = Callable[[Any, Context], np.ndarray]

_TO_LAST = (0, 2, 3, 1)  # batch x channels x height x width to channels last
_DTYPES = ("int8", "uint8")


def shortcut(specification: Specification, info: TensorInfo, binding: Binding) -> Optional[Shortcut]:
    """Pre-processing and quantization of a model's only input in one pass over the picture.

    What `Specification.preprocess` and `binding.feeder` give one after the other, to the bit: the table is made by
    running the same arithmetic on each pixel value. A specification that ends by putting channels first where the file
    wants them last has that step and the file's transposition left out together.

    Args:
        specification: Pre-processing.
        info: The model's only input.
        binding: How it is found in the file.

    Returns:
        A function of a raw sample and its context that gives the file's input, with a batch axis of 1; None where the
        input is no quantized picture.
    """
    if specification.kind != "image" or not specification.input or binding.dtype not in _DTYPES or binding.scale <= 0:
        return None
    steps, transpose = specification.input, binding.transpose
    if transpose == _TO_LAST and steps[-1] == Layout("chw"):
        steps, transpose = steps[:-1], ()
    runnable = fuse((*steps, Quantize(binding.scale, binding.zero_point, binding.dtype)))
    wanted = info.shape if transpose else binding.shape
    rank, tail = len(wanted), tuple((place, want) for place, want in enumerate(wanted) if place and want != -1)

    def prepare(raw: Any, context: Context) -> np.ndarray:
        value = raw
        for step in runnable:
            value = step(value, context)
        array = np.asarray(value)[None]
        shape = array.shape
        if len(shape) != rank or any(shape[place] != want for place, want in tail):
            raise BackendError(f"input {info.name!r} takes shape {wanted}, not {shape}")
        return np.ascontiguousarray(array.transpose(transpose) if transpose else array)

    return prepare
