"""Static int8 for ONNX as QDQ, by onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit_converters.files import versions
from edgekit_converters.passes.calibration import file_feeds
from edgekit_converters.passes.onnx_file import check_names, prepare, tidy
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.passes.refusals import refusals, require
from edgekit_converters.recipe import Converted, Pass, PassContext

METHODS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True)
class OnnxInt8(Pass):
    """int8 weights with int8 or uint8 activations; inputs and outputs stay float32.

    Attributes:
        signed_activations: Signed symmetric activations as TensorRT wants (every zero point 0, biases left in float);
            unsigned ones are faster on CPUs and keep one bit more after a ReLU.
        method: How activation ranges are found: ``minmax``, ``percentile`` or ``entropy``.
        percentile: Share of values inside the range, in percent; for ``percentile`` only.
        per_channel: Whether each output channel of a weight has its own scale.
        exclude: Names of nodes that stay float.
    """

    name = "onnx-int8"
    format = "onnx"
    signed_activations: bool = False
    method: str = "minmax"
    percentile: float = 99.999
    per_channel: bool = True
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {self.method!r:.40}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be above 50 and at most 100, not {self.percentile:g}")

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply."""
        require("onnx", "onnxruntime")
        feeds = file_feeds(model, context)
        target = new_file(context, model, "onnx-int8.onnx")
        with (
            refusals("onnxruntime's quantizer"),
            tempfile.TemporaryDirectory(prefix="onnx-int8-", dir=context.folder) as work,
        ):
            prepared = prepare(model.path, Path(work), context.limits)
            check_names(prepared, self.exclude)
            self._quantize(prepared, Path(work) / "quantized.onnx", feeds)
            tidy(Path(work) / "quantized.onnx", context.limits)
            (Path(work) / "quantized.onnx").replace(target)
        return recorded(self, replace(model, path=target, precision="int8"), versions("onnx", "onnxruntime"))

    def _quantize(self, prepared: Path, target: Path, feeds: Sequence[dict[str, np.ndarray]]) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        extra: dict[str, Any] = {}
        if self.signed_activations:
            # TensorRT reads QDQ with zero points of 0 only, and quantizes biases itself
            extra |= {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        if self.method != "minmax":
            # one sample at a time: the histogram methods keep every activation of what they are given in memory
            extra["CalibStridedMinMax"] = 1
        if self.method == "percentile":
            extra["CalibPercentile"] = self.percentile
        quantize_static(
            str(prepared),
            str(target),
            _reader(feeds),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8 if self.signed_activations else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=self.per_channel,
            calibrate_method={
                "minmax": CalibrationMethod.MinMax,
                "percentile": CalibrationMethod.Percentile,
                "entropy": CalibrationMethod.Entropy,
            }[self.method],
            nodes_to_exclude=list(self.exclude),
            extra_options=extra,
        )


def _reader(feeds: Sequence[dict[str, np.ndarray]]) -> Any:
    """The samples as onnxruntime's calibrators read them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting = iter(feeds)

        def __len__(self) -> int:
            return len(feeds)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.waiting = iter(feeds[start_index:end_index])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.waiting, None)

    return Reader()
