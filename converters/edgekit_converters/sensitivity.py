"""Which layer loses what: every tensor of a float file against the same tensor of its quantized file."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit_converters.alone import Alone, open_alone
from edgekit_converters.errors import UsageError
from edgekit_converters.files import open_model
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.calibration import file_value
from edgekit_converters.passes.equalise_onnx import equalise_onnx
from edgekit_converters.passes.equalise_tflite import equalise_tflite
from edgekit_converters.passes.onnx_file import prepare
from edgekit_converters.passes.refusals import refusals, require
from edgekit_converters.recipe import Converted, Feeds
from edgekit_converters.tap import Steps, Tap, open_tap, steps_of
from edgekit_runtime.manifest import Binding

EXACT_DB = 150.0
"""Signal to noise that stands for 'no difference', so that figures stay finite."""


@dataclass(frozen=True)
class LayerError:
    """What quantization did to one layer.

    Attributes:
        index: Position among the float file's operations (for ONNX: as prepared for quantization, Conv+BatchNorm
            fused).
        name: As `exclude` of the passes takes it: the node's name in ONNX, in TFLite the name of the output tensor
            (`layer_pattern` makes the regular expression that matches it alone).
        op: Operator type.
        sqnr_db: Signal to quantization noise of its output over all samples, ``10 log10(Σx² / Σ(x-q)²)``, with the
            errors of all layers before it in it; `EXACT_DB` where nothing differs.
        cosine: Cosine between the two outputs over all samples.
        own_sqnr_db: The same of its output where its inputs are the float file's: what this layer alone does; None
            where it was not asked for or cannot be told.
        low: Smallest value seen in float.
        high: Largest.
        saturated: Share of the float values that lie beyond the quantized ends by more than half a step.
        dead: Share of channels that move in float but never leave one code.
    """

    index: int
    name: str
    op: str
    sqnr_db: float
    cosine: float
    own_sqnr_db: float | None
    low: float
    high: float
    saturated: float = 0.0
    dead: float = 0.0


def layer_errors(
    floating: Converted, quantized: Converted, samples: Iterable[Feeds], alone: bool = False
) -> tuple[LayerError, ...]:
    """Compare every layer of a float file with the same layer of the file that passes made of it.

    Samples are streamed and sums kept, so the memory needed is that of two runs.

    Args:
        floating: The float model (ONNX or TFLite).
        quantized: What static or dynamic quantization made of it, in the same format.
        samples: Model inputs as the source has them, batch axis first.
        alone: Whether `own_sqnr_db` is measured, too; one more run per sample.

    Returns:
        One entry per operation of the float file with a float output that the quantized file has as well, in order.

    Raises:
        UsageError: There are no samples, or the two files are not of one format.
        ConversionError: A sample holds NaN, or lacks an input; or a file cannot be run.
    """
    if floating.format != quantized.format:
        raise UsageError(
            f"the {floating.format} file cannot be compared with the {quantized.format} file layer by layer",
            "give the float file of the same format",
        )
    require("onnxruntime", "onnx") if floating.format == "onnx" else require("ai_edge_litert")
    with (
        tempfile.TemporaryDirectory(prefix="edgekit-layers-") as work,
        refusals("comparing layer by layer", "look at the accuracy of the whole model instead"),
    ):
        comparison = _Comparison(floating, quantized, Path(work), alone)
        for number, sample in enumerate(samples):
            comparison.add(sample, number)
    if not comparison.sums:
        raise UsageError("there is no sample to compare layers on", "give --data or --calibration-data")
    return tuple(comparison.results())


def output_sqnr(floating: Converted, quantized: Converted, samples: Iterable[Feeds]) -> float:
    """Signal to quantization noise (dB) of the output that lost most, on the interpreters that ship.

    Args:
        floating: The float model.
        quantized: What passes made of it.
        samples: Model inputs as the source has them, batch axis first.

    Raises:
        UsageError: There are no samples.
        ConversionError: A sample does not fit.
    """
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(opened(model)) for model in (floating, quantized)]
        sums: dict[str, _Sums] = {}
        for number, sample in enumerate(samples):
            given, found = (run(sample, number) for run in runs)
            for name, value in given.items():
                if value.size and found[name].shape == value.shape:
                    sums.setdefault(name, _Sums()).add(value, found[name])
    if not sums:
        raise UsageError("there is no sample to compare outputs on", "give --data or --calibration-data")
    return min(_decibels(tensor.signal, tensor.noise) for tensor in sums.values())


@contextlib.contextmanager
def opened(model: Converted) -> Iterator[Callable[[Feeds, int], dict[str, np.ndarray]]]:
    """(sample, its number) to the model's outputs in reals, by the source's names."""
    session = open_model(model.runnable, model.format)

    def run(sample: Feeds, number: int) -> dict[str, np.ndarray]:
        arrays = {b.name: _array(sample, b, number) for b in model.inputs}
        answers = session.run([arrays[t.name] for t in session.inputs])
        by_name = {t.name: np.array(value) for t, value in zip(session.outputs, answers, strict=True)}
        return {b.tensor: _real(by_name[b.name], b) for b in model.outputs}

    try:
        yield run
    finally:
        session.close()


def _real(value: np.ndarray, binding: Binding) -> np.ndarray:
    return value if binding.scale <= 0 else steps_of(binding.scale, binding.zero_point, binding.dtype).values(value)


def layer_pattern(name: str) -> str:
    """The regular expression for a TFLite pass's `exclude` that matches the layer of that name and no other."""
    return f"(^|;){re.escape(name)};?$"


