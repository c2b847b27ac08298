"""Static quantization for ONNX as QDQ, by onnxruntime."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.files import versions
from edgekit_converters.limits import TargetLimits
from edgekit_converters.passes.bias import correct_onnx
from edgekit_converters.passes.calibration import file_feeds
from edgekit_converters.passes.equalise_onnx import equalise_onnx
from edgekit_converters.passes.onnx_file import check_names, opset, prepare, refuse_without_layers, tidy
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.passes.ranges import DEFAULT_PERCENTILE, Ranges, Search
from edgekit_converters.passes.refusals import refusals, require
from edgekit_converters.recipe import Converted, Pass, PassContext
from edgekit_converters.tap import OnnxTap

_OPSET_16_BIT = 21
"""First opset whose QuantizeLinear knows 16 bits."""


@dataclass(frozen=True)
class _Static(Pass):
    """Shared by the passes below: int8 weights, whole-number activations with ranges from samples, float ends.

    Attributes:
        precision: What comes out.
        method: How activation ranges are found: ``minmax``, ``average``, ``percentile``, ``mse`` or ``entropy``.
        percentile: Share of values inside the range, in percent; for ``percentile`` only.
        per_channel: Whether each output channel of a weight has its own scale.
        exclude: Names of nodes that stay float.
        equalise: Whether channels are evened out from layer to layer first: cross-layer equalisation.
        correct_biases: Whether biases take back the mean shift that rounding makes: bias correction.
    """

    format = "onnx"
    precision: ClassVar[str]
    method: str = "minmax"
    percentile: float = DEFAULT_PERCENTILE
    per_channel: bool = True
    exclude: tuple[str, ...] = ()
    equalise: bool = False
    correct_biases: bool = True

    bits: ClassVar[int]

    def __post_init__(self) -> None:
        self._search()

    def _search(self) -> Search:
        return Search(self.method, self.percentile, self.bits)

    @abstractmethod
    def _activations(self, limits: TargetLimits) -> tuple[str, dict[str, Any]]:
        """Member of `QuantType` for activations, and the quantizer's extra options."""

    def _finish(self, quantized: Path, prepared: Path, limits: TargetLimits) -> None:
        """Mend the quantizer's file before it is tidied."""

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply."""
        require("onnx", "onnxruntime")
        feeds = file_feeds(model, context)
        target = new_file(context, model, f"{self.name}.onnx")
        with (
            refusals("onnxruntime's quantizer"),
            tempfile.TemporaryDirectory(prefix=f"{self.name}-", dir=context.folder) as work,
        ):
            refuse_without_layers(model.path)
            prepared, quantized = prepare(model.path, Path(work), context.limits), Path(work) / "quantized.onnx"
            check_names(prepared, self.exclude)
            if self.equalise:
                equalise_onnx(prepared, prepared)
            self._quantize(prepared, quantized, feeds, context.limits)
            if self.correct_biases:
                correct_onnx(prepared, quantized, feeds)
            self._finish(quantized, prepared, context.limits)
            tidy(quantized, context.limits)
            quantized.replace(target)
        return recorded(self, replace(model, path=target, precision=self.precision), versions("onnx", "onnxruntime"))

    def _quantize(
        self, prepared: Path, target: Path, feeds: Sequence[dict[str, np.ndarray]], limits: TargetLimits
    ) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

        activations, extra = self._activations(limits)
        ranges = target.with_suffix(".json")  # the way onnxruntime takes ranges that were found elsewhere
        ends = {k: (np.float32(low), np.float32(high)) for k, (low, high) in self._ranges(prepared, feeds).items()}
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, ends), ranges)
        quantize_static(
            str(prepared),
            str(target),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
            per_channel=self.per_channel,
            nodes_to_exclude=list(self.exclude),
            extra_options=extra,
            calibration_cache_path=ranges,
        )

    def _ranges(self, prepared: Path, feeds: Sequence[dict[str, np.ndarray]]) -> dict[str, tuple[float, float]]:
        tap, ranges = OnnxTap(prepared), Ranges(self._search())
        for feed in feeds:
            ranges.add(tap.run(feed))
        return ranges.result()


@dataclass(frozen=True)
class OnnxInt8(_Static):
    """int8 weights with int8 or uint8 activations; inputs and outputs stay float32.

    Attributes:
        method: How activation ranges are found: ``minmax``, ``average``, ``percentile``, ``mse`` or ``entropy``.
        percentile: Share of values inside the range, in percent; for ``percentile`` only.
        per_channel: Whether each output channel of a weight has its own scale.
        exclude: Names of nodes that stay float.
        equalise: Whether channels are evened out from layer to layer first: cross-layer equalisation.
        correct_biases: Whether biases take back the mean shift that rounding makes: bias correction.
        signed_activations: Signed symmetric activations as TensorRT wants (every zero point 0, biases left in float);
            unsigned ones are faster on CPUs and keep one bit more after a ReLU.
    """

    name = "onnx-int8"
    precision = "int8"
    bits = 8
    signed_activations: bool = False

    def _search(self) -> Search:
        return replace(super()._search(), symmetric=self.signed_activations)

    def _activations(self, limits: TargetLimits) -> tuple[str, dict[str, Any]]:
        if self.signed_activations:
            # TensorRT reads QDQ with zero points of 0 only, and quantizes biases itself
            return "QInt8", {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        return "QUInt8", {}


@dataclass(frozen=True)
class OnnxW8A16(_Static):
    """int8 weights, uint16 activations: small and exact, but slow on CPUs; inputs and outputs stay float32.

    ONNX itself has 16-bit QDQ from opset 21 on. Below that the same two operators of onnxruntime's own domain
    (``com.microsoft``) are used, which its CPU kernels have known for longer; other runtimes do not read such a file.
    Biases stay float: onnxruntime computes in float between the two, and int32 biases overflow with such fine steps.
    """

    name = "onnx-w8a16"
    precision = "w8a16"
    bits = 16

    def _activations(self, limits: TargetLimits) -> tuple[str, dict[str, Any]]:
        return "QUInt16", {"QuantizeBias": False, "UseQDQContribOps": limits.max_opset < _OPSET_16_BIT}

    def _finish(self, quantized: Path, prepared: Path, limits: TargetLimits) -> None:
        """Take back the opset that the quantizer raises for 16 bits, also where its own operators do not need it."""
        if limits.max_opset >= _OPSET_16_BIT:
            return
        import onnx
        from onnx import version_converter

        before = opset(onnx.load(str(prepared), load_external_data=False))
        onnx.save(version_converter.convert_version(onnx.load(str(quantized)), before), str(quantized))
