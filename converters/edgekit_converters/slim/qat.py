"""Quantization-aware training of PyTorch networks: int8 weights per channel, 8-bit activations, as integer kernels run.

A network is trained on as a graph that rounds what the device will round; gradients go straight through (Jacob et al.
2018, arXiv:1712.05877). Batch norms are folded first. What comes out is exported by `to_onnx` and `to_tflite`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_converters.errors import ConversionError
from edgekit_converters.slim.settings import FineTune, Score

if TYPE_CHECKING:
    from edgekit_converters.limits import TargetLimits
    from edgekit_converters.recipe import Converted
    from edgekit_converters.source import Source


@dataclass(frozen=True)
class QatSettings:
    """How to train.

    Attributes:
        epochs: Epochs in which activation ranges still follow what is seen.
        frozen_epochs: Epochs after that, with ranges that stand still.
        momentum: Share of a new batch in the ranges' moving average.
        signed_activations: Symmetric int8 activations as TensorRT wants, instead of uint8.
        keep: Layers that stay float, by their names in the network.
    """

    epochs: int = 2
    frozen_epochs: int = 1
    momentum: float = 0.05
    signed_activations: bool = False
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.frozen_epochs < 0 or not 0 < self.momentum <= 1:
            raise ValueError("epochs must not be negative, momentum above 0 and at most 1")


@dataclass(frozen=True)
class QatResult:
    """What came out.

    Attributes:
        module: The network with its rounding (``torch.fx.GraphModule``), frozen.
        layers: How many layers with weights are quantized.
        before: Score with observed ranges, before training; None where no `score` was given.
        after: Score of `module`.
        trained: Whether training made it better; else it is as it was observed.
    """

    module: Any = field(repr=False, compare=False)
    layers: int
    before: float | None
    after: float | None
    trained: bool


def qat(
    network: Any,
    examples: Sequence[Any],
    *,
    observe: Iterable[tuple[Any, ...]],
    fine_tune: FineTune | None,
    score: Score | None = None,
    settings: QatSettings | None = None,
) -> QatResult:
    """Train a network to be quantized.

    Args:
        network: ``torch.nn.Module`` or the module of an exported program; not changed.
        examples: One tensor an input, batch axis first.
        observe: Inputs from which activation ranges start; a few batches of training data.
        fine_tune: (network, epochs), trains in place, as `distill.fine_tuner`; None to observe only.
        score: With it, training that makes things worse is undone.
        settings: How.

    Raises:
        ConversionError: The network cannot be read, or has nothing to quantize.
    """
    from edgekit_converters.slim.fake_quant import ActivationQuantizer
    from edgekit_converters.slim.qat_graph import quantizers

    settings = settings or QatSettings()
    graph, layers = prepare(network, examples, settings)
    _observe(graph, observe)
    before = score(graph) if score else None
    after, trained = before, False
    if fine_tune is not None and settings.epochs + settings.frozen_epochs:
        kept = copy.deepcopy(graph)
        if settings.epochs:
            fine_tune(graph, settings.epochs)
        for _, quantizer in quantizers(graph, ActivationQuantizer):
            quantizer.observing = False
        if settings.frozen_epochs:
            fine_tune(graph, settings.frozen_epochs)
        after, trained = (score(graph) if score else None), True
        if before is not None and after is not None and not after >= before:  # worse, or not a number
            graph, after, trained = kept, before, False
    return QatResult(freeze(graph), layers, before, after, trained)


def prepare(network: Any, examples: Sequence[Any], settings: QatSettings) -> tuple[Any, int]:
    """The network as a graph with quantizers that have seen nothing yet, and how many layers they are for.

    Raises:
        ConversionError: The network cannot be read, or has nothing to quantize.
    """
    from edgekit_converters.slim import qat_graph

    graph = qat_graph.captured(network, examples)
    qat_graph.fold_norms(graph)
    layers = qat_graph.insert_quantizers(graph, settings.signed_activations, settings.momentum, settings.keep)
    if not layers:
        raise ConversionError("the network has no convolution or dense layer to quantize")
    return graph, layers


def _observe(graph: Any, batches: Iterable[tuple[Any, ...]]) -> None:
    """Ranges over all of what is seen: the network runs in float while it is looked at."""
    import torch

    from edgekit_converters.slim.fake_quant import ActivationQuantizer, WeightQuantizer
    from edgekit_converters.slim.qat_graph import quantizers

    both = [m for kind in (ActivationQuantizer, WeightQuantizer) for _, m in quantizers(graph, kind)]
    for quantizer in both:
        quantizer.passing = True
    graph.train()
    seen = 0
    with torch.no_grad():
        for inputs in batches:
            graph(*inputs)
            seen += 1
    graph.eval()
    for quantizer in both:
        quantizer.passing = False
    if not seen:
        raise ConversionError("there is nothing to observe activation ranges on", "give a few batches of inputs")
    for _, quantizer in quantizers(graph, ActivationQuantizer):
        if not torch.isfinite(quantizer.low + quantizer.high):
            raise ConversionError("activations are NaN or infinite on what was observed", "clean the data")


def freeze(graph: Any) -> Any:
    """The graph with constant steps: weights and biases on their grids, ranges fixed; for export and reference."""
    import torch

    from edgekit_converters.slim import fake_quant, qat_graph

    graph = copy.deepcopy(graph).eval()
    for node, quantizer in list(qat_graph.quantizers(graph, fake_quant.ActivationQuantizer)):
        scale, zero_point = quantizer.steps()
        if scale < 1e-8:  # only zeros were seen: there is nothing to round
            node.replace_all_uses_with(node.args[0])
            continue
        ends = (quantizer.lowest - zero_point) * scale, (quantizer.lowest + 255 - zero_point) * scale
        frozen = fake_quant.FrozenQuantizer(scale, zero_point, quantizer.lowest, *ends)
        graph.set_submodule(node.target, frozen)
    with torch.no_grad():
        for node, quantizer in list(qat_graph.quantizers(graph, fake_quant.WeightQuantizer)):
            weight = qat_graph.attribute(graph, node.args[0].target)
            scales = quantizer.scales(weight)
            weight.copy_(quantizer(weight))
            graph.set_submodule(node.target, fake_quant.FixedWeightQuantizer(scales))
            for layer in node.users:
                _round_bias(graph, layer, scales)
    qat_graph.tidied(graph)
    return graph


def _round_bias(graph: Any, layer: Any, scales: Any) -> None:
    """Biases are int32 in steps of input scale x weight scale."""
    from edgekit_converters.slim import fake_quant, qat_graph

    given = layer.args[2] if len(layer.args) > 2 else layer.kwargs.get("bias")
    source = qat_graph._grid_of(layer.args[0])
    if given is None or given.op != "get_attr" or source.op != "call_module":
        return
    quantizer = graph.get_submodule(source.target)
    if isinstance(quantizer, fake_quant.FrozenQuantizer):
        bias = qat_graph.attribute(graph, given.target)
        steps = scales * quantizer.scale
        bias.copy_((bias / steps).round().clamp(-(2**31), 2**31 - 1) * steps)


def stripped(graph: Any) -> Any:
    """A frozen graph without rounding: the float network whose weights lie on their grids."""
    from edgekit_converters.slim import fake_quant, qat_graph

    graph = copy.deepcopy(graph)
    for kind in (fake_quant.FrozenQuantizer, fake_quant.FixedWeightQuantizer):
        for node, _ in list(qat_graph.quantizers(graph, kind)):
            node.replace_all_uses_with(node.args[0])
    qat_graph.tidied(graph)
    return graph


def to_onnx(source: Source, frozen: Any, folder: Path, limits: TargetLimits) -> Converted:
    """A QDQ file that computes what the frozen graph computes, at most one step of the output apart.

    Args:
        source: The float network as loaded, for the names and shapes of its ends.
        frozen: `QatResult.module`.
        folder: Where the file goes.
        limits: Of the target.

    Raises:
        ConversionError: The exporter refused.
    """
    from edgekit_converters.slim.qat_onnx import export

    return export(source, frozen, folder, limits)


def to_tflite(
    source: Source, frozen: Any, folder: Path, limits: TargetLimits, samples: Sequence[Mapping[str, Any]]
) -> Converted:
    """A full-integer TFLite file with the ranges that were learned.

    Args:
        source: The float network as loaded, for the names and shapes of its ends.
        frozen: `QatResult.module`.
        folder: Where the files go.
        limits: Of the target.
        samples: Model inputs by name, batch of 1; the first tells which tensor is which, all give the ranges of tensors
            that only TFLite has.

    Raises:
        ConversionError: The converter or the quantizer refused.
    """
    from edgekit_converters.slim.qat_tflite import export

    return export(source, frozen, folder, limits, samples)
