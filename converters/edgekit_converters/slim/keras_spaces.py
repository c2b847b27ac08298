"""Which layers of a Keras network share their channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit_converters.errors import UsageError

MAKERS = ("Conv2D", "SeparableConv2D", "Dense")
"""Layers that take channels and make new ones."""
_CARRIERS = ("BatchNormalization", "DepthwiseConv2D")
"""Layers with weights for each channel that passes."""
_PASSERS = (
    "Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout2D", "GaussianNoise", "MaxPooling2D",
    "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D", "Cropping2D", "UpSampling2D",
    "Rescaling",
)  # fmt: skip
_JOINERS = ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average")


@dataclass(frozen=True)
class Spaces:
    """Channels of a network: a space is a set of channels that several layers share.

    Attributes:
        width: Space to how many channels it has.
        makers: Space to the layers that make them, in the network's order.
        members: Space to the layers with weights for each of them, makers included.
        takers: Space to (layer that takes them, positions they are flattened over).
        fixed: Space that must stay whole to the reason.
        made: Maker to its space.
    """

    width: Mapping[int, int]
    makers: Mapping[int, list[str]]
    members: Mapping[int, list[str]]
    takers: Mapping[int, list[tuple[str, int]]]
    fixed: Mapping[int, str]
    made: Mapping[str, int]


def kind_of(layer: Any) -> str:
    """Name of a layer's class."""
    return str(type(layer).__name__)


def spaces_of(network: Any) -> Spaces:
    """The channels of a Sequential or functional network.

    Raises:
        UsageError: A layer is used more than once.
    """
    parent: list[int] = []
    widths: list[int] = []
    fixed: dict[int, str] = {}
    produced: list[tuple[str, int]] = []
    carried: list[tuple[str, int]] = []
    taken: list[tuple[str, int, int]] = []
    at: dict[str, tuple[int, int]] = {}  # layer to (space, positions flattened) of what it gives

    def root(space: int) -> int:
        while parent[space] != space:
            space = parent[space]
        return space

    def new(width: int, why: str = "") -> int:
        parent.append(len(parent))
        widths.append(width)
        if why:
            fixed[len(parent) - 1] = why
        return len(parent) - 1

    def hold(space: int, why: str) -> None:
        fixed.setdefault(space, why)

    for layer, sources in _in_order(network):
        kind = kind_of(layer)
        inputs = [at[s] for s in sources]
        shape: tuple[Any, ...] = () if isinstance(layer.output, (list, tuple)) else tuple(layer.output.shape)
        why = f"goes through a {kind} layer"
        plain = len(inputs) == 1 and getattr(layer, "data_format", None) in (None, "channels_last")
        if kind == "InputLayer":
            at[layer.name] = (new(int(shape[-1] or 0), "is the network's input"), 1)
        elif (
            kind in MAKERS and plain and getattr(layer, "groups", 1) == 1 and getattr(layer, "depth_multiplier", 1) == 1
        ):
            taken.append((layer.name, *inputs[0]))
            space = new(int(shape[-1]))
            produced.append((layer.name, space))
            at[layer.name] = (space, 1)
            if getattr(layer, "activation", None) is not None and "softmax" in str(
                layer.get_config().get("activation")
            ):
                hold(space, "goes through a softmax")
        elif kind in _CARRIERS and plain and inputs[0][1] == 1 and _each_channel(layer):
            carried.append((layer.name, inputs[0][0]))
            at[layer.name] = inputs[0]
        elif kind in _PASSERS and plain and not _mixes(layer):
            at[layer.name] = inputs[0]
        elif kind in _JOINERS and len({widths[i[0]] for i in inputs}) == 1 and len({i[1] for i in inputs}) == 1:
            for space, _ in inputs[1:]:
                parent[root(space)] = root(inputs[0][0])
            at[layer.name] = inputs[0]
        elif kind == "Flatten" and plain and inputs[0][1] == 1:
            extents = layer.input.shape[1:-1]
            if any(e is None for e in extents):
                hold(inputs[0][0], "is flattened over an extent that is not fixed")
            positions = 1
            for extent in extents:
                positions *= extent or 1
            at[layer.name] = (inputs[0][0], positions)
        elif kind == "Reshape" and plain and inputs[0][1] == 1 and _squeezes(layer):
            at[layer.name] = inputs[0]
        else:
            for space, _ in inputs:
                hold(space, why)
            at[layer.name] = (new(int(shape[-1] or 0) if len(shape) > 1 else 0, why), 1)
    for name in _output_layers(network):
        fixed[at[name][0]] = "holds the network's outputs"
    reasons: dict[int, str] = {}
    for space, why in fixed.items():
        reasons.setdefault(root(space), why)
    makers: dict[int, list[str]] = {}
    members: dict[int, list[str]] = {}
    takers: dict[int, list[tuple[str, int]]] = {}
    for name, space in produced:
        makers.setdefault(root(space), []).append(name)
    for name, space in [*produced, *carried]:
        members.setdefault(root(space), []).append(name)
    for name, space, positions in taken:
        takers.setdefault(root(space), []).append((name, positions))
    for space in makers:
        if space not in takers:
            reasons.setdefault(space, "holds the network's outputs")
    made = {name: space for space, names in makers.items() for name in names}
    return Spaces({s: widths[s] for s in makers}, makers, members, takers, reasons, made)


def _in_order(network: Any) -> list[tuple[Any, list[str]]]:
    """(layer, names of the layers it takes from), inputs first."""
    import keras

    if isinstance(network, keras.Sequential):
        network = network._functional
    found = []
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            found.append((node.operation, [p.operation.name for p in node.parent_nodes]))
    names = [layer.name for layer, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"layer {name!r:.80} is used more than once", "give every place a layer of its own")
    return found


def _output_layers(network: Any) -> list[str]:
    return [t._keras_history.operation.name for t in network.outputs]


def _each_channel(layer: Any) -> bool:
    if kind_of(layer) == "BatchNormalization":
        return layer.axis in (-1, len(layer.output.shape) - 1) or list(layer.axis) == [len(layer.output.shape) - 1]
    return bool(layer.depth_multiplier == 1)


def _mixes(layer: Any) -> bool:
    """Whether an activation looks at several channels at once, or a scale differs between them."""
    config = layer.get_config()
    if kind_of(layer) == "Rescaling":
        return any(isinstance(config[name], (list, tuple)) for name in ("scale", "offset"))
    return "softmax" in str(config.get("activation", ""))


def _squeezes(layer: Any) -> bool:
    """Whether a reshape only adds or drops extents of 1 before the channels."""
    before, after = layer.input.shape[1:], layer.output.shape[1:]
    return bool(before[-1] == after[-1] and [e for e in before if e != 1] == [e for e in after if e != 1])
