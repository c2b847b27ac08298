"""Structured pruning of Keras 3 networks: the same settings and result as for PyTorch, by surgery of our own.

For Sequential and functional networks of convolutions, channels last, each layer used once. It runs in the process
that holds the network, so in one where TensorFlow may live. What is not known stays whole, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from edgekit_converters.errors import ConversionError, UsageError
from edgekit_converters.slim.keras_depth import shortcuts_of
from edgekit_converters.slim.keras_spaces import MAKERS, Spaces, kind_of, spaces_of
from edgekit_converters.slim.loop import Surgeon, Unit, run
from edgekit_converters.slim.result import Cut, PruneResult, read_cuts
from edgekit_converters.slim.settings import FineTune, Measure, PruneSettings, Score

_SAME = 1e-4
"""A cut and the mask may differ by this share of the largest output: sums in another order."""
_WIDTH = {"Conv2D": "filters", "SeparableConv2D": "filters", "Dense": "units"}


def prune(
    network: Any,
    *,
    score: Score,
    measure: Measure,
    fine_tune: FineTune | None = None,
    settings: PruneSettings | None = None,
) -> PruneResult:
    """Take channels away where it pays; see `slim.prune.prune`.

    Args:
        network: ``keras.Model``, Sequential or functional; not changed.
        score: Network to how well it does on held-out data.
        measure: Networks to the milliseconds of each.
        fine_tune: (network, epochs), trains in place; networks it is given are not compiled.
        settings: How; there are no heads here, and blocks are those that an Add closes around.

    Raises:
        ConversionError: Nothing can be pruned; names reasons.
        UsageError: A layer is used twice, or the network is neither Sequential nor functional.
    """
    surgeon = KerasSurgeon()
    return run(surgeon, surgeon.copy(network), settings or PruneSettings(), score, measure, fine_tune)


def replay(network: Any, cuts: Sequence[Cut] | Sequence[Mapping[str, Any]]) -> Any:
    """The architecture that pruning left, as a new network with what is left of the weights.

    Raises:
        UsageError: A cut does not fit the network; names the layer.
    """
    typed = [c for c in cuts if isinstance(c, Cut)]
    return KerasSurgeon().cut(network, typed if len(typed) == len(cuts) else read_cuts(cuts))  # type: ignore[arg-type]


class KerasSurgeon(Surgeon):
    """Knows Keras 3."""

    def copy(self, network: Any) -> Any:
        return _rebuilt(network)

    def units(self, network: Any, settings: PruneSettings) -> tuple[tuple[Unit, ...], dict[str, str]]:
        spaces = spaces_of(network)
        found, left = [], {}
        for space, makers in spaces.makers.items():
            width = spaces.width[space]
            why = spaces.fixed.get(space, "")
            if not why and set(spaces.members[space]) & set(settings.keep):
                why = "asked to be kept"
            if not why and width <= settings.channel_multiple:
                why = f"has no more than {settings.channel_multiple} channels"
            unit = Unit(makers[0], width)
            why = why or self._disproof(network, unit)
            if why:
                left[makers[0]] = why
            else:
                found.append(unit)
        if settings.depth:
            found += [Unit(n, 0) for n, way in shortcuts_of(network).items() if not way.inside & set(settings.keep)]
        return tuple(found), left

    def _disproof(self, network: Any, unit: Unit) -> str:
        channels = tuple(range(0, unit.channels - 1, 2))
        want = _outputs(self.masked(network, unit, channels))
        have = _outputs(self.cut(network, [Cut(unit.layer, channels)]))
        for one, other in zip(want, have, strict=True):
            if one.shape != other.shape or np.abs(one - other).max() > _SAME * max(float(np.abs(one).max()), 1e-6):
                return "a trial cut computes something else than the mask: its dependencies are not understood"
        return ""

    def least(self, network: Any, unit: Unit, count: int, importance: str) -> tuple[int, ...]:
        spaces = spaces_of(network)
        space = spaces.made[unit.layer]
        norms = [np.zeros(spaces.width[space])]
        gammas = []
        for name in spaces.members[space]:
            layer = network.get_layer(name)
            if kind_of(layer) == "BatchNormalization":
                if layer.scale:
                    gammas.append(np.abs(layer.get_weights()[0]))
                    norms.append(gammas[-1] ** 2 if importance == "group-l2" else np.zeros_like(gammas[-1]))
                continue
            if importance in ("l1", "l2") and name != unit.layer:
                continue
            kernel = np.abs(_by_channel(layer))
            norms.append((kernel if importance == "l1" else kernel**2).sum(1))
        values = np.sum(gammas, axis=0) if importance == "bn" and gammas else np.sum(norms, axis=0)
        if not np.isfinite(values).all():
            raise ConversionError("the network's weights hold NaN or infinity", "train it again with a lower rate")
        return tuple(sorted(int(c) for c in np.argsort(values, kind="stable")[:count]))

    def masked(self, network: Any, unit: Unit, channels: Sequence[int]) -> Any:
        if unit.whole:
            return _dropped(network, unit.layer)
        spaces = spaces_of(network)
        result = self.copy(network)
        for name, repeat in spaces.takers[spaces.made[unit.layer]]:
            layer = result.get_layer(name)
            weights = layer.get_weights()
            rows = _rows(channels, spaces.width[spaces.made[unit.layer]], repeat)
            place = 1 if kind_of(layer) == "SeparableConv2D" else 0
            weights[place] = weights[place].copy()
            weights[place][..., rows, :] = 0
            layer.set_weights(weights)
        return result

    def cut(self, network: Any, cuts: Sequence[Cut]) -> Any:
        for made in cuts:
            if not made.channels:
                network = _dropped(network, made.layer)
                continue
            spaces = spaces_of(network)
            if made.layer not in spaces.made:
                raise UsageError(
                    f"there is no layer {made.layer!r:.80} to cut", "build the network as it was before the first cut"
                )
            space = spaces.made[made.layer]
            width = spaces.width[space]
            if max(made.channels) >= width or len(set(made.channels)) >= width:
                raise UsageError(
                    f"layer {made.layer!r:.80} has {width} channels, which the cut does not fit",
                    "replay all cuts in their order on the network as it was before the first",
                )
            if space in spaces.fixed:
                raise UsageError(f"layer {made.layer!r:.80} cannot be cut: {spaces.fixed[space]}")
            network = _cut_one(network, spaces, space, made.channels)
        return network

    def channels(self, network: Any, unit: Unit) -> int:
        found = next((layer for layer in network.layers if layer.name == unit.layer), None)
        return 0 if found is None else _width(found)

    def cost(self, network: Any) -> tuple[int, int]:
        macs = 0
        for layer in network.layers:
            kind = kind_of(layer)
            if kind not in (*MAKERS, "DepthwiseConv2D"):
                continue
            shape = layer.output.shape[1:]
            places = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
            kernels = [w for w in layer.get_weights() if w.ndim > 1]
            macs += places * sum(int(np.prod(k.shape)) for k in kernels)
        return int(network.count_params()), macs


def _width(layer: Any) -> int:
    return int(getattr(layer, _WIDTH[kind_of(layer)]))


def _rows(channels: Sequence[int], width: int, repeat: int) -> list[int]:
    """Places of channels in what takes them; `repeat` positions one after the other where they were flattened."""
    return [position * width + c for position in range(repeat) for c in channels]


def _by_channel(layer: Any) -> np.ndarray:
    """Weights of a layer by output channel: (channels, weights of each)."""
    kernels = layer.get_weights()
    kernel = kernels[1] if kind_of(layer) == "SeparableConv2D" else kernels[0]
    axis = 2 if kind_of(layer) == "DepthwiseConv2D" else -1
    return np.asarray(np.moveaxis(kernel.astype(np.float64), axis, 0).reshape(kernel.shape[axis], -1))


def _cut_one(network: Any, spaces: Spaces, space: int, channels: Sequence[int]) -> Any:
    width = spaces.width[space]
    keep = np.setdiff1d(np.arange(width), channels)
    widths = {name: len(keep) for name in spaces.makers[space]}
    weights: dict[str, list[np.ndarray]] = {}

    def of(name: str) -> list[np.ndarray]:
        return weights.setdefault(name, network.get_layer(name).get_weights())

    for name in spaces.members[space]:
        kind, found = kind_of(network.get_layer(name)), of(name)
        if kind == "BatchNormalization":
            weights[name] = [w[keep] for w in found]
        elif kind == "DepthwiseConv2D":
            weights[name] = [found[0][:, :, keep], *(w[keep] for w in found[1:])]
        else:
            last = 1 if kind == "SeparableConv2D" else 0
            weights[name] = [*found[:last], found[last][..., keep], *(w[keep] for w in found[last + 1 :])]
    for name, repeat in spaces.takers[space]:
        rows = _rows(list(keep), width, repeat)
        found = of(name)
        if kind_of(network.get_layer(name)) == "SeparableConv2D":
            weights[name] = [found[0][:, :, rows], found[1][:, :, rows], *found[2:]]
        else:
            weights[name] = [found[0][..., rows, :], *found[1:]]
    return _rebuilt(network, widths, weights)


def _dropped(network: Any, name: str) -> Any:
    shortcuts = shortcuts_of(network)
    if name not in shortcuts:
        raise UsageError(f"no residual block ends in a layer {name!r:.80}", "build the network as it was trained")
    return _rebuilt(network, around={name: shortcuts[name].place})


def _rebuilt(
    network: Any,
    widths: Mapping[str, int] = MappingProxyType({}),
    weights: Mapping[str, list[np.ndarray]] = MappingProxyType({}),
    around: Mapping[str, int] = MappingProxyType({}),
) -> Any:
    """The network anew, some layers with another width, and with weights: those given, else as they are.

    Of the layers in `around` one input is passed on, and what led to the others alone is gone.
    """
    import keras

    def anew(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in widths:
            config[_WIDTH[kind_of(layer)]] = widths[layer.name]
        if kind_of(layer) == "Reshape" and layer.target_shape[-1] == layer.input.shape[-1]:
            config["target_shape"] = (*config["target_shape"][:-1], -1)  # its width follows what comes in
        return type(layer).from_config(config)

    if not isinstance(network, (keras.Sequential, keras.src.models.functional.Functional)):
        raise UsageError("the network is neither Sequential nor functional", "build it so, or prune it in PyTorch")
    given = network.inputs[0] if isinstance(network, keras.Sequential) else network.input
    ends = keras.tree.map_structure(  # of the same names: exporters take them from there
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t._keras_history.operation.name), given
    )

    def call(layer: Any, *inputs: Any, **named: Any) -> Any:
        return inputs[0][around[layer.name]] if layer.name in around else layer(*inputs, **named)

    passing = {"call_function": call} if around else {}  # Sequential networks take none, and have no blocks
    result = keras.models.clone_model(network, input_tensors=ends, clone_function=anew, **passing)
    left = {layer.name for layer in result.layers}
    for layer in network.layers:
        if kind_of(layer) == "InputLayer" or layer.name not in left:
            continue
        result.get_layer(layer.name).set_weights(weights.get(layer.name) or layer.get_weights())
    return result


def _outputs(network: Any) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = [[2, *(16 if e is None else e for e in t.shape[1:])] for t in network.inputs]
    given = [generator.normal(size=s).astype(np.float32) for s in shapes]
    found = network(given[0] if len(given) == 1 else given, training=False)
    return [np.asarray(f) for f in (found if isinstance(found, (list, tuple)) else [found])]