def keep_in_float(format: str, names: Iterable[str]) -> list[str]:
    """What a pass's `exclude` says to keep layers, named as `LayerError.name`, in float."""
    return [layer_pattern(name) if format == "tflite" else name for name in names]


class _Sums:
    """Running sums over samples of one tensor; no activation is kept."""

    def __init__(self) -> None:
        self.signal = self.noise = self.other = self.product = 0.0
        self.own_noise: float | None = None
        self.low, self.high = math.inf, -math.inf
        self.beyond = self.count = 0
        self._float_ends: tuple[np.ndarray, np.ndarray] | None = None
        self._code_ends: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, given: np.ndarray, found: np.ndarray) -> None:
        x, q = given.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        self.signal += float(x @ x)
        self.other += float(q @ q)
        self.product += float(x @ q)
        self.noise += float(np.square(x - q).sum())
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.count += x.size

    def add_codes(self, given: np.ndarray, codes: np.ndarray, steps: Steps, axis: int) -> None:
        low, high = steps.ends()
        half = float(steps.scale.flat[0]) / 2
        self.beyond += int(((given < low - half) | (given > high + half)).sum())
        self._float_ends = _ends(self._float_ends, given, axis)
        self._code_ends = _ends(self._code_ends, codes, axis)

    def add_own(self, given: np.ndarray, found: np.ndarray) -> None:
        self.own_noise = (self.own_noise or 0.0) + float(np.square(given.astype(np.float64) - found).sum())

    @property
    def cosine(self) -> float:
        norms = math.sqrt(self.signal) * math.sqrt(self.other)
        return self.product / norms if norms else float(self.signal == self.other)

    @property
    def dead(self) -> float:
        if self._float_ends is None or self._code_ends is None:
            return 0.0
        moves, stays = self._float_ends[0] < self._float_ends[1], self._code_ends[0] == self._code_ends[1]
        return float((moves & stays).mean())


