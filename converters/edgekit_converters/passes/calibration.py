"""Quantization calibration samples as a file's own tensors."""

from __future__ import annotations

import operator

import numpy as np

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.recipe import Converted, Feeds, PassContext
from edgekit_runtime.manifest import Binding


def file_feeds(model: Converted, context: PassContext) -> list[dict[str, np.ndarray]]:
    """All samples under the file's tensor names, transposed as its bindings say.

    Raises:
        UsageError: There are no samples.
        ConversionError: A sample holds NaN or infinity, lacks an input, or has another shape than the file takes;
            names the sample and the input.
    """
    if context.samples is None:
        raise UsageError(
            "static quantization needs samples for quantization calibration", "give --calibration-data or --data"
        )
    samples = context.samples()
    total = operator.length_hint(samples)
    feeds = []
    for number, sample in enumerate(samples):
        feeds.append({b.name: file_value(sample, b, number) for b in model.inputs})
        context.progress(number + 1, max(total, number + 1))
    if not feeds:
        raise UsageError("the set of samples for quantization calibration is empty", "give more --calibration-data")
    return feeds


def file_value(sample: Feeds, binding: Binding, number: int) -> np.ndarray:
    """One sample's input as a file's array.

    Args:
        sample: Model inputs with batch axis.
        binding: Which one, and how it lies in the file.
        number: Of the sample, for errors.

    Raises:
        ConversionError: It holds NaN or infinity, is missing, or has another shape than the file takes.
    """
    place = f"calibration sample {number}"
    if binding.tensor not in sample:
        have = ", ".join(sorted(sample)) or "nothing"
        raise ConversionError(f"{place} has nothing for input {binding.tensor!r}", f"it has {have}")
    value = np.asarray(sample[binding.tensor])
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ConversionError(f"{place} holds NaN or infinity in input {binding.tensor!r}", "clean the data")
    if value.ndim != len(binding.shape):
        raise ConversionError(
            f"{place} has {value.ndim} axes in input {binding.tensor!r} where the model takes {len(binding.shape)}",
            "give it with its batch axis",
        )
    value = value.transpose(binding.transpose) if binding.transpose else value
    if any(want not in (-1, have) for have, want in zip(value.shape, binding.shape, strict=True)):
        raise ConversionError(
            f"{place} has shape {value.shape} in input {binding.tensor!r} where the file takes {binding.shape}",
            "change --preprocess or --input-shape",
        )
    return np.ascontiguousarray(value, dtype=binding.dtype)
