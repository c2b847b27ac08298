"""The known limitations of single operators on the Edge TPU; ``edgetpu.json`` names them, op by op.

Each looks at one operator and says what is against it in half a sentence, or nothing. Source: the tables that the data
file names; where a table only warns ("depending on input/output size"), the comment says what the bound rests on.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from edgekit_converters.placement.tflite_graph import Graph, Operator, Tensor

# compiled files have a 1x1 to 33x33 enlargement on the CPU; 2x in every published feature pyramid is mapped
_LARGEST_ENLARGEMENT = 16
# google-coral/edgetpu issue 31: 128x128x32 is mapped, 512x512x32 is not; their geometric middle
_LARGEST_RESIZED = 2 * 2**20
_SOFTMAX_ELEMENTS = 16_384  # the table says "a max of 16,000"; a compiled file has one of 16,384


def _first(op: Operator, graph: Graph) -> Tensor:
    return graph.tensors[op.inputs[0]]


def _integers(op: Operator, graph: Graph, place: int) -> np.ndarray | None:
    """A constant integer input, None where it is computed or left out."""
    if len(op.inputs) <= place or op.inputs[place] < 0:
        return None
    tensor = graph.tensors[op.inputs[place]]
    if tensor.constant is None or tensor.dtype not in ("INT32", "INT64"):
        return None
    return np.frombuffer(tensor.constant, dtype=tensor.dtype.lower())


def no_fused_activation(op: Operator, graph: Graph) -> str:
    """Pools and concatenations have no activation fused."""
    return "a fused activation function is not supported" if op.options.get("fusedActivationFunction", 0) else ""


def zero_padding_only(op: Operator, graph: Graph) -> str:
    """A constant part of a concatenation must be one of two, and zero."""
    constant = [graph.tensors[i] for i in op.inputs if i >= 0 and graph.tensors[i].constant is not None]
    if not constant:
        return ""
    zero = all(set(t.constant or b"") <= {t.zero_point & 0xFF} for t in constant)
    return "" if len(op.inputs) == 2 and zero else "a constant is concatenated that is not zero padding of two inputs"


def constant_weights(op: Operator, graph: Graph) -> str:
    """Parameters must be known when compiling."""
    if len(op.inputs) < 2 or op.inputs[1] < 0 or graph.tensors[op.inputs[1]].constant is None:
        return "its weights are not constant"
    return ""


def same_dilation(op: Operator, graph: Graph) -> str:
    """Dilation must be the same along both axes."""
    wide, high = op.options.get("dilationWFactor", 1), op.options.get("dilationHFactor", 1)
    return "" if wide == high else f"dilation {high}x{wide} differs between the axes"


def default_weights(op: Operator, graph: Graph) -> str:
    """Only the default (not shuffled) format of dense weights."""
    return "its weights are in the shuffled format" if op.options.get("weightsFormat", 0) else ""


def flat_output(op: Operator, graph: Graph) -> str:
    """A dense layer makes one row."""
    shape = graph.tensors[op.outputs[0]].shape
    return f"it makes {list(shape)}, only one row is supported" if prod(shape[:-1]) != 1 else ""


def _axes(op: Operator, graph: Graph) -> set[int] | None:
    found, rank = _integers(op, graph, 1), len(_first(op, graph).shape)
    return None if found is None else {int(a) % rank if rank else 0 for a in found}


def no_batch_axis(op: Operator, graph: Graph) -> str:
    """Reductions may not be along the batch."""
    axes = _axes(op, graph)
    if axes is None:
        return "its axes are not constant"
    rank = len(_first(op, graph).shape)
    return "it reduces along the batch" if 0 in axes and rank > 1 else ""


def depth_of_four(op: Operator, graph: Graph) -> str:
    """A mean along the depth needs a depth that is a multiple of 4."""
    axes, shape = _axes(op, graph), _first(op, graph).shape
    if axes and len(shape) - 1 in axes and shape[-1] % 4:
        return f"it averages over a depth of {shape[-1]}, which is no multiple of 4"
    return ""


def no_batch_pack(op: Operator, graph: Graph) -> str:
    """Packing may not make a new batch axis."""
    return "it packs along the batch" if op.options.get("axis", 0) == 0 else ""


def no_batch_pad(op: Operator, graph: Graph) -> str:
    """The batch may not be padded."""
    pads = _integers(op, graph, 1)
    if pads is None or pads.size < 2:
        return "its padding is not constant"
    return "it pads the batch" if pads[:2].any() and len(_first(op, graph).shape) > 1 else ""


def flat_alpha(op: Operator, graph: Graph) -> str:
    """PReLU has one slope per channel."""
    alpha = graph.tensors[op.inputs[1]] if len(op.inputs) > 1 and op.inputs[1] >= 0 else None
    if alpha is None or prod(alpha.shape[:-1]) != 1:
        return "its slopes vary along other axes than the innermost (in Keras: shared_axes=[1, 2])"
    return ""


def precise_resize(op: Operator, graph: Graph) -> str:
    """Enlarging much, or much data, would lose precision."""
    given, made = _first(op, graph).shape, graph.tensors[op.outputs[0]]
    if len(given) != 4 or len(made.shape) != 4:
        return "it resizes a tensor that is not 4-dimensional"
    if min(given) < 1:
        return "it resizes an empty tensor"
    enlarged = max(made.shape[1] / given[1], made.shape[2] / given[2])
    sizes = f"{given[1]}x{given[2]} to {made.shape[1]}x{made.shape[2]}"
    if enlarged > _LARGEST_ENLARGEMENT:
        return f"it enlarges {enlarged:.3g} times ({sizes}), too much for the Edge TPU's precision"
    if made.size > _LARGEST_RESIZED:
        return f"its result of {made.size:,} elements ({sizes}) is too large to be resized there"
    return ""


def flat_softmax(op: Operator, graph: Graph) -> str:
    """A softmax is over one axis of bounded length."""
    shape = _first(op, graph).shape
    longest = prod(shape)
    if longest > _SOFTMAX_ELEMENTS or prod(shape[:-1]) != 1:
        return f"its softmax is of {list(shape)}, only one row of up to {_SOFTMAX_ELEMENTS:,} is supported"
    return ""


def no_batch_split(op: Operator, graph: Graph) -> str:
    """A split may not be along the batch."""
    axis = _integers(op, graph, 0)
    if axis is None or not axis.size:
        return "its axis is not constant"
    shape = graph.tensors[op.inputs[1]].shape if len(op.inputs) > 1 else ()
    return "it splits the batch" if shape and int(axis[0]) % len(shape) == 0 else ""


def plain_slice(op: Operator, graph: Graph) -> str:
    """Only strides of 1, without an ellipsis or new axes."""
    strides = _integers(op, graph, 3)
    if strides is None or (strides != 1).any():
        return "its strides are not all 1"
    if op.options.get("ellipsisMask", 0) or op.options.get("newAxisMask", 0):
        return "it has an ellipsis or new axes"
    return ""


LIMITS: dict[str, Callable[[Operator, Graph], str]] = {
    f.__name__: f
    for f in (
        no_fused_activation, zero_padding_only, constant_weights, same_dilation, default_weights, flat_output,
        no_batch_axis,
        depth_of_four, no_batch_pack, no_batch_pad, flat_alpha, precise_resize, flat_softmax, no_batch_split,
        plain_slice,
    )
}  # fmt: skip
