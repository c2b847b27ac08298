"""Weights in 4 or 8 bits, arithmetic in float, for TFLite: for what is bound by memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgekit_converters.errors import ConversionError
from edgekit_converters.passes.refusals import require
from edgekit_converters.passes.tflite import Quantize, check_patterns
from edgekit_converters.passes.tflite_file import quantized_weights
from edgekit_converters.recipe import Converted, PassContext


@dataclass(frozen=True)
class _Weights(Quantize):
    """Shared by the two passes below; no samples are needed. The interpreter makes floats of the weights as it loads.

    Attributes:
        bits: Of a weight.
        exclude: Regular expressions; operations whose output tensor's name matches one stay float.
    """

    bits: ClassVar[int]
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_patterns(self.exclude)

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply.

        Raises:
            ConversionError: Weights are quantized already, or the quantizer refused.
        """
        require("ai_edge_litert")
        if count := quantized_weights(model.path):
            raise ConversionError(
                f"{count} weights of the model are quantized already", "give the float model, or leave it as it is"
            )
        return super().__call__(model, context)

    def _recipe(self) -> list[dict[str, Any]]:
        weights = {"num_bits": self.bits, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"}
        return [
            {
                "regex": ".*",
                "operation": "*",
                "algorithm_key": "min_max_uniform_quantize",
                "op_config": {
                    "weight_tensor_config": weights,
                    "compute_precision": "FLOAT",
                    "explicit_dequantize": True,
                },
            }
        ]


@dataclass(frozen=True)
class TfliteW8(_Weights):
    """Weights in 8 bits, arithmetic in float: a quarter of the size, hardly any loss, no faster; no samples are needed.

    Attributes:
        exclude: Regular expressions; operations whose output tensor's name matches one stay float.
    """

    name = "tflite-w8"
    precision = "w8"
    bits = 8


@dataclass(frozen=True)
class TfliteW4(_Weights):
    """Weights in 4 bits, arithmetic in float: an eighth of the size, no faster; no samples are needed.

    Attributes:
        exclude: Regular expressions; operations whose output tensor's name matches one stay float.
    """

    name = "tflite-w4"
    precision = "w4"
    bits = 4
