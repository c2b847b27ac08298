"""Frozen graphs as full-integer TFLite: the float network is lowered, and its tensors get the ranges that were learned.

Converters rename and transpose, so tensors are recognised by their values: the sorted values of both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.limits import TargetLimits
from edgekit_converters.recipe import Converted, Feeds, PassContext
from edgekit_converters.source import Source

_SAME = 1e-4
"""Sorted values may differ by this share of the largest: sums in another order."""


def export(
    source: Source, frozen: Any, folder: Path, limits: TargetLimits, samples: Sequence[Mapping[str, Any]]
) -> Converted:
    """See `qat.to_tflite`."""
    from edgekit_converters.passes.tflite_ranges import TfliteRanges
    from edgekit_converters.slim.qat import stripped
    from edgekit_converters.sources.torch import TorchSource
    from edgekit_converters.sources.torch import to_tflite as lower

    assert isinstance(source, TorchSource)  # noqa: S101 - only they have a module to train
    if not samples:
        raise ConversionError("there are no samples to recognise tensors by", "give at least one")
    names = [i.name for i in source.inputs]
    examples = tuple(e[:1] for e in source.examples)
    bare = TorchSource(source.name, source.sha256, stripped(frozen), examples, False, names)
    bare.inputs, bare.outputs = source.inputs, source.outputs
    converted = lower(bare, folder, limits)
    ranges = learned_ranges(frozen, converted, samples[0], names)
    context = PassContext(limits, folder, lambda: iter(samples))
    quantizer = TfliteRanges(integer_io=limits.integer_io, dense_per_channel=limits.dense_per_channel, ranges=ranges)
    return quantizer(converted, context)


def learned_ranges(
    frozen: Any, converted: Converted, sample: Feeds, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Tensor of the float file to the range learned for it, by the values both give for a sample.

    Raises:
        ConversionError: No tensor is recognised.
    """
    from edgekit_converters.trace import trace

    learned = list(_learned(frozen, [np.asarray(sample[name]) for name in names]))
    arrays = {}
    for binding in converted.inputs:
        value = np.asarray(sample[binding.tensor], np.dtype(binding.dtype))
        arrays[binding.name] = np.ascontiguousarray(value.transpose(binding.transpose) if binding.transpose else value)
    tensors = dict(arrays)
    for operation in trace(converted.path, "tflite", arrays):
        tensors.update(operation.outputs)
    found = {}
    for name, value in tensors.items():
        if value.dtype == np.float32:
            match = next((ends for ends, known in learned if _alike(known, np.sort(value, axis=None))), None)
            if match:
                found[name] = match
    if learned and not found:
        raise ConversionError("no tensor of the TFLite file gives what the network gives", "see --debug")
    return found


def _learned(frozen: Any, inputs: Sequence[np.ndarray]) -> list[tuple[tuple[float, float], np.ndarray]]:
    """((low, high), sorted values) of every tensor that is rounded, the network run in float."""
    import torch

    from edgekit_converters.slim.fake_quant import FixedWeightQuantizer, FrozenQuantizer

    kept = []

    class Recorder(torch.fx.Interpreter):  # type: ignore[misc]  # torch is imported lazily, untyped
        def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
            module = self.fetch_attr(target)
            if isinstance(module, FrozenQuantizer):
                kept.append(((module.low, module.high), np.sort(args[0].numpy(), axis=None)))
            if isinstance(module, (FrozenQuantizer, FixedWeightQuantizer)):
                return args[0]
            return super().call_module(target, args, kwargs)

    with torch.no_grad():
        Recorder(frozen).run(*(torch.from_numpy(np.ascontiguousarray(i)) for i in inputs))
    return kept


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.size != other.size or one.size < 2:
        return False
    scale = max(float(np.abs(one).max()), 1e-12)
    return bool(np.abs(one - other).max() <= _SAME * scale)
