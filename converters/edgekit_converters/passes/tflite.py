"""Quantizing TFLite files with ai-edge-quantizer."""

from __future__ import annotations

import re
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgekit_converters.errors import ConversionError
from edgekit_converters.files import versions
from edgekit_converters.passes.bias import correct_tflite
from edgekit_converters.passes.calibration import file_feeds
from edgekit_converters.passes.equalise_tflite import equalise_tflite
from edgekit_converters.passes.outcome import new_file, recorded
from edgekit_converters.passes.ranges import DEFAULT_PERCENTILE, Ranges, Search
from edgekit_converters.passes.refusals import refusals, refuse_convolutional, require
from edgekit_converters.passes.tflite_file import arguments, inline, operators, prepare, quantized_weights, rebound
from edgekit_converters.recipe import Converted, Pass, PassContext
from edgekit_converters.tap import TfliteTap

_PRODUCTS = ("FULLY_CONNECTED", "BATCH_MATMUL")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D")


class Quantize(Pass):
    """Shared by the passes below: prepare the file, calibrate where it is static, quantize, read the new ends.

    Attributes:
        precision: What comes out.
        exclude: Regular expressions; operations whose output tensor's name matches one stay float.
    """

    format = "tflite"
    precision: ClassVar[str]
    exclude: tuple[str, ...]

    @abstractmethod
    def _recipe(self) -> list[dict[str, Any]]:
        """The quantizer's own recipe: later entries win over earlier ones."""

    def _ranges(self, path: Path, recipe: list[dict[str, Any]], feeds: Sequence[dict[str, np.ndarray]]) -> Any:
        """Activation ranges by tensor name, None where none are needed."""
        return None

    def _feeds(self, model: Converted, context: PassContext) -> list[dict[str, np.ndarray]]:
        return []

    def _prepared(self, model: Converted, work: Path) -> Path:
        return prepare(model.path, work / "prepared.tflite")

    def _finish(self, floating: Path, quantized: Path, feeds: Sequence[dict[str, np.ndarray]]) -> None:
        """Mend the quantizer's file."""

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply."""
        require("ai_edge_quantizer", "ai_edge_litert")
        feeds = self._feeds(model, context)
        recipe = [*self._recipe(), *(_untouched("*", pattern) for pattern in self.exclude)]
        target = new_file(context, model, f"tflite-{self.precision}.tflite")
        with (
            refusals("ai-edge-quantizer"),
            tempfile.TemporaryDirectory(prefix="tflite-", dir=context.folder) as work,
        ):
            from ai_edge_quantizer import quantizer

            path = self._prepared(model, Path(work))
            worker = quantizer.Quantizer(str(path), recipe)
            ranges = self._ranges(path, recipe, feeds)
            result = worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
            written = Path(work) / "quantized.tflite"
            written.write_bytes(bytes(result.quantized_model))
            inline(written)
            self._finish(path, written, feeds)
            quantized = rebound(model, written)
            written.replace(target)
        return recorded(
            self,
            replace(quantized, path=target, precision=self.precision),
            versions("ai-edge-quantizer", "ai-edge-litert"),
        )


def _untouched(operation: str, pattern: str = ".*") -> dict[str, Any]:
    return {"regex": pattern, "operation": operation, "algorithm_key": "no_quantize"}


def _integers(operation: str, activations: int, granularity: str) -> dict[str, Any]:
    """Recipe entry for int8 weights and whole-number activations of so many bits."""
    return {
        "regex": ".*",
        "operation": operation,
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": {
            "activation_tensor_config": {
                "num_bits": activations,
                "symmetric": activations > 8,  # int16 kernels take zero points of 0 only
                "granularity": "TENSORWISE",
                "dtype": "INT",
            },
            "weight_tensor_config": {"num_bits": 8, "symmetric": True, "granularity": granularity, "dtype": "INT"},
            "compute_precision": "INTEGER",
            "explicit_dequantize": False,
        },
    }


@dataclass(frozen=True)
class _Static(Quantize):
    """Activations with ranges from samples.

    Attributes:
        method: How ranges are found: ``minmax`` over all samples; the moving ``average`` of each sample's, which
            clips outliers and depends on the samples' order; ``percentile``, ``mse`` or ``entropy``.
        percentile: Share of values inside the range, in percent; for ``percentile`` only.
        dense_per_channel: Whether each output of a dense layer has its own weight scale. TensorFlow's own converter
            began with that in 2024; TFLite Micro of before then takes such a file and computes something else
            (tflite-micro pull request 2602), and the Edge TPU's compiler is older still.
        exclude: Regular expressions; operations whose output tensor's name matches one stay float.
        equalise: Whether channels are evened out from layer to layer first: cross-layer equalisation.
        correct_biases: Whether biases take back the mean shift that rounding makes: bias correction.
    """

    bits: ClassVar[int]
    method: str = "minmax"
    percentile: float = DEFAULT_PERCENTILE
    dense_per_channel: bool = True
    exclude: tuple[str, ...] = ()
    equalise: bool = False
    correct_biases: bool = True

    def __post_init__(self) -> None:
        self._search()
        check_patterns(self.exclude)

    def _search(self) -> Search:
        return Search(self.method, self.percentile, self.bits, symmetric=self.bits > 8)

    def _float_ends(self) -> bool:
        return True

    def _recipe(self) -> list[dict[str, Any]]:
        entries = [_integers("*", self.bits, "CHANNELWISE")]
        if not self.dense_per_channel:
            entries.append(_integers("FULLY_CONNECTED", self.bits, "TENSORWISE"))
        if self._float_ends():
            entries += [_untouched("INPUT"), _untouched("OUTPUT")]
        return entries

    def _feeds(self, model: Converted, context: PassContext) -> list[dict[str, np.ndarray]]:
        return file_feeds(model, context)

    def _prepared(self, model: Converted, work: Path) -> Path:
        path = super()._prepared(model, work)
        if self.equalise:
            equalise_tflite(path, work / "equalised.tflite")
            path = work / "equalised.tflite"
        return path

    def _finish(self, floating: Path, quantized: Path, feeds: Sequence[dict[str, np.ndarray]]) -> None:
        if self.correct_biases:
            correct_tflite(floating, quantized, feeds)

    def _ranges(self, path: Path, recipe: list[dict[str, Any]], feeds: Sequence[dict[str, np.ndarray]]) -> Any:
        found = _extremes(path, recipe, feeds, average=self.method == "average")
        if self.method in ("minmax", "average"):
            return found
        tap, ranges = TfliteTap(path.read_bytes()), Ranges(self._search())
        for feed in feeds:
            ranges.add(tap.run(feed))
        for name, ends in ranges.result().items():
            if name in found:
                for key, end in zip(("min", "max"), ends, strict=True):
                    found[name][key] = np.full_like(found[name][key], end)
        return found


def _extremes(
    path: Path, recipe: list[dict[str, Any]], feeds: Sequence[dict[str, np.ndarray]], average: bool
) -> dict[str, Any]:
    """Smallest and largest value of the tensors that the quantizer asks about, those of sub-graphs included."""
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils import qsv_utils

    key, names = arguments(path)
    samples = [{names.get(name, name): value for name, value in feed.items()} for feed in feeds]
    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    # one thread: sums in another order would make another file
    calibrator = Calibrator(
        path.read_bytes(),
        num_threads=1,
        qsv_update_func=qsv_utils.moving_average_update if average else qsv_utils.min_max_update,
    )
    calibrator.calibrate({key: samples}, manager)
    return dict(calibrator.get_model_qsvs())


@dataclass(frozen=True)
class TfliteInt8(_Static):
    """Static int8, convolution weights per channel.

    Attributes:
        integer_io: Whether inputs and outputs are int8 too (Edge TPU) or stay float32.
    """

    name = "tflite-int8"
    precision = "int8"
    bits = 8
    integer_io: bool = False

    def _float_ends(self) -> bool:
        return not self.integer_io


@dataclass(frozen=True)
class TfliteW8A16(_Static):
    """int8 weights, int16 activations: small and exact, but slow on CPUs; inputs and outputs stay float32."""

    name = "tflite-w8a16"
    precision = "w8a16"
    bits = 16


@dataclass(frozen=True)
class TfliteDynamic(Quantize):
    """int8 weights, activations quantized as they come; for transformers.

    Attributes:
        exclude: Regular expressions; operations whose output tensor's name matches one stay float.
    """

    name = "tflite-dynamic"
    precision = "dynamic"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_patterns(self.exclude)

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply.

        Raises:
            ConversionError: Convolutions dominate the model, or the quantizer refused.
        """
        require("ai_edge_litert")
        kinds = operators(model.path)
        refuse_convolutional(sum(kinds[k] for k in _PRODUCTS), sum(kinds[k] for k in _CONVOLUTIONS))
        return super().__call__(model, context)

    def _recipe(self) -> list[dict[str, Any]]:
        from ai_edge_quantizer import recipe

        return list(recipe.dynamic_wi8_afp32())