def _ends(before: tuple[np.ndarray, np.ndarray] | None, values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each channel, over what was seen before and `values`."""
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1) if values.ndim else values.reshape(1, 1)
    low, high = rows.min(1), rows.max(1)
    if before is None or before[0].shape != low.shape:
        return low, high
    return np.minimum(before[0], low), np.maximum(before[1], high)


class _Comparison:
    """The two files, opened, and the sums so far by tensor name."""

    def __init__(self, floating: Converted, quantized: Converted, work: Path, alone: bool) -> None:
        self._models = (floating, quantized)
        self._given = open_tap(_as_quantized(floating, quantized, work), floating.format)
        self._found = open_tap(quantized.path, quantized.format)
        self._codes = _code_names(self._found, quantized.format)
        self._alone: Alone | None = open_alone(quantized, self._given, self._codes) if alone else None
        self._channels_first = floating.format == "onnx"
        self.sums: dict[str, _Sums] = {}

    def add(self, sample: Feeds, number: int) -> None:
        floats, wholes = ({b.name: _array(sample, b, number) for b in m.inputs} for m in self._models)
        expected, actual = self._given.run(floats), self._found.run(wholes)
        own = self._alone.run(expected) if self._alone else {}
        for step in self._given.steps:
            for name in step.outputs[:1]:
                if (value := expected.get(name)) is not None and value.dtype.kind == "f" and value.size:
                    self._add(name, value, actual, own.get(name))

    def _add(self, name: str, value: np.ndarray, actual: Mapping[str, np.ndarray], own: np.ndarray | None) -> None:
        stored = self._codes.get(name, name)
        if stored not in actual or actual[stored].shape != value.shape:
            return
        steps = self._found.scales.get(stored)
        if steps is None and actual[stored].dtype.kind != "f":
            return
        sums = self.sums.setdefault(name, _Sums())
        sums.add(value, actual[stored] if steps is None else steps.values(actual[stored]))
        if steps is not None and steps.scale.size == 1:
            axis = 1 if self._channels_first and value.ndim in (2, 4, 5) else max(value.ndim - 1, 0)
            sums.add_codes(value, actual[stored], steps, axis)
        if own is not None and own.shape == value.shape:
            sums.add_own(value, own)

    def results(self) -> Iterator[LayerError]:
        places = {step.name: index for index, step in enumerate(self._given.steps) if step.name}
        # an activation that the quantizer merged into the layer before it is that layer's output now
        makers = {o.removesuffix("_QuantizeLinear_Input"): s.name for s in self._found.steps for o in s.outputs[:1]}
        for place, reading in enumerate(self._given.steps):
            if not reading.outputs or (sums := self.sums.get(reading.outputs[0])) is None:
                continue
            index = places.get(makers.get(reading.outputs[0], reading.name), place)
            step = self._given.steps[index]
            yield LayerError(
                index,
                step.name or step.outputs[0],
                step.op,
                _decibels(sums.signal, sums.noise),
                sums.cosine,
                None if sums.own_noise is None else _decibels(sums.signal, sums.own_noise),
                sums.low,
                sums.high,
                sums.beyond / sums.count,
                sums.dead,
            )


def _as_quantized(floating: Converted, quantized: Converted, work: Path) -> Path:
    """The float file as the quantizer had it before it: prepared, and equalised where the recipe says so."""
    equalised = any(entry.get("equalise") for entry in quantized.recipe)
    if floating.format == "onnx":
        path = prepare(floating.path, work, TargetLimits(("onnx",)))
        if equalised:
            equalise_onnx(path, path)
        return path
    if equalised:
        equalise_tflite(floating.path, work / "equalised.tflite")
        return work / "equalised.tflite"
    return floating.path


def _code_names(found: Tap, format: str) -> dict[str, str]:
    """Float tensor name to the tensor that holds it in whole numbers, where that has another name (ONNX)."""
    if format != "onnx":
        return {}
    # an output keeps its name for what is dequantized; the float before that is called _QuantizeLinear_Input
    return {
        step.inputs[0].removesuffix("_QuantizeLinear_Input"): step.outputs[0]
        for step in found.steps
        if step.op == "QuantizeLinear" and step.outputs[0] in found.scales
    }


def _array(sample: Feeds, binding: Binding, number: int) -> np.ndarray:
    if binding.scale <= 0:
        return file_value(sample, binding, number)
    real = file_value(sample, replace(binding, dtype="float32", scale=0.0, zero_point=0), number)
    return steps_of(binding.scale, binding.zero_point, binding.dtype).codes(real).astype(binding.dtype)


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0:
        return EXACT_DB
    return max(-EXACT_DB, min(EXACT_DB, 10 * math.log10(signal / noise))) if signal > 0 else -EXACT_DB