@dataclass(frozen=True)
class TfliteFp16(Quantize):
    """float16 weights, float32 arithmetic: half the size, no faster.

    Attributes:
        exclude: Regular expressions; operations whose output tensor's name matches one stay float32.
    """

    name = "tflite-fp16"
    precision = "fp16"
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_patterns(self.exclude)

    def __call__(self, model: Converted, context: PassContext) -> Converted:
        """Apply.

        Raises:
            ConversionError: Weights are quantized already (the quantizer would cast the whole numbers and forget
                their scale), or it refused.
        """
        require("ai_edge_litert")
        if count := quantized_weights(model.path):
            raise ConversionError(
                f"{count} weights of the model are quantized already, float16 would not give back what they lost",
                "give the float model, or leave it as it is",
            )
        return super().__call__(model, context)

    def _recipe(self) -> list[dict[str, Any]]:
        weights = {"num_bits": 16, "symmetric": True, "granularity": "TENSORWISE", "dtype": "FLOAT"}
        return [
            {
                "regex": ".*",
                "operation": "*",
                "algorithm_key": "float_casting",
                "op_config": {
                    "weight_tensor_config": weights,
                    "compute_precision": "FLOAT",
                    "explicit_dequantize": True,
                },
            }
        ]


def check_patterns(patterns: tuple[str, ...]) -> None:
    """Whether `exclude` holds regular expressions.

    Raises:
        ValueError: One is none.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"exclude {pattern!r:.40} is not a regular expression ({error})") from error
